"""Concept curation of captioned pictures: embed them by a dual encoder, then find the concepts that each one shows."""

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
from segue.methods.cocu.curation.config import CurateSettings
from segue.methods.cocu.curation.inputs import CurationInputs
from segue.methods.cocu.curation.run import Executor, curate
from segue.methods.cocu.vocabulary import Vocabulary, noun_vocabulary, read_vocabulary
from segue.types import InputError, Picture

PROMPT = "a photo of a {}"


@dataclass(frozen=True)
class CurationCorpus:
    """What is curated. captions: those of each picture that are used, none where it has none."""

    pictures: list[Picture]
    captions: list[tuple[str, ...]]
    vocabulary: Vocabulary

    def without(self, names: set[str]) -> CurationCorpus:
        """All but the pictures of these names."""
        kept = [i for i, picture in enumerate(self.pictures) if picture.name not in names]
        return replace(self, pictures=[self.pictures[i] for i in kept], captions=[self.captions[i] for i in kept])


def read_curation_corpus(
    root: Path,
    split: str,
    *,
    captions: int = 0,
    vocabulary: Path | None = None,
    on_bad: Literal["stop", "skip"] = "stop",
) -> CurationCorpus:
    """Read a split of a data set in any known format.

    captions: how many of each picture's captions are used, the first ones; 0 for all. vocabulary: a file with one
    concept a line; the nouns of the captions unless given. on_bad: as in `read_pictures`.
    Raises InputError for a folder, split or vocabulary that can't be used, and when no picture has a caption.
    """
    if captions < 0:
        raise InputError(f"captions: got {captions}, expected how many of each picture's are used, 0 for all")
    pictures = list(read_pictures(root, split, on_bad).pictures)
    used = [tuple(c for c in p.captions if c.strip())[: captions or None] for p in pictures]
    if not any(used):
        raise InputError(f"{root}, {split}: none of {len(used)} pictures has a caption; curation needs captions")
    return CurationCorpus(pictures, used, read_vocabulary(vocabulary) if vocabulary else noun_vocabulary(used))


def curate_corpus(
    corpus: CurationCorpus,
    out: Path,
    encoder: DualEncoder,
    encoder_name: str,
    settings: CurateSettings = CurateSettings(),
    *,
    folder: str = "archive",
    on_bad: Literal["stop", "skip"] = "stop",
    executor: Executor | None = None,
) -> tuple[dict[str, Any], CurationCorpus, dict[str, str]]:
    """Embed a corpus into OUT/pictures and OUT/concepts and curate it into OUT/`folder`; each resumes where it stopped.

    encoder_name: for the stores' manifests. on_bad: "stop" before computing when a picture can't be read, or "skip" it.
    executor: who runs the shards, see `curate`.
    Returns the report of `curate`, the corpus without the unreadable pictures, and those by name with the reason.
    Raises InputError as `fill_store` and `curate`.
    """
    _print(f"embedding {len(corpus.pictures):,} pictures and {len(corpus.vocabulary):,} concepts")
    items = [picture_item(picture) for picture in corpus.pictures]
    images = embed_items("images", items, out / "pictures", encoder, encoder_name, on_bad=on_bad)
    prompts = text_items((concept, PROMPT.format(concept)) for concept in corpus.vocabulary.concepts)
    texts = embed_items("texts", prompts, out / "concepts", encoder, encoder_name)
    corpus = corpus.without(set(images.bad))
    _print(f"curating {len(corpus.pictures):,} pictures")
    names = [picture.name for picture in corpus.pictures]
    inputs = CurationInputs(images.rows(), corpus.captions, corpus.vocabulary, texts.rows(), names)
    report = curate(inputs, out / folder, settings, progress=show_progress, executor=executor)
    return report, corpus, images.bad


def picture_item(picture: Picture) -> Item:
    """A picture as an item of a store: its content key is the sha256 of its file.

    A picture without a file of its own is decoded, and its pixels are hashed.
    """
    load = picture.load
    if isinstance(load, partial) and load.func is read_image:
        return picture_items([(picture.name, *load.args)])[0]
    try:
        pixels = load()
    except InputError:
        return Item(picture.name, "unreadable", load)  # reading it again says why
    return Item(picture.name, hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest(), load)


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
