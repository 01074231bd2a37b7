"""`segue curate` from end to end, with a tiny dual encoder."""

import json

import numpy as np
import pytest
from PIL import Image

from scenes_and_encoder import write_encoder, write_scenes
from segue.api.curation import read_curation_corpus
from segue.data.embedding_store import EmbeddingStore
from segue.methods.cocu.archive import read_archive
from segue.methods.cocu.curation import ray_executor
from segue.types import InputError


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "s")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder") / "p")


def photos(folder, captions):
    """A Karpathy folder with these captions, one list a picture."""
    (folder / "images").mkdir(parents=True)
    entries = []
    for i, texts in enumerate(captions):
        rng = np.random.default_rng(i)
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8)).save(folder / f"images/{i}.png")
        sentences = [{"raw": text, "tokens": text.split(), "sentid": 10 * i + j} for j, text in enumerate(texts)]
        entries.append({"filename": f"{i}.png", "imgid": i, "split": "train", "sentences": sentences})
    (folder / "dataset_mine.json").write_text(json.dumps({"images": entries, "dataset": "mine"}))
    return folder


def test_curate_writes_archive_page_and_recovery(segue, scenes, encoder, tmp_path):
    out = tmp_path / "out"
    status, output, error = segue(
        "curate", scenes, "-o", out, "--encoder", encoder, "--captions", 1, "--show", 5, "--json", "--neighbours", 4
    )
    assert status == 0, error
    answer = json.loads(output)
    archive = read_archive(out / "archive/archive.parquet")
    assert len(archive) == answer["pictures"] == len(EmbeddingStore(out / "pictures")) == 14
    assert answer["vocabulary"] == len(archive.concepts)
    recovery = answer["recovery"]
    assert set(recovery) == {"expansion", "ranking", "sampling"}
    assert recovery["expansion"]["omitted"] * 10 == recovery["sampling"]["omitted"]
    assert recovery["ranking"]["recall"] <= recovery["expansion"]["recall"]
    page = (out / "page/index.html").read_text()
    assert page.count("<article>") == 5
    assert 'class="new"' in page
    assert len(list((out / "page").glob("*.png"))) == 5


def test_ray_works_on_the_shards_when_asked_for(segue, scenes, encoder, tmp_path, monkeypatch):
    did = []

    def in_this_process(run_shard, numbers):
        did.extend(numbers)
        return map(run_shard, numbers)

    monkeypatch.setattr(ray_executor, "ray_executor", lambda: in_this_process)
    for options, expected in (((), []), (("--ray",), [0])):
        out = tmp_path / f"out{len(options)}"
        status, _, error = segue("curate", scenes, "-o", out, "--encoder", encoder, "--captions", 1, *options)
        assert status == 0, error
        assert did == expected
    one, other = (tmp_path / f"out{i}/archive/archive.parquet" for i in (0, 1))
    assert one.read_bytes() == other.read_bytes()


def test_curate_goes_on_and_refuses_other_inputs(segue, scenes, encoder, tmp_path):
    out = tmp_path / "out"
    args = ("curate", scenes, "-o", out, "--encoder", encoder, "--captions", 1, "--json")
    assert segue(*args)[0] == 0
    archive = (out / "archive/archive.parquet").read_bytes()
    status, _, error = segue(*args)
    assert status == 0, error
    assert (out / "archive/archive.parquet").read_bytes() == archive
    (tmp_path / "words.txt").write_text("dog\n\nsky\ntraffic light\n")
    status, _, error = segue(*args, "--vocabulary", tmp_path / "words.txt")
    assert status == 2
    assert "other inputs" in error


def test_captions_with_newlines_and_pictures_without_caption(segue, encoder, tmp_path):
    folder = photos(tmp_path / "photos", [["a dog\non the grass"], [], ["the sky\r\nover a dog"], ["a cat"]])
    (tmp_path / "words.txt").write_text("dog\ngrass\nsky\nhot dog\n")
    out = tmp_path / "out"
    status, output, error = segue(
        "curate", folder, "-o", out, "--encoder", encoder, "--vocabulary", tmp_path / "words.txt", "--json", "--show", 4
    )
    assert status == 0, error
    answer = json.loads(output)
    assert answer["pictures"] == 4
    assert answer["pictures_without_named_concept"] == 2
    archive = read_archive(out / "archive/archive.parquet")
    assert {concept for concept, _ in archive.concepts_of(1)} == {"dog", "grass", "sky"}  # from its neighbours
    assert "no caption" in (out / "page/index.html").read_text()


def test_a_picture_that_can_not_be_read_stops_or_is_skipped(segue, encoder, tmp_path):
    folder = photos(tmp_path / "photos", [["a dog on the grass"]] * 6)
    (folder / "images/2.png").write_bytes(b"broken")
    args = ("curate", folder, "-o", tmp_path / "out", "--encoder", encoder)
    status, _, error = segue(*args)
    assert status == 2
    assert "1 of 6 inputs can't be read" in error
    status, output, error = segue(*args, "--on-bad", "skip", "--json")
    assert status == 0, error
    assert json.loads(output)["bad"] == 1
    assert len(read_archive(tmp_path / "out/archive/archive.parquet")) == 5


def test_bad_inputs(segue, encoder, tmp_path):
    silent = photos(tmp_path / "silent", [[], []])
    with pytest.raises(InputError, match="none of 2 pictures has a caption"):
        read_curation_corpus(silent, "train")
    album = photos(tmp_path / "album", [["a dog"], ["a cat"]])
    with pytest.raises(InputError, match="no noun is named 5 times"):
        read_curation_corpus(album, "train")
    (tmp_path / "none.txt").write_text("\n \n")
    for args, message in (
        ((album, "--vocabulary", tmp_path / "none.txt"), "vocabulary: got no concept"),
        ((album, "--vocabulary", tmp_path / "nowhere.txt"), "no such file; give a text file with one concept"),
        ((tmp_path / "nowhere",), "no such folder"),
        ((album, "--captions", -1), "captions: got -1"),
        ((album, "--split", "test"), "without a split 'test'"),
        ((album, "--show", -1), "show: got -1"),
    ):
        status, _, error = segue("curate", *args, "-o", tmp_path / "out", "--encoder", encoder)
        assert status == 2
        assert message in error
