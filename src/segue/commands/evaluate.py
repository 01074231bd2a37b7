"""`segue eval`: a checkpoint scored on a data set, by what its method does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from segue.options import Decoding, LabelOptions, SegmentOptions
from segue.types import InputError

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
    json: bool = False,
    device: str = "auto",
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
        json: print one JSON object.
        device: auto (a GPU where there is one), cpu, cuda, cuda:1, ...
        with_notes: options of models that read notes.
        with_labels: options of what names pixels.
        with_captions: options of a captioner.
    """
    from segue.api.models import find, method_of
    from segue.commands.parsing import print_result
    from segue.commands.segment import refuse_options

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
    found: dict[str, Any]
    if kind == "labels":
        found = _score_labels(model, data, chosen, vocabulary, on_bad, device, with_labels)
    elif kind == "captions":
        found = _score_captions(model, data, chosen, on_bad, device, with_captions)
    else:
        found = _score_notes(model, data, chosen, empty, on_bad, device, with_notes)
    print_result(found, json)


def _usual_split(options: LabelOptions) -> str:
    from segue.methods.cocu.protocols import find_protocol

    published = options.protocol is not None and find_protocol(options.protocol).rule == "published"
    return "val" if published else "test"


def _score_notes(
    model: str, data: Path, split: str, empty: Any, on_bad: Any, device: str, options: SegmentOptions
) -> dict[str, Any]:
    from segue.api.segmenter import load_segmenter
    from segue.data.check_first import check_first
    from segue.data.medical.lvit import LvitSplit, read_lvit
    from segue.data.medical.note_batches import load_examples
    from segue.evaluation.notes import evaluate

    predictor = load_segmenter(model, device=device)
    LvitSplit(data, split)  # says what is missing of the layout
    checked = check_first(data, (split,), on_bad)
    examples = load_examples(read_lvit(data, split, on_bad), on_bad=on_bad, labelled=True)
    scores = evaluate(predictor, examples, empty=empty or "one", options=options)
    without = sum(example.note is None for example in examples)
    return scores | {"without_note": without, "data_check": checked}


def _score_labels(
    model: str, data: Path, split: str, vocabulary: Path | None, on_bad: Any, device: str, options: LabelOptions
) -> dict[str, Any]:
    from segue.api.label_segmenter import load_label_segmenter
    from segue.data.check_first import check_first
    from segue.evaluation.labels import evaluate_label_maps
    from segue.methods.cocu.vocabulary import read_vocabulary

    concepts = read_vocabulary(vocabulary).concepts if vocabulary else None
    predictor = load_label_segmenter(model, device=device)
    checked = check_first(data, (split,), on_bad)
    scores = evaluate_label_maps(predictor, data, split, concepts=concepts, on_bad=on_bad, options=options)
    return {"model": model} | scores | {"data_check": checked}


def _score_captions(model: str, data: Path, split: str, on_bad: Any, device: str, options: Decoding) -> dict[str, Any]:
    from segue.api.captioner import load_captioner
    from segue.data.check_first import check_first
    from segue.evaluation.captions import evaluate_captions

    captioner = load_captioner(model, device=device)
    checked = check_first(data, (split,), on_bad)
    scores = evaluate_captions(captioner, data, split, options=options, on_bad=on_bad)
    return {"model": model} | scores | {"data_check": checked}


def _refuse(why: str, **given: Any) -> None:
    """Refuse options that this kind of model doesn't have."""
    if wrong := [name for name, value in given.items() if value is not None]:
        raise InputError(f"--{wrong[0]}: {why}, which has no such option; leave it out")
