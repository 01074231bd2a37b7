"""The baselines without learning find what is commonest or nearest."""

import numpy as np

from layout_examples import CAR, DOG, GRASS, IMAGE, LEFT, layout
from segue.api.illustrator import load_illustrator
from segue.lab.baselines.crossmodal import class_prior, in_boxes_of, nearest_caption, nearest_layout
from segue.recipes.crossmodal import CaptionedLayouts
from segue.synthetic.scenes.scene import CLASSES


def test_baselines_find_what_is_nearest():
    captions = [("a dog and a car",), ("a big field of grass",)]
    train = CaptionedLayouts(np.stack([LEFT, layout()]), np.stack([IMAGE] * 2), captions, captions, CLASSES)
    assert (class_prior(train)(["x"], [IMAGE], 0)[0] == GRASS).mean() > 0.7
    near = nearest_caption(train)(["a car", "the field", "zebra"], [IMAGE] * 3, 0)
    assert (near[0] == LEFT).all()
    assert (near[1] == layout()).all()
    assert nearest_layout(train)([layout((DOG, 3), (CAR, 20)), layout()], [IMAGE] * 2) == [c[0] for c in captions]


def test_the_nearest_caption_draws_no_unknown_pixel():
    layout = np.zeros((1, 8, 8), np.uint8)
    layout[0, :, 4:], layout[0, 2:4, 2:4], layout[0, 2:4, 6:] = 1, 255, 255
    train = CaptionedLayouts(layout, np.zeros((1, 8, 8, 3), np.uint8), [("a car",)], [("a car",)], ("grass", "road"))
    (drawn,) = nearest_caption(train)(["a car"], [IMAGE], 0)
    assert (drawn == np.repeat([[0, 0, 0, 0, 1, 1, 1, 1]], 8, 0)).all()


def test_cells_are_drawn_in_the_boxes_of_another_drawing():
    given = np.full((128, 128), GRASS, np.uint8)
    given[40:80, 8:40], given[40:80, 80:120] = DOG, CAR
    (drawn,) = in_boxes_of(lambda *_: [given], load_illustrator("crossmodal-scenes"))(["a dog and a car"], [IMAGE], 0)
    for kind in (DOG, CAR):
        assert (drawn[given == kind] == kind).mean() > 0.5
