"""An image as a caller gives it: a path, or pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.data.images import read_image
from segue.types import check_image

Picture = str | Path | NDArray[np.uint8]


def pixels_of(image: Picture) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB. Raises InputError for a file or an array that is no image."""
    if isinstance(image, str | Path):
        return read_image(Path(image))
    check_image(image)
    return image
