"""`segue eval`: a checkpoint scored on a data set, by what its method does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from segue.options import LabelOptions, SegmentOptions
from segue.types import InputError


def evaluate(
    model: Positional[str],
    /,
    data: Path,
    split: Literal["train", "val", "test"] = "test",
    vocabulary: Path | None = None,
    empty: Literal["zero", "one", "skip"] | None = None,
    on_bad: Literal["stop", "skip"] = "stop",
    json: bool = False,
    device: str = "cpu",
    with_notes: SegmentOptions = SegmentOptions(),
    with_labels: LabelOptions = LabelOptions(),
) -> None:
    """Score a model that reads notes on noted pictures, or a GroupViT on label maps; each on the picture's own grid.

    Args:
        model: a bundled name or a checkpoint folder.
        data: noted pictures in the LViT layout; for a GroupViT any format with label maps or masks.
        split: which split to score.
        vocabulary: GroupViT: the concepts trained with, one a line, to count how many classes are among them.
        empty: notes: what an empty mask predicted empty scores in dice and iou (one unless given); the official miou
            always counts it 0.
        on_bad: stop at examples that can't be read and pictures whose note isn't found, or skip them and report it.
        json: print one JSON object.
        device: cpu, cuda, ...
        with_notes: options of models that read notes.
        with_labels: options of a GroupViT.
    """
    from segue.api.models import find, method_of
    from segue.commands.parsing import print_result
    from segue.commands.segment import refuse_options

    if method_of(find(model)) == "cocu":
        refuse_options(f"are for models that read notes, and {model} names pixels", with_notes)
        _refuse(f"{model} names pixels", empty=empty)
        found = _score_labels(model, data, split, vocabulary, on_bad, device, with_labels)
    else:
        refuse_options(f"are for a GroupViT, and {model} outlines what notes describe", with_labels)
        _refuse(f"{model} outlines what notes describe", vocabulary=vocabulary)
        found = _score_notes(model, data, split, empty, on_bad, device, with_notes)
    print_result(found, json)


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
    from segue.api.open_vocabulary import load_open_vocabulary
    from segue.data.check_first import check_first
    from segue.evaluation.labels import evaluate_label_maps
    from segue.methods.cocu.vocabulary import read_vocabulary

    concepts = read_vocabulary(vocabulary).concepts if vocabulary else None
    predictor = load_open_vocabulary(model, device=device)
    checked = check_first(data, (split,), on_bad)
    scores = evaluate_label_maps(predictor, data, split, concepts=concepts, on_bad=on_bad, options=options)
    return {"model": model} | scores | {"data_check": checked}


def _refuse(why: str, **given: Any) -> None:
    """Refuse options that this kind of model doesn't have."""
    if wrong := [name for name, value in given.items() if value is not None]:
        raise InputError(f"--{wrong[0]}: {why}, which has no such option; leave it out")
