"""The baselines without learning find what is commonest or nearest."""

import numpy as np

from layout_examples import CAR, DOG, GRASS, IMAGE, LEFT, layout
from segue.lab.baselines.crossmodal import class_prior, nearest_caption, nearest_layout
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
