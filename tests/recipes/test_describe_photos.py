"""A short training of the photographs' describer on drawn scenes, with an untrained image encoder."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from segue.data import rle
from segue.data.formats import read_pictures
from segue.data.images import write_image
from segue.methods.detectors import Detections
from segue.methods.sgdiff.photographs.checkpoint import restore_photographs
from segue.methods.sgdiff.photographs.generator import paste
from segue.recipes import describe_photos, detections
from segue.recipes.describe_photos import (
    DescribePhotosSettings,
    begin_as_captioner,
    crop_mask,
    regions_of_labels,
    train_describe_photos,
    with_detections,
)
from segue.synthetic.scenes.writer import make_scenes
from segue.training import read_history
from segue.types import InputError, Picture, Region
from tiny_photographs import tiny_reader


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    home = tmp_path_factory.mktemp("describe-photos")
    make_scenes(scenes := home / "scenes", train=6, val=3, test=2, size=48)
    return DescribePhotosSettings(
        data=scenes, regions=(scenes,), out=home / "run", cache=home / "cache", steps=2, batch_size=3, evaluations=1,
        mask_steps=2, mask_batch=2, grid=2, precision="float32", ema=0.0, half=False,
    )  # fmt: skip


@pytest.fixture
def reader(monkeypatch):
    made = tiny_reader()
    monkeypatch.setattr(describe_photos, "read_photographs_by", lambda _: made)
    return made


def test_it_begins_with_the_captioners_weights(settings, reader):
    model, theirs = begin_as_captioner(reader, settings).state_dict(), reader.model.state_dict()
    assert torch.equal(model["decoder.embed.weight"], theirs["decoder.embed.weight"])
    words = len(theirs["decoder.position.weight"]) - 4
    assert torch.equal(model["decoder.position.weight"][-words:], theirs["decoder.position.weight"][-words:])
    assert torch.equal(model["decoder.position.weight"][:4], theirs["decoder.position.weight"][:4])


def test_each_stage_trains_its_own_weights_and_a_stopped_run_goes_on(settings, reader):
    folder = train_describe_photos(settings)
    trained = restore_photographs(folder).model.state_dict()
    first = restore_photographs(settings.out / "captions" / "best").model.state_dict()
    began = begin_as_captioner(reader, settings).state_dict()
    for name, x in trained.items():
        ours = name.startswith("mask_head.")
        assert torch.equal(x, first[name]) == (not ours), name
        if ours:
            assert torch.equal(first[name], began[name]), name
    assert "3 of 3 validation pictures" in (settings.out / "report/index.html").read_text()
    with pytest.raises(InputError, match="holds the state of a run"):
        train_describe_photos(settings)
    again = train_describe_photos(replace(settings, resume=True, mask_steps=3))
    assert again == folder  # the best so far, which is not that of the third step for sure
    assert [row["step"] for row in read_history(settings.out)] == [1, 2, 3]
    with pytest.raises(InputError, match=r"steps: got 9, but the captions of .* were trained for 2, .* --steps 2, or"):
        train_describe_photos(replace(settings, resume=True, steps=9, mask_steps=3))
    assert "\nsteps: 2\n" in (settings.out / "run.yaml").read_text()
    shutil.rmtree(settings.out / "state")  # as if it had been stopped after its first stage
    with pytest.raises(InputError, match=r"lr: got 1\.0, but the run in .*captions has"):
        train_describe_photos(replace(settings, lr=1.0, resume=True))
    assert "lr: 1.0\n" not in (settings.out / "run.yaml").read_text()


def test_pictures_without_regions_need_a_detector(settings, reader, tmp_path):
    (tmp_path / "images").mkdir()
    for split in ("train", "val"):
        write_image(np.zeros((8, 8, 3), np.uint8), tmp_path / "images" / f"{split}.png")
    images = [{"filename": f"{s}.png", "split": s, "sentences": [{"raw": "a dog"}]} for s in ("train", "val")]
    (tmp_path / "dataset_mine.json").write_text(json.dumps({"images": images}))
    with pytest.raises(InputError, match="1 pictures have no regions; name a --detector"):
        train_describe_photos(replace(settings, data=tmp_path, out=tmp_path / "run"))


def test_a_detectors_regions_are_kept(monkeypatch, settings, tmp_path):
    pictures, calls = read_pictures(settings.data, "train").pictures[:2], []

    def detect(image):
        calls.append(1)
        return Detections(["dog"], np.array([[1, 2, 3, 4]], np.float32), None)

    detect.names = ("dog",)
    monkeypatch.setattr(detections, "load_detector", lambda *_: detect)
    for _ in range(2):
        found = with_detections(pictures, "mine", tmp_path)
        assert found[pictures[0].name].regions == (Region("dog", (1.0, 2.0, 3.0, 4.0)),)
    assert len(calls) == 2  # the second time they come from the cache


def test_parts_of_a_label_map_are_regions_of_things():
    labels = np.full((20, 20), 255, np.uint8)
    labels[:5], labels[8:12, 2:6], labels[8:12, 10:14], labels[19, 19] = 0, 1, 1, 1
    picture = Picture("one", lambda: np.zeros((20, 20, 3), np.uint8), label_map=lambda: labels)
    found = regions_of_labels(picture, ("sky", "cow")).regions
    assert [(r.label, r.box) for r in found] == [("cow", (2, 8, 4, 4)), ("cow", (10, 8, 4, 4))]
    assert rle.decode(found[0].mask).sum() == 16


def test_a_cropped_mask_is_where_it_is_pasted():
    mask = np.zeros((40, 60), np.bool_)
    mask[10:30, 20:40] = True
    region, box = Region("dog", (20, 10, 20, 20), rle.encode(mask)), torch.tensor([20 / 60, 0.25, 1 / 3, 0.5])
    crop = crop_mask(region, box, 28, (60, 40))
    assert (paste(crop * 2 - 1, box, (60, 40)) > 0).numpy().sum() == pytest.approx(400, abs=30)
