"""`segue eval`: a checkpoint scored on a data set, by what its method does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from segue.options import Decoding, Dtype, LabelOptions, SegmentOptions
from segue.types import InputError

if TYPE_CHECKING:
    from segue.evaluation.reports.cases import Report

KINDS = {"cocu": "labels", "dual_encoder": "labels", "syntic": "captions"}  # by method; all others read notes
JOBS = {"notes": "outlines what notes describe", "labels": "names pixels", "captions": "captions pictures"}
CAPTIONS = Decoding(beams=3)


def evaluate(
    model: Positional[str],
    /,
    data: Path,
    split: Literal["train", "val", "test"] | None = None,
    vocabulary: Path | None = None,
    empty: Literal["zero", "one", "skip"] | None = None,
    on_bad: Literal["stop", "skip"] = "stop",
    report: Path | None = None,
    json: bool = False,
    device: str = "auto",
    dtype: Dtype = "auto",
    with_notes: SegmentOptions = SegmentOptions(),
    with_labels: LabelOptions = LabelOptions(),
    with_captions: Decoding = CAPTIONS,
) -> None:
    """Score a model: what outlines notes by masks, what names pixels by label maps, captioners by captions.

    Masks are scored on the picture's own grid; captions as `segue score captions` does.

    Args:
        model: a bundled name or a checkpoint folder.
        data: noted pictures in the LViT layout; for what names pixels any format with label maps or
            masks, for a captioner any with captions.
        split: which split to score; test unless given, and val with a published --protocol, as published.
        vocabulary: GroupViT: the concepts trained with, one a line, to count how many classes are among them.
        empty: notes: what an empty mask predicted empty scores in dice and iou (one unless given); the official miou
            always counts it 0.
        on_bad: stop at examples that can't be read and pictures whose note isn't found, or skip them and report it.
        report: a folder for a page with each picture's score, the worst and the best of them drawn, and what the model
            confuses; one that is there must hold a report, which is replaced.
        json: print one JSON object.
        device: auto (a GPU where there is one), cpu, cuda, cuda:1, ...
        dtype: what pictures are read in: float32, bf16, or auto: bf16 by notes where that is fast, else float32.
        with_notes: options of models that read notes.
        with_labels: options of what names pixels.
        with_captions: options of a captioner.
    """
    from segue.api.models import find, method_of
    from segue.commands.parsing import command_line, print_result
    from segue.commands.segment import refuse_options
    from segue.pages.page import check_report_folder

    command = command_line("segue eval", evaluate, locals())
    chosen = split or _usual_split(with_labels)
    method = "dual_encoder" if model.startswith("clip:") else method_of(find(model))
    kind = KINDS.get(str(method), "notes")
    why = f"{model} {JOBS[kind]}"
    for other, options in {"notes": with_notes, "labels": with_labels, "captions": with_captions}.items():
        if other != kind:
            refuse_options(f"are for other models, and {why}", options, usual=CAPTIONS if other == "captions" else None)
    if kind != "notes":
        _refuse(why, empty=empty)
    if kind != "labels":
        _refuse(why, vocabulary=vocabulary)
    if report is not None:
        check_report_folder(report)
    found: dict[str, Any]
    watch: Report | None
    if kind == "labels":
        found, watch = _score_labels(model, data, chosen, vocabulary, on_bad, device, dtype, with_labels, report)
    elif kind == "captions":
        found, watch = _score_captions(model, data, chosen, on_bad, device, dtype, with_captions, report)
    else:
        found, watch = _score_notes(model, data, chosen, empty, on_bad, device, dtype, with_notes, report)
    if report is not None and watch is not None:
        from segue.evaluation.reports.cases import write_evaluation

        about = {"command": command, "model": f"{model}, which {JOBS[kind]}", "data": str(data), "split": chosen}
        found["report"] = str(write_evaluation(report, watch, found, about))
    print_result(found, json)


def _usual_split(options: LabelOptions) -> str:
    from segue.methods.cocu.protocols import find_protocol

    published = options.protocol is not None and find_protocol(options.protocol).rule == "published"
    return "val" if published else "test"


def _score_notes(
    model: str,
    data: Path,
    split: str,
    empty: Any,
    on_bad: Any,
    device: str,
    dtype: Dtype,
    options: SegmentOptions,
    report: Path | None,
) -> tuple[dict[str, Any], Report | None]:
    from segue.api.segmenter import load_segmenter
    from segue.data.check_first import check_first
    from segue.data.medical.lvit import LvitSplit, read_lvit
    from segue.data.medical.note_batches import load_examples
    from segue.evaluation.notes import evaluate
    from segue.evaluation.reports.notes import NoteReport

    predictor = load_segmenter(model, device=device, dtype=dtype)
    LvitSplit(data, split)  # says what is missing of the layout
    checked = check_first(data, (split,), on_bad)
    records = read_lvit(data, split, on_bad)
    examples = load_examples(records, on_bad=on_bad, labelled=True)
    empty = empty or "one"
    watch = None if report is None else NoteReport(empty, {record.name: record.image for record in records})
    scores = evaluate(predictor, examples, empty=empty, options=options, seen=None if watch is None else watch.see)
    without = sum(example.note is None for example in examples)
    return scores | {"without_note": without, "data_check": checked}, watch


def _score_labels(
    model: str, data: Path, split: str, vocabulary: Path | None, on_bad: Any, device: str, dtype: Dtype,
    options: LabelOptions, report: Path | None,
) -> tuple[dict[str, Any], Report | None]:  # fmt: skip
    from segue.api.label_segmenter import load_label_segmenter
    from segue.data.check_first import check_first
    from segue.evaluation.labels import evaluate_label_maps
    from segue.evaluation.reports.labels import LabelReport
    from segue.methods.cocu.vocabulary import read_vocabulary

    concepts = read_vocabulary(vocabulary).concepts if vocabulary else None
    predictor = load_label_segmenter(model, device=device, dtype=dtype)
    checked = check_first(data, (split,), on_bad)
    watch = None if report is None else LabelReport()
    scores = evaluate_label_maps(
        predictor,
        data,
        split,
        concepts=concepts,
        on_bad=on_bad,
        options=options,
        seen=None if watch is None else watch.see,
    )
    return {"model": model} | scores | {"data_check": checked}, watch


def _score_captions(
    model: str, data: Path, split: str, on_bad: Any, device: str, dtype: Dtype, options: Decoding, report: Path | None
) -> tuple[dict[str, Any], Report | None]:
    from segue.api.captioner import load_captioner
    from segue.data.check_first import check_first
    from segue.evaluation.captions import evaluate_captions
    from segue.evaluation.reports.captions import CaptionReport

    captioner = load_captioner(model, device=device, dtype=dtype)
    checked = check_first(data, (split,), on_bad)
    watch = None if report is None else CaptionReport()
    scores = evaluate_captions(
        captioner, data, split, options=options, on_bad=on_bad, seen=None if watch is None else watch.see
    )
    return {"model": model} | scores | {"data_check": checked}, watch


def _refuse(why: str, **given: Any) -> None:
    """Refuse options that this kind of model doesn't have."""
    if wrong := [name for name, value in given.items() if value is not None]:
        raise InputError(f"--{wrong[0]}: {why}, which has no such option; leave it out")
