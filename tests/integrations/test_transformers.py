"""Folders of `save_pretrained` by transformers' AutoModel and `pipeline`, which are told to trust their two lines."""

import numpy as np
import pytest
import torch
from PIL import Image

import segue as package
from api.test_captioner import made as made_captioner
from methods.sgdiff.toys import toy_example, toy_model
from segue.api import load_label_segmenter, save_pretrained
from segue.data.images import write_image
from segue.integrations.transformers import SegueModel
from segue.methods.sgdiff.checkpoint import save as save_describer
from segue.options import Decoding, DescribeOptions, SegmentOptions
from tiny_dual_encoder import tiny_dual_encoder

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)


@pytest.fixture
def trusted(tmp_path, monkeypatch):
    """Copies of trusted code go to a folder of the test's own."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.fixture
def auto(trusted):
    from transformers import AutoModel

    return lambda folder: AutoModel.from_pretrained(folder, trust_remote_code=True)


def test_a_segmenter_answers_as_its_own_predictor(auto, tiny_model, tmp_path):
    model = auto(save_pretrained(tiny_model, tmp_path / "given"))
    assert type(model).__name__ == "SegueModel"
    expected = package.load(tiny_model, device="cpu").segment(IMAGE, "left lung")
    np.testing.assert_array_equal(model(IMAGE, "left lung").mask, expected.mask)
    assert model.to("cpu") is model
    own = SegueModel.from_pretrained(tiny_model)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in own.parameters()) > 1000
    model.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/config.json").read_bytes() == (tmp_path / "given/config.json").read_bytes()
    for name, tensor in auto(tmp_path / "again").state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name])


def test_a_captioner_answers_as_its_own_predictor(auto, tmp_path):
    made_captioner(tmp_path / "captions", tiny_dual_encoder(tmp_path / "encoder"))
    folder = save_pretrained(tmp_path / "captions", tmp_path / "given")
    expected = package.load(tmp_path / "captions", device="cpu")(IMAGE)
    assert [one.text for one in auto(folder)(IMAGE)] == [one.text for one in expected]
    assert package.load(folder, device="cpu")(IMAGE)[0].text == expected[0].text  # and Segue reads it as before


def pipe(task, folder):
    from transformers import pipeline

    return pipeline(task, str(folder), trust_remote_code=True)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("task", ["image-segmentation", None])  # None: the folder tells
def test_a_pipeline_segments_by_notes(tiny_model, tmp_path, task):
    ask = pipe(task, save_pretrained(tiny_model, tmp_path / "given"))
    write_image(IMAGE, tmp_path / "a.png")
    expected = package.load(tiny_model, device="cpu").segment(IMAGE, "left lung", options=SegmentOptions(threshold=0.3))
    assert expected.area
    for given in (IMAGE, Image.fromarray(IMAGE), str(tmp_path / "a.png")):
        (one,) = ask(given, note="left lung", options=SegmentOptions(threshold=0.3))
        np.testing.assert_array_equal(np.asarray(one["mask"]) == 255, expected.mask)
        assert (one["label"], one["score"]) == ("described", pytest.approx(expected.score))
    assert ask.task == "image-segmentation"
    assert ask(IMAGE, note="left lung", options=SegmentOptions(threshold=0.999)) == []


@pytest.mark.usefixtures("trusted")
def test_a_pipeline_names_pixels_by_a_dual_encoder(tmp_path):
    ask = pipe("image-segmentation", save_pretrained(tiny_dual_encoder(tmp_path / "encoder"), tmp_path / "given"))
    expected = load_label_segmenter(tmp_path / "encoder", device="cpu").segment(IMAGE, ["dog", "grass"])
    names = [name for i, name in enumerate(expected.names) if (expected.index == i).any()]
    found = ask([IMAGE, IMAGE], labels=["dog", "grass"])
    assert [[one["label"] for one in each] for each in found] == [names, names]
    for one in found[1]:
        np.testing.assert_array_equal(
            np.asarray(one["mask"]) == 255, expected.index == expected.names.index(one["label"])
        )


@pytest.mark.usefixtures("trusted")
def test_a_pipeline_captions(tmp_path):
    made_captioner(tmp_path / "captions", tiny_dual_encoder(tmp_path / "encoder"))
    ask = pipe("image-to-text", save_pretrained(tmp_path / "captions", tmp_path / "given"))
    how = Decoding(beams=3, num=2)
    expected = package.load(tmp_path / "captions", device="cpu")(IMAGE, options=how)
    assert ask(IMAGE, options=how) == [{"generated_text": one.text, "score": one.score} for one in expected]


@pytest.mark.usefixtures("trusted")
def test_a_pipeline_describes_a_box(tmp_path):
    describer, (image, known, _) = toy_model(), toy_example()
    save_describer(describer, tmp_path / "describer")
    ask = pipe("image-to-text", save_pretrained(tmp_path / "describer", tmp_path / "given"))
    how = {"box": known.regions[0].box, "regions": list(known.regions), "options": DescribeOptions(num=2, steps=2)}
    expected = package.load(tmp_path / "describer", device="cpu")(image, **how)
    assert [one["generated_text"] for one in ask(image, **how)] == [one.caption for one in expected]
