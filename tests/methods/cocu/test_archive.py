"""Drawing concepts: the distribution of the method, none twice, the same whatever the batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.methods.cocu.archive import (
    Archive,
    archive_table,
    hashed_uniform,
    read_archive,
    sample_by_cluster,
    write_table,
)
from segue.types import InputError

CONCEPTS = ("a", "b", "c", "d", "e", "f")


def archive(*pictures, own=()):
    """Each picture a list of (concept number, score, cluster), best first."""
    flat = [row for picture in pictures for row in picture]
    offsets = np.cumsum([0, *map(len, pictures)])
    number, score, group = (np.array([row[k] for row in flat]) for k in range(3))
    named = np.array([name in own for name in number])
    numbers = number.astype(np.int32), score.astype(np.float32), group.astype(np.uint16)
    return Archive(CONCEPTS, offsets, *numbers, named)


ONE = archive([(0, 2.0, 0), (1, 1.9, 0), (2, 1.8, 1), (3, 1.5, 2), (4, 1.4, 2)])


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


@pytest.mark.parametrize("temperature", [0.1, 0.5, 5.0])
def test_first_draw_has_the_methods_distribution(temperature):
    count = 20_000
    drawn = [ONE.sample([0], i, temperature=temperature, num=1)[0][0] for i in range(count // 10)]
    score = np.tile([2.0, 1.9, 1.8, 1.5, 1.4], (count, 1))
    group = np.tile([0, 0, 1, 2, 2], (count, 1))
    places = sample_by_cluster(
        score, group, np.ones((count, 5), bool), np.arange(count), num=1, temperature=temperature, seed=1, iteration=0
    )
    clusters = softmax(np.array([1.95, 1.8, 1.45]) / temperature)
    inside = np.concatenate([softmax(np.array(s) / temperature) for s in ([2.0, 1.9], [1.8], [1.5, 1.4])])
    expected = np.repeat(clusters, [2, 1, 2]) * inside
    np.testing.assert_allclose(np.bincount(places[:, 0], minlength=5) / count, expected, atol=0.015)
    np.testing.assert_allclose([np.mean([d == c for d in drawn]) for c in "abcde"], expected, atol=0.05)


def test_each_cluster_once_then_again_and_no_concept_twice():
    for iteration in range(50):
        (first,) = ONE.sample([0], iteration, num=3, temperature=1.0)
        assert sorted({0 if c in "ab" else 1 if c == "c" else 2 for c in first}) == [0, 1, 2]
        (all_,) = ONE.sample([0], iteration, num=7, temperature=1.0)
        assert sorted(all_) == list("abcde")


@pytest.mark.parametrize("mode", ["top", "clusters"])
def test_fresh_leaves_out_what_the_caption_names(mode):
    found = archive([(0, 2.0, 0), (1, 1.9, 0), (2, 1.8, 1), (3, 1.5, 2), (4, 1.4, 2)], [(0, 2.0, 0)], own=(0, 2))
    drawn = found.sample([0, 1], 0, mode=mode, fresh=True)
    assert {*drawn[0]} == {CONCEPTS[i] for i in (1, 3, 4)}
    assert drawn[1] == []
    if mode == "top":
        assert drawn[0] == [CONCEPTS[i] for i in (1, 3, 4)]


def test_top_is_the_best_every_time():
    both = archive([(3, 2.0, 0), (1, 1.0, 0)], [], [(5, 9.0, 0)])
    assert both.sample([0, 1, 2], 4, mode="top") == [["d", "b"], [], ["f"]]
    assert ONE.sample([0], 9, mode="top") == [["a", "b", "c"]]


pictures = st.lists(
    st.lists(st.tuples(st.floats(0, 3, width=32), st.integers(0, 3)), max_size=6), min_size=1, max_size=8
)


@settings(deadline=None)
@given(pictures, st.integers(0, 99), st.integers(1, 4))
def test_a_pictures_draw_does_not_depend_on_its_companions(rows, iteration, draws):
    made = archive(*([(i, s, g) for i, (s, g) in enumerate(row)] for row in rows))
    together = made.sample(range(len(rows)), iteration, num=draws)
    assert together == [made.sample([i], iteration, num=draws)[0] for i in range(len(rows))]
    for drawn, row in zip(together, rows, strict=True):
        assert len(drawn) == len(set(drawn)) == min(draws, len(row))


def test_draws_change_with_iteration_seed_and_picture():
    many = archive(*([(i, 2.0, i) for i in range(6)] for _ in range(30)))
    base = many.sample(range(30), 0)
    assert base == many.sample(range(30), 0)
    assert base != many.sample(range(30), 1)
    assert base != many.sample(range(30), 0, seed=1)
    assert len(set(map(tuple, base))) > 10


def test_uniform_is_uniform():
    x = hashed_uniform(3, np.arange(50_000), 7)
    assert abs(x.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.02
    np.testing.assert_allclose(np.histogram(x, 10, (0, 1))[0] / 5000, 1, atol=0.06)
    assert 0 < x.min() < x.max() < 1


def test_what_cannot_be_drawn():
    with pytest.raises(InputError, match="temperature 0"):
        ONE.sample([0], 0, temperature=0)
    with pytest.raises(InputError, match=r"rows: got 1\.\.1, expected 0\.\.0"):
        ONE.sample([1], 0)
    assert ONE.sample([], 0) == []


def test_files_that_are_no_archive(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pytest.raises(InputError, match="no such file"):
        read_archive(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="can't be read as an archive"):
        read_archive(tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="can't be read as an archive"):
        read_archive(tmp_path / "a.parquet")
    write_table(tmp_path / "b.parquet", [])
    with pytest.raises(InputError, match="something else"):
        read_archive(tmp_path / "b.parquet")


def test_columns_of_plain_strings_are_read_alike(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    two = np.zeros(2, np.int32)
    columns = {"row": two, "concept": two, "score": two, "cluster": two.astype(np.uint16), "support": two}
    table = archive_table(columns | {"in_caption": two == 0}, ["tree"], None)
    write_table(tmp_path / "a.parquet", [table], {"concepts": ["tree"], "pictures": 1})
    table = pq.read_table(tmp_path / "a.parquet")
    plain = table.cast(table.schema.set(2, table.schema.field(2).with_type(pa.string())))
    pq.write_table(plain, tmp_path / "b.parquet")
    assert read_archive(tmp_path / "b.parquet").sample([0], 0, num=1) == [["tree"]]


@pytest.mark.parametrize(
    ("rows", "about"),
    [
        ([0, 1], {"concepts": ["trees"], "pictures": 2}),
        ([0, 1], {"concepts": ["tree"], "pictures": 1}),
        ([1, 0], {"concepts": ["tree"], "pictures": 2}),
        ([0, 2**31 - 1], {"concepts": ["tree"], "pictures": 2}),
        ([0, 1], {"concepts": ["tree"]}),
        ([0, 1], {"concepts": 3, "pictures": 2}),
        ([0, 1], ["tree"]),
    ],
)
def test_an_archive_whose_parts_do_not_fit_is_refused(tmp_path, rows, about):
    two = np.zeros(2, np.int32)
    columns = {"row": np.array(rows, np.int32), "concept": two, "score": two, "cluster": two.astype(np.uint16)}
    columns |= {"support": two, "in_caption": two == 0}
    write_table(tmp_path / "a.parquet", [archive_table(columns, ["tree"], None)], about)
    with pytest.raises(InputError, match="don't fit each other"):
        read_archive(tmp_path / "a.parquet")
