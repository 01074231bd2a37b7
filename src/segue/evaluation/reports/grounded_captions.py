"""Grounded captions in the report of a training: the prompt's box, the caption with its masks, the references."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from segue.api.describer import Describer
from segue.data.export import COLOURS, overlay
from segue.data.visualize import data_url, outline
from segue.evaluation.grounded_captions import Case, describe_case, make_cases
from segue.evaluation.reports.cases import SIDE, examples_section_of, spread_evenly
from segue.pages.page import Card, legend
from segue.types import GroundedCaption, Picture


def grounded_examples(describer: Describer, pictures: Sequence[Picture]) -> str:
    """A section with some of the pictures whose captions name regions, each with its prompt and the first caption."""
    cases = make_cases(pictures, "first")
    drawn = [_card(case, describe_case(describer, case, 1, seed=0)[0]) for case in spread_evenly(cases)]
    return examples_section_of(drawn, len(cases))


def _card(case: Case, found: GroundedCaption) -> Card:
    image = case.picture.load()
    pictures = [outline(image, _inside(case.box, image.shape)), overlay(image, found)]
    references = "<br>".join(f"<i>{escape(text)}</i>" for text in case.references)
    details = f"{legend(_colours(found))}{references}<br>{escape(case.picture.name)}"
    return Card([data_url(one, SIDE, small=True) for one in pictures], found.caption or "masks alone", "", details)


def _colours(found: GroundedCaption) -> dict[str, tuple[int, int, int]]:
    """Phrase -> the colour of its mask in `overlay`; further masks of a phrase have a number."""
    colours: dict[str, tuple[int, int, int]] = {}
    for i, one in enumerate(found.groundings):
        name = one.phrase or one.label
        colours[f"{name} {i + 1}" if name in colours else name] = COLOURS[i % len(COLOURS)]
    return colours


def _inside(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(H, W): the pixels in a box (x, y, width, height)."""
    x, y, w, h = box
    mask = np.zeros(shape[:2], np.bool_)
    mask[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))] = True
    return mask
