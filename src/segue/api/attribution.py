"""What an answer rests on, word by word: what becomes of it when a word, or a part of the picture, is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segue.data.english import word_spans
from segue.types import InputError

CELLS = 6  # a side of the grid on which a picture is covered
COVER = 2  # cells a side that are covered at a time
SIDE = 512  # pixels of the longer side at which that is done
MOST_WORDS = 64


@dataclass(frozen=True)
class NoteWord:
    """What a word of a note does to a mask: the note is read once more without it.

    start, end: the word is note[start:end]. lost: (H, W) bool, the pixels that are outlined only with the word. gained:
    (H, W) bool, those that are outlined only without it. change: in [0, 1], how many these are of the pixels that are
    outlined with the word or without; 0 where none is.
    """

    start: int
    end: int
    change: float
    lost: NDArray[np.bool_] = field(repr=False)
    gained: NDArray[np.bool_] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """start, end and change; not the masks."""
        return {"start": self.start, "end": self.end, "change": round(self.change, 4)}


@dataclass(frozen=True)
class CaptionWord:
    """Which parts of a picture a word of a caption rests on: they are covered with the picture's mean colour.

    start, end: the word is caption[start:end]. falls: (CELLS, CELLS) float32 on a grid over the whole picture, top row
    first: by how much the logarithm of the word's probability after the words before it falls, the mean of the covers
    that hide the cell; below 0 where the word becomes likelier.
    """

    start: int
    end: int
    falls: NDArray[np.float32] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """start, end, and falls as rows."""
        return {"start": self.start, "end": self.end, "falls": np.round(self.falls, 3).tolist()}


def spans_of(note: str) -> list[tuple[int, int]]:
    """The first character of each word, and the one after its last.

    Raises InputError for a note without words, and one of more than MOST_WORDS.
    """
    spans = [(start, end) for _, start, end in word_spans(note)]
    if not 1 <= len(spans) <= MOST_WORDS:
        raise InputError(f"note: got {len(spans)} words, expected 1 to {MOST_WORDS}: each is left out once")
    return spans


def leave_out(note: str, start: int, end: int) -> str | None:
    """The note without note[start:end]; None where no other word is left."""
    rest = re.sub(r"\s+([,.;])", r"\1", " ".join(f"{note[:start]} {note[end:]}".split())).strip(" ,;")
    return rest if word_spans(rest) else None


def compare(span: tuple[int, int], mask: NDArray[np.bool_], without: NDArray[np.bool_]) -> NoteWord:
    """What the word does to the mask (H, W) that becomes `without` when it is left out."""
    either = int((mask | without).sum())
    return NoteWord(*span, int((mask ^ without).sum()) / max(1, either), mask & ~without, without & ~mask)


def shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An (H, W, 3) image with a longer side of SIDE at most."""
    small = Image.fromarray(image)
    small.thumbnail((SIDE, SIDE))
    return np.asarray(small)


def covers() -> list[NDArray[np.bool_]]:
    """Which cells, (CELLS, CELLS) bool, each cover hides: squares of COVER cells a side, at every place."""
    places = range(CELLS - COVER + 1)
    made = [np.zeros((CELLS, CELLS), bool) for _ in range(len(places) ** 2)]
    for one, (row, column) in zip(made, ((r, c) for r in places for c in places), strict=True):
        one[row : row + COVER, column : column + COVER] = True
    return made


def covered(image: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """The image (H, W, 3) under each of `covers`, in its own mean colour."""
    rows, columns = ((np.arange(length) * CELLS) // length for length in image.shape[:2])
    colour = np.round(image.mean((0, 1))).astype(np.uint8)
    for cover in covers():
        yield np.where(cover[rows][:, columns, None], colour, image)


def words_of(caption: str, spans: Sequence[tuple[int, int]], logp: NDArray[np.float32]) -> list[CaptionWord]:
    """The words of a caption of which there are tokens.

    spans: the characters of its L tokens. logp: (1 + covers, L), of each token, first with nothing covered.
    """
    words = []
    for _, start, end in word_spans(caption):
        tokens = [i for i, (first, last) in enumerate(spans) if first < end and last > start]
        if tokens:
            words.append(CaptionWord(start, end, falls_of(logp[:, tokens].sum(1))))
    return words


def falls_of(logp: NDArray[np.float32]) -> NDArray[np.float32]:
    """(CELLS, CELLS): see `CaptionWord`. logp: of a word, first with nothing covered, then under each of `covers`."""
    hidden = np.stack(covers()).astype(np.float32)
    mean: NDArray[np.float32] = np.tensordot(logp[0] - logp[1:], hidden, 1) / hidden.sum(0)
    return mean
