"""The tables of grounded captions of scenes, with trainings of a few steps."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from recipes.quick_sgdiff import draw_scenes, quick_settings
from segue.api.describer import load_describer
from segue.data.formats import read_pictures
from segue.evaluation import grounded_captions
from segue.evaluation.grounded_captions import describe_case, make_cases
from segue.lab.engine import Work
from segue.lab.tables import sgdiff_scenes
from segue.lab.tables.sgdiff_scenes import GivenNodes, describe_sequentially, sgdiff_bundled_table, sgdiff_scenes_table
from segue.methods.sgdiff.model import SGDiff
from segue.recipes.sgdiff import train_sgdiff_scenes, with_named_regions
from segue.types import GroundedCaption, PhraseGrounding


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return draw_scenes(tmp_path_factory.mktemp("data") / "scenes")


@pytest.fixture
def quick(tmp_path, scenes):
    return quick_settings(tmp_path / "run", scenes)


@pytest.fixture(scope="module")
def pictures(scenes):
    return with_named_regions(read_pictures(scenes, "test"), "test")


class Constant:
    """A describer with always the same captions."""

    def __init__(self, *captions):
        self.captions = list(captions)

    def describe(self, image, *, box, regions, relations, options):
        return self.captions[: options.num]


def test_the_sequential_pipeline_grounds_masks_in_the_captions_nouns(pictures):
    case = make_cases(pictures, "any")[0]
    mask = np.ones((48, 48), np.bool_)
    segmenter = Constant(
        GroundedCaption("", 0.5, tuple(PhraseGrounding(0, 0, c, mask, 0.7, c) for c in ("dog", "cat", "tree")))
    )
    captioner = Constant(GroundedCaption("a puppy near a kitten and a puppy", 0.4), GroundedCaption("nobody", 0.2))
    classes = {"puppy": "dog", "kitten": "cat", "oak": "tree"}
    first, second = describe_sequentially(captioner, segmenter, classes, case, 2, 0)
    assert [(one.start, one.phrase, one.label, one.score) for one in first.groundings] == [
        (2, "puppy", "dog", 0.7),
        (15, "kitten", "cat", 0.7),
    ]
    assert second.groundings == ()
    assert [caption.score for caption in (first, second)] == [0.4, 0.2]


def test_the_table_has_twelve_systems_by_three_seeds_and_its_rows_run(quick, scenes, tmp_path, monkeypatch):
    main = [row for row in sgdiff_scenes_table() if row.experiment == "main"]
    assert len({row.system for row in main}) == 12
    assert len(main) == len({row.key for row in main}) == 36
    assert len(sgdiff_scenes_table()) == 46
    monkeypatch.setattr(sgdiff_scenes, "SHORT", quick)
    monkeypatch.setattr("segue.metrics.captions.JAVA_METRICS", ())  # each start of Java takes a second
    rows = {row.name: row for row in sgdiff_scenes_table()}
    work = tmp_path / "table"
    found = {
        name: rows[f"main/{name}/0"].run(rows[f"main/{name}/0"].work(work, scenes))
        for name in ("mask_only", "caption_only", "sequential")
    }
    assert "cider" not in found["mask_only"]
    assert "mask_iou" not in found["caption_only"]
    expected = {"cider", "cider_oracle5", "bleu4", "mask_iou", "map", "grounding_accuracy", "distinct2", "random_cider"}
    assert expected <= set(found["sequential"])
    trained = {"shared-mask_only-2-1-0", "shared-caption_only-2-1-0"}
    assert {one.name for one in work.glob("shared-*")} == trained  # the pipeline has trained nothing
    assert all(math.isfinite(value) for scores in found.values() for value in scores.values())


def test_rows_that_differ_in_mecl_share_the_first_stage(quick, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(sgdiff_scenes, "SHORT", quick)
    settings, table = replace(quick, system="mecl_intra"), tmp_path / "table"
    shared = sgdiff_scenes._trained(settings, Work(table / "row", table, tmp_path))
    assert not (shared.parent / "captions").exists()
    assert (table / "shared-full-2-1-0" / "captions" / "best").exists()
    alone = train_sgdiff_scenes(replace(settings, out=tmp_path / "alone"))
    assert (shared / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()


def test_the_bundled_model_is_scored_with_both_prompts_and_with_sampled_words(quick, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("segue.metrics.captions.JAVA_METRICS", ())
    trained = str(train_sgdiff_scenes(quick))
    words = str(shutil.copytree(trained, tmp_path / "words"))
    monkeypatch.setattr(sgdiff_scenes, "BUNDLED", trained)
    monkeypatch.setattr(sgdiff_scenes, "WORD_BY_WORD", words)
    temperatures = []

    def describe_case(*args, real=grounded_captions.describe_case, options, **more):
        temperatures.append(options.temperature)
        return real(*args, options=options, **more)

    monkeypatch.setattr(grounded_captions, "describe_case", describe_case)
    rows = [row for row in sgdiff_bundled_table() if row.experiment == "test"]
    for row in rows:
        found = row.run(row.work(tmp_path / "work", scenes))
        assert {"cider", "cider_oracle5", "mask_iou", "grounding_accuracy"} <= set(found)
        own = None if row.system.startswith(words) else 0.0
        assert set(temperatures) == {1.0 if row.system.endswith("sampled") else own}
        temperatures.clear()
    assert len({row.system for row in rows}) == 6


def test_the_pull_of_each_term_is_told(monkeypatch, scenes, tmp_path):
    monkeypatch.setattr(sgdiff_scenes, "PULLS", 1)
    monkeypatch.setattr(sgdiff_scenes, "SHORT", replace(sgdiff_scenes.SHORT, batch_size=2))
    rows = {row.system: row for row in sgdiff_bundled_table() if row.experiment == "gradients"}
    found = {name: row.run(row.work(tmp_path / "work", scenes)) for name, row in rows.items()}
    printed, noise, detached = (found[name] for name in ("as printed", "by noise", "by noise, words detached"))
    assert 0 < printed["captions_clipped"] < printed["captions_clipped_apart"] <= 1
    assert noise["caption_mecl_pull"] < printed["caption_mecl_pull"]
    assert noise["picture_dice_pull"] == printed["picture_dice_pull"]
    assert "caption_mecl_pull" not in detached
    assert detached["picture_mecl_pull"] > 0


def test_a_model_may_be_given_the_nodes(scenes, monkeypatch):
    describer = load_describer("describe-scenes")
    case = make_cases(with_named_regions(read_pictures(scenes, "val"), "val"), "first")[0]
    height, width = case.picture.load().shape[:2]
    named = np.array([case.picture.regions[region].box for region in case.named]) / [width, height, width, height]
    kept, build = {}, SGDiff.subgraph

    def subgraph(self, levels, output, batch, keep, ranks):
        kept[given.nodes] = {tuple(box) for box in batch["boxes"][0][keep[0]].tolist()}
        return build(self, levels, output, batch, keep, ranks)

    monkeypatch.setattr(SGDiff, "subgraph", subgraph)
    for nodes in ("named", "all"):
        describer.generator = given = GivenNodes(describer.model, nodes)
        given.named = torch.from_numpy(named).float()
        describe_case(describer, case, 1, 0)
    assert kept["named"] == {tuple(box) for box in named.astype(np.float32).tolist()}
    assert kept["named"] < kept["all"]
