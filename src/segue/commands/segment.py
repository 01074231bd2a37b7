"""`segue segment`: outline what a note describes, or name every pixel with the likeliest of some labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from segue.commands.memory import keep_memory
from segue.options import Dtype, LabelOptions, Options, SegmentOptions
from segue.types import InputError
from segue.weights import LABEL_MODEL

NOTE_MODEL = "reclmis-cxr"


def segment(
    image: Positional[Path],
    /,
    note: str | None = None,
    notes: Path | None = None,
    labels: str | None = None,
    model: str | None = None,
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    attribution: bool = False,
    instances: bool = False,
    coco: Path | None = None,
    strict: bool = False,
    json: bool = False,
    device: str = "auto",
    dtype: Dtype = "auto",
    with_note: SegmentOptions = SegmentOptions(),
    with_labels: LabelOptions = LabelOptions(),
) -> None:
    """Outline what a note describes, or name every pixel with the likeliest of some labels.

    Args:
        image: a picture or a folder of pictures; by notes (--notes for a folder, or one --note for all) also NIfTI and
            DICOM files and series.
        note: what to outline, in words; without note and labels the model makes its own guess.
        notes: a CSV or a workbook with the columns image,note; the images are names inside the folder.
        labels: two or more names, such as "dog, grass, sky"; one with a comma in double quotes.
        model: a bundled name or a checkpoint folder (reclmis-cxr, for chest X-rays, or photos-encoder with
            labels, unless given).
        out: the file of the mask or map (an overlay is written beside it), or a folder for a folder of pictures. What
            is there is replaced; without --out it is not.
        attribution: with a note: also draw which patches and words counted, and Grad-CAM.
        instances: with a note: also count the objects of the mask, such as nuclei, and write their numbers as a 16-bit
            PNG; objects that touch are cut at their necks.
        coco: also write all masks as polygons into this file, which pycocotools reads, and imports of CVAT and
            Label Studio ask for.
        strict: write no mask for a picture that is unlike those that the model learned from; without, warn of it.
        json: print one JSON object for each picture: areas, scores, files.
        device: auto (a GPU where there is one), cpu, cuda, cuda:1, ...
        dtype: what masks are computed in: float32, bf16, or auto: bf16 by notes where that is fast, else float32.
        with_note: options that go with a note.
        with_labels: options that go with --labels.
    """
    keep_memory()
    if labels is None:
        from segue.commands.segment_notes import segment_by_notes

        refuse_options("go with --labels", with_labels)
        segment_by_notes(
            image, note, notes, model=model or NOTE_MODEL, out=out, attribution=attribution, instances=instances,
            coco=coco, strict=strict, as_json=json, device=device, dtype=dtype, options=with_note,
        )  # fmt: skip
        return
    from segue.commands.segment_labels import segment_by_labels

    if note is not None or notes is not None:
        raise InputError("--note and --labels exclude each other; leave one of them out")
    for given, option in ((attribution, "--attribution"), (instances, "--instances")):
        if given:
            raise InputError(f"{option} goes with a --note; leave it out")
    refuse_options("go with a note, not with --labels", with_note)
    segment_by_labels(
        image, labels, model=model or LABEL_MODEL, out=out, coco=coco, strict=strict, as_json=json, device=device,
        dtype=dtype, options=with_labels,
    )  # fmt: skip


def refuse_options(why: str, options: Options, usual: Options | None = None) -> None:
    """Raise InputError when an option that belongs to another job differs from its default.

    usual: the defaults, where they are not those of the class.
    """
    usual = usual or type(options)()
    if changed := [name for name in vars(usual) if getattr(options, name) != getattr(usual, name)]:
        raise InputError(f"--{changed[0].replace('_', '-')}: such options {why}; leave it out")
