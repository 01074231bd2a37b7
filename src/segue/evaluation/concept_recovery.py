"""How well archives recover what the captions of synthetic scenes leave out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segue.api.curation import CurationCorpus
from segue.methods.cocu.archive import Archive
from segue.metrics.concepts import concept_recovery
from segue.synthetic.scenes.language.omissions import kind_of, merge, read_omissions
from segue.types import Picture

CONCEPTS_PER_SAMPLE, SAMPLING_ROUNDS = 3, 10


def recovery_by_stage(archive: Archive, corpus: CurationCorpus, root: Path, split: str) -> dict[str, Any]:
    """Precision and recall of synthetic scenes' archives against what their captions leave out, after each stage.

    Concepts count by the kind of thing or stuff that they stand for; others ("day") don't count. expansion: the whole
    archive. ranking: its first three. sampling: what `Archive.sample` gives, over ten iterations together.
    Returns for each stage what `concept_recovery` does. Raises InputError when `root` holds no synthetic scenes.
    """
    truth = read_omissions(root, split)
    used = [merge(truth[scene_id(p)][: len(c)]) for p, c in zip(corpus.pictures, corpus.captions, strict=True)]
    return {
        stage: concept_recovery(
            [_kinds(names) for names in found],
            [one.named for one in used] * (len(found) // len(used)),
            [one.omitted for one in used] * (len(found) // len(used)),
        )
        for stage, found in concepts_by_stage(archive).items()
    }


def concepts_by_stage(archive: Archive) -> dict[str, list[list[str]]]:
    """The concepts that each stage of `recovery_by_stage` finds, picture by picture.

    Sampling has SAMPLING_ROUNDS times as many entries: all pictures of one iteration, then of the next.
    """
    rows = range(len(archive))
    ranked = [[concept for concept, _ in archive.concepts_of(row)] for row in rows]
    sampled = [
        names
        for iteration in range(SAMPLING_ROUNDS)
        for names in archive.sample(rows, iteration, num=CONCEPTS_PER_SAMPLE)
    ]
    return {"expansion": ranked, "ranking": [names[:CONCEPTS_PER_SAMPLE] for names in ranked], "sampling": sampled}


def _kinds(concepts: Sequence[str]) -> set[str]:
    return {kind for kind in map(kind_of, concepts) if kind is not None}


def scene_id(picture: Picture) -> int:
    """The id of a scene, which is its name."""
    return int(Path(picture.name).stem)
