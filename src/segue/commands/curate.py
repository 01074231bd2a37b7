"""`segue curate`: captioned pictures in; an archive of the concepts that each of them shows out.

    OUT/pictures, OUT/concepts    stores of the dual encoder's embeddings (see `segue.data.embedding_store`)
    OUT/archive/archive.parquet   the archive (see `segue.methods.cocu.archive`), manifest.json, report.json
    OUT/page/index.html           some pictures with their archives, when asked for

Each of them resumes where it was stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from segue.types import InputError


def curate(
    data: Positional[Path],
    /,
    out: Annotated[Path, arg(aliases=["-o"])],
    encoder: str = "scenes-encoder",
    vocabulary: Path | None = None,
    split: Literal["train", "val", "test"] = "train",
    captions: int = 0,
    neighbours: int = 8,
    show: int = 0,
    seed: int = 0,
    on_bad: Literal["stop", "skip"] = "stop",
    ray: bool = False,
    json: bool = False,
    device: str = "auto",
) -> None:
    """Find the concepts that pictures show and their captions leave out.

    The same command resumes a run that was stopped.

    Args:
        data: a folder of captioned pictures in any known format.
        out: a folder; the archive is archive/archive.parquet in it.
        encoder: a dual encoder: a bundled name, a checkpoint folder, or clip:ID-OR-FOLDER (CLIP or SigLIP).
        vocabulary: a text file with one concept a line; the nouns of the captions unless given.
        split: which split of the data set.
        captions: how many captions of each picture are used, the first ones; 0 for all.
        neighbours: how many of the nearest pictures lend a picture their concepts.
        show: write page/index.html with that many pictures and their archives.
        seed: of the clusters.
        on_bad: what to do with what can't be read: stop before computing, or skip it and report it.
        ray: search, rank and cluster on all cores by Ray Data, or on the cluster that RAY_ADDRESS names.
        json: print one JSON object.
        device: auto (a GPU where there is one), cpu, cuda, cuda:1, ...
    """
    from segue.api.curation import curate_corpus, read_curation_corpus
    from segue.commands.parsing import print_result
    from segue.evaluation.concept_recovery import recovery_by_stage
    from segue.methods.cocu.archive import ARCHIVE, read_archive
    from segue.methods.cocu.curation.config import CurateSettings
    from segue.methods.cocu.curation.ray_executor import ray_executor
    from segue.methods.dual_encoder.checkpoint import load_dual_encoder

    if show < 0:
        raise InputError(f"show: got {show}, expected how many archives the page shows, 0 for no page")
    settings = CurateSettings(neighbours=neighbours, seed=seed)
    executor = ray_executor() if ray else None
    corpus = read_curation_corpus(data, split, captions=captions, vocabulary=vocabulary, on_bad=on_bad)
    model = load_dual_encoder(encoder, device=device)
    report, corpus, bad = curate_corpus(corpus, out, model, encoder, settings, on_bad=on_bad, executor=executor)
    archive = read_archive(out / "archive" / ARCHIVE)
    found = {"archive": str(out / "archive" / ARCHIVE), "vocabulary": len(corpus.vocabulary), "bad": len(bad), **report}
    if (data / f"omitted_{split}.json").exists():
        found["recovery"] = recovery_by_stage(archive, corpus, data, split)
    if show:
        from segue.commands.curation_page import write_page

        page = write_page(out / "page", corpus.pictures, corpus.captions, corpus.vocabulary, archive, show)
        found["page"] = str(page)
    print_result(found, json)
