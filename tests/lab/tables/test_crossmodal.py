from dataclasses import replace

import numpy as np
import pytest

from segue.data import rle
from segue.evaluation.layouts import (
    Case,
    caption_round_trip,
    mask_round_trip,
    said_by,
    score_best,
    score_drawing,
    score_telling,
)
from segue.lab.baselines.crossmodal import class_prior, nearest_caption, nearest_layout
from segue.lab.engine import run_row
from segue.lab.tables import crossmodal as tables
from segue.metrics import java
from segue.recipes.crossmodal import Told, crossmodal
from segue.synthetic.scenes.scene import CLASSES
from segue.synthetic.scenes.writer import make_scenes
from segue.types import Picture, Region


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """METEOR's Java takes seconds to start; it is tested by itself."""
    monkeypatch.setattr(java, "meteor", lambda said, truth: (0.5, np.full(len(said), 0.5)))


DOG, CAR, GRASS = (CLASSES.index(name) for name in ("dog", "car", "grass"))


def layout(*boxes):
    made = np.full((32, 32), GRASS, np.uint8)
    for kind, x in boxes:
        made[10:18, x : x + 6] = kind
    return made


LEFT, RIGHT = layout((DOG, 2), (CAR, 20)), layout((CAR, 2), (DOG, 20))
CAPTION = "a dog to the left of a car on the grass"
IMAGE = np.zeros((32, 32, 3), np.uint8)
CASES = [Case(LEFT, IMAGE, (CAPTION, "a dog and a car")), Case(layout(), IMAGE, ("a field",))]


def test_what_a_caption_says():
    said = said_by(CAPTION, CLASSES)
    assert set(said.named) >= {(DOG,), (CAR,), (GRASS,)}
    assert said.relations == (((DOG,), "left of", (CAR,)),)
    assert said_by("a dog next to a car", CLASSES).relations == ()
    assert said_by(CAPTION, ("dog", "car")).named == ()


def test_a_drawing_is_scored_by_truth_and_by_caption():
    def draw_as(first):
        return lambda captions, images, seed: [layout() if "field" in c else first for c in captions]

    good, wrong = (score_drawing(draw_as(one), CASES, [], CLASSES) for one in (LEFT, RIGHT))
    assert good["miou"] == good["vfs"] == good["named"] == good["relation_accuracy"] == 1
    assert wrong["relation_accuracy"] == 0
    assert wrong["class_f1"] == wrong["named"] == 1
    assert wrong["miou"] < 1


def test_best_of_more_is_no_worse():
    drawn = [RIGHT, layout(), LEFT, RIGHT]
    best = score_best(lambda c, i, seed: [drawn[seed // 1000]] * len(c), CASES[:1], len(CLASSES), (1, 4))
    assert best["miou_best_4"] == 1
    assert best["miou_best_1"] < 1


def test_tellings_are_scored_against_all_captions():
    same = score_telling(lambda layouts, images: [CAPTION, "a field"], CASES)
    other = score_telling(lambda layouts, images: ["a cat", "a cat"], CASES)
    assert same["bleu4"] > 0.5 > other["bleu4"]
    assert same["cider"] > other["cider"]


def test_round_trips_know_what_survives():
    def keep(captions, images, seed):
        return [LEFT if "dog" in c else layout() for c in captions]

    def tell(layouts, images):
        return [CAPTION if (one == DOG).any() else "a field" for one in layouts]

    assert set(caption_round_trip(keep, tell, CASES, CLASSES).values()) == {1.0}
    assert set(mask_round_trip(keep, tell, CASES, CLASSES).values()) == {1.0}

    def swapped(layouts, images):
        return ["a car to the right of a dog"] * len(layouts)

    assert caption_round_trip(keep, swapped, CASES[:1], CLASSES)["said_again"] == 1  # the same, said from the car
    assert caption_round_trip(lambda c, i, s: [RIGHT] * len(c), tell, CASES[:1], CLASSES)["relation_accuracy"] == 0


def test_baselines_find_what_is_nearest():
    captions = [("a dog and a car",), ("a big field of grass",)]
    train = Told(np.stack([LEFT, layout()]), np.stack([IMAGE] * 2), captions, captions, CLASSES)
    assert (class_prior(train)(["x"], [IMAGE], 0)[0] == GRASS).mean() > 0.7
    near = nearest_caption(train)(["a car", "the field", "zebra"], [IMAGE] * 3, 0)
    assert (near[0] == LEFT).all()
    assert (near[1] == layout()).all()
    assert nearest_layout(train)([layout((DOG, 3), (CAR, 20)), layout()], [IMAGE] * 2) == [c[0] for c in captions]


def test_real_layouts_are_painted_smaller_over_larger():
    big, small = np.zeros((8, 8), np.bool_), np.zeros((8, 8), np.bool_)
    big[:, :6] = small[2:4, 2:4] = True
    box = (0.0, 0.0, 1.0, 1.0)
    regions = (Region("cat", box, rle.encode(small)), Region("sofa", box, rle.encode(big)), Region("cup", box))
    picture = Picture("p", lambda: np.zeros((8, 8, 3), np.uint8), regions=regions)
    drawn = tables.painted(picture, ("cat", "sofa", "cup", "background"))
    assert drawn[3, 3] == 0
    assert drawn[0, 0] == 1
    assert (drawn[:, 6:] == 3).all()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table") / "scenes"
    make_scenes(folder, train=6, val=2, test=4, size=32, workers=1)
    return folder


TINY = {"image_size": 32, "factor": 8, "width": 32, "depth": 3, "vq_steps": 2, "steps": 2, "batch_size": 2}


def test_the_nearest_caption_draws_no_unknown_pixel():
    layout = np.zeros((1, 8, 8), np.uint8)
    layout[0, :, 4:], layout[0, 2:4, 2:4], layout[0, 2:4, 6:] = 1, 255, 255
    train = Told(layout, np.zeros((1, 8, 8, 3), np.uint8), [("a car",)], [("a car",)], ("grass", "road"))
    (drawn,) = nearest_caption(train)(["a car"], [IMAGE], 0)
    assert (drawn == np.repeat([[0, 0, 0, 0, 1, 1, 1, 1]], 8, 0)).all()


def test_one_training_serves_four_rows(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BEST", 1)
    rows = {row.name: row for row in tables.crossmodal_scenes_table(replace(tables.SHORT, **TINY))}
    first = rows["main/depth4@caption/0"]
    work = tmp_path / "crossmodal_scenes"
    found = first.run(first.work(work, scenes))
    assert {"miou", "accuracy", "class_f1", "vfs", "named"} <= set(found)
    made = (work / "shared-depth4-0" / "best" / "model.safetensors").stat().st_mtime_ns
    with monkeypatch.context() as finished:
        finished.setattr(tables, "_learned_from", None)  # the training pictures are not read again
        for name in ("main/depth4@caption+image/0", "main/depth4@mask/0", "main/depth4@mask+image/0"):
            assert rows[name].run(rows[name].work(work, scenes))
        assert run_row(list(rows.values()), "main/vq_ceiling@caption+image/0", work, scenes)
    assert (work / "shared-depth4-0" / "best" / "model.safetensors").stat().st_mtime_ns == made
    for name in ("main/segmenter@image/0", "main/nearest_caption@mask/0"):
        assert rows[name].run(rows[name].work(work, scenes))
    assert {row.seed for row in rows.values()} == {0, 1, 2}


def test_the_bundled_model_has_a_row_for_every_condition(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(
        tables, "BUNDLED", str(crossmodal(replace(tables.SHORT, **TINY, data=scenes, out=tmp_path / "r")))
    )
    monkeypatch.setattr(tables, "SHORT", replace(tables.SHORT, **TINY))
    rows = {row.system: row for row in tables.crossmodal_bundled_table()}
    for name in ("bundled@caption", "bundled@mask+image", "vq_ceiling@caption+image"):
        assert rows[name].run(rows[name].work(tmp_path / "work", scenes))
    assert {f"bundled@{way}" for way in tables.CONDITIONS} < set(rows)
