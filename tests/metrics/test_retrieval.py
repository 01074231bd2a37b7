import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.metrics.retrieval import recall_at_k
from segue.types import InputError


def rows(count, seed=0, width=5):
    x = np.random.default_rng(seed).standard_normal((count, width))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def naive(images, texts, image_of_text, k):
    """Sort and look: no ties in random rows."""
    nearest = np.argsort(-(images @ texts.T), axis=1)[:, :k]
    i2t = np.mean([any(image_of_text[t] == i for t in nearest[i]) for i in range(len(images))])
    back = np.argsort(-(texts @ images.T), axis=1)[:, :k]
    return i2t, np.mean([image_of_text[t] in back[t] for t in range(len(texts))])


@settings(max_examples=40, deadline=None)
@given(pictures=st.integers(1, 12), more=st.integers(0, 20), seed=st.integers(0, 99))
def test_equals_sorting(pictures, more, seed):
    image_of_text = np.concatenate([np.arange(pictures), np.random.default_rng(seed).integers(0, pictures, more)])
    images, texts = rows(pictures, seed), rows(len(image_of_text), seed + 100)
    found = recall_at_k(images, texts, image_of_text, ks=(1, 3))
    for k in (1, 3):
        expected = naive(images, texts, image_of_text, k)
        assert (found[f"i2t_r{k}"], found[f"t2i_r{k}"]) == pytest.approx(expected)


def test_golden():
    images = np.eye(3)
    texts = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, 0.6, 0.8]])  # the third lies nearer to picture 2 than to its own
    found = recall_at_k(images, texts, [0, 2, 1], ks=(1, 2))
    assert found == pytest.approx({"i2t_r1": 1, "i2t_r2": 1, "t2i_r1": 2 / 3, "t2i_r2": 1})
    assert {*recall_at_k(images, texts, [0, 2, 1])} == {f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)}


def test_equal_embeddings_score_nothing():
    assert recall_at_k(np.ones((4, 2)), np.ones((4, 2)), range(4), ks=(1, 3)) == {
        "i2t_r1": 0, "t2i_r1": 0, "i2t_r3": 0, "t2i_r3": 0,
    }  # fmt: skip


def test_many_rows_are_compared_in_pieces(monkeypatch):
    images, texts, image_of_text = rows(9), rows(20, 1), np.arange(20) % 9
    whole = recall_at_k(images, texts, image_of_text)
    monkeypatch.setattr("segue.metrics.retrieval._BLOCK_ROWS", 4)
    assert recall_at_k(images, texts, image_of_text) == whole


@pytest.mark.parametrize(
    ("images", "texts", "image_of_text", "message"),
    [
        (rows(2), rows(2, width=4), [0, 1], r"expected \(N, D\), \(M, D\) and \(M,\)"),
        (rows(2), rows(3), [0, 1], "image_of_text"),
        (rows(2), rows(2), [0, 0], "every picture needs at least one text"),
        (rows(2), rows(2), [1, 2], "image_of_text counts the pictures from 0"),
    ],
)
def test_refuses(images, texts, image_of_text, message):
    with pytest.raises(InputError, match=message):
        recall_at_k(images, texts, image_of_text)
