import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.awkward import AWKWARD
from metrics.java import need_java
from segue.lab.bench.metrics import generate_captions, pycocoevalcap_scores
from segue.metrics import java
from segue.metrics.captions import (
    PYTHON_METRICS,
    DocumentFrequencies,
    NGrams,
    bleu,
    cider_d,
    clip_score,
    distinct_n,
    ref_clip_score,
    rouge_l,
    score_captions,
)
from segue.metrics.java import NotComputed
from segue.types import InputError, to_install

NAMES = ("a", "man", "dog", "runs", "in", "the", "red", "park")
WORDS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=9).map(" ".join)
PAIRS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=6)


def split(texts):
    return {name: each[0] for name, each in texts.items()}, {name: each[1:] for name, each in texts.items()}


def test_parity_with_pycocoevalcap():
    need_java()
    said, truth = split(generate_captions(300, 4, seed=1))
    awkward = [text.translate(dict.fromkeys(map(ord, "\n\r\x0b\x0c\x85\u2028\u2029"), " ")) for text in AWKWARD if text]
    for i, text in enumerate(awkward):
        said[f"awkward {i}"], truth[f"awkward {i}"] = text, [awkward[i - 1], f"{text} too", "a man"]
    ours, theirs = score_captions(said, truth, with_java=False), pycocoevalcap_scores(said, truth)
    for name in PYTHON_METRICS:
        assert ours.corpus[name] == pytest.approx(theirs[name][0], abs=1e-9)
        np.testing.assert_allclose(list(ours.each[name].values()), theirs[name][1], atol=1e-9)


def test_meteor_is_what_pycocoevalcap_says():
    need_java()
    said = ["a man runs", "two dogs in the park", "", "a ||| man\nruns"]  # the last can't shift the protocol
    truth = [["a man is running"], ["the dog runs", "dogs"], ["a cat"], ["a man ||| is\u2028running"]]
    found = java.meteor(said, truth)
    assert not isinstance(found, NotComputed), found
    np.testing.assert_allclose(found[1][:3], [0.31239469345701887, 0.3076923076923077, 0], atol=1e-9)
    assert 0 < found[1][3] < 1


def test_bleu_by_hand():
    grams = NGrams(["the the the cat"], [["the cat the", "a cat sat down there"]])
    corpus, each = bleu(grams)
    steps = [3 / 4, 1 / 3, 1e-15 / 2, 1e-15]  # "the" counts twice
    precision = np.cumprod(steps) ** (1 / np.arange(1, 5))
    np.testing.assert_allclose(corpus, precision, rtol=1e-6)  # references of 3 and 5 are as close: the shorter counts
    np.testing.assert_allclose(each[0], corpus)


def test_rouge_by_hand():
    (score,) = rouge_l(["a dog runs here"], [["the dog runs", "a cat"]])
    precision, recall = 2 / 4, 2 / 3
    assert score == pytest.approx(2.44 * precision * recall / (recall + 1.44 * precision))


def test_cider_by_hand():
    """Two images: "a" is in both and weighs 0, "dog" log 2, as do "sits" and "a dog"; no longer n-gram is shared."""
    scores = cider_d(NGrams(["a dog sits", "x"], [["a dog runs"], ["a"]]))
    assert scores[0] == pytest.approx(10 * (1 / 2 + 1 / 2) / 4)
    assert scores[1] == 0


def test_identical_captions_get_the_best_scores():
    texts = ["a red dog runs fast", "two men sit down here", "the blue bus waits there"]
    grams = NGrams(texts, [[t] for t in texts])
    np.testing.assert_allclose(cider_d(grams), 10)
    np.testing.assert_allclose(bleu(grams)[0], 1)
    np.testing.assert_allclose(rouge_l(texts, [[t] for t in texts]), 1)


def test_one_image_has_no_cider_but_with_given_frequencies():
    grams = NGrams(["a red dog runs"], [["a red dog runs"]])
    assert cider_d(grams)[0] == 0
    known = DocumentFrequencies([["a cat", "a"], ["a dog"], ["a man in a park"]])
    words, pairs, *_ = known.of(NGrams([], [["a dog a tree a cat"]], []))
    assert words.tolist() == [3, 1, 0, 1]  # a, dog, tree, cat
    assert sorted(pairs.tolist()) == [0, 0, 0, 1, 1]
    assert known.documents == 3
    assert cider_d(grams, known)[0] == pytest.approx(10)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_own_frequencies_are_those_given(pairs):
    said, truth = zip(*pairs, strict=True)
    grams = NGrams(said, truth)
    np.testing.assert_allclose(cider_d(grams), cider_d(grams, DocumentFrequencies(truth)), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.lists(st.tuples(st.integers(0, 5), WORDS), min_size=1, max_size=8))
def test_several_captions_of_an_image_score_as_each_would_alone(pairs, captions):
    truth, image = [texts for _, texts in pairs], [i % len(pairs) for i, _ in captions]
    said, known = [text for _, text in captions], DocumentFrequencies(truth)
    together, apart = NGrams(said, truth, image), NGrams(said, [truth[i] for i in image])
    np.testing.assert_allclose(cider_d(together, known), cider_d(apart, known), atol=1e-12)
    np.testing.assert_allclose(bleu(together)[1], bleu(apart)[1], atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.randoms(use_true_random=False))
def test_order_of_pairs_and_of_references_does_not_matter(pairs, random):
    said = {str(i): text for i, (text, _) in enumerate(pairs)}
    truth = {str(i): texts for i, (_, texts) in enumerate(pairs)}
    names = list(truth)
    random.shuffle(names)
    mixed = {name: random.sample(truth[name], len(truth[name])) for name in names}
    one, other = (score_captions(said, refs, with_java=False) for refs in (truth, mixed))
    for name in PYTHON_METRICS:
        assert one.corpus[name] == pytest.approx(other.corpus[name], abs=1e-12)
        assert one.each[name] == pytest.approx(other.each[name], abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_ranges(pairs):
    said, truth = zip(*pairs, strict=True)
    grams = NGrams(said, truth)
    _, each = bleu(grams)
    assert ((each >= 0) & (each <= 1)).all()
    assert ((cider_d(grams) >= 0) & (cider_d(grams) <= 10 + 1e-9)).all()
    assert ((rouge_l(said, truth) >= 0) & (rouge_l(said, truth) <= 1)).all()


@settings(max_examples=60, deadline=None)
@given(WORDS, WORDS)
def test_one_more_reference_lowers_neither_rouge_nor_unigram_matches(text, other):
    assert rouge_l([text], [["a b c", other]])[0] >= rouge_l([text], [["a b c"]])[0]
    assert rouge_l([text], [[other]])[0] > 0 or not set(text.split()) & set(other.split())


def test_empty_predictions_count_and_score_nothing():
    found = score_captions({"a": "", "b": "a dog"}, {"a": ["a cat sits"], "b": ["a dog"]}, with_java=False)
    assert all(found.each[name]["a"] == pytest.approx(0, abs=1e-3) for name in PYTHON_METRICS)
    assert found.corpus["BLEU-1"] < 0.5  # the corpus is shorter than its references


@pytest.mark.parametrize(
    ("said", "truth", "message"),
    [
        ({"a": "x"}, {"a": ["x"], "b": ["y"]}, "1 of 2 images have no prediction, such as b"),
        ({"a": "x", "c": "y"}, {"a": ["x"]}, "1 predictions are of images without references, such as c"),
        ({}, {}, "got no references"),
        ({"a": "x"}, {"a": []}, "a: got [] as references"),
        ({"a": "x"}, {"a": "x"}, "a: got 'x' as references, expected a list"),
        ({"a": None}, {"a": ["x"]}, "a: a prediction or a reference is no text"),
    ],
)
def test_bad_input_is_named(said, truth, message):
    with pytest.raises(InputError) as error:
        score_captions(said, truth)
    assert message in str(error.value)


def test_what_cannot_run_says_why_and_is_never_0(monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = score_captions({"a": "a dog"}, {"a": ["a dog"]})
    assert isinstance(found.corpus["METEOR"], NotComputed)
    assert found.to_json()["METEOR"].startswith("not computed: no program `java` on the path")
    assert "METEOR" not in found.each
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    assert to_install("captions") in str(java.meteor(["a"], [["a"]]))


def test_spice_without_models_is_not_computed(monkeypatch, tmp_path):
    monkeypatch.setattr(java, "_package", lambda: tmp_path)
    assert "stanford-corenlp-3.6.0.jar is not in" in str(java.spice(["a"], [["a"]]))


@pytest.fixture
def spice_models(monkeypatch, tmp_path):
    (tmp_path / "spice/lib").mkdir(parents=True)
    for jar in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        (tmp_path / "spice/lib" / jar).touch()
    monkeypatch.setattr(java, "_package", lambda: tmp_path)


def test_spice_reads_what_its_program_writes(monkeypatch, spice_models):
    def program(command, **_):
        from pathlib import Path

        rows = '[{"image_id": 1, "scores": {"All": {"f": 0.5}}}, {"image_id": 0, "scores": {"All": {"f": 0.25}}}]'
        Path(command[command.index("-out") + 1]).write_text(rows)
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(java.subprocess, "run", program)
    mean, each = java.spice(["a", "b"], [["a"], ["b"]])
    assert (mean, each.tolist()) == (0.375, [0.25, 0.5])


def test_spice_that_fails_is_not_computed(monkeypatch, spice_models):
    failed = subprocess.CompletedProcess([], 1, b"", b"out of memory")
    monkeypatch.setattr(java.subprocess, "run", lambda *_, **__: failed)
    assert str(java.spice(["a"], [["a"]])) == "not computed: SPICE's Java program ended with status 1: out of memory"


def test_a_meteor_that_dies_is_not_computed(monkeypatch, tmp_path):
    (tmp_path / "meteor").mkdir()
    (tmp_path / "meteor/meteor-1.5.jar").touch()
    (tmp_path / "java").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(java, "_package", lambda: tmp_path)
    assert "METEOR's Java program ended early" in str(java.meteor(["a"], [["a"]]))
    assert "METEOR's Java program ended early" in str(java.meteor(["a"], [["a " * 100_000]]))  # dies while told


def test_distinct():
    assert distinct_n(["a a b", "a b"], 1) == 2 / 5
    assert distinct_n(["a a b", "a b"], 2) == 2 / 3
    assert distinct_n([""], 1) == 0


def test_clip_score():
    images = np.array([[2.0, 0], [1, 0]])
    captions = np.array([[1.0, 0], [-1, 0]])
    np.testing.assert_allclose(clip_score(images, captions), [2.5, 0])
    references = [np.array([[0, 1.0], [1, 0]]), np.array([[-1.0, 0]])]
    np.testing.assert_allclose(ref_clip_score(images, captions, references), [2 * 2.5 / 3.5, 0])


@pytest.mark.parametrize(
    ("captions", "message"),
    [(np.ones((2, 3)), "expected two arrays (N, D) of one shape"), (np.zeros((1, 2)), "has no direction")],
)
def test_bad_embeddings(captions, message):
    with pytest.raises(InputError) as error:
        clip_score(np.ones((1, 2)), captions)
    assert message in str(error.value)


def test_captions_without_references_have_no_ref_clip_score():
    with pytest.raises(
        InputError, match=r"references: got 1 arrays for 2 captions, expected one \(R, D\) array for each"
    ):
        ref_clip_score(np.eye(2), np.eye(2), [np.eye(2)])


def test_words_of_fewer_documents_weigh_more():
    grams = NGrams(["a dog"], [["a cat"]])
    few, rare = (DocumentFrequencies([["a dog"], ["dog", "cat"], [text], ["x"]]) for text in ("a cat", "cat"))
    assert cider_d(grams, rare)[0] > cider_d(grams, few)[0]
