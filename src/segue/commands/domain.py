"""What a command says of a picture that is unlike those that its model learned from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segue.data.images import read_image
from segue.data.picture_files import PictureWarning
from segue.types import InputError

if TYPE_CHECKING:
    from segue.api.illustrator import Illustrator

KIND = "out-of-domain"


def refuse_far(name: str, distance: float | None, *, strict: bool) -> str:
    """Why a picture gets no answer, "" when it does; without `strict` a far one is warned of.

    distance: from the pictures of the training, above 1 is far; None is not known, which `strict` refuses too.
    """
    if distance is None and strict:
        return f"{name}: --strict: this model doesn't measure how far pictures lie from those that it learned from"
    if distance is None or distance <= 1:
        return ""
    far = f"{name}: unlike the pictures that the model learned from (domain distance {distance:.3f}, above 1 is far)"
    if strict:
        return f"{far}; leave out --strict for an answer nevertheless"
    warnings.warn(PictureWarning(f"{far}, so the answer may be wrong", KIND), stacklevel=2)
    return ""


def check_far(name: str, distance: float | None, *, strict: bool) -> dict[str, Any]:
    """The distance of the only picture as an answer has it; arguments as those of `refuse_far`.

    Raises InputError for a picture that gets no answer.
    """
    from segue.api.answers import domain_to_dict

    if refusal := refuse_far(name, distance, strict=strict):
        raise InputError(refusal)
    return domain_to_dict(distance)


def read_near(
    image: Path | None, illustrator: Illustrator, *, strict: bool
) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
    """The distance of a layout's picture as an answer has it, and its pixels; nothing where there is no picture.

    Raises InputError for a picture that can't be read, and one that gets no answer.
    """
    if image is None:
        return {}, None
    pixels = read_image(image)
    return check_far(image.name, illustrator.measure_distances([pixels])[0], strict=strict), pixels
