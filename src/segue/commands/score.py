"""`segue score`: captions, masks and panoptic maps in files against their references in files."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Any, Literal

SCORES = {
    "captions": "segue.commands.score:captions",
    "masks": "segue.commands.score:masks",
    "panoptic": "segue.commands.score:panoptic",
}


def captions(
    refs: Path,
    preds: Path,
    split: str | None = None,
    java: bool = True,
    on_bad: Literal["stop", "skip"] = "stop",
    only_predicted: bool = False,
    json: bool = False,
) -> None:
    """BLEU-1..4, ROUGE-L, CIDEr-D, METEOR, SPICE and distinct-n of one caption per image.

    Args:
        refs: COCO's captions json, a Karpathy json, jsonl of {"image_id", "captions"}, or a table of names and captions
            such as Flickr8k.token.txt.
        preds: COCO's results json [{"image_id", "caption"}], or the same as jsonl; image_id is a picture's file name or
            id, and matched_by says by which the pictures were matched.
        split: which split of a Karpathy json; all of it unless given.
        java: METEOR and SPICE too, as far as they can run.
        on_bad: what to do with references that can't be used: stop, or skip and name them.
        only_predicted: score the images that have a prediction; not_predicted says how many others are left out.
        json: print one JSON object.
    """
    from segue.evaluation.files import score_caption_files

    _print(score_caption_files(refs, preds, split=split, java=java, on_bad=on_bad, only_predicted=only_predicted), json)


def masks(
    refs: Path,
    preds: Path,
    classes: int | None = None,
    empty: Literal["zero", "one", "skip"] = "one",
    json: bool = False,
) -> None:
    """Dice and IoU of masks, or mIoU and pixel accuracy of class maps; paired by their paths without ending.

    Args:
        refs: folder of the true PNG or other picture files, and of those in the folders below it.
        preds: folder of the predicted ones, named alike.
        classes: the files hold class numbers 0..classes - 1 (255 ignored in the truth); masks unless given.
        empty: what an empty mask predicted empty, or a class that never occurs, scores.
        json: print one JSON object.
    """
    from segue.evaluation.files import score_mask_files

    _print(score_mask_files(refs, preds, classes, empty), json)


def panoptic(refs: Path, ref_dir: Path, preds: Path, pred_dir: Path, json: bool = False) -> None:
    """Panoptic quality (PQ, SQ, RQ) of all classes, things and stuff, and of each class.

    Args:
        refs: COCO's panoptic json of the truth, with categories.
        ref_dir: folder of its PNG files.
        preds: the same of the predictions.
        pred_dir: folder of their PNG files.
        json: print one JSON object.
    """
    from segue.commands.parsing import print_result
    from segue.evaluation.files import score_panoptic_files

    print_result(score_panoptic_files(refs, ref_dir, preds, pred_dir), json)


def _print(result: dict[str, Any], as_json: bool) -> None:
    lines = (f"{k:14} {v:.4f}" if isinstance(v, float) else f"{k:14} {v}" for k, v in result.items())
    print(jsonlib.dumps(result, indent=2) if as_json else "\n".join(lines))
