"""What is done to the pixels of an image before a network sees them; a checkpoint stores it in config.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Gt, Interval
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segue.types import InputError

Interpolation = Literal["nearest", "lanczos", "bilinear", "bicubic"]
Mean = tuple[float, float, float]
Deviation = tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)], Annotated[float, Gt(0)]]
NORMALISATION = {"mean": Mean, "std": Deviation}
INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "lanczos", "bilinear", "bicubic")  # PIL's numbers 0..3


def reduce_image(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """An (H, W, 3) uint8 image as a square of so many pixels, by PIL's bicubic; one with a smaller side as it is."""
    if min(image.shape[:2]) <= side:
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class Preprocessing:
    """Resizing to a square, scaling to [0, 1] and normalisation.

    size: S, the side of the square in pixels. mean, std: of RGB in [0, 1]. interpolation: PIL's, anti-aliased.
    shorter: > 0 resizes the shorter side of the image to so many pixels and crops the square from the centre; 0 resizes
    the whole image to the square, whatever its aspect ratio.
    Raises InputError for a size below 1, an unknown interpolation and a crop larger than the resized image.
    """

    size: Annotated[int, Interval(le=4096)] = 224
    mean: Mean = (0.5, 0.5, 0.5)
    std: Deviation = (0.25, 0.25, 0.25)
    interpolation: Interpolation = "bilinear"
    shorter: Annotated[int, Interval(ge=0, le=8192)] = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.interpolation not in INTERPOLATIONS:
            raise InputError(
                f"preprocessing: got size {self.size} and interpolation {self.interpolation!r}, expected 1 or more "
                f"pixels and one of {', '.join(INTERPOLATIONS)}"
            )
        if self.shorter and self.shorter < self.size:
            raise InputError(
                f"preprocessing: can't crop {self.size} pixels from a side of {self.shorter}; let shorter be "
                f"{self.size} or more, or 0"
            )

    def to_tensor(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(H, W, 3) uint8 images of any size -> (B, 3, S, S) float32, normalised."""
        pixels = torch.from_numpy(np.stack([self._square(image) for image in images]))
        rows = pixels.flatten(2).float().div_(255)  # (B, S, 3 S): by rows, three times as fast as by pixels
        mean, std = (torch.tensor(part).repeat(self.size) for part in (self.mean, self.std))
        return rows.sub_(mean).div_(std).view(pixels.shape).permute(0, 3, 1, 2)

    def _square(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        if not self.shorter:
            return self._resize(image, self.size, self.size)
        # The longer side is rounded down, as transformers and torchvision do.
        short = min(height, width)
        resized = self._resize(image, *(self.shorter * side // short for side in (height, width)))
        top, left = ((side - self.size) // 2 for side in resized.shape[:2])
        return resized[top : top + self.size, left : left + self.size]

    def _resize(self, image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        if image.shape[:2] == (height, width):
            return image
        method = Image.Resampling[self.interpolation.upper()]
        return np.asarray(Image.fromarray(image).resize((width, height), method))
