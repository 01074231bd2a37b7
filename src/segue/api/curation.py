"""Captioned pictures curated: embedded by a dual encoder, then an archive of the concepts that each one shows."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from segue.api.embedding import embed_items
from segue.data.embedding_store import Item, picture_items, show_progress, text_items
from segue.data.formats import read_pictures
from segue.data.images import read_image
from segue.encoders.dual_encoder import DualEncoder
from segue.methods.cocu.curation.arrays import CurateSettings
from segue.methods.cocu.curation.run import Spread, curate
from segue.methods.cocu.vocabulary import Vocabulary, noun_vocabulary, read_vocabulary
from segue.types import InputError, Picture

PROMPT = "a photo of a {}"


@dataclass(frozen=True)
class Corpus:
    """What is curated. captions: those of each picture that are used, none where it has none."""

    pictures: list[Picture]
    captions: list[tuple[str, ...]]
    vocabulary: Vocabulary

    def without(self, names: set[str]) -> Corpus:
        """All but the pictures of these names."""
        kept = [i for i, picture in enumerate(self.pictures) if picture.name not in names]
        return replace(self, pictures=[self.pictures[i] for i in kept], captions=[self.captions[i] for i in kept])


def read_corpus(
    root: Path, split: str, *, captions: int = 0, vocabulary: Path | None = None, on_bad: str = "stop"
) -> Corpus:
    """The pictures of a data set in any known format. captions: how many of each are used, 0 for all.

    vocabulary: a file with a concept a line; without it, the nouns that the captions name.
    """
    if captions < 0:
        raise InputError(f"captions: got {captions}, expected how many of each picture's are used, 0 for all")
    pictures = list(read_pictures(root, split, on_bad).pictures)
    told = [tuple(c for c in p.captions if c.strip())[: captions or None] for p in pictures]
    if not any(told):
        raise InputError(f"{root}, {split}: none of {len(told)} pictures has a caption; curation needs captions")
    return Corpus(pictures, told, read_vocabulary(vocabulary) if vocabulary else noun_vocabulary(told))


def curate_corpus(
    corpus: Corpus,
    out: Path,
    pair: DualEncoder,
    name: str,
    settings: CurateSettings,
    *,
    folder: str = "archive",
    on_bad: Literal["stop", "skip"] = "stop",
    spread: Spread | None = None,
) -> tuple[dict[str, Any], Corpus, dict[str, str]]:
    """Embed and curate into OUT/`folder`; the report, the corpus without unreadable pictures, and those with why.

    name: by which people know the pair. spread: who works on the shards, see `segue.methods.cocu.curation.on_ray`.
    """
    _say(f"embedding {len(corpus.pictures):,} pictures and {len(corpus.vocabulary):,} concepts")
    items = [item_of(picture) for picture in corpus.pictures]
    shown = embed_items("images", items, out / "pictures", pair, name, on_bad=on_bad)
    prompts = text_items((concept, PROMPT.format(concept)) for concept in corpus.vocabulary.concepts)
    texts = embed_items("texts", prompts, out / "concepts", pair, name)
    corpus = corpus.without(set(shown.bad))
    _say(f"curating {len(corpus.pictures):,} pictures")
    report = curate(
        shown.rows(),
        corpus.captions,
        corpus.vocabulary,
        texts.rows(),
        out / folder,
        settings,
        names=[picture.name for picture in corpus.pictures],
        progress=show_progress,
        spread=spread,
    )
    return report, corpus, shown.bad


def item_of(picture: Picture) -> Item:
    """A picture as something to embed: its content is the sha256 of its file.

    A picture without a file of its own is decoded, for that of its pixels.
    """
    load = picture.load
    if isinstance(load, partial) and load.func is read_image:
        return picture_items([(picture.name, *load.args)])[0]
    try:
        pixels = load()
    except InputError:
        return Item(picture.name, "unreadable", load)  # reading it again will say why
    return Item(picture.name, hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest(), load)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
