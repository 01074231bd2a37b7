from dataclasses import replace

import numpy as np
import pytest
import torch
from sgdiff_toys import EXAMPLES, LEXICON, TINY, rngs

from segue.methods.detectors import Detr, load_detr
from segue.methods.sgdiff.batches import Example, collate
from segue.methods.sgdiff.detector import RelationHead, detect_graph
from segue.methods.sgdiff.explain import explain
from segue.methods.sgdiff.model import build_sgdiff
from segue.types import InputError, Relation
from tiny_detr import tiny_detr

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_detr(tmp_path_factory.mktemp("detr"))


@pytest.fixture(scope="module")
def detr(folder):
    return load_detr(str(folder))


def test_a_saved_detr_makes_a_graph(detr):
    graph = detect_graph(IMAGE, Detr(detr, threshold=0.0, shortest=64))
    assert graph.size == (60, 40)
    assert set(graph.labels) <= {"dog", "cat"}
    assert graph.features.shape == (len(graph.labels), 16)
    corners = graph.boxes[:, :2] + graph.boxes[:, 2:]
    assert (graph.boxes >= 0).all()
    assert (corners <= np.array([60, 40]) + 1e-3).all()
    assert len(detect_graph(IMAGE, Detr(detr, threshold=0.0, most=1, shortest=64)).labels) == 1


def test_doubles_are_dropped(detr):
    with torch.no_grad():
        kept = detr.bbox_predictor.layers[-1].weight.clone()
        detr.bbox_predictor.layers[-1].weight.zero_()  # all boxes are the same
        labels = detect_graph(IMAGE, Detr(detr, threshold=0.0, shortest=64)).labels
        detr.bbox_predictor.layers[-1].weight.copy_(kept)
    assert len(labels) == len(set(labels))


def test_a_picture_without_objects_is_refused(detr):
    with pytest.raises(InputError, match="no object found with a probability of 1.0 or more".replace(".", r"\.")):
        detect_graph(IMAGE, Detr(detr, threshold=1.0, shortest=64))


def test_a_folder_without_detr_is_refused(tmp_path):
    with pytest.raises(InputError, match="no DETR could be read there"):
        load_detr(str(tmp_path / "nowhere"))


def test_detected_graphs_are_explained(detr):
    torch.manual_seed(0)
    model = build_sgdiff(replace(TINY, feature_width=16), LEXICON).eval()
    graph = detect_graph(IMAGE, Detr(detr, threshold=0.0, shortest=64))
    assert len(explain(model, model.encode(IMAGE), graph, (5, 5, 20, 20))) == 5


def test_the_relation_head_learns_sides():
    torch.manual_seed(0)
    head = RelationHead(LEXICON.predicates, 4, width=32)
    config = replace(TINY, feature_width=0)
    batch = collate([Example(*e[:2]) for e in EXAMPLES], LEXICON, config, rngs(3), "any")
    batch["features"] = torch.randn(*batch["boxes"].shape[:2], 4)
    optimiser = torch.optim.Adam(head.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        loss = head.training_step(batch)["loss"]
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    boxes = np.array([r.box for r in EXAMPLES[0].picture.regions], np.float32)
    found = head.relate(np.zeros((2, 4), np.float32), boxes, (32, 32))
    assert sorted(found, key=lambda r: r.subject) == [Relation(0, "left of", 1), Relation(1, "right of", 0)]
    assert len(head.relate(np.zeros((2, 4), np.float32), boxes, (32, 32), most=1)) == 1


def test_padded_nodes_have_no_relations():
    torch.manual_seed(0)
    head = RelationHead(("on",), 3, width=16)
    batch = {
        "features": torch.randn(1, 2, 3),
        "boxes": torch.rand(1, 2, 4),
        "nodes": torch.ones(1, 2, dtype=torch.bool),
        "edges": torch.tensor([[[0, 1, 1]]]),
        "linked": torch.ones(1, 1, dtype=torch.bool),
    }
    padded = dict(batch)
    padded["nodes"] = torch.tensor([[True, True, False]])
    for name in ("features", "boxes"):
        padded[name] = torch.cat([batch[name], torch.rand(1, 1, batch[name].shape[-1])], 1)
    assert torch.allclose(head.training_step(batch)["loss"], head.training_step(padded)["loss"])
