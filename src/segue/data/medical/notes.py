"""Claims of medical notes: sides, zones, number of areas; and the note of the mirrored picture.

In lung notes (QaTa-COV19's wording) "left" is the patient's left, which lies on the picture's right
(so in 65 of 65 radiographs whose lungs were outlined one by one). Other notes
(MoNuSeg's "The nuclei density in the lower left is high.") mean the picture's own sides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

ZONES = ("upper", "middle", "lower")
NUMBER_WORDS = {w: n for n, w in enumerate(("no", "one", "two", "three", "four", "five", "six", "seven", "eight"))}
_TYPOS = {"mmiddle": "middle", "higher": "upper", "loweer": "lower", "uper": "upper", "leftt": "left"}
_MISSING_SPACE = re.compile(r"\band(all|upper|middle|lower|left|right)\b")
_DENIAL = re.compile(r"\b(?:no(?! infected area)|not|without|clear|spared|normal|absent)\b")
_COUNT = re.compile(rf"\b({'|'.join(NUMBER_WORDS)}|\d{{1,3}})\s+infected areas?\b")
_PLACE = re.compile(
    r"\b(?:left|right|bilateral(?:ly)?|unilateral(?:ly)?|both|upper|middle|lower|apical|basal|basilar|bas[ei]s?|apex|apices"
    r"|superior|inferior|lobes?|mid|all|r[ulm]l|l[ul]l|peripheral|central|perihilar|hilar)\b"
)
_SIDE = re.compile(r"\b(?:left|Left|LEFT|right|Right|RIGHT)\b")
_OPPOSITE = {"left": "right", "Left": "Right", "LEFT": "RIGHT"}
_OPPOSITE |= {right: left for left, right in _OPPOSITE.items()}
# Sides in other words than left and right, and parts that only one side has.
_UNSAFE = re.compile(
    r"clockwise|o'clock|handed|to the (?:left|right) of|situs|dextro|levo|lingula|middle lobe"
    r"|(?-i:\b[LR](?:[UML]{1,2}[LZ])?\b|\b(?:[LR]t|[lr]t|[LR]T)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class NoteClaims:
    """What a lung note claims. left, right: the zones named there. count: infected areas, None when not mentioned.

    sides: the sides it names, also those without a zone ("the left lung"). bilateral: None when not mentioned.
    """

    left: frozenset[str]
    right: frozenset[str]
    count: int | None
    bilateral: bool | None
    sides: frozenset[str]

    def zones(self) -> dict[str, list[str]]:
        """The zones of each side that has any, from above."""
        named = {"left": self.left, "right": self.right}
        return {side: [zone for zone in ZONES if zone in there] for side, there in named.items() if there}


def normalise(note: str) -> str:
    """Lower case, known slips mended, one space between words and after commas."""
    text = re.sub(r"\s*,\s*", ", ", note.lower())
    text = re.sub(r"[a-z]+", lambda m: _TYPOS.get(m[0], m[0]), _MISSING_SPACE.sub(r"and \1", text))
    return re.sub(r"\s+", " ", text).strip()


def parse_note(note: str) -> NoteClaims | None:
    """The claims of a lung note.

    None for a note that doesn't speak of lungs, or that denies something ("no infection in the left lung"): this
    reader understands what is there, not what is absent.
    """
    text = normalise(note)
    if "lung" not in text or _DENIAL.search(text):
        return None
    zones = _zones_by_side(text)
    count = _COUNT.search(text)
    number = None if count is None else NUMBER_WORDS.get(count[1], int(count[1]) if count[1].isdigit() else None)
    bilateral = True if "bilateral" in text else False if "unilateral" in text else None
    left, right = (frozenset(zones.get(side, ())) for side in ("left", "right"))
    return NoteClaims(left, right, number, bilateral, frozenset(zones))


def _zones_by_side(text: str) -> dict[str, set[str]]:
    """Zones go with the side that follows ("upper left lung"), or else with the one before ("left upper lung")."""
    zones: dict[str, set[str]] = {}
    waiting: set[str] = set()
    bare: list[str] = []  # sides of this phrase that have no zone yet
    for word in re.findall(r"[a-z]+|[.;]", text):
        if word in ZONES or word == "all":
            waiting |= set(ZONES) if word == "all" else {word}
        elif word in ("left", "right"):
            zones.setdefault(word, set()).update(waiting)
            bare += [] if waiting else [word]
            waiting = set()
        elif word != "and":
            for side in bare if word in ("lung", "lungs", "zone", "zones", "field", "fields") else ():
                zones[side] |= waiting
            waiting, bare = set(), []
    return zones


def write_note(zones: Mapping[str, Sequence[str]]) -> str:
    """A lung note in QaTa-COV19's wording. zones: of each side that has any, from above."""
    areas = sum(2 if list(named) == ["upper", "lower"] else 1 for named in zones.values())
    return f"{_kind(zones)}, {_areas(areas)}, {' and '.join(_places(zones))}."


def invent_note(rng: np.random.Generator) -> str:
    """A lung note of zones drawn at random, in one of several orders, with or without kind and number."""
    sides = [("left",), ("right",), ("left", "right"), ("right", "left")][int(rng.integers(4))]
    named = {side: [zone for zone in ZONES if rng.random() < 0.5] or [ZONES[int(rng.integers(3))]] for side in sides}
    places = _places(named, side_first=bool(rng.random() < 0.3))
    parts = [(" and " if rng.random() < 0.6 else ", ").join(places)]
    if rng.random() < 0.6:
        parts.insert(0, _areas(int(rng.integers(1, 5))))
    if rng.random() < 0.4:
        parts.insert(0, _kind(named))
    return ", ".join(parts) + ("." if rng.random() < 0.5 else "")


def _kind(zones: Mapping[str, Sequence[str]]) -> str:
    return f"{'Bilateral' if len(zones) == 2 else 'Unilateral'} pulmonary infection"


def _areas(count: int) -> str:
    return f"{('one', 'two', 'three', 'four')[count - 1]} infected area{'s' if count > 1 else ''}"


def _places(zones: Mapping[str, Sequence[str]], *, side_first: bool = False) -> list[str]:
    texts = {side: "all" if len(named) == len(ZONES) else " ".join(named) for side, named in zones.items()}
    return [
        f"{side} {text} lung" if side_first and text != "all" else f"{text} {side} lung" for side, text in texts.items()
    ]


def swap_sides(note: str) -> str | None:
    """The note of the mirrored picture: left and right exchanged, case kept. A note without sides is its own mirror.

    None when it can't be rewritten safely: turns ("clockwise"), handedness, "to the left of", longer words
    ("leftward", "left_lung"), abbreviations (RLL, L, rt) and parts that only one side has (lingula, middle lobe).
    """
    if _UNSAFE.search(note) or re.search(r"(?<![a-z])(?:left|right)", _SIDE.sub("", note), re.IGNORECASE):
        return None
    return _SIDE.sub(lambda m: _OPPOSITE[m[0]], note)


def find_doubts(note: str) -> list[str]:
    """Why a free note may not guide a mask, as sentences: it names no place and no number, or it denies something.

    Denied places ("no infiltrate on the left") are the ones to look at: a model takes them for places of infection.
    """
    text, found = normalise(note), list[str]()
    if not _PLACE.search(text) and not _COUNT.search(text):
        found.append("the note names no side, zone or count, so the picture alone decides")
    if denial := _DENIAL.search(text):
        found.append(
            f"the note denies something ({denial[0]!r}); the model reads what is there, so say only where infection is"
        )
    return found


def mask_sides(mask: NDArray[np.bool_], share: float = 0.02) -> frozenset[str]:
    """The patient's sides that hold at least that share of a lung mask; the picture's middle divides them."""
    if not mask.any():
        return frozenset()
    middle = mask.shape[1] // 2
    area = {"right": mask[:, :middle].sum(), "left": mask[:, middle:].sum()}
    return frozenset(side for side, pixels in area.items() if pixels >= share * mask.sum())


def count_areas(mask: NDArray[np.bool_], smallest: float = 0.0005) -> int:
    """Connected areas (8-neighbourhood) of at least that share of the picture."""
    labels, _ = scipy.ndimage.label(mask, structure=np.ones((3, 3)))
    return int((np.bincount(labels.ravel())[1:] >= smallest * mask.size).sum())
