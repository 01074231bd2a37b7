"""Training of the relation head and its scores, on a few synthetic scenes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from methods.sgdiff.toys import toy_example, toy_model
from segue.api import load_describer
from segue.methods.sgdiff.checkpoint import save
from segue.methods.sgdiff.graph import SceneGraph
from segue.recipes import RECIPES
from segue.recipes.relations import RelationSettings, most_frequent, read_graphs, score_relations, train_relations
from segue.synthetic.scenes.writer import make_scenes
from segue.types import InputError, Relation

BOXES = np.array([[0, 0, 9, 9], [20, 0, 9, 9], [20, 20, 9, 9]], np.float32)
TRUE = (Relation(0, "near", 1), Relation(2, "under", 1))
GRAPH = SceneGraph(("dog", "cat", "car"), BOXES, TRUE, (32, 32))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    make_scenes(folder, train=12, val=6, test=6, size=48, workers=1)
    return folder


def test_scores():
    assert score_relations(lambda graph: graph.relations, [GRAPH]) == {"recall20": 1, "accuracy": 1}
    wrong = [Relation(0, "near", 1), Relation(2, "above", 1)]
    assert score_relations(lambda _: wrong, [GRAPH]) == {"recall20": 0.5, "accuracy": 0.5}
    late = [Relation(1, "on", 0)] * 20 + list(TRUE)
    assert score_relations(lambda _: late, [GRAPH]) == {"recall20": 0, "accuracy": 1}
    assert score_relations(lambda _: [], [GRAPH]) == {"recall20": 0, "accuracy": 0}


def test_the_frequent_predicate_of_two_classes():
    other = replace(GRAPH, relations=(Relation(0, "beside", 1), Relation(0, "beside", 1)))
    predict = most_frequent([GRAPH, other, other])
    assert predict(GRAPH) == [Relation(0, "beside", 1), Relation(2, "under", 1)]


def test_a_run_leaves_a_head_that_a_describer_uses(scenes, tmp_path):
    settings = RelationSettings(out=tmp_path / "run", data=scenes, width=16, steps=2, batch_size=4, evaluations=1)
    folder = train_relations(settings)
    report = (tmp_path / "run/report/index.html").read_text()
    assert report.count("<img") == 6  # of the val pictures
    assert "of 6 validation pictures" in report
    save(toy_model(), tmp_path / "model")
    plain, related = load_describer(tmp_path / "model"), load_describer(tmp_path / "model", relations=folder.parent)
    image, picture, _ = toy_example()
    predicted = [Relation(0, "right of", 1)]
    related.relations.predict = lambda labels, boxes, size: predicted
    graphs = [model._encode("", image, None, picture.regions, ())[1] for model in (plain, related)]
    assert graphs[1].relations == tuple(predicted) != graphs[0].relations
    assert related._encode("", image, None, picture.regions, picture.relations)[1].relations == picture.relations
    assert "relations" in RECIPES


def test_the_seed_chooses_the_first_weights(scenes, tmp_path):
    def run(name, seed):
        settings = RelationSettings(
            out=tmp_path / name, data=scenes, width=16, steps=1, batch_size=4, evaluations=1, seed=seed
        )
        return (train_relations(settings) / "model.safetensors").read_bytes()

    torch.manual_seed(7)  # what came before does not matter
    first = run("first", 0)
    torch.manual_seed(8)
    assert run("again", 0) == first != run("other", 1)


def test_pictures_without_relations_are_refused(scenes, tmp_path):
    (tmp_path / "images").symlink_to(scenes / "images/train")
    for kind in ("captions", "instances"):
        (tmp_path / f"{kind}.json").symlink_to(scenes / f"annotations/{kind}_train.json")
    with pytest.raises(InputError, match="none of 12 pictures has relations"):
        read_graphs(tmp_path, "train")
