"""How well archives recover what the captions of synthetic scenes leave out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segue.api.curation import Corpus
from segue.methods.cocu.archive import Archive
from segue.metrics.concepts import concept_recovery
from segue.synthetic.scenes.language.omissions import kind_of, merge, read_omissions
from segue.types import Picture

DRAWS, ROUNDS = 3, 10  # of the recovery by sampling


def recovery_by_stage(archive: Archive, corpus: Corpus, root: Path, split: str) -> dict[str, Any]:
    """Precision and recall of drawn scenes' archives against what their captions leave out, after each stage.

    Concepts count by the kind of thing or stuff that they stand for; the others ("day") don't count. expansion: the
    whole archive. ranking: its first three. sampling: what `draw` gives, over ten iterations together.
    """
    truth = read_omissions(root, split)
    used = [merge(truth[_number(p)][: len(c)]) for p, c in zip(corpus.pictures, corpus.captions, strict=True)]
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
