"""segue caption: a picture, a folder, results as COCO has them, and files that are no pictures."""

import json

import numpy as np
import pytest
import torch

from segue.commands.caption import caption
from segue.data.images import write_image
from segue.methods.dual_encoder.checkpoint import restore_dual_encoder, save_dual_encoder
from segue.nn.feature_distance import FeatureDistance
from segue.recipes.syntic import train_syntic
from segue.synthetic.scenes.language.parser import text_to_image
from tiny_captioner import captioner_home, quick_settings
from tiny_dual_encoder import CAPTIONS


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return captioner_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def quick(home, tmp_path, monkeypatch):
    return quick_settings(home, tmp_path / "run", monkeypatch)


@pytest.fixture
def model(quick):
    return train_syntic(quick)


def test_the_command_captions_a_picture_and_a_folder(model, segue, tmp_path):
    folder = tmp_path / "photos"
    for name, pixels in zip(("000000000007.png", "two.png"), text_to_image(CAPTIONS[:2]), strict=True):
        write_image(pixels, folder / name)
    status, output, _ = segue("caption", folder / "two.png", "--model", model, "--num", 2)
    assert status == 0
    assert output.count("two.png  ") == 2
    out = tmp_path / "captions.json"
    status, output, _ = segue("caption", folder, "--model", model, "--num", 5, "--json", "-o", out)
    rows = [json.loads(line) for line in output.splitlines()]
    assert [row["image"] for row in rows] == ["000000000007.png", "two.png"]
    assert all(len({c["text"] for c in row["captions"]}) == 5 for row in rows)
    assert json.loads(out.read_text()) == [
        {"image_id": 7 if i == 0 else "two.png", "caption": row["captions"][0]["text"]} for i, row in enumerate(rows)
    ]
    (folder / "cam1").mkdir()
    (folder / "two.png").rename(folder / "cam1/7.png")
    (folder / "000000000007.png").rename(folder / "cam1/000000000007.png")
    segue("caption", folder, "--model", model, "-o", out)
    assert [row["image_id"] for row in json.loads(out.read_text())] == ["cam1/000000000007.png", "cam1/7.png"]
    status, output, _ = segue("caption", folder, "--model", model, "--retrieve", "--json")
    found = [json.loads(line)["captions"][0] for line in output.splitlines()]
    assert all(one["text"] in CAPTIONS and set(one) == {"text", "cosine"} for one in found)


def test_captions_are_written_where_the_standard_output_is_closed(model, tmp_path, monkeypatch):
    write_image(text_to_image(CAPTIONS[:1])[0], tmp_path / "photos/one.png")
    monkeypatch.setattr("sys.stdout", None)  # as Python has it then
    caption(tmp_path / "photos", model=str(model), out=tmp_path / "captions.json")
    assert len(json.loads((tmp_path / "captions.json").read_text())) == 1


def test_a_picture_that_is_none_is_named_after_the_others_captions(model, segue, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "captions.json"
    write_image(text_to_image(CAPTIONS[:1])[0], folder / "good.png")
    (folder / "bad.png").write_text("no picture")
    status, output, error = segue("caption", folder, "--model", model, "--json", "-o", out)
    assert status == 2
    assert [json.loads(line)["image"] for line in output.splitlines()] == ["good.png"]
    assert [row["image_id"] for row in json.loads(out.read_text())] == ["good.png"]
    assert "1 of 2 pictures have no caption" in error
    assert "bad.png: can't be read as a picture" in error
    status, _, error = segue("caption", folder / "bad.png", "--model", model)
    assert (status, "can't be read as a picture" in error) == (2, True)


def test_a_picture_unlike_those_of_the_training_is_reported_and_refused_if_strict(model, home, segue, tmp_path):
    near, far = text_to_image(CAPTIONS[:2])
    far = far[::-1, :, ::-1]
    pair = restore_dual_encoder(home / "scenes-encoder")[0]
    with torch.no_grad():
        features = pair.image_encoder(pair.image_encoder.preprocess([near, far])).pooled
    pair.domain = FeatureDistance(
        features[0], torch.zeros(features.shape[1], 1), (features[1] - features[0]).norm() / 2
    )
    save_dual_encoder(pair, tmp_path / "encoder", {})
    ask = ("caption", tmp_path / "photos", "--model", model, "--encoder", tmp_path / "encoder", "--json")
    for name, pixels in (("far.png", far), ("near.png", near)):
        write_image(pixels, tmp_path / "photos" / name)
    status, output, error = segue(*ask)
    rows = [json.loads(line) for line in output.splitlines()]
    assert [(row["image"], row["out_of_domain"]) for row in rows] == [("far.png", True), ("near.png", False)]
    assert rows[0]["domain_distance"] == pytest.approx(2, abs=0.01)
    assert (status, error.count("\n")) == (0, 1)
    assert "far.png: unlike the pictures that the model learned from (domain distance 2.000, above 1 is far)" in error
    status, output, error = segue(*ask, "--strict", "-o", tmp_path / "captions.json")
    assert [json.loads(line)["image"] for line in output.splitlines()] == ["near.png"]
    assert [row["image_id"] for row in json.loads((tmp_path / "captions.json").read_text())] == ["near.png"]
    assert (status, error.count("\n")) == (2, 1)
    assert "1 of 2 pictures have no caption: far.png: unlike the pictures" in error
    ask = ("caption", tmp_path / "photos" / "near.png", "--model", model)  # by an encoder that doesn't measure it
    status, output, error = segue(*ask, "--json")
    assert (status, error) == (0, "")
    assert json.loads(output)["domain_distance"] is None
    status, _, error = segue(*ask, "--strict")
    assert (status, "--strict: this model doesn't measure" in error) == (2, True)


def test_what_the_folder_gave_is_scored_by_the_names_of_the_folder(model, segue, tmp_path):
    folder, out, refs = tmp_path / "photos", tmp_path / "captions.json", tmp_path / "refs.json"
    names = ["cam1/1.png", "cam2/1.png", "1.png", "000000000012.png"]
    for name, pixels in zip(names, text_to_image(CAPTIONS[:4]), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(pixels, folder / name)
    segue("caption", folder, "--model", model, "--retrieve", "-o", out)
    said = {str(row["image_id"]): row["caption"] for row in json.loads(out.read_text())}
    assert said.keys() == {"cam1/1.png", "cam2/1.png", "1.png", "12"}
    texts = [said.get(name, said["12"]) for name in names]
    for kind in ("coco", "karpathy"):
        if kind == "coco":
            images = [{"id": i, "file_name": name} for i, name in enumerate(names[:3])]
            images.append({"id": 12, "file_name": names[3]})
            marks = [{"image_id": one["id"], "caption": text} for one, text in zip(images, texts, strict=True)]
            refs.write_text(json.dumps({"images": images, "annotations": marks}))
        else:
            entries = [
                {"filename": name, "cocoid": 12 if i == 3 else 100 + i, "split": "test", "sentences": [{"raw": text}]}
                for i, (name, text) in enumerate(zip(names, texts, strict=True))
            ]
            refs.write_text(json.dumps({"images": entries}))
        status, output, error = segue("score", "captions", "--refs", refs, "--preds", out, "--no-java", "--json")
        assert (status, error) == (0, "")
        assert json.loads(output)["BLEU-1"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("further", [(), ("--retrieve",)])
def test_an_object_without_a_name_is_refused(model, segue, tmp_path, further):
    write_image(text_to_image(CAPTIONS[:1])[0], tmp_path / "a.png")
    status, _, error = segue("caption", tmp_path / "a.png", "--model", model, *further, "--objects", "")
    assert (status, "objects: got '', expected names such as 'dog'" in error) == (2, True)


def test_a_folder_in_the_place_of_the_json_is_refused_before_the_work(segue, tmp_path):
    status, output, error = segue("caption", tmp_path / "none.png", "-o", tmp_path)
    assert (status, output) == (2, "")
    assert "no such file" in error
    write_image(np.zeros((8, 8, 3), np.uint8), tmp_path / "a.png")
    status, output, error = segue("caption", tmp_path / "a.png", "-o", tmp_path)
    assert (status, output, f"{tmp_path}: a folder, expected the name of a json file" in error) == (2, "", True)


def test_no_picture_and_no_support_is_written_over(segue, tmp_path):
    """The json of captions took the place of the picture that it describes."""
    (tmp_path / "a.png").write_bytes(b"a picture")
    (tmp_path / "s.txt").write_text("a dog\n")
    for out in ("a.png", "s.txt"):
        before = (tmp_path / out).read_bytes()
        status, _, error = segue("caption", tmp_path / "a.png", "--support", tmp_path / "s.txt", "-o", tmp_path / out)
        assert (status, f"{out}: is read here, captions would be written over it" in error) == (2, True)
        assert (tmp_path / out).read_bytes() == before


def test_a_support_file_without_captions_is_refused_before_the_model_is_loaded(segue, tmp_path):
    pic = tmp_path / "a.png"
    write_image(text_to_image(CAPTIONS[:1])[0], pic)
    support = tmp_path / "coco.json"
    support.write_text(json.dumps({"annotations": [{"id": 4, "image_id": 1, "caption": None}]}))
    status, output, error = segue("caption", pic, "--model", tmp_path / "none", "--support", support, "--retrieve")
    assert (status, output) == (2, "")
    assert "annotation 4: caption: got null" in error
