"""The relation head: it learns sides, knows what it was not taught, and survives the disk."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import golden
from methods.sgdiff.toys import EXAMPLES, LEXICON, TINY, rngs
from segue.methods.sgdiff.batches import TrainingExample, collate
from segue.methods.sgdiff.relations import RelationHead, load_relations, save_relations
from segue.types import InputError, Relation

PICTURE = EXAMPLES[0].picture
BOXES = np.array([r.box for r in PICTURE.regions], np.float32)
LABELS = [r.label for r in PICTURE.regions]
BOTH = [Relation(0, "left of", 1), Relation(1, "right of", 0)]


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(0)
    made = RelationHead(LEXICON.classes, LEXICON.predicates, width=32)
    batch = collate(
        [TrainingExample(*e[:2]) for e in EXAMPLES], LEXICON, replace(TINY, feature_width=0), rngs(3), "any"
    )
    optimiser = torch.optim.Adam(made.parameters(), 1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        loss = made.training_step(batch)["loss"]
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())
    return made


def test_it_learns_sides(head):
    assert sorted(head.predict(LABELS, BOXES, (32, 32)), key=lambda r: r.subject) == BOTH
    assert len(head.predict(LABELS, BOXES, (32, 32), max_relations=1)) == 1
    assert head.predict(LABELS[:1], BOXES[:1], (32, 32)) == []


def test_a_class_that_it_was_not_taught_is_related_by_where_it_lies(head):
    found = head.predict(["zebra", "zebra"], BOXES, (32, 32))
    assert sorted(found, key=lambda r: r.subject) == BOTH


def test_padded_nodes_have_no_relations():
    torch.manual_seed(0)
    head = RelationHead(("dog",), ("on",), width=16)
    batch = {
        "class_ids": torch.zeros(1, 2, dtype=torch.int64),
        "boxes": torch.rand(1, 2, 4),
        "node_mask": torch.ones(1, 2, dtype=torch.bool),
        "edges": torch.tensor([[[0, 1, 1]]]),
        "edge_mask": torch.ones(1, 1, dtype=torch.bool),
    }
    padded = dict(batch)
    padded["node_mask"] = torch.tensor([[True, True, False]])
    padded["class_ids"] = torch.zeros(1, 3, dtype=torch.int64)
    padded["boxes"] = torch.cat([batch["boxes"], torch.rand(1, 1, 4)], 1)
    assert torch.allclose(head.training_step(batch)["loss"], head.training_step(padded)["loss"])


def test_it_is_the_same_from_disk_and_broken_folders_are_refused(head, tmp_path):
    save_relations(head, tmp_path / "r", {"recipe": "a test"})
    again = load_relations(tmp_path / "r")
    assert again.predict(LABELS, BOXES, (32, 32)) == head.predict(LABELS, BOXES, (32, 32))
    config = json.loads((tmp_path / "r/config.json").read_text())
    (tmp_path / "r/config.json").write_text(json.dumps(config | {"width": 16}))
    with pytest.raises(InputError, match="don't belong together"):
        load_relations(tmp_path / "r")
    (tmp_path / "r/config.json").write_text(json.dumps(config | {"method": "sgdiff"}))
    with pytest.raises(InputError, match="expected one of relations"):
        load_relations(tmp_path / "r")
    with pytest.raises(InputError, match="got 0 classes"):
        RelationHead((), ("on",))


def test_weights_mean_what_they_meant():
    torch.manual_seed(0)
    made = golden.set_weights(RelationHead(("dog", "cat"), ("on", "left of"), width=16))
    boxes = golden.inputs("boxes", 2, 3, 4).sigmoid()
    boxes[0, 0, 2:] = torch.tensor([1.0, 1e-5])  # e^11 times as high as the others: cut to e^5
    class_ids, nodes = torch.tensor([[0, 1, 2], [2, 2, 0]]), torch.tensor([[True] * 3, [True, True, False]])
    batch = {"class_ids": class_ids, "boxes": boxes, "node_mask": nodes}
    batch |= {"edges": torch.tensor([[[0, 1, 2]], [[1, 2, 0]]]), "edge_mask": torch.ones(2, 1, dtype=torch.bool)}
    golden.same_as_before("sgdiff relations", logits=made(class_ids, boxes), loss=made.training_step(batch)["loss"])
