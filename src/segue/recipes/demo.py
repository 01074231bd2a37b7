"""`segue demo`: a page of chest phantoms segmented by their notes, drawn and computed on the spot."""

from __future__ import annotations

import html
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.api import Segmenter, load
from segue.data.images import write_image
from segue.data.show import outline
from segue.data.sketchbook.chest import Phantom, draw_chest
from segue.metrics.masks import Counts, dice
from segue.types import InputError

SEED = 20_000  # far from the training seeds: no phantom of the page was trained on


@dataclass(frozen=True)
class Panel:
    """One picture of the page with what stands below it."""

    title: str
    text: str
    pixels: NDArray[np.uint8]
