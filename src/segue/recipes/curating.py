"""`segue curate`: captioned pictures in; an archive of the concepts that each of them shows out.

    OUT/pictures, OUT/concepts    stores of the pair's embeddings (see `segue.data.store`)
    OUT/archive/archive.parquet   the archive (see `segue.methods.cocu.archive`), manifest.json, report.json
    OUT/page/index.html           some pictures with their archives, when asked for

Each of them goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from segue.data.formats import read_pictures
from segue.data.images import read_image
from segue.data.sketchbook.scenes.omissions import kind_of, merged, read_omissions
from segue.data.store import Item, picture_items, show_progress, text_items
from segue.encoders.pairs import Pair
from segue.methods.cocu.archive import ARCHIVE, Archive, read_archive
from segue.methods.cocu.curate import CurateSettings, Spread, curate
from segue.methods.cocu.on_ray import on_ray
from segue.methods.cocu.vocabulary import Vocabulary, noun_vocabulary, read_vocabulary
from segue.methods.pairs import load_pair
from segue.metrics.concepts import concept_recovery
from segue.recipes.curating_page import write_page
from segue.recipes.embed import embed_items
from segue.types import InputError, Picture

PROMPT = "a photo of a {}"
DRAWS, ROUNDS = 3, 10  # of the recovery by sampling


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


def curate_files(
    pairs: Path,
    out: Path,
    pair: str,
    settings: CurateSettings,
    *,
    split: str = "train",
    captions: int = 0,
    vocabulary: Path | None = None,
    show: int = 0,
    on_bad: Literal["stop", "skip"] = "stop",
    device: str = "cpu",
    ray: bool = False,
) -> dict[str, Any]:
    """See `segue.cli.curate`, whose arguments these are; what came of it."""
    if show < 0:
        raise InputError(f"show: got {show}, expected how many archives the page shows, 0 for no page")
    spread = on_ray() if ray else None
    corpus = read_corpus(pairs, split, captions=captions, vocabulary=vocabulary, on_bad=on_bad)
    model = load_pair(pair, device=device)
    report, corpus, bad = curate_corpus(corpus, out, model, pair, settings, on_bad=on_bad, spread=spread)
    archive = read_archive(out / "archive" / ARCHIVE)
    told = {"archive": str(out / "archive" / ARCHIVE), "vocabulary": len(corpus.vocabulary), "bad": len(bad), **report}
    if (pairs / f"omitted_{split}.json").exists():
        told["recovery"] = recovery_by_stage(archive, corpus, pairs, split)
    if show:
        told["page"] = str(write_page(out / "page", corpus.pictures, corpus.captions, corpus.vocabulary, archive, show))
    return told


def curate_corpus(
    corpus: Corpus,
    out: Path,
    pair: Pair,
    name: str,
    settings: CurateSettings,
    *,
    folder: str = "archive",
    on_bad: Literal["stop", "skip"] = "stop",
    spread: Spread | None = None,
) -> tuple[dict[str, Any], Corpus, dict[str, str]]:
    """Embed and curate into OUT/`folder`; the report, the corpus without unreadable pictures, and those with why.

    name: by which people know the pair. spread: who works on the shards, see `segue.methods.cocu.on_ray`.
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


# ------------------------------------------------------------------------------------------------ recovery


def recovery_by_stage(archive: Archive, corpus: Corpus, root: Path, split: str) -> dict[str, Any]:
    """Precision and recall of drawn scenes' archives against what their captions leave out, after each stage.

    Concepts count by the kind of thing or stuff that they stand for; the others ("day") don't count. expansion: the
    whole archive. ranking: its first three. sampling: what `draw` gives, over ten iterations together.
    """
    truth = read_omissions(root, split)
    used = [merged(truth[_number(p)][: len(c)]) for p, c in zip(corpus.pictures, corpus.captions, strict=True)]
    return {
        stage: concept_recovery(
            [_kinds(names) for names in found],
            [one.named for one in used] * (len(found) // len(used)),
            [one.omitted for one in used] * (len(found) // len(used)),
        )
        for stage, found in stages_of(archive).items()
    }


def stages_of(archive: Archive) -> dict[str, list[list[str]]]:
    """What each stage of `recovery_by_stage` finds, for picture after picture; sampling has ROUNDS times all."""
    rows = range(len(archive))
    ranked = [[concept for concept, _ in archive.of(row)] for row in rows]
    drawn = [names for turn in range(ROUNDS) for names in archive.draw(rows, turn, draws=DRAWS)]
    return {"expansion": ranked, "ranking": [names[:DRAWS] for names in ranked], "sampling": drawn}


def _kinds(concepts: Sequence[str]) -> set[str]:
    return {kind for kind in map(kind_of, concepts) if kind is not None}


def _number(picture: Picture) -> int:
    """A scene's id, which is its name."""
    return int(Path(picture.name).stem)
