"""Pictures of captions: a tiny Stable Diffusion in the real format, runs that are stopped, folders that do not fit."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from segue.data.images import read_image
from segue.synthetic.text_to_image import GeneratedImage, StableDiffusion, generate_pictures
from segue.types import InputError
from tiny_diffusion import write_diffusion

CAPTIONS = ["a red dog", "a blue cat", "two green birds", "a dog", "a dog"]


class Flat:
    """Paints one colour, decided by the caption and the seed."""

    def __init__(self, stop_after=99, steps=20):
        self.left, self.steps, self.seen = stop_after, steps, []

    def settings(self):
        return {"model": "flat", "steps": self.steps}

    def generate(self, captions, seeds):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.seen += captions
        colours = [[len(c) * 7 % 256, s % 256, s // 256 % 256] for c, s in zip(captions, seeds, strict=True)]
        return [GeneratedImage(np.full((4, 6, 3), c, np.uint8), c[0] == 1) for c in colours]


def test_a_stopped_run_goes_on_to_the_same_pictures(tmp_path):
    whole = generate_pictures(CAPTIONS, tmp_path / "whole", Flat(), batch=5)
    with pytest.raises(KeyboardInterrupt):
        generate_pictures(CAPTIONS, tmp_path / "cut", Flat(stop_after=1), batch=2)
    rest, calls = Flat(), []
    parts = generate_pictures(CAPTIONS, tmp_path / "cut", rest, batch=2, progress=lambda *x: calls.append(x))
    assert rest.seen == CAPTIONS[2:]
    assert calls == [(4, 5), (5, 5)]
    for a, b in zip(whole, parts, strict=True):
        assert np.array_equal(read_image(a), read_image(b))
    assert len({read_image(p).tobytes() for p in whole}) == 5  # equal captions have pictures of their own
    rows = [json.loads(line) for line in (tmp_path / "cut" / "pictures.jsonl").read_text().splitlines()]
    assert [row["caption"] for row in rows] == CAPTIONS
    again = Flat()
    generate_pictures(CAPTIONS, tmp_path / "cut", again)
    assert again.seen == []


def test_a_cut_line_and_a_lost_file_are_drawn_again(tmp_path):
    paths = generate_pictures(CAPTIONS, tmp_path, Flat())
    paths[1].unlink()
    manifest = tmp_path / "pictures.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-10])
    again = Flat()
    generate_pictures(CAPTIONS, tmp_path, again)
    assert again.seen == [CAPTIONS[1], CAPTIONS[4]]
    assert [json.loads(line)["name"] for line in manifest.read_text().splitlines()][-2:] == [
        "0000/00000001.png",
        "0000/00000004.png",
    ]


def test_more_captions_can_follow(tmp_path):
    generate_pictures(CAPTIONS[:3], tmp_path, Flat())
    more = Flat()
    assert len(generate_pictures(CAPTIONS, tmp_path, more)) == 5
    assert more.seen == CAPTIONS[3:]


def test_folders_that_do_not_fit_are_refused(tmp_path):
    generate_pictures(CAPTIONS, tmp_path, Flat())
    with pytest.raises(InputError, match=r"its pictures were drawn with .*20.*, got .*30"):
        generate_pictures(CAPTIONS, tmp_path, Flat(steps=30))
    with pytest.raises(InputError, match=r"drawn with .*; name another folder"):
        generate_pictures(CAPTIONS, tmp_path, Flat(), seed=1)
    with pytest.raises(InputError, match=r"00000000.png is of the caption 'a red dog', now 'a blue cat' has its place"):
        generate_pictures(CAPTIONS[1:], tmp_path, Flat())
    with pytest.raises(InputError, match="got no caption"):
        generate_pictures([], tmp_path, Flat())
    with pytest.raises(InputError, match="batch: got 0"):
        generate_pictures(CAPTIONS, tmp_path, Flat(), batch=0)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="not readable as JSON"):
        generate_pictures(CAPTIONS, tmp_path, Flat())


@pytest.fixture(scope="module")
def tiny_diffusion(tmp_path_factory):
    return write_diffusion(tmp_path_factory.mktemp("diffusion") / "tiny", CAPTIONS)


def test_stable_diffusion_draws_by_caption_and_seed_whatever_the_batch(tiny_diffusion, tmp_path):
    painter = StableDiffusion(tiny_diffusion, steps=2, size=64)
    paths = generate_pictures(CAPTIONS, tmp_path, painter, batch=3)
    pictures = [read_image(p) for p in paths]
    assert all(p.shape == (64, 64, 3) for p in pictures)
    assert len({p.tobytes() for p in pictures}) == 5
    seed = json.loads((tmp_path / "pictures.jsonl").read_text().splitlines()[2])["seed"]
    alone = painter.generate([CAPTIONS[2]], [seed])[0]
    assert np.abs(alone.image.astype(int) - pictures[2]).max() <= 1
    assert not alone.flagged
    assert json.loads((tmp_path / "manifest.json").read_text())["text_to_image"]["steps"] == 2


def test_bad_painters_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="steps: got 0"):
        StableDiffusion(tmp_path, steps=0)
    with pytest.raises(InputError, match="size: got 100, expected a multiple of 8"):
        StableDiffusion(tmp_path, size=100)
    with pytest.raises(InputError, match="precision: got 'int8'"):
        StableDiffusion(tmp_path, precision="int8")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r'needs diffusers: pip install "(\.|segue)\[generate\]"'):
        StableDiffusion(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    pytest.importorskip("diffusers")
    with pytest.raises(InputError, match=r"no text-to-image model could be read there.*a folder with model_index.json"):
        StableDiffusion(tmp_path)


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"])
def test_a_model_that_lacks_a_tensor_is_refused(part, tiny_diffusion, tmp_path):
    """diffusers goes on with a random one for the text encoder, and fails without a word of the file for the others."""
    folder = shutil.copytree(tiny_diffusion, tmp_path / "broken")
    file = folder / f"{part}.safetensors"
    tensors = load_file(file)
    del tensors[name := sorted(tensors)[-1]]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"broken, {part.partition('/')[0]}: weights missing \\({re.escape(name)}\\)"):
        StableDiffusion(folder)
    save_file({name: torch.zeros(3)} | tensors, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="no text-to-image model could be read there"):
        StableDiffusion(folder)


def test_a_model_of_the_hub_is_read_at_its_revision(monkeypatch):
    """The revision was once taken for a part of the name."""
    diffusers = pytest.importorskip("diffusers")
    asked = []

    class Pipeline:
        set_progress_bar_config = lambda self, *, disable: None  # noqa: E731
        to = lambda self, device: self  # noqa: E731

        @staticmethod
        def load_config(name, *, revision):
            asked.append((name, revision))
            return {"_class_name": "StableDiffusionPipeline", "safety_checker": [None, None]}

        @staticmethod
        def from_pretrained(name, *, revision, **_):
            asked.append((name, revision))
            return Pipeline()

    monkeypatch.setattr(diffusers, "DiffusionPipeline", Pipeline)
    model = StableDiffusion("me/drawer@v2")
    StableDiffusion("me/drawer")
    assert asked == [("me/drawer", "v2")] * 2 + [("me/drawer", "main")] * 2
    assert model.settings()["source"] == "me/drawer@v2"
