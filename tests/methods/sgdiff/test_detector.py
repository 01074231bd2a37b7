import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from methods.sgdiff.toys import LEXICON, TINY
from segue.methods.detectors import Detr, load_detr
from segue.methods.sgdiff.detector import detect_graph
from segue.methods.sgdiff.inference import SGDiffGenerator
from segue.methods.sgdiff.model import SGDiff
from segue.types import InputError
from tiny_detr import tiny_detr

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_detr(tmp_path_factory.mktemp("detr"))


@pytest.fixture(scope="module")
def detr(folder):
    return load_detr(str(folder))


def test_a_saved_detr_makes_a_graph(detr):
    graph = detect_graph(IMAGE, Detr(detr, threshold=0.0, shortest_side=64))
    assert graph.size == (60, 40)
    assert set(graph.labels) <= {"dog", "cat"}
    assert graph.features.shape == (len(graph.labels), 16)
    corners = graph.boxes[:, :2] + graph.boxes[:, 2:]
    assert (graph.boxes >= 0).all()
    assert (corners <= np.array([60, 40]) + 1e-3).all()
    assert len(detect_graph(IMAGE, Detr(detr, threshold=0.0, max_objects=1, shortest_side=64)).labels) == 1


def test_duplicates_are_dropped(detr):
    with torch.no_grad():
        kept = detr.bbox_predictor.layers[-1].weight.clone()
        detr.bbox_predictor.layers[-1].weight.zero_()  # all boxes are the same
        labels = detect_graph(IMAGE, Detr(detr, threshold=0.0, shortest_side=64)).labels
        detr.bbox_predictor.layers[-1].weight.copy_(kept)
    assert len(labels) == len(set(labels))


def test_a_picture_without_objects_is_refused(detr):
    with pytest.raises(InputError, match="no object found with a probability of 1.0 or more".replace(".", r"\.")):
        detect_graph(IMAGE, Detr(detr, threshold=1.0, shortest_side=64))


def test_a_folder_without_detr_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"detector .*nowhere': neither a folder"):
        load_detr(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no detector could be read there"):
        load_detr(str(tmp_path))


def test_a_detr_that_needs_another_library_names_one_that_does_not(folder, tmp_path):
    """facebook/detr-resnet-50's own config asks for timm."""
    shutil.copytree(folder, tmp_path / "detr")
    config = json.loads((tmp_path / "detr/config.json").read_text())
    config |= {"use_timm_backbone": True, "backbone": "resnet50", "backbone_config": None}
    (tmp_path / "detr/config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"timm.*take .*detr-resnet-50@no_timm"):
        load_detr(str(tmp_path / "detr"))


def test_a_revision_of_the_hub_is_asked_for(monkeypatch, folder):
    asked = []

    def load(name, **options):
        asked.append((name, options.get("revision")))
        raise OSError("no net")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", load)
    for source in ("someone/detr@no_timm", "someone/detr", str(folder)):
        with pytest.raises(InputError, match="no net"):
            load_detr(source)
    assert asked == [("someone/detr", "no_timm"), ("someone/detr", "main"), (str(folder), "main")]


def test_detected_graphs_are_described(detr):
    torch.manual_seed(0)
    model = SGDiff(replace(TINY, feature_width=16), LEXICON).eval()
    graph = detect_graph(IMAGE, Detr(detr, threshold=0.0, shortest_side=64))
    assert len(SGDiffGenerator(model).generate(model.encode(IMAGE), graph, [(5, 5, 20, 20)])[0]) == 5
