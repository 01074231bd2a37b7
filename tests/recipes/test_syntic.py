"""Text in, a captioner out: the whole way with tiny models."""

import gzip
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import segue as package
from segue.api.captioner import Captioner, load_captioner
from segue.api.models import about
from segue.data.images import write_image
from segue.lab.tables import syntic_scenes as syntic_tables
from segue.lab.tables.syntic_photos import syntic_real_table
from segue.lab.tables.syntic_scenes import syntic_moves_table, syntic_scenes_table
from segue.methods.syntic import SIZES, SYSTEMS, SynticConfig
from segue.metrics import java
from segue.metrics.java import NotComputed
from segue.options import Decoding
from segue.recipes.syntic import SYNTIC, captions_of, syntic, syntic_scenes
from segue.synthetic.scenes.language.parser import text_to_image
from segue.synthetic.scenes.writer import make_scenes
from segue.types import InputError
from tiny_detr import tiny_detr
from tiny_pair import CAPTIONS, tiny_pair, tiny_scenes


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A pair, scenes, and a file of captions."""
    folder = tmp_path_factory.mktemp("home")
    tiny_pair(folder / "scenes-encoder")
    tiny_scenes(folder / "scenes")
    (folder / "mine.txt").write_text("\n".join(CAPTIONS) + "\n")
    return folder


@pytest.fixture
def quick(home, tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "segue", SynticConfig(width=32, layers=1, heads=2, dropout=0.0))
    return replace(
        SYNTIC, out=tmp_path / "run", corpus=home / "mine.txt", pair=str(home / "scenes-encoder"),
        images=home / "pictures", cache=home / "features", vocabulary=300, max_tokens=30,
        fo_steps=2, steps=3, batch_size=4, ema=0.0,
    )  # fmt: skip


def test_a_captioner_learns_its_texts_and_tells_them_of_their_pictures(quick):
    """Trained to the end on four captions, it says each of its own synthetic picture."""
    settings = replace(quick, system="baseline", steps=100, lr=2e-2, weight_decay=0.0)
    captioner = package.load(syntic(settings))
    assert about(captioner.folder)["data"] == "mine.txt"
    pictures = sorted(settings.images.glob("*/*.png"))
    drawn = [json.loads(line)["caption"] for line in (settings.images / "pictures.jsonl").read_text().splitlines()]
    said = [one[0] for one in captioner.caption_many(pictures)]
    assert [c.text for c in said] == drawn
    assert sorted(drawn) == sorted(CAPTIONS)
    assert all(0.5 < c.score <= 1 for c in said)


@pytest.mark.parametrize("system", [s for s in SYSTEMS if s != "clipre"])
def test_every_system_trains_from_a_plain_file_and_captions(quick, system):
    captioner = package.load(syntic(replace(quick, system=system)))
    assert captioner.trained.model.config.fp == SYSTEMS[system]["fp"]
    assert len(captioner.trained.support) == 4
    found = captioner.caption(text_to_image(CAPTIONS[:1])[0], num=3, options=Decoding(max_tokens=5))
    assert len({c.text for c in found}) == 3
    assert all(0 < c.score <= 1 for c in found)


def test_a_detector_finds_the_objects_of_training_and_of_captioning(quick, tmp_path):
    """And a search that was killed goes on where it was."""
    detr = str(tiny_detr(tmp_path / "detr", sees="cat"))
    settings = replace(quick, detector=detr, cache=tmp_path / "cache")
    captioner = package.load(syntic(settings))
    assert captioner.trained.names == ["cat", "dog"]
    picture = text_to_image(CAPTIONS[:1])[0]
    told = captioner.caption(picture)
    assert told == captioner.caption(picture, objects=["cat"])
    assert told != captioner.caption(picture, objects=[])
    with pytest.raises(InputError, match="a detector finds them in pictures"):
        captioner.caption_features(np.ones((1, captioner.pair.width)))

    (found,) = settings.cache.glob("objects-*.jsonl")
    whole = found.read_text()
    assert [json.loads(line) for line in whole.splitlines()] == [["cat"] * len(json.loads(whole.splitlines()[0]))] * 4
    found.write_text(whole[: len(whole) // 2])
    again = package.load(syntic(replace(settings, out=tmp_path / "again")))
    assert found.read_text() == whole
    for name, x in captioner.trained.model.state_dict().items():
        assert torch.equal(x, again.trained.model.state_dict()[name]), name

    shutil.rmtree(detr)
    with pytest.raises(InputError, match=r"no DETR could be read there.*tell where it is: --detector"):
        package.load(tmp_path / "again" / "last")
    with pytest.raises(InputError, match="painter text draws no pictures to look at"):
        syntic(replace(settings, painter="text"))


def test_a_run_shares_pictures_and_features_and_comes_to_the_same_weights(quick, tmp_path):
    first = package.load(syntic(quick))
    times = {p: p.stat().st_mtime_ns for p in quick.images.rglob("*.png")}
    again = package.load(syntic(replace(quick, out=tmp_path / "again")))
    assert times == {p: p.stat().st_mtime_ns for p in quick.images.rglob("*.png")}
    for name, x in first.trained.model.state_dict().items():
        assert torch.equal(x, again.trained.model.state_dict()[name]), name


def test_the_captions_of_a_data_set_come_with_the_numbers_of_their_pictures(home):
    corpus = captions_of(home / "scenes")
    assert set(corpus.group.tolist()) == set(range(6))
    assert len(corpus) > 20
    short = captions_of(home / "scenes", max_words=8)
    assert 0 < len(short) < len(corpus)
    assert max(len(c.split()) for c in short.captions) <= 8


def test_scenes_train_and_their_table_has_all_rows(home, quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        java, "METRICS", {"METEOR": lambda *_: (0.5, np.zeros(4)), "SPICE": lambda *_: NotComputed("x")}
    )
    base = replace(quick, steps=2, pictures=8, support=12)
    rows = syntic_scenes_table(base)
    assert len([row for row in rows if row.experiment == "main"]) == 36
    assert {row.system for row in rows if row.experiment == "main"} == set(SYSTEMS)
    assert [row.seed for row in rows] == sorted(row.seed for row in rows)
    named = {row.name: row for row in rows}
    assert len(named) == len(rows)
    work = tmp_path / "work" / "syntic_scenes"
    for name in ("main/full/1", "main/clipre/0", "main/close/2"):
        found = named[name].run(named[name].work(work, home))
        assert set(found) == {"bleu4", "meteor", "rouge_l", "cider", "clipscore"}
        assert "spice: not computed: x" in capsys.readouterr().out
        assert all(np.isfinite(value) for value in found.values())
    features = tmp_path / "work" / "features"
    assert len(list(features.glob("images-*"))) == 2  # synthetic and test, shared by the rows
    assert len(list(features.glob("optimised-*.npy"))) == 1
    saved = syntic_scenes(replace(base, corpus=home / "scenes", images=tmp_path / "drawn"))
    assert "dog" in package.load(saved).trained.names


def test_further_experiments_train_only_what_no_other_row_has_trained(home, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(java, "METRICS", {name: lambda *_: NotComputed("x") for name in ("METEOR", "SPICE")})
    monkeypatch.setattr(syntic_tables, "OTHER_DOMAIN", {"train": 3, "val": 0, "test": 3, "size": 48})
    rows = syntic_scenes_table(replace(quick, steps=2, pictures=8, support=12))
    named, work = {row.name: row for row in rows}, tmp_path / "work" / "syntic_scenes"
    swapped, found = [], {}
    monkeypatch.setattr(Captioner, "with_support", lambda self, texts: swapped.append(len(texts)) or self)
    for name in ("cross_domain/full/0", "cross_domain/full-TT/0", "cross_domain/clipre/0", "cross_domain/clipre-TT/0"):
        found[name] = named[name].run(named[name].work(work, home))
    assert [p.name for p in work.glob("*/last")] == ["last"]
    assert (work / "main-full-0" / "last").exists()
    assert swapped == [12]  # by full-TT alone: as many captions of the other domain as the support set had
    assert found["cross_domain/clipre/0"] != found["cross_domain/clipre-TT/0"]
    assert found["cross_domain/clipre/0"]["clipscore"] > 0
    for name in ("text_share/full 100 %/0", "text_share/full 60 %/0", "web_text/decap/0"):
        named[name].run(named[name].work(work, home))
    assert {p.parent.name for p in work.glob("*/last")} == {"main-full-0", "text_share-full-60-0", "web_text-decap-0"}
    assert len(load_captioner(work / "text_share-full-60-0" / "last").trained.support) == 7
    assert any("#" in line for line in (tmp_path / "work" / "data-scenes-web.jsonl").read_text().splitlines())


def test_eq_2_moves_features_to_their_captions_and_away_from_where_they_were(home, tmp_path, monkeypatch):
    monkeypatch.setattr(syntic_tables, "MOVED", 8)
    named, work = {row.system: row for row in syntic_moves_table()}, tmp_path / "work" / "syntic_moves"
    found = [named[name].run(named[name].work(work, home)) for name in ("0 x 0", "1e-05 x 100", "0.001 x 100")]
    assert found[0]["to_itself"] == pytest.approx(1, abs=1e-3)
    assert found[0]["to_itself"] > found[1]["to_itself"] > 0.999 > found[2]["to_itself"]
    assert found[0]["to_text"] < found[1]["to_text"] < found[2]["to_text"]
    assert found[0]["r1"] <= found[2]["r1"]


def test_the_table_of_photographs_finds_its_parts(home, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(java, "METRICS", {name: lambda *_: NotComputed("x") for name in ("METEOR", "SPICE")})
    data, work = tmp_path / "data", tmp_path / "work" / "syntic_real"
    (data / "captions").mkdir(parents=True)
    for number, text in enumerate(["\n".join(CAPTIONS), "two dogs on the snow\na clerk files reports"]):
        with gzip.open(data / "captions" / f"{number}.txt.gz", "wt") as file:
            file.write(text + "\n")
    shutil.copytree(home / "scenes", data / "flickr8k")
    rows = {row.name: row for row in syntic_real_table(quick)}
    row = rows["flickr8k/full/0"]
    with pytest.raises(InputError, match=r"expected a folder with captions/, flickr8k/, coco_tiny/"):
        row.run(row.work(work, data))
    make_scenes(data / "coco_tiny", train=3, val=0, test=0, size=48)
    with pytest.raises(InputError, match=r"no image-text pair in .*; train it by segue ablate align_flickr8k"):
        row.run(row.work(work, data))
    shutil.copytree(home / "scenes-encoder", work.parent / "align_flickr8k" / "val-full-0" / "best")
    for name in ("flickr8k/full/0", "coco_tiny/full/0", "coco_tiny/full-text/1", "flickr8k/clipre/0"):
        found = rows[name].run(rows[name].work(work, data))
        assert set(found) == {"bleu4", "rouge_l", "cider", "clipscore"}
    assert {p.parent.name for p in work.glob("*/last")} == {"full-0", "full-text-1"}
    drawn = (work.parent / "data-captions-synthetic" / "pictures.jsonl").read_text().splitlines()
    assert len(drawn) == 5  # all captions but the clerk's


def test_text_can_stand_in_for_pictures(quick, tmp_path):
    quick = replace(quick, painter="text", system="full", images=tmp_path / "pictures")
    captioner = package.load(syntic(quick))
    assert not quick.images.exists()
    assert captioner.caption(text_to_image(CAPTIONS[:1])[0])[0].text


def test_features_are_optimised_once(quick, tmp_path):
    first = replace(quick, system="fo", cache=tmp_path / "features")
    syntic(first)
    (made,) = first.cache.glob("optimised-*.npy")
    time = made.stat().st_mtime_ns
    syntic(replace(first, out=tmp_path / "again", seed=1))
    assert [p.stat().st_mtime_ns for p in first.cache.glob("optimised-*.npy")] == [time]
    syntic(replace(first, out=tmp_path / "other", fo_steps=3))
    assert len(list(first.cache.glob("optimised-*.npy"))) == 2


@pytest.fixture
def model(quick):
    return syntic(quick)


def test_the_command_captions_a_picture_and_a_folder(model, segue, tmp_path):
    folder = tmp_path / "photos"
    for name, pixels in zip(("000000000007.png", "two.png"), text_to_image(CAPTIONS[:2]), strict=True):
        write_image(pixels, folder / name)
    status, told, _ = segue("caption", folder / "two.png", "--model", model, "--num", 2)
    assert status == 0
    assert told.count("two.png  ") == 2
    out = tmp_path / "captions.json"
    status, told, _ = segue("caption", folder, "--model", model, "--num", 5, "--json", "-o", out)
    rows = [json.loads(line) for line in told.splitlines()]
    assert [row["image"] for row in rows] == ["000000000007.png", "two.png"]
    assert all(len({c["text"] for c in row["captions"]}) == 5 for row in rows)
    assert json.loads(out.read_text()) == [
        {"image_id": 7 if i == 0 else "two.png", "caption": row["captions"][0]["text"]} for i, row in enumerate(rows)
    ]
    status, told, _ = segue("caption", folder, "--model", model, "--retrieve", "--json")
    assert all(json.loads(line)["captions"][0]["text"] in CAPTIONS for line in told.splitlines())


def test_a_picture_that_is_none_is_named_after_the_others_captions(model, segue, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "captions.json"
    write_image(text_to_image(CAPTIONS[:1])[0], folder / "good.png")
    (folder / "bad.png").write_text("no picture")
    status, told, error = segue("caption", folder, "--model", model, "--json", "-o", out)
    assert status == 2
    assert [json.loads(line)["image"] for line in told.splitlines()] == ["good.png"]
    assert [row["image_id"] for row in json.loads(out.read_text())] == ["good.png"]
    assert "1 of 2 pictures could not be read" in error
    assert "bad.png: can't be read as a picture" in error
    status, _, error = segue("caption", folder / "bad.png", "--model", model)
    assert (status, "can't be read as a picture" in error) == (2, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no caption in it"),
        (b" \n\n", "no caption in it"),
        ("ein gr\u00fcner Ball".encode("latin-1"), "line 1: not UTF-8"),
        (b"a dog\n" + b"x" * 10_000_000, "line 2: longer than 1,048,576 bytes; is it a text file"),
        (b"quarterly results\nshareholder value\n", "the sketchbook can draw none of 2 captions"),
    ],
)
def test_a_bad_corpus_is_refused(quick, tmp_path, segue, content, message):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        syntic(replace(quick, corpus=tmp_path / "bad.txt"))
    status, _, error = segue("train", "syntic", "--data", tmp_path / "bad.txt", "--encoder", quick.pair)
    assert (status, message in error) == (2, True)


def test_other_bad_requests_are_refused(quick, home, tmp_path):
    with pytest.raises(InputError, match="retrieves captions and has nothing to train"):
        syntic(replace(quick, system="clipre"))
    with pytest.raises(InputError, match="painter 'crayon': expected sketchbook, text or diffusion:"):
        syntic(replace(quick, painter="crayon"))
    with pytest.raises(InputError, match="pictures 0 and support"):
        syntic(replace(quick, pictures=0))
    with pytest.raises(InputError, match="draw it first: segue data make scenes"):
        syntic_scenes(replace(quick, corpus=tmp_path / "nowhere"))
    with pytest.raises(InputError, match="draw it: segue data make scenes"):
        (row := syntic_scenes_table()[0]).run(row.work(tmp_path / "table", tmp_path / "nowhere"))
