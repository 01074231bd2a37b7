"""`segue curate`: captioned pictures in; an archive of the concepts that each of them shows out.

    OUT/pictures, OUT/concepts    stores of the pair's embeddings (see `segue.data.embedding_store`)
    OUT/archive/archive.parquet   the archive (see `segue.methods.cocu.archive`), manifest.json, report.json
    OUT/page/index.html           some pictures with their archives, when asked for

Each of them goes on where it was stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from segue.api.curation import curate_corpus, read_corpus
from segue.commands.curation_page import write_page
from segue.evaluation.concept_recovery import recovery_by_stage
from segue.methods.cocu.archive import ARCHIVE, read_archive
from segue.methods.cocu.curation.arrays import CurateSettings
from segue.methods.cocu.curation.on_ray import on_ray
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.types import InputError


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
    model = load_dual_encoder(pair, device=device)
    report, corpus, bad = curate_corpus(corpus, out, model, pair, settings, on_bad=on_bad, spread=spread)
    archive = read_archive(out / "archive" / ARCHIVE)
    told = {"archive": str(out / "archive" / ARCHIVE), "vocabulary": len(corpus.vocabulary), "bad": len(bad), **report}
    if (pairs / f"omitted_{split}.json").exists():
        told["recovery"] = recovery_by_stage(archive, corpus, pairs, split)
    if show:
        told["page"] = str(write_page(out / "page", corpus.pictures, corpus.captions, corpus.vocabulary, archive, show))
    return told
