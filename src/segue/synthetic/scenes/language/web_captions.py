"""Web noise: captions with hashtags and file names, cut short, and among advertisements.

For experiments on training a captioner with text that was not written as captions (SynTIC's zero-shot protocol).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segue.data.corpus import Corpus
from segue.types import InputError

NOISE_SHARES = {"as it was": 0.4, "tagged": 0.2, "named": 0.2, "cut": 0.2}
TAGS = ("photooftheday", "nofilter", "instagood", "throwback", "weekend", "love", "nature", "picoftheday")
FILES = ("IMG_{:04}.jpg", "DSC_{:04}.JPG", "photo-{:04}.jpeg", "scan_{:04}.png")
AD_OBJECTS = ("free shipping", "a new collection", "our newsletter", "the full story", "more results", "gift vouchers")
AD_TEMPLATES = (
    "click here for {}",
    "sign up today: {}",
    "{} - limited time only",
    "page {n} of 20: {}",
    "{} | terms apply",
)


def add_web_noise(corpus: Corpus, *, noise: float = 0.2, seed: int = 0) -> Corpus:
    """The captions in their order with the noise of NOISE_SHARES, and advertisements among them.

    noise: advertisements for each caption, 0 or more; each has a group number of its own. The same seed gives the same
    corpus. Raises InputError for a negative noise.
    """
    if not noise >= 0:
        raise InputError(f"noise: got {noise}, expected the advertisements for each caption, 0 or more")
    rng = np.random.default_rng(seed)
    changes: dict[str, Callable[[str, np.random.Generator], str]] = {"tagged": _tagged, "named": _named, "cut": _cut}
    chosen = rng.choice(list(NOISE_SHARES), len(corpus), p=list(NOISE_SHARES.values()))
    noisy = [
        changes[change](text, rng) if change in changes else text
        for change, text in zip(chosen, corpus.captions, strict=True)
    ]
    lines = [_advertised(rng) for _ in range(round(noise * len(corpus)))]
    place = np.sort(rng.integers(0, len(noisy) + 1, len(lines)))
    own = np.arange(len(lines)) + corpus.group.max() + 1
    return Corpus(_inserted(noisy, place, lines), np.insert(corpus.group, place, own))


def _inserted(captions: list[str], place: NDArray[np.int64], lines: list[str]) -> list[str]:
    return np.insert(np.array(captions, dtype=object), place, np.array(lines, dtype=object)).tolist()


def _tagged(text: str, rng: np.random.Generator) -> str:
    """A tag of the caption's longest word, and one to three tags without meaning."""
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
    return str(rng.choice(AD_TEMPLATES)).format(rng.choice(AD_OBJECTS), n=rng.integers(1, 21))
