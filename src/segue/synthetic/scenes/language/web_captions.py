"""Captions as the web has them: with hashtags and file names, cut short, and among lines that tell of no picture.

For experiments on what a captioner learns from text that nobody wrote as a caption (SynTIC's zero-shot protocol).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from segue.data.corpus import Corpus
from segue.types import InputError

SHARES = {"as it was": 0.4, "tagged": 0.2, "named": 0.2, "cut": 0.2}
TAGS = ("photooftheday", "nofilter", "instagood", "throwback", "weekend", "love", "nature", "picoftheday")
FILES = ("IMG_{:04}.jpg", "DSC_{:04}.JPG", "photo-{:04}.jpeg", "scan_{:04}.png")
OFFERS = ("free shipping", "a new collection", "our newsletter", "the full story", "more results", "gift vouchers")
CALLS = ("click here for {}", "sign up today: {}", "{} - limited time only", "page {n} of 20: {}", "{} | terms apply")


def weblike(corpus: Corpus, *, noise: float = 0.2, seed: int = 0) -> Corpus:
    """The captions in their order, each as `SHARES` has it, and lines that tell of no picture among them.

    noise: such lines for each caption, 0 or more; each has a group number of its own. The same seed gives the same.
    """
    if not noise >= 0:
        raise InputError(f"noise: got {noise}, expected the lines without a picture for each caption, 0 or more")
    rng = np.random.default_rng(seed)
    ways: dict[str, Callable[[str, np.random.Generator], str]] = {"tagged": _tagged, "named": _named, "cut": _cut}
    chosen = rng.choice(list(SHARES), len(corpus), p=list(SHARES.values()))
    told = [ways[way](text, rng) if way in ways else text for way, text in zip(chosen, corpus.captions, strict=True)]
    lines = [_advertised(rng) for _ in range(round(noise * len(corpus)))]
    place = np.sort(rng.integers(0, len(told) + 1, len(lines)))
    own = np.arange(len(lines)) + corpus.group.max() + 1
    return Corpus(_inserted(told, place, lines), np.insert(corpus.group, place, own))


def _inserted(told: list[str], place: np.ndarray, lines: list[str]) -> list[str]:
    return np.insert(np.array(told, dtype=object), place, np.array(lines, dtype=object)).tolist()


def _tagged(text: str, rng: np.random.Generator) -> str:
    """One tag of the caption's own words, and one to three of no meaning."""
    own = max((w.strip(",.").lower() for w in text.split()), key=len)
    tags = [own, *rng.choice(TAGS, rng.integers(1, 4), replace=False)]
    return f"{text} " + " ".join(f"#{tag}" for tag in tags)


def _named(text: str, rng: np.random.Generator) -> str:
    return f"{rng.choice(FILES).format(rng.integers(10_000))} {text}"


def _cut(text: str, rng: np.random.Generator) -> str:
    """The first words, at least two when there are as many, and often half of the next."""
    words = text.split()
    keep = int(rng.integers(min(2, len(words)), len(words) + 1))
    rest = words[keep][: len(words[keep]) // 2] if keep < len(words) and rng.random() < 0.5 else ""
    return " ".join([*words[:keep], *([rest] if rest else [])]) + "..."


def _advertised(rng: np.random.Generator) -> str:
    return str(rng.choice(CALLS)).format(rng.choice(OFFERS), n=rng.integers(1, 21))
