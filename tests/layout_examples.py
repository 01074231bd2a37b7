"""Two test pictures for scores of layouts: a dog to the left of a car on grass, and grass alone."""

import numpy as np

from segue.evaluation.layouts import LayoutExample
from segue.synthetic.scenes.scene import CLASSES

DOG, CAR, GRASS = (CLASSES.index(name) for name in ("dog", "car", "grass"))


def layout(*boxes):
    made = np.full((32, 32), GRASS, np.uint8)
    for kind, x in boxes:
        made[10:18, x : x + 6] = kind
    return made


LEFT, RIGHT = layout((DOG, 2), (CAR, 20)), layout((CAR, 2), (DOG, 20))
CAPTION = "a dog to the left of a car on the grass"
IMAGE = np.zeros((32, 32, 3), np.uint8)
EXAMPLES = [LayoutExample(LEFT, IMAGE, (CAPTION, "a dog and a car")), LayoutExample(layout(), IMAGE, ("a field",))]
