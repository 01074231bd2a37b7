"""What passes between the rooms: images, masks, notes, examples and predictions, checked when they are made.

Axis order is (row, column) = (y, x), the origin is the top left pixel, and images are RGB.
"Left" in a note is the patient's left unless a reader says otherwise; no type here interprets it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


class InputError(ValueError):
    """Bad input. The message says what was got, what was expected and how to mend it.

    The command line prints it on one line and exits with status 2.
    """


def check_image(image: NDArray[np.uint8], where: str = "image") -> None:
    """Refuse anything but an (H, W, 3) uint8 RGB array with H, W >= 1."""
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"{where}: got {type(image).__name__}, expected an (H, W, 3) uint8 array; "
            "read a file with segue.data.images.read_image"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(
            f"{where}: got an array of shape {image.shape} and type {image.dtype}, expected (H, W, 3) uint8; "
            "convert a grey picture with np.repeat(grey[..., None], 3, axis=2)"
        )


def check_mask(mask: NDArray[np.bool_], where: str = "mask") -> None:
    """Refuse anything but an (H, W) bool array with H, W >= 1."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2 or 0 in mask.shape:
        shape, kind = getattr(mask, "shape", "none"), getattr(mask, "dtype", type(mask).__name__)
        raise InputError(
            f"{where}: got shape {shape} and type {kind}, expected an (H, W) bool array; "
            "threshold it first, for instance mask > 127"
        )


@dataclass(frozen=True)
class Example:
    """One picture with what is known of it.

    image: (H, W, 3) uint8, RGB. mask: (H, W) bool, True on what the note describes, or None when unlabelled.
    note: the sentence that describes the mask, or None. name: unique within its split.
    group: what must not be divided between splits (the patient); equals name when unknown.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    note: str | None
    name: str
    group: str = ""

    def __post_init__(self) -> None:
        check_image(self.image, f"{self.name}: image")
        if self.mask is not None:
            check_mask(self.mask, f"{self.name}: mask")
            if self.mask.shape != self.image.shape[:2]:
                raise InputError(
                    f"{self.name}: the mask is {_size(self.mask)} and the image {_size(self.image)} (width x height); "
                    "they must have the same size: export the mask on the image's own grid"
                )
        if not self.group:
            object.__setattr__(self, "group", self.name)


@dataclass(frozen=True)
class Segmentation:
    """What a segmenter answers for one picture and one note.

    probability: (H, W) float32 in [0, 1], calibrated, on the picture's own grid.
    mask: (H, W) bool, probability >= threshold.
    """

    probability: NDArray[np.float32]
    note: str | None = None
    threshold: float = 0.5
    mask: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        p = self.probability
        if p.ndim != 2 or 0 in p.shape or not np.isfinite(p).all() or p.min() < 0 or p.max() > 1:
            raise InputError(f"probability: got shape {p.shape}, expected a finite (H, W) array with values in [0, 1]")
        object.__setattr__(self, "mask", p >= self.threshold)

    @property
    def area(self) -> int:
        """Pixels in the mask."""
        return int(self.mask.sum())

    @property
    def centroid(self) -> tuple[float, float] | None:
        """(x, y) of the mask's centre of mass in pixels, or None when the mask is empty."""
        if not self.area:
            return None
        rows, columns = np.nonzero(self.mask)
        return float(columns.mean()), float(rows.mean())

    @property
    def score(self) -> float:
        """Mean probability inside the mask; the highest probability anywhere when the mask is empty."""
        return float(self.probability[self.mask].mean() if self.area else self.probability.max())


def _size(array: NDArray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
