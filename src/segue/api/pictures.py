"""A picture as a caller gives it: a file, one of Pillow's, or pixels. All predictors read theirs by `pixels_of`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segue.data.images import decode_image, from_pillow, read_image, remark
from segue.types import InputError

Picture = str | Path | bytes | Image.Image | NDArray[Any] | Tensor
CHANNELS = (1, 3, 4)  # grey, RGB, RGBA


def pixels_of(image: Picture) -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8 RGB.

    image: a path, or the bytes of a file, see `read_image`; a picture of Pillow, by the same rules, which stays open;
    an array (H, W) or (H, W, 1) of grey, (H, W, 3) RGB or (H, W, 4) RGBA; or a tensor of these, or with channels first.

    Alpha is laid on black, with a warning where something is transparent. Values are uint8, given back as they are
    where they are RGB; floats in [0, 1], where 1 is white; or uint16, of which greys are spread by `to_grey` and
    colours keep their upper 8 bits, with a warning, as of a file. Several pictures are for the methods that end in
    `_many`, each by itself.

    Raises InputError for what is no picture: other types, shapes and values, a tensor whose channels may be first or
    last, and files as `read_image` does.
    """
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, bytes):
        return decode_image(image, "image")
    if isinstance(image, Image.Image):
        return from_pillow(image, "image")
    if isinstance(image, Tensor):
        return _rgb(_channels_last(image))
    if isinstance(image, np.ndarray):
        return _rgb(image)
    raise InputError(
        f"image: got {type(image).__name__}, expected a path, the bytes of a file, a picture of Pillow, an array "
        "(H, W, 3) or a tensor (3, H, W); give one of these"
    )


def _channels_last(image: Tensor) -> NDArray[Any]:
    values = image.detach().cpu()
    array: NDArray[Any] = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if array.ndim != 3 or array.shape[0] not in CHANNELS:
        return array
    if array.shape[2] in CHANNELS:
        raise InputError(
            f"image: got a tensor of shape {array.shape}, whose first axis or last may be the channels, expected one "
            "of 1, 3 or 4 channels; give it as an array with channels last"
        )
    return np.moveaxis(array, 0, 2)


def _rgb(array: NDArray[Any]) -> NDArray[np.uint8]:
    """An array with channels last, or none, as RGB."""
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)
    if not fits or 0 in array.shape or not (array.dtype in (np.uint8, np.uint16) or array.dtype.kind == "f"):
        raise InputError(
            f"image: got an array of shape {array.shape} and type {array.dtype}, expected (H, W), (H, W, 3) or "
            f"(H, W, 4) of uint8, of uint16 or of floats in [0, 1]; {_mend(array)}"
        )
    whole: NDArray[Any] = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if whole.dtype == np.uint16 and whole.ndim == 2:
        return from_pillow(Image.fromarray(whole), "image")  # a 16-bit grey
    if whole.dtype == np.uint16:
        remark(
            "image", "upper-bits", "16 bits a colour, of which the upper 8 are read; give it in grey, or with 8 bits"
        )
        whole = (whole >> 8).astype(np.uint8)
    elif whole.dtype != np.uint8:
        whole = _from_floats(whole)
    if whole.ndim == 3 and whole.shape[2] == 3:
        return whole
    return from_pillow(Image.fromarray(whole), "image")


def _from_floats(values: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # nor if one is no number
        raise InputError(
            f"image: got {values.dtype} values from {low:g} to {high:g}, expected floats in [0, 1]; divide by 255 what "
            "reaches up to 255, and give pictures as they are before a model's normalisation"
        )
    scaled: NDArray[np.uint8] = (values.astype(np.float32) * 255).round().astype(np.uint8)
    return scaled


def _mend(array: NDArray[Any]) -> str:
    if array.ndim == 4:
        return "give one picture, or all of them to a method that ends in _many"
    if array.ndim == 3 and array.shape[2] not in CHANNELS and array.shape[0] in CHANNELS:
        return "move its channels last: np.moveaxis(image, 0, 2)"
    return "values from 0 to 255 become uint8 by image.astype(np.uint8)"
