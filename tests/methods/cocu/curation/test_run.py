"""The stages of curation against naive ones written from the method, and the run that can be killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.cocu.curation import curated
from methods.cocu.curation.curated import CONCEPTS, SETTINGS, corpus, halves
from segue.methods.cocu.archive import read_archive
from segue.methods.cocu.curation import ranking
from segue.methods.cocu.curation import run as stages
from segue.methods.cocu.curation.arrays import CurateSettings
from segue.methods.cocu.curation.clustering import cluster
from segue.methods.cocu.curation.ranking import gather, rank
from segue.methods.cocu.curation.retrieval import build_index, nearest, recall
from segue.methods.cocu.curation.run import curate
from segue.methods.cocu.vocabulary import Vocabulary, find_concepts
from segue.types import InputError

SOURCE = Path(sys.modules["segue"].__file__).parents[1]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    faiss.omp_set_num_threads(1)


def test_nearest_is_never_the_anchor_even_among_twins():
    embeddings = corpus(60)[0]
    embeddings[7:19] = embeddings[7]  # twelve times the same picture
    anchors = np.arange(60)
    found = nearest(build_index(embeddings, CurateSettings()), embeddings, anchors, 8)
    assert found.shape == (60, 8)
    assert not (found == anchors[:, None]).any()
    assert all(len(set(row)) == 8 for row in found.tolist())
    near = embeddings.astype(np.float64) @ embeddings.astype(np.float64).T
    np.fill_diagonal(near, -2)
    best = np.sort(near, 1)[:, :-9:-1]
    np.testing.assert_allclose(np.take_along_axis(near, found, 1), best, atol=1e-6)


def test_fewer_pictures_than_neighbours():
    embeddings = corpus(3)[0]
    index = build_index(embeddings, CurateSettings())
    found = nearest(index, embeddings, np.arange(3), 8)
    assert sorted(found[0].tolist()) == [-1] * 6 + [1, 2]
    alone = build_index(embeddings[:1], CurateSettings())
    assert nearest(alone, embeddings[:1], np.arange(1), 8).tolist() == [[-1] * 8]
    assert recall(index, embeddings, 8) == recall(alone, embeddings[:1], 8) == 1


def test_index_by_size_and_its_recall():
    embeddings = corpus(1500, seed=1)[0]
    flat = build_index(embeddings, CurateSettings())
    lists = build_index(embeddings, CurateSettings(flat_below=1000, probes=1))
    assert isinstance(flat, faiss.IndexFlatIP)
    assert "IVF" in type(faiss.downcast_index(lists)).__name__
    assert recall(flat, embeddings, 8) == 1
    few = recall(lists, embeddings, 8)
    lists.nprobe = 64
    assert few < recall(lists, embeddings, 8) <= 1


@pytest.mark.parametrize(("pictures", "lists"), [(30, 1), (1500, 38), (4000, 102), (20_000, 512)])
def test_an_index_has_four_times_sqrt_lists_but_none_without_enough_pictures(pictures, lists):
    rows = np.random.default_rng(0).standard_normal((pictures, 8))
    embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    index = build_index(embeddings, CurateSettings(flat_below=10))
    assert faiss.downcast_index(index).nlist == lists


def naive_archive(embeddings, said, texts, anchor, neighbours, expansion=True):
    """From the method's text: {concept: score}, one at a time."""
    e, t = embeddings.astype(np.float64), texts.astype(np.float64)
    near = [n for n in neighbours if n >= 0] if expansion else []
    union = sorted(set().union(*(said[n] for n in near))) if expansion else sorted(said[anchor])
    highest = max([0.0] + [float(t[c] @ e[p]) for c in union for p in [*near, anchor]])
    scores = {}
    for c in union:
        held = [float(t[c] @ e[p]) for p in [*(n for n in near if c in said[n]), anchor]]
        mean, mine = sum(held) / len(held), float(t[c] @ e[anchor])
        scores[c] = max(0.0, (mine / highest if highest > 0 else 0.0) + (mine / mean if mean > 0 else 0.0))
    return scores


@pytest.mark.parametrize("expansion", [True, False])
def test_expansion_and_ranking_are_the_methods(expansion):
    embeddings, captions, vocabulary, texts = corpus(80)
    captions[3], captions[4] = "", None
    offsets, numbers = find_concepts(captions, vocabulary)
    said = [set(numbers[a:b].tolist()) for a, b in pairwise(offsets)]
    anchors = np.array([0, 3, 4, 17, 79])
    near = nearest(build_index(embeddings, CurateSettings()), embeddings, anchors, 8)
    near[2, 5:] = -1
    near = near if expansion else np.full_like(near, -1)
    pairs = gather(anchors, near, offsets, numbers, expansion)
    scores = rank(embeddings, texts, anchors, near, pairs)
    for i, anchor in enumerate(anchors.tolist()):
        expected = naive_archive(embeddings, said, texts, anchor, near[i].tolist(), expansion)
        mine = pairs.anchor == i
        assert pairs.concept[mine].tolist() == sorted(expected)
        np.testing.assert_allclose(scores[mine], [expected[c] for c in sorted(expected)], atol=1e-12)
        assert pairs.own[mine].tolist() == [c in said[anchor] for c in sorted(expected)]
        for c, holds in zip(pairs.concept[mine], pairs.holds[mine], strict=True):
            assert holds.tolist() == [n >= 0 and c in said[n] for n in near[i].tolist()]


def test_ranking_without_positive_similarity():
    embeddings, texts = halves(np.array([[1.0, 0], [1, 0.1], [1, -0.1]])), halves(np.array([[-1.0, 0], [0.2, -1]]))
    offsets, numbers = find_concepts(["", "dog cat", "cat"], Vocabulary(["dog", "cat"]))
    near = np.array([[1, 2]])
    pairs = gather(np.array([0]), near, offsets, numbers)
    scores = rank(embeddings, texts, np.array([0]), near, pairs)
    said = [set(), {0, 1}, {1}]
    expected = naive_archive(embeddings, said, texts, 0, [1, 2])
    assert scores[0] == expected[0] == 0  # "dog" points away from every picture
    assert scores[1] == pytest.approx(expected[1])


def test_clusters_are_k_means():
    texts = halves(np.array([[1, 0, 0], [0.99, 0.1, 0], [0, 1, 0], [0.1, 0.99, 0], [0, 0, 1.0]]))
    pairs = ranking.Pairs(
        np.array([0] * 5 + [2]), np.array([0, 1, 2, 3, 4, 4]), np.zeros((6, 1), bool), np.zeros(6, bool)
    )
    found = cluster(texts, np.array([10, 11, 12]), pairs).tolist()
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert len(set(found[:5])) == 3  # ceil(5 / 2)
    assert found[5] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 25), st.integers(0, 1000))
def test_clusters_are_a_fixed_point_of_lloyd(count, seed):
    rng = np.random.default_rng(seed)
    texts = halves(rng.normal(size=(count, 8)))
    pairs = ranking.Pairs(np.zeros(count, int), np.arange(count), np.zeros((count, 1), bool), np.zeros(count, bool))
    found = cluster(texts, np.array([seed]), pairs, rounds=100)
    assert len(set(found.tolist())) <= (count + 1) // 2
    points = texts.astype(np.float64)
    centres = {k: points[found == k].mean(0) for k in set(found.tolist())}
    for point, mine in zip(points, found.tolist(), strict=True):
        distance = {k: ((point - centre) ** 2).sum() for k, centre in centres.items()}
        assert distance[mine] <= min(distance.values()) + 1e-5


def test_no_result_depends_on_the_batch(monkeypatch):
    embeddings, captions, vocabulary, texts = corpus(150)
    concepts = find_concepts(captions, vocabulary)
    index = build_index(embeddings, CurateSettings())
    run = lambda some: stages.archives(index, embeddings, texts, concepts, some, CurateSettings())  # noqa: E731
    whole = run(np.arange(150))
    monkeypatch.setattr(stages, "AT_ONCE", 7)
    pieces = [run(np.arange(a, min(a + 13, 150))) for a in range(0, 150, 13)]
    for name, column in whole.items():
        np.testing.assert_array_equal(np.concatenate([piece[name] for piece in pieces]), column)


def test_archive_file(tmp_path):
    embeddings, captions, vocabulary, texts = corpus()
    names = [f"picture {i}" for i in range(400)]
    told = []
    report = curate(embeddings, captions, vocabulary, texts, tmp_path / "out", SETTINGS, names=names,
                    progress=lambda *at: told.append(at))  # fmt: skip
    table = pq.read_table(tmp_path / "out/archive.parquet")
    assert table.column_names == ["row", "picture", "concept", "score", "cluster", "support", "source"]
    assert told == [(50 * i, 400) for i in range(1, 9)]
    rows = table.to_pylist()
    assert [r["row"] for r in rows] == sorted(r["row"] for r in rows)
    assert all(r["picture"] == f"picture {r['row']}" for r in rows)
    for a, b in pairwise(rows):
        assert a["row"] < b["row"] or a["score"] >= b["score"]
    for r in rows:
        named = r["concept"] in captions[r["row"]]
        assert r["source"] == ("both" if named else "neighbours")
        assert 1 <= r["support"] <= 8
    archive = read_archive(tmp_path / "out/archive.parquet")
    assert len(archive) == 400
    assert archive.concepts == vocabulary.concepts
    assert archive.of(5) == [(r["concept"], r["score"]) for r in rows if r["row"] == 5]
    assert report["pictures"] == report["pictures_this_run"] == 400
    assert report["recall"] > 0.5
    assert {"concepts", "index", "retrieval", "expansion", "ranking", "clustering", "writing"} == set(report["seconds"])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "archive.parquet", "concepts.npz", "index.faiss", "manifest.json", "report.json",
    ]  # fmt: skip
    assert curate(embeddings, captions, vocabulary, texts, tmp_path / "out", SETTINGS, names=names) == report


def test_curation_recovers_what_captions_leave_out(tmp_path):
    """A picture's cluster has six concepts and its caption names two: the archive's best are of the six."""
    embeddings, captions, vocabulary, texts = corpus()
    curate(embeddings, captions, vocabulary, texts, tmp_path / "out", SETTINGS)
    archive = read_archive(tmp_path / "out/archive.parquet")
    at = np.random.default_rng(0)
    at.normal(size=(len(CONCEPTS), 32))
    at = at.integers(0, 20, 400)
    shown = [set() for _ in range(20)]
    for k, caption in zip(at, captions, strict=True):
        shown[k] |= {CONCEPTS[i] for i in vocabulary.find(caption)}
    top = [{concept for concept, _ in archive.of(i)[:4]} for i in range(400)]
    assert np.mean([len(best & shown[k]) / 4 for best, k in zip(top, at, strict=True)]) > 0.9


def test_ablations(tmp_path):
    embeddings, captions, vocabulary, texts = corpus(60)

    def table(**switches):
        out = tmp_path / "-".join(switches)
        curate(embeddings, captions, vocabulary, texts, out, replace(CurateSettings(), **switches))
        return pq.read_table(out / "archive.parquet").to_pydict()

    full = table(seed=0)
    assert set(table(ranking=False)["score"]) == {1.0} != set(full["score"])
    assert set(table(clustering=False)["cluster"]) == {0} != set(full["cluster"])
    own = table(expansion=False)
    assert set(own["source"]) == {"caption"}
    assert set(own["support"]) == {0}
    assert all(concept in captions[row] for row, concept in zip(own["row"], own["concept"], strict=True))


def test_killed_run_goes_on_to_an_equal_file(tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    curate(*corpus(), undisturbed, SETTINGS)
    command = [sys.executable, curated.__file__, str(killed)]
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(list(killed.glob("parts/part-*.parquet"))) < 2:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "archive.parquet").exists()
    (killed / "parts/.x1").mkdir()
    (killed / "parts/.x1/part-000002.parquet").write_bytes(b"half a par")
    report = curate(*corpus(), killed, SETTINGS)
    assert report["pictures_this_run"] < 400
    assert (killed / "archive.parquet").read_bytes() == (undisturbed / "archive.parquet").read_bytes()


def test_pictures_without_caption_still_have_an_archive(tmp_path):
    embeddings, captions, vocabulary, texts = corpus(60)
    captions = [None if i % 3 else caption for i, caption in enumerate(captions)]
    report = curate(embeddings, captions, vocabulary, texts, tmp_path / "a", CurateSettings())
    assert report["pictures_without_named_concept"] == 40
    assert report["pictures_without_archive"] < 40
    silent = curate(embeddings, [None] * 60, vocabulary, texts, tmp_path / "b", CurateSettings())
    assert silent["pictures_without_archive"] == 60
    assert read_archive(tmp_path / "b/archive.parquet").draw([0, 59], 0) == [[], []]


def test_parts_that_do_not_fit_are_refused(tmp_path):
    embeddings, captions, vocabulary, texts = corpus(20)

    def refused(match, *parts, **more):
        with pytest.raises(InputError, match=match):
            curate(*parts, tmp_path / "out", CurateSettings(), **more)

    refused("captions: got 19 for 20 pictures", embeddings, captions[1:], vocabulary, texts)
    refused(r"texts: got shape \(59, 32\), expected \(60, 32\)", embeddings, captions, vocabulary, texts[1:])
    refused("expected .* float16", embeddings.astype(np.float32), captions, vocabulary, texts)
    refused(r"embeddings: got shape \(0, 32\)", embeddings[:0], [], vocabulary, texts)
    refused("names: got 1 for 20", embeddings, captions, vocabulary, texts, names=["x"])
    refused("texts: row 3 has length 0, expected 1", embeddings, captions, vocabulary, zeroed(texts, 3))
    refused("embeddings: row 4 has length 0, expected 1", zeroed(embeddings, 4), captions, vocabulary, texts)
    broken = embeddings.copy()
    broken[5, 2] = np.nan
    with pytest.raises(InputError, match="row 5 has length nan"):
        curate(broken, captions, vocabulary, texts, tmp_path / "nan", CurateSettings())
    with pytest.raises(InputError, match="neighbours: got 0"):
        CurateSettings(neighbours=0)


def zeroed(rows, at):
    rows = rows.copy()
    rows[at] = 0
    return rows


def test_folders_of_other_runs_are_refused(tmp_path):
    parts = corpus(20)
    out = tmp_path / "out"
    curate(*parts, out, SETTINGS)
    with pytest.raises(InputError, match="a run with other neighbours, captions;"):
        curate(parts[0], ["a dog", *parts[1][1:]], *parts[2:], out, replace(SETTINGS, neighbours=3))
    changed = parts[0].copy()
    changed[1] = changed[2]
    with pytest.raises(InputError, match="a run with other embeddings;"):
        curate(changed, *parts[1:], out, SETTINGS)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    with pytest.raises(InputError, match=r"holds other files and no manifest\.json"):
        curate(*parts, tmp_path / "other", SETTINGS)
    (tmp_path / "killed/.x1").mkdir(parents=True)  # remains of a run that was killed at its first file
    curate(*parts, tmp_path / "killed", SETTINGS)
    (out / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="not readable"):
        curate(*parts, out, SETTINGS)


def test_an_interrupted_index_is_made_again_and_a_broken_one_refused(tmp_path):
    parts, out = corpus(), tmp_path / "out"
    curate(*parts, out, SETTINGS)
    expected, index = (out / "archive.parquet").read_bytes(), (out / "index.faiss").read_bytes()
    for name in ("archive.parquet", "report.json", "index.faiss"):
        (out / name).unlink()
    (out / ".x1").mkdir()
    (out / ".x1/index.faiss").write_bytes(index[:1000])  # killed while it was written
    curate(*parts, out, SETTINGS)
    assert (out / "archive.parquet").read_bytes() == expected
    (out / "report.json").unlink()
    (out / "index.faiss").write_bytes(index[:1000])
    with pytest.raises(InputError, match="a broken index; delete this file"):
        curate(*parts, out, SETTINGS)
    concepts = (out / "concepts.npz").read_bytes()
    (out / "concepts.npz").write_bytes(concepts[:-50])
    with pytest.raises(InputError, match=r"concepts\.npz: broken .*delete this file"):
        curate(*parts, out, SETTINGS)
    (out / "concepts.npz").write_bytes(concepts)
    (out / "report.json").write_text("{")
    (out / "archive.parquet").write_bytes(expected)
    with pytest.raises(InputError, match=r"report\.json: broken .*delete this file"):
        curate(*parts, out, SETTINGS)
    (out / "report.json").unlink()
    faiss.write_index(build_index(parts[0][:30], SETTINGS), str(out / "index.faiss"))
    with pytest.raises(InputError, match="holds 30 pictures of 400"):
        curate(*parts, out, SETTINGS)


def test_a_vocabulary_of_a_hundred_thousand_words(tmp_path):
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary([f"word{i}" for i in range(100_000)])
    shown, texts = halves(rng.normal(size=(20, 8))), halves(rng.normal(size=(100_000, 8)))
    captions = [f"a word{i} and a word{99_999 - i}" for i in range(20)]
    curate(shown, captions, vocabulary, texts, tmp_path / "out", SETTINGS)
    archive = read_archive(tmp_path / "out/archive.parquet")
    assert len(archive.concepts) == 100_000
    assert all(1 <= len(archive.of(row)) <= 16 for row in range(20))


def test_a_memory_map_will_do(tmp_path):
    embeddings, *rest = corpus(60)
    np.save(tmp_path / "e.npy", embeddings)
    curate(embeddings, *rest, tmp_path / "a", CurateSettings())
    curate(np.load(tmp_path / "e.npy", mmap_mode="r"), *rest, tmp_path / "b", CurateSettings())
    assert (tmp_path / "a/archive.parquet").read_bytes() == (tmp_path / "b/archive.parquet").read_bytes()


@pytest.mark.parametrize(("module", "name"), [("faiss", "faiss"), ("pyarrow.parquet", "pyarrow")])
def test_missing_packages_are_named_with_their_extra(tmp_path, monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf'needs {name}, which is missing: pip install "\.\[cluster\]"'):
        curate(*corpus(20), tmp_path / "out", CurateSettings())
