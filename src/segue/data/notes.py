"""What a medical note says of a picture: sides, zones, number of areas; and the note of the mirrored picture.

In lung notes (QaTa-COV19's wording) "left" is the patient's left, which lies on the picture's right. Other notes
(MoNuSeg's "The nuclei density in the lower left is high.") mean the picture's own sides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ZONES = ("upper", "middle", "lower")
NUMBERS = {w: n for n, w in enumerate(("no", "one", "two", "three", "four", "five", "six", "seven", "eight"))}
_SLIPS = {
    "andall": "and all",
    "mmiddle": "middle",
    "higher": "upper",
    "loweer": "lower",
    "uper": "upper",
    "leftt": "left",
}
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_UNSAFE = re.compile(
    r"(clockwise|left-?handed|right-?handed|left ?over|to the (?:left|right) of|situs|dextro|levo)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class NoteFacts:
    """What a lung note claims. left, right: the zones named there. count: infected areas, None when not said."""

    left: frozenset[str]
    right: frozenset[str]
    count: int | None
    bilateral: bool | None


def normalise(note: str) -> str:
    """Lower case, known slips mended, one space between words and after commas."""
    text = re.sub(r"\s*,\s*", ", ", note.lower())
    text = re.sub(r"[a-z]+", lambda m: _SLIPS.get(m[0], m[0]), text)
    return re.sub(r"\s+", " ", text).strip()


def facts(note: str) -> NoteFacts | None:
    """The claims of a lung note; None for a note that doesn't speak of lungs and their zones."""
    text = normalise(note)
    if "lung" not in text:
        return None
    zones: dict[str, set[str]] = {"left": set(), "right": set()}
    for words, side in re.findall(r"((?:\b(?:upper|middle|lower|all)\b[\s,]*(?:and )?)+)(left|right)\b", text):
        named = set(re.findall(r"upper|middle|lower", words))
        zones[side] |= set(ZONES) if "all" in words else named
    count = re.search(rf"\b({'|'.join(NUMBERS)}|\d+)\s+infected areas?", text)
    said = None if count is None else NUMBERS.get(count[1], int(count[1]) if count[1].isdigit() else None)
    bilateral = True if "bilateral" in text else False if "unilateral" in text else None
    return NoteFacts(frozenset(zones["left"]), frozenset(zones["right"]), said, bilateral)


def swap_sides(note: str) -> str | None:
    """The note of the mirrored picture: left and right exchanged, case kept. A note without sides is its own mirror.

    None when it can't be rewritten safely: turns ("clockwise"), handedness, "to the left of".
    """
    if _UNSAFE.search(note) or re.search(r"(?<![a-z])(left|right)[a-z]", note, re.IGNORECASE):
        return None

    def other(match: re.Match[str]) -> str:
        word = "right" if match[0].lower() == "left" else "left"
        return word.upper() if match[0].isupper() else word.title() if match[0][0].isupper() else word

    return _SIDE.sub(other, note)


def sides_seen(mask: NDArray[np.bool_], share: float = 0.02) -> frozenset[str]:
    """The patient's sides that hold at least that share of a lung mask; the picture's middle divides them."""
    if not mask.any():
        return frozenset()
    middle = mask.shape[1] // 2
    area = {"right": mask[:, :middle].sum(), "left": mask[:, middle:].sum()}
    return frozenset(side for side, pixels in area.items() if pixels >= share * mask.sum())


def areas_seen(mask: NDArray[np.bool_], smallest: float = 0.0005) -> int:
    """Connected areas (8-neighbourhood) of at least that share of the picture."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    return int((np.bincount(labels.ravel())[1:] >= smallest * mask.size).sum())
