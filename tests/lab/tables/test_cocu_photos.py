"""The table of curation and of zero-shot figures on photos, on drawn ones."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from scenes_and_encoder import write_encoder, write_scenes
from segue.api.curation import read_curation_corpus
from segue.lab.run import rows_of
from segue.lab.tables import cocu_photos as photos
from segue.methods.cocu.groupvit.config import SIZES, GroupViTConfig
from segue.methods.cocu.protocols import PROTOCOLS, EvalProtocol
from segue.types import InputError

TINY = GroupViTConfig(
    width=16, mlp=32, depths=(1, 1), group_tokens=(6, 0), output_groups=(6, 6), heads=2, image_size=32, patch=8,
    text_width=16, text_mlp=32, text_layers=1, text_heads=2, max_tokens=24, projection=16, projection_hidden=32,
    drop_path=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Synthetic scenes in the places of captioned photos and of masks, and two streets."""
    home = tmp_path_factory.mktemp("data")
    scenes = write_scenes(home / "flickr8k")
    (home / "coco_tiny").symlink_to(scenes)
    for folder in ("images", "masks"):
        (home / "camvid/val" / folder).mkdir(parents=True)
    (home / "camvid/classes.txt").write_text("sky\npangolin\nvoid\n")
    rng = np.random.default_rng(0)
    for i in range(2):
        Image.fromarray(rng.integers(0, 255, (32, 40, 3), np.uint8)).save(home / f"camvid/val/images/{i}.png")
        Image.fromarray(rng.integers(0, 3, (32, 40), np.uint8)).save(home / f"camvid/val/masks/{i}.png")
    return home


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setitem(SIZES, "small", TINY)
    monkeypatch.setitem(PROTOCOLS, "small", EvalProtocol(32, 32, 16))
    for name, settings in photos.SYSTEMS.items():
        monkeypatch.setitem(photos.SYSTEMS, name, replace(settings, steps=2, batch_size=4))


def test_every_stage_set_and_system_has_its_row(data, tmp_path):
    rows = {row.name: row for row in rows_of("cocu_real")}
    assert len(rows) == 4 + 3 * 3 * 2
    work = tmp_path / "lab/cocu_real"

    def run(name):
        return rows[name].run(rows[name].work(work, data))

    with pytest.raises(InputError, match="no dual encoder there; run `segue lab run dual_encoder_flickr8k`"):
        run("curation/ranking/0")
    write_encoder(tmp_path / "lab" / photos.ENCODER)
    stages = {name: run(f"curation/{name}/0") for name in ("expansion", "ranking", "frequent")}
    assert stages["ranking"]["recall"] <= stages["expansion"]["recall"]
    assert set(stages["frequent"]) == set(stages["expansion"]) == {"precision", "recall"}  # something is left out
    street = run("camvid/full/0")
    assert set(street) == {"miou", "pixel_accuracy", "classes_held"}
    assert 0 <= street["miou"] <= 1
    trained = (work / "training-full-0/last/config.json").stat().st_mtime_ns
    things = run("coco_tiny/full/0")
    assert things["classes_held"] >= street["classes_held"]
    assert (work / "training-full-0/last/config.json").stat().st_mtime_ns == trained, "both sets share a training"


def test_what_other_captions_name_is_left_out_by_the_first(data):
    corpus = read_curation_corpus(data / "flickr8k", "train", captions=1)
    named, omitted = photos._named_and_omitted(corpus)
    assert any(omitted)
    for own, left, picture in zip(named, omitted, corpus.pictures, strict=True):
        assert not own & left
        others = {n for caption in picture.captions[1:] for n in corpus.vocabulary.find(caption)}
        assert left <= {corpus.vocabulary.concepts[n] for n in others}
        assert {corpus.vocabulary.concepts[n] for n in corpus.vocabulary.find(picture.captions[0])} == own


def test_a_folder_without_the_sets_is_refused(tmp_path):
    for row in rows_of("cocu_real"):
        with pytest.raises(InputError, match="flickr8k, camvid, coco_tiny"):
            row.run(row.work(tmp_path / "work", tmp_path))
