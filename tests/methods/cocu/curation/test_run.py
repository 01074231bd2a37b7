"""A run of curation: its archive, and that it can be killed."""

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

from methods.cocu.curation import curated
from methods.cocu.curation.curated import CONCEPTS, SETTINGS, corpus, halves
from segue.methods.cocu.archive import read_archive
from segue.methods.cocu.curation import run as stages
from segue.methods.cocu.curation.config import CurateSettings
from segue.methods.cocu.curation.inputs import CurationInputs
from segue.methods.cocu.curation.retrieval import build_index
from segue.methods.cocu.curation.run import curate
from segue.methods.cocu.vocabulary import Vocabulary, find_concepts
from segue.types import InputError

SOURCE = Path(sys.modules["segue"].__file__).parents[1]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    faiss.omp_set_num_threads(1)


def test_no_result_depends_on_the_batch(monkeypatch):
    embeddings, captions, vocabulary, texts = corpus(150)
    concepts = find_concepts(captions, vocabulary)
    index = build_index(embeddings, CurateSettings())
    run = lambda some: stages.build_archives(index, embeddings, texts, concepts, some, CurateSettings())  # noqa: E731
    whole = run(np.arange(150))
    monkeypatch.setattr(stages, "ANCHOR_BATCH", 7)
    pieces = [run(np.arange(a, min(a + 13, 150))) for a in range(0, 150, 13)]
    for name, column in whole.items():
        np.testing.assert_array_equal(np.concatenate([piece[name] for piece in pieces]), column)


def test_archive_file(tmp_path):
    embeddings, captions, vocabulary, texts = corpus()
    names = [f"picture {i}" for i in range(400)]
    progress, inputs = [], CurationInputs(embeddings, captions, vocabulary, texts, names)
    report = curate(inputs, tmp_path / "out", SETTINGS, progress=lambda *at: progress.append(at))
    table = pq.read_table(tmp_path / "out/archive.parquet")
    assert table.column_names == ["row", "picture", "concept", "score", "cluster", "support", "source"]
    assert progress == [(50 * i, 400) for i in range(1, 9)]
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
    assert archive.concepts_of(5) == [(r["concept"], r["score"]) for r in rows if r["row"] == 5]
    assert report["pictures"] == report["pictures_this_run"] == 400
    assert report["recall"] > 0.5
    assert {"concepts", "index", "retrieval", "expansion", "ranking", "clustering", "writing"} == set(report["seconds"])
    assert {"retrieval", "expansion", "ranking"} <= set(report["cpu_seconds"])
    assert not any(name.endswith("_cpu") for name in (*report["seconds"], *report["cpu_seconds"]))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "archive.parquet", "concepts.npz", "index.faiss", "manifest.json", "report.json",
    ]  # fmt: skip
    assert curate(inputs, tmp_path / "out", SETTINGS) == report


def test_curation_recovers_what_captions_leave_out(tmp_path):
    """A picture's cluster has six concepts and its caption names two: the archive's best are of the six."""
    embeddings, captions, vocabulary, texts = corpus()
    curate(CurationInputs(embeddings, captions, vocabulary, texts), tmp_path / "out", SETTINGS)
    archive = read_archive(tmp_path / "out/archive.parquet")
    at = np.random.default_rng(0)
    at.normal(size=(len(CONCEPTS), 32))
    at = at.integers(0, 20, 400)
    shown = [set() for _ in range(20)]
    for k, caption in zip(at, captions, strict=True):
        shown[k] |= {CONCEPTS[i] for i in vocabulary.find(caption)}
    top = [{concept for concept, _ in archive.concepts_of(i)[:4]} for i in range(400)]
    assert np.mean([len(best & shown[k]) / 4 for best, k in zip(top, at, strict=True)]) > 0.9


def test_ablations(tmp_path):
    embeddings, captions, vocabulary, texts = corpus(60)

    def table(**switches):
        out = tmp_path / "-".join(switches)
        curate(CurationInputs(embeddings, captions, vocabulary, texts), out, replace(CurateSettings(), **switches))
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
    curate(CurationInputs(*corpus()), undisturbed, SETTINGS)
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
    report = curate(CurationInputs(*corpus()), killed, SETTINGS)
    assert report["pictures_this_run"] < 400
    assert (killed / "archive.parquet").read_bytes() == (undisturbed / "archive.parquet").read_bytes()


def test_pictures_without_caption_still_have_an_archive(tmp_path):
    embeddings, captions, vocabulary, texts = corpus(60)
    captions = [None if i % 3 else caption for i, caption in enumerate(captions)]
    report = curate(CurationInputs(embeddings, captions, vocabulary, texts), tmp_path / "a", CurateSettings())
    assert report["pictures_without_named_concept"] == 40
    assert report["pictures_without_archive"] < 40
    silent = curate(CurationInputs(embeddings, [None] * 60, vocabulary, texts), tmp_path / "b", CurateSettings())
    assert silent["pictures_without_archive"] == 60
    assert read_archive(tmp_path / "b/archive.parquet").sample([0, 59], 0) == [[], []]


def test_folders_of_other_runs_are_refused(tmp_path):
    parts = corpus(20)
    out = tmp_path / "out"
    curate(CurationInputs(*parts), out, SETTINGS)
    with pytest.raises(InputError, match="a run with other neighbours, captions;"):
        curate(CurationInputs(parts[0], ["a dog", *parts[1][1:]], *parts[2:]), out, replace(SETTINGS, neighbours=3))
    changed = parts[0].copy()
    changed[1] = changed[2]
    with pytest.raises(InputError, match="a run with other embeddings;"):
        curate(CurationInputs(changed, *parts[1:]), out, SETTINGS)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    with pytest.raises(InputError, match=r"holds other files and no manifest\.json"):
        curate(CurationInputs(*parts), tmp_path / "other", SETTINGS)
    (tmp_path / "killed/.x1").mkdir(parents=True)  # remains of a run that was killed at its first file
    curate(CurationInputs(*parts), tmp_path / "killed", SETTINGS)
    (out / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="not readable"):
        curate(CurationInputs(*parts), out, SETTINGS)


def test_an_interrupted_index_is_made_again_and_a_broken_one_refused(tmp_path):
    parts, out = corpus(), tmp_path / "out"
    curate(CurationInputs(*parts), out, SETTINGS)
    expected, index = (out / "archive.parquet").read_bytes(), (out / "index.faiss").read_bytes()
    for name in ("archive.parquet", "report.json", "index.faiss"):
        (out / name).unlink()
    (out / ".x1").mkdir()
    (out / ".x1/index.faiss").write_bytes(index[:1000])  # killed while it was written
    curate(CurationInputs(*parts), out, SETTINGS)
    assert (out / "archive.parquet").read_bytes() == expected
    (out / "report.json").unlink()
    (out / "index.faiss").write_bytes(index[:1000])
    with pytest.raises(InputError, match="a broken index; delete this file"):
        curate(CurationInputs(*parts), out, SETTINGS)
    concepts = (out / "concepts.npz").read_bytes()
    (out / "concepts.npz").write_bytes(concepts[:-50])
    with pytest.raises(InputError, match=r"concepts\.npz: broken .*delete this file"):
        curate(CurationInputs(*parts), out, SETTINGS)
    (out / "concepts.npz").write_bytes(concepts)
    (out / "report.json").write_text("{")
    (out / "archive.parquet").write_bytes(expected)
    with pytest.raises(InputError, match=r"report\.json: broken .*delete this file"):
        curate(CurationInputs(*parts), out, SETTINGS)
    (out / "report.json").unlink()
    faiss.write_index(build_index(parts[0][:30], SETTINGS), str(out / "index.faiss"))
    with pytest.raises(InputError, match="holds 30 pictures of 400"):
        curate(CurationInputs(*parts), out, SETTINGS)


def test_a_vocabulary_of_a_hundred_thousand_words(tmp_path):
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary([f"word{i}" for i in range(100_000)])
    shown, texts = halves(rng.normal(size=(20, 8))), halves(rng.normal(size=(100_000, 8)))
    captions = [f"a word{i} and a word{99_999 - i}" for i in range(20)]
    curate(CurationInputs(shown, captions, vocabulary, texts), tmp_path / "out", SETTINGS)
    archive = read_archive(tmp_path / "out/archive.parquet")
    assert len(archive.concepts) == 100_000
    assert all(1 <= len(archive.concepts_of(row)) <= 16 for row in range(20))


def test_a_memory_map_will_do(tmp_path):
    embeddings, *rest = corpus(60)
    np.save(tmp_path / "e.npy", embeddings)
    curate(CurationInputs(embeddings, *rest), tmp_path / "a", CurateSettings())
    curate(CurationInputs(np.load(tmp_path / "e.npy", mmap_mode="r"), *rest), tmp_path / "b", CurateSettings())
    assert (tmp_path / "a/archive.parquet").read_bytes() == (tmp_path / "b/archive.parquet").read_bytes()


@pytest.mark.parametrize(("module", "name"), [("faiss", "faiss"), ("pyarrow.parquet", "pyarrow")])
def test_missing_packages_are_named_with_their_extra(tmp_path, monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf'needs {name}, which is missing: pip install "(\.|segue)\[cluster\]"'):
        curate(CurationInputs(*corpus(20)), tmp_path / "out", CurateSettings())
