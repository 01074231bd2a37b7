"""The illustrator's predictor: drawing, captions of layouts, tries, kept parts, maps of words, and bad input."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

import segue as package
from segue.api import illustrator as illustrator_module
from segue.api.illustrator import NEXT_TRY, TRIES, Illustrator, LayoutBox, load_illustrator
from segue.methods.crossmodal.boxes import DrawnBoxes
from segue.methods.crossmodal.checkpoint import load_crossmodal
from segue.methods.crossmodal.model import build_crossmodal
from segue.methods.crossmodal.silhouettes import SilhouetteConfig, Silhouettes
from segue.options import Decoding, DrawOptions
from segue.types import InputError
from tiny_illustrator import tiny_illustrator

PIXELS = np.zeros((20, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_illustrator(tmp_path_factory.mktemp("illustrator"))


def test_a_trained_model_draws_and_captions_layouts(model):
    illustrator = package.load(model)
    drawn = illustrator.draw("a dog on the grass", options=DrawOptions(num=3, steps=3, seed=5))
    assert [d.labels.shape for d in drawn] == [(32, 32)] * 3
    assert drawn[0].condition == "caption"
    assert sum(drawn[0].areas.values()) == pytest.approx(1)
    again = illustrator.draw("a dog on the grass", options=DrawOptions(num=1, steps=3, seed=6))[0]
    assert (again.labels == drawn[1].labels).all()
    captions = illustrator.caption_layout(drawn[0].labels, options=Decoding(num=2, beams=4))
    assert len({one.caption for one in captions}) == 2
    assert captions[0].condition == "mask"
    assert 1 >= captions[0].likelihood >= captions[1].likelihood > 0
    assert illustrator.draw("a dog", image=PIXELS, options=DrawOptions(steps=2))[0].condition == "caption+image"
    assert illustrator.caption_layout(drawn[0].labels, image=PIXELS)[0].condition == "mask+image"


def test_what_is_given_decides_the_steps_and_the_guidance(model, monkeypatch):
    illustrator, seen = package.load(model), []
    one_level = copy(illustrator)
    one_level.checkpoint = replace(illustrator.checkpoint, boxes=None)
    draw = illustrator_module.draw_codes
    monkeypatch.setattr(
        illustrator_module,
        "draw_codes",
        lambda *a, steps, guidance, **k: seen.append((steps, guidance)) or draw(*a, steps=1, guidance=1, **k),
    )
    box, options = [LayoutBox("grass", (0, 0, 8, 8))], DrawOptions(num=1, best_of=1, check_sentence=False)
    for given in ({}, {"boxes": box}, {"image": PIXELS}, {"image": PIXELS, "boxes": box}):
        illustrator.draw("a dog", options=options, **given)
    one_level.draw("a dog", options=options)
    illustrator.draw("a dog", image=PIXELS, options=DrawOptions(num=1, steps=5, guidance=3.0))
    assert seen == [(8, 2), (8, 2), (4, 1.5), (8, 1.5), (16, 2), *[(5, 3)] * TRIES]


def test_of_several_tries_the_one_stays_from_which_the_caption_is_likeliest(model, monkeypatch):
    one_level = Illustrator(replace(load_crossmodal(model), boxes=None))
    hot = {"num": 1, "steps": 2, "temperature": 9.0}
    tries = [one_level.draw("a dog", options=DrawOptions(seed=7 + i * NEXT_TRY, best_of=1, **hot))[0] for i in range(3)]
    assert any((tries[0].labels != one.labels).any() for one in tries[1:])
    for best in range(3):
        scores = iter([1.0 if i == best else 0.0 for i in range(3)])
        monkeypatch.setattr("segue.api.illustrator.log_likelihood", lambda *_, s=scores: torch.tensor([next(s)]))
        options = DrawOptions(seed=7, best_of=3, check_sentence=False, **hot)
        chosen = one_level.draw("a dog", options=options)[0]
        assert (chosen.labels == tries[best].labels).all()
        assert chosen.seed == 7


def test_of_several_boxes_of_a_caption_the_likeliest_stay(model, monkeypatch):
    illustrator = package.load(model)
    tries = [
        illustrator.draw("a dog", options=DrawOptions(num=1, seed=7 + i * NEXT_TRY, steps=2, best_of=1))[0].boxes
        for i in range(3)
    ]
    assert any(tries[0] != one for one in tries[1:])
    seen, draw = [], illustrator_module.draw_boxes
    monkeypatch.setattr(illustrator_module, "draw_boxes", lambda *rest: (seen.append(draw(*rest)), seen[-1])[1])
    options = DrawOptions(num=1, seed=7, steps=2, best_of=3, check_sentence=False)
    chosen = illustrator.draw("a dog", options=options)[0].boxes
    scores = [each.score for each in seen[0]]
    assert len(scores) == 3
    assert chosen == tries[scores.index(max(scores))]


def test_of_several_boxes_those_stay_that_the_sentence_says(model, monkeypatch):
    illustrator = package.load(model)
    dog, car = (illustrator.classes.index(name) for name in ("dog", "car"))
    left, right = [0, 0, 2, 2], [4, 0, 6, 2]
    tries = [
        DrawnBoxes(np.array(boxes), score)
        for boxes, score in (
            ([[dog, *left]], -1),
            ([[car, *left], [dog, *right]], -2),
            ([[dog, *left], [car, *right]], -3),
        )
    ]
    monkeypatch.setattr(illustrator_module, "draw_boxes", lambda *_: tries)
    options = DrawOptions(num=1, steps=1, best_of=3)
    said = [
        illustrator.draw(text, options=options)[0].boxes for text in ("a dog left of a car", "a dog right of a car")
    ]
    assert [[one.label for one in boxes] for boxes in said] == [["dog", "car"], ["car", "dog"]]
    unread = illustrator.draw("a dog left of a car", options=replace(options, check_sentence=False))[0].boxes
    assert [one.label for one in unread] == ["dog"]


def test_boxes_that_touch_are_one_part(model, monkeypatch):
    illustrator = package.load(model)
    dog = illustrator.classes.index("dog")
    tries = [
        DrawnBoxes(np.array([[dog, 0, 0, 2, 2], [dog, left, 0, left + 2, 2]]), score)
        for left, score in ((2, -1), (4, -2))
    ]
    monkeypatch.setattr(illustrator_module, "draw_boxes", lambda *_: tries)
    options = DrawOptions(num=1, steps=1, best_of=2)
    for text, places in (("two dogs", {0, 16}), ("a dog", {0, 8})):
        drawn = illustrator.draw(text, options=options)[0].boxes
        assert {one.box[0] for one in drawn} == places


def test_cells_that_lose_what_their_boxes_have_are_drawn_once_more(model, monkeypatch):
    illustrator = package.load(model)
    grass = np.full((1, 32, 32), illustrator.classes.index("grass"), np.uint8)
    dog = grass.copy()
    dog[:, 8:16, 8:16] = illustrator.classes.index("dog")
    boxes = np.array([[grass[0, 0, 0], 0, 0, 8, 8], [dog[0, 8, 8], 2, 2, 4, 4]], np.int64)
    monkeypatch.setattr(illustrator_module, "draw_boxes", lambda *_: [DrawnBoxes(boxes, -1)])
    for made, check, expected in (([grass, dog], True, dog), ([grass, grass], True, grass), ([grass], False, grass)):
        decoded = iter(made)
        monkeypatch.setattr(illustrator.checkpoint.quantiser, "decode", lambda _, d=decoded: torch.from_numpy(next(d)))
        options = DrawOptions(num=1, steps=1, best_of=1, check_sentence=check, silhouettes=False)
        assert (illustrator.draw("a dog on the grass", options=options)[0].labels == expected[0]).all()
        assert not list(decoded)


def test_a_thing_has_the_silhouette_of_one_in_the_training_and_what_is_kept_stays(model, monkeypatch):
    illustrator = package.load(model)
    dog, grass = (illustrator.classes.index(name) for name in ("dog", "grass"))
    silhouettes = Silhouettes(SilhouetteConfig(1))
    silhouettes.kinds.fill_(dog)
    silhouettes.bits[0, : silhouettes.bits.shape[1] // 2] = 255  # the upper half
    illustrator.checkpoint = replace(illustrator.checkpoint, silhouettes=silhouettes)
    boxes = [LayoutBox("grass", (0, 0, 32, 32)), LayoutBox("dog", (8, 8, 16, 16))]
    cells = torch.full((1, 32, 32), grass, dtype=torch.uint8)
    cells[:, 8:24, 8:24] = dog
    monkeypatch.setattr(illustrator.checkpoint.quantiser, "decode", lambda _: cells)
    keep = np.full((32, 32), 255, np.uint8)
    keep[8:12, 8:12] = grass
    options = DrawOptions(num=1, steps=1)
    drawn = illustrator.draw("a dog", boxes=boxes, keep=keep, options=options)[0].labels
    assert set(np.argwhere(drawn == dog).ravel()) == set(range(8, 24))
    assert (drawn[16:] == grass).all()
    assert (drawn[8:12, 8:12] == grass).all()
    assert (drawn[8:16, 12:24] == dog).all()
    blocks = illustrator.draw("a dog", boxes=boxes, options=replace(options, silhouettes=False))[0].labels
    assert (blocks == cells[0].numpy()).all()


def test_of_several_cells_those_stay_that_the_sentence_says(model, monkeypatch):
    illustrator, grass = package.load(model), torch.zeros(1, 32, 32, dtype=torch.uint8)
    grass[:] = illustrator.classes.index("grass")
    dog = grass.clone()
    dog[:, 8:16, 8:16] = illustrator.classes.index("dog")
    monkeypatch.setattr("segue.api.illustrator.log_likelihood", lambda *_: torch.zeros(1))
    for made in ([grass, dog], [dog, grass]):
        decoded = iter(made)
        monkeypatch.setattr(illustrator.checkpoint.quantiser, "decode", lambda _, d=decoded: next(d))
        drawn = illustrator.draw("a dog on the grass", image=PIXELS, options=DrawOptions(num=1, steps=1, best_of=2))
        assert (drawn[0].labels == dog[0].numpy()).all()


def test_without_the_check_no_try_is_searched_for_boxes(model, monkeypatch):
    illustrator, searched, search = package.load(model), [], illustrator_module.layout_boxes
    monkeypatch.setattr(illustrator_module, "layout_boxes", lambda *a: searched.append(a) or search(*a))
    for check, expected in ((False, 0), (True, 2)):
        options = DrawOptions(num=1, steps=1, best_of=2, check_sentence=check)
        illustrator.draw("a dog on the grass", image=PIXELS, options=options)
        assert len(searched) == expected


def test_what_is_kept_stays(model):
    illustrator = package.load(model)
    keep = np.full((32, 32), 255, np.uint8)
    keep[:13] = 24
    drawn = illustrator.draw("a dog on the grass", keep=keep, options=DrawOptions(num=1, steps=2))[0]
    assert (drawn.labels[:13] == 24).all()


def test_heat_maps_one_for_each_word(model):
    illustrator = package.load(model)
    maps = illustrator.heat_maps(np.zeros((32, 32), np.uint8), "a dog on zebras, grass")
    assert [word for word, _ in maps] == ["a", "dog", "on", "zebras", "grass"]
    assert [m.shape for _, m in maps] == [(32, 32)] * 5
    assert max(m.max() for _, m in maps) == pytest.approx(1, abs=0.2)
    assert illustrator.heat_maps(np.zeros((32, 32), np.uint8), "?!") == []


def test_nouns_are_those_of_the_training_captions(model):
    illustrator = package.load(model)
    illustrator.checkpoint.about["nouns"] = ["dog", "grass"]
    assert illustrator.nouns("Two dogs on the grass, the grass is green") == ["dogs", "grass"]
    del illustrator.checkpoint.about["nouns"]
    with pytest.raises(InputError, match="train it again"):
        illustrator.nouns("a dog")


def test_bad_input_is_refused(model):
    illustrator = package.load(model)
    with pytest.raises(InputError, match="got an empty one"):
        illustrator.draw("  ")
    with pytest.raises(InputError, match="holds the ids 40"):
        illustrator.caption_layout(np.full((8, 8), 40, np.uint8))
    assert illustrator.caption_layout(np.zeros((1, 3), np.uint8))  # tiny, not square: resized to the model's size
    assert illustrator.unseen_words("a zebra; on the (grass)!") == ["zebra"]
    for captions, images, seeds in (([], None, []), (["a dog"], None, [1, 2]), (["a", "b"], [PIXELS], [1, 2])):
        with pytest.raises(InputError, match=f"got {len(captions)} captions, {len(seeds)} seeds and"):
            illustrator.draw_many(captions, images, seeds=seeds)
    with pytest.raises(InputError, match="every pixel is unknown"):
        illustrator.caption_layout(np.full((8, 8), 255, np.uint8))
    with pytest.raises(InputError, match="layout: got none"):
        illustrator.caption_layouts([])
    with pytest.raises(InputError, match="2 layouts and 1 pictures"):
        illustrator.caption_layouts([np.zeros((8, 8), np.uint8)] * 2, [PIXELS])


def test_seeds_of_a_batch_follow_the_first_unless_given(model):
    options = DrawOptions(steps=1, seed=5)
    assert [one.seed for one in package.load(model).draw_many(["a dog", "a dog"], options=options)] == [5, 6]


def test_a_caption_ends_at_the_models_limit(model):
    illustrator = package.load(model)
    hot = Decoding(max_tokens=500, top_p=1.0, temperature=50.0, num=2)
    assert len(illustrator.caption_layout(np.zeros((8, 8), np.uint8), options=hot)) == 2


def test_it_knows_the_folder_it_was_loaded_from(model):
    assert load_illustrator(model).folder == model
    assert Illustrator(load_crossmodal(model)).folder is None


def test_with_a_picture_the_likeliest_is_drawn_and_without_one_layouts_differ(model, monkeypatch):
    from segue.api import illustrator as module

    seen, draw = [], module.draw_codes
    monkeypatch.setattr(
        module, "draw_codes", lambda *a, **more: (seen.append(more["temperature"]), draw(*a, **more))[1]
    )
    illustrator = package.load(model)
    illustrator.draw("a dog", image=PIXELS, options=DrawOptions(num=1, steps=1, best_of=1))
    illustrator.draw("a dog", image=PIXELS, options=DrawOptions(num=1, steps=1, best_of=1, temperature=0.5))
    assert seen == [0, 0.5]
    two = illustrator.draw("a dog", options=DrawOptions(num=2, steps=2, best_of=1))
    assert two[0].boxes != two[1].boxes


def test_specks_of_a_drawing_are_filled(model, monkeypatch):
    illustrator = package.load(model)
    seen = []
    monkeypatch.setattr(
        "segue.api.illustrator.without_specks",
        lambda labels, pixels, spared: (seen.append((labels, spared)), np.full_like(labels, pixels))[1],
    )
    grass, box = illustrator.classes.index("grass"), [LayoutBox("grass", (8, 8, 24, 24))]
    for check in (True, False):
        options = DrawOptions(num=1, steps=1, specks=2, best_of=1, check_sentence=check)
        assert (illustrator.draw("a dog on grass", boxes=box, options=options)[0].labels == 128).all()
    boxed = np.zeros((32, 32), bool)
    boxed[8:, 8:] = True
    (labels, named), (same, unread) = seen
    assert (unread == (same == grass) & boxed).all()
    assert (named == np.isin(labels, [grass, illustrator.classes.index("dog")])).all()


def test_boxes_come_out_and_go_in_again(model):
    illustrator = package.load(model)
    drawn = illustrator.draw("a dog on the grass", options=DrawOptions(num=1, steps=2, best_of=1))[0]
    assert drawn.boxes
    again = illustrator.draw("a dog on the grass", boxes=drawn.boxes, options=DrawOptions(num=1, steps=2, best_of=1))[0]
    assert again.boxes == drawn.boxes
    assert again.condition == "caption+boxes"
    assert (again.labels == drawn.labels).all()


def test_boxes_that_are_not_on_the_layout_are_refused(model):
    illustrator = package.load(model)
    for boxes, message in (
        ([LayoutBox("zebra", (0, 0, 8, 8))], "the class 'zebra', expected one of man"),
        ([LayoutBox("dog", (30, 0, 8, 8))], "dog: got .* on the layout of 32 x 32 pixels"),
        ([LayoutBox("dog", (0, 0, 0, 8))], "dog: got"),
    ):
        with pytest.raises(InputError, match=message):
            illustrator.draw("a dog", boxes=boxes)


def test_a_model_of_one_level_has_no_boxes(model):
    checkpoint = load_crossmodal(model)
    one_level = Illustrator(replace(checkpoint, boxes=None))
    assert one_level.draw("a dog", options=DrawOptions(num=1, steps=2))[0].boxes == ()
    with pytest.raises(InputError, match="train one with boxes"):
        one_level.draw("a dog", boxes=[LayoutBox("dog", (0, 0, 8, 8))])


def test_cells_that_know_no_boxes_are_fixed_inside_them(model, monkeypatch):
    checkpoint = load_crossmodal(model)
    cells = build_crossmodal(replace(checkpoint.model.config, classes=0)).eval()
    illustrator, seen, draw = Illustrator(replace(checkpoint, model=cells)), [], illustrator_module.draw_codes
    monkeypatch.setattr(illustrator_module, "draw_codes", lambda *a, **more: (seen.append(more), draw(*a, **more))[1])
    boxes = [LayoutBox("sky", (0, 0, 32, 16)), LayoutBox("grass", (0, 16, 32, 16)), LayoutBox("dog", (20, 8, 8, 8))]
    illustrator.draw("a dog", boxes=boxes, options=DrawOptions(num=1, steps=1))
    assert seen[0]["boxes"] is None
    assert (seen[0]["fixed"][0] >= 0).tolist() == [
        [True, True, True, True],
        [True, True, False, False],
        [True, True, True, True],
        [True, True, True, True],
    ]
