import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from recipes.quick_sgdiff import draw_scenes, quick_settings
from segue.api import load_describer
from segue.api.models import about
from segue.data.formats import read_pictures
from segue.methods.sgdiff.checkpoint import restore
from segue.options import DescribeOptions
from segue.recipes.sgdiff import (
    SCENES,
    config_of,
    stage_steps,
    train_on_pictures,
    train_sgdiff_scenes,
    with_named_regions,
)
from segue.types import InputError, Picture, PictureSet, Region


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return draw_scenes(tmp_path_factory.mktemp("data") / "scenes")


@pytest.fixture
def quick(tmp_path, scenes):
    return quick_settings(tmp_path / "run", scenes)


def test_two_stages_leave_a_model_that_describes(quick):
    folder = train_sgdiff_scenes(quick)
    assert (quick.out / "captions/last/config.json").exists()
    config = json.loads((folder / "config.json").read_text())
    assert config["method"] == "sgdiff"
    assert about(folder)["data"] == "scenes"
    assert str(quick.data.parent) not in json.dumps(config)
    history = [json.loads(line) for line in (quick.out / "history.jsonl").read_text().splitlines()]
    assert {"train/mask", "train/mecl", "train/bit", "evaluate/cider", "evaluate/mask_iou"} <= set(history[-1])
    first = (quick.out / "captions/history.jsonl").read_text()
    assert "train/bit" in first
    assert "train/mask" not in first
    picture = read_pictures(quick.data, "test").pictures[0]
    found = load_describer(folder).describe(
        picture.load(), box=picture.regions[0].box, regions=picture.regions, options=DescribeOptions(num=2)
    )
    assert len(found) == 2
    page = (quick.out / "report/index.html").read_text()
    assert re.search(r"\d+ of \d+ validation pictures", page)
    assert page.count('<figure class="wide"') > 1


def test_a_finished_run_is_not_started_again(quick):
    train_sgdiff_scenes(quick)
    with pytest.raises(InputError, match="holds the state of a run"):
        train_sgdiff_scenes(quick)
    weights = (quick.out / "captions/last/model.safetensors").stat().st_mtime_ns
    longer = replace(quick, resume=True)
    train_sgdiff_scenes(longer)
    assert (quick.out / "captions/last/model.safetensors").stat().st_mtime_ns == weights


def test_a_run_that_was_stopped_after_its_first_stage_keeps_its_settings(quick):
    train_sgdiff_scenes(quick)
    shutil.rmtree(quick.out / "state")
    kept = (quick.out / "run.yaml").read_text()
    with pytest.raises(InputError, match=r"lr: got 1\.0, but the run in .*captions has"):
        train_sgdiff_scenes(replace(quick, lr=1.0, resume=True))
    assert (quick.out / "run.yaml").read_text() == kept
    train_sgdiff_scenes(replace(quick, resume=True))


def test_systems_get_the_same_number_of_steps():
    for system in ("full", "mask_only", "caption_only", "autoregressive"):
        settings = replace(SCENES, system=system)
        assert sum(stage_steps(settings).values()) == SCENES.caption_steps + SCENES.steps
    assert stage_steps(replace(SCENES, system="mask_only")) == stage_steps(SCENES)
    assert stage_steps(replace(SCENES, system="mask_only", lambda_adaptor=0.0)) == {2: SCENES.steps}
    assert config_of(replace(SCENES, lambda_mecl=5.0, width=64)).feed_forward == 128
    with pytest.raises(InputError, match="system 'nothing'"):
        config_of(replace(SCENES, system="nothing"))


def test_a_part_with_weight_0_is_left_out():
    off, on = config_of(replace(SCENES, lambda_adaptor=0.0, lambda_mecl=0.0)), config_of(SCENES)
    assert (off.filters_nodes, off.ranks_nodes, off.uses_mecl) == (False, False, False)
    assert (on.filters_nodes, on.ranks_nodes, on.uses_mecl) == (True, True, True)


def test_captions_without_phrases_are_linked_by_their_nouns_and_crowds_are_left_out():
    regions = (Region("dog", (1, 1, 5, 5)), Region("dog", (9, 9, 5, 5), crowd=True), Region("cat", (0, 0, 0, 0)))
    captions = ("two puppies and a cat",)
    annotated = Picture("p", lambda: np.zeros((16, 16, 3), np.uint8), captions=captions, regions=regions)
    (picture,) = with_named_regions(PictureSet([annotated, replace(annotated, regions=())]), "train")
    assert [p.regions for p in picture.phrases if p.regions] == [(0,)]
    with pytest.raises(InputError, match="train: none of 1 pictures has a caption that names one of its regions"):
        with_named_regions(PictureSet([replace(annotated, regions=())]), "train")


def test_a_first_stage_of_another_network_is_refused(quick, tmp_path):
    first = train_sgdiff_scenes(quick).parent / "captions" / "best"
    for other in ({"width": 64}, {"system": "no_psga"}, {"min_count": 3}):
        with pytest.raises(InputError, match="a first stage with other words, classes or sizes"):
            train_sgdiff_scenes(replace(quick, captions=first, out=tmp_path / "other", **other))


def test_scenes_must_be_there(quick, tmp_path):
    with pytest.raises(InputError, match="draw it first: segue data make scenes"):
        train_sgdiff_scenes(replace(quick, data=tmp_path / "nowhere"))
    with pytest.raises(InputError, match="none of 0 pictures"):
        train_on_pictures(quick, PictureSet([]), PictureSet([]))


def test_captions_alone_are_trained_on_the_picture_side_of_another_model(quick):
    first = train_sgdiff_scenes(quick)
    settings = replace(quick, out=quick.out.parent / "words", start=str(first), system="autoregressive", width=64)
    model, start = restore(train_sgdiff_scenes(settings))[0], restore(first)[0]
    assert model.config.decoder == "autoregressive"
    assert model.config.width == start.config.width == quick.width
    for name, part in model.picture_side().items():
        for ours, theirs in zip(part.parameters(), start.get_submodule(name).parameters(), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-3), name
    assert model.lexicon.words == start.lexicon.words
