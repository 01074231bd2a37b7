"""The decoders side by side, with trainings of a few steps on the bundled picture side."""

from dataclasses import replace

import pytest

from recipes.quick_sgdiff import draw_scenes
from segue.api.describer import load_describer
from segue.lab.engine import Work
from segue.lab.run import rows_of
from segue.lab.tables import sgdiff_decoders


@pytest.mark.parametrize("system", ["bits", "word by word", "masked, distilled"])
def test_a_decoder_is_scored_on_the_way_and_at_the_end(system, monkeypatch, tmp_path):
    quick = replace(sgdiff_decoders.QUICK, caption_steps=4, evaluations=2, batch_size=2, val_pictures=2)
    monkeypatch.setattr(sgdiff_decoders, "QUICK", quick)
    monkeypatch.setattr(sgdiff_decoders, "STEPS", (2,))
    monkeypatch.setattr(sgdiff_decoders, "TEMPERATURES", (0.5,))
    rows = {row.name: row for row in rows_of("sgdiff_decoders")}
    work = Work(tmp_path, tmp_path, tmp_path, draw_scenes(tmp_path / "scenes"))
    found = rows[f"captions/{system}/0"].run(work)
    assert {"cider_at_2", "cider_at_4", "cider_selected", "cider_oracle5", "distinct2"} <= set(found)
    assert {"cider_selected_t0.5", "cider_oracle5_t0.5", "distinct2_t0.5"} <= set(found)
    assert ("cider_s2" in found) == (system != "word by word")
    assert rows[f"captions/{system}/0"].run(work) == found  # what is trained is not trained again


def test_lights_that_no_caption_of_the_scene_tells_are_wrong():
    captions = ["a dog at night", "a red car on a sunny day", "two boats under a cloudy sky", "a dog on the grass"]
    references = [
        ["a dog in the dark"],
        ["a car", "a car at sunset"],
        ["boats at night", "boats on a grey day"],
        ["a dog"],
    ]
    found = sgdiff_decoders.score_lights(captions, references)
    assert found == {"light_told": 3 / 4, "light_wrong": 1 / 3}
    assert sgdiff_decoders.score_lights(["a dog"], [["a dog at night"]]) == {"light_told": 0}


def test_what_reads_the_picture_and_what_does_not_are_trained_apart(monkeypatch, tmp_path):
    quick = replace(sgdiff_decoders.QUICK, caption_steps=2, evaluations=1, batch_size=2, val_pictures=2)
    monkeypatch.setattr(sgdiff_decoders, "QUICK", quick)
    rows = {row.name: row for row in rows_of("sgdiff_decoders")}
    work = Work(tmp_path, tmp_path, tmp_path, draw_scenes(tmp_path / "scenes"))
    for system in ("graph alone", "picture read"):
        assert {"cider", "light_told"} <= set(rows[f"picture/{system}/0"].run(work))
    read = [
        load_describer(tmp_path / name / "captions" / "last").generator.model.picture
        for name in ("autoregressive-0", "autoregressive-picture-0")
    ]
    assert [one is not None for one in read] == [False, True]
