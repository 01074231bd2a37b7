"""Scores of captions, masks and panoptic maps in files against their references in files.

Captions: references are COCO's captions json, a Karpathy json, or jsonl {"image_id", "captions"}; predictions are
COCO's results json [{"image_id", "caption"}] or the same as jsonl. Ids are compared as text, so 7 is "7".
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterable
from dataclasses import fields
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data.formats.panoptic import segment_ids
from segue.data.images import list_pictures, open_picture, read_mask, tell_left_out
from segue.metrics.captions import score_captions
from segue.metrics.masks import Counts, Empty, scores
from segue.metrics.panoptic import Confusion, PanopticCounts, Segment
from segue.types import InputError

KARPATHY_IDS = ("filename", "cocoid", "imgid")  # what predictions may call a picture by


def score_caption_files(refs: Path, preds: Path, split: str | None = None, java: bool = True) -> dict[str, Any]:
    """The scores of a file of captions; arguments as in `segue.commands.score.captions`."""
    said = read_predictions(preds)
    truth = read_references(refs, split, said)
    found = score_captions(said, truth, with_java=java)
    return {
        **found.to_json(),
        "images": len(truth),
        "empty_predictions": sum(not text.strip() for text in said.values()),
    }


def read_predictions(path: Path) -> dict[str, str]:
    """One caption per image. Raises InputError for another shape, a second caption, or none at all."""
    found: dict[str, str] = {}
    rows = _rows(path)
    if not isinstance(rows, list):
        raise InputError(f'{path}: got a {type(rows).__name__}, expected [{{"image_id": 1, "caption": "..."}}, ...]')
    for number, row in enumerate(rows):
        name = _id(row, path, number)
        if name in found:
            raise InputError(f"{path}: image {name} has two predictions, expected one; choose the best")
        found[name] = _text(row, "caption", path, number)
    if not found:
        raise InputError(f"{path}: no predictions there; expected one for each image")
    return found


def read_references(path: Path, split: str | None = None, wanted: Iterable[str] = ()) -> dict[str, list[str]]:
    """The captions of each image; of a Karpathy json those of `split`, where restval joins train.

    wanted: ids that predictions use, which tell whether a Karpathy json's pictures go by file name, cocoid or imgid.
    """
    rows = _rows(path)
    if isinstance(rows, dict) and _karpathy(rows):
        return _read_karpathy(rows["images"], path, split, set(wanted))
    if split is not None:
        raise InputError(f"{path}: --split {split} is for a Karpathy json, and this file has no splits; leave it out")
    if isinstance(rows, dict) and isinstance(rows.get("annotations"), list):
        pairs = ((_id(r, path, i), [_text(r, "caption", path, i)]) for i, r in enumerate(rows["annotations"]))
    elif isinstance(rows, list):
        pairs = ((_id(r, path, i), _texts(r, path, i)) for i, r in enumerate(rows))
    else:
        raise InputError(
            f"{path}: expected COCO's captions json (annotations), a Karpathy json (images with sentences), or "
            'lines of {"image_id": 1, "captions": ["...", "..."]}'
        )
    found: dict[str, list[str]] = {}
    for name, texts in pairs:
        if isinstance(rows, list) and name in found:
            raise InputError(f"{path}: image {name} stands there twice; put all its captions on one line")
        found.setdefault(name, []).extend(texts)
    return found


def _karpathy(rows: dict[str, Any]) -> bool:
    images = rows.get("images")
    return isinstance(images, list) and bool(images) and isinstance(images[0], dict) and "sentences" in images[0]


def _read_karpathy(images: list[Any], path: Path, split: str | None, wanted: set[str]) -> dict[str, list[str]]:
    kinds = {"train": ("train", "restval")}.get(split or "", (split,))
    chosen = [image for image in images if split is None or image.get("split") in kinds]
    if not chosen:
        there = ", ".join(sorted({str(image.get("split")) for image in images}))
        raise InputError(f"{path}: no image is of split {split!r}; it has {there}")
    keys = [key for key in KARPATHY_IDS if any(str(image.get(key)) in wanted for image in chosen)]
    found: dict[str, list[str]] = {}
    for number, image in enumerate(chosen):
        name = str(image.get(keys[0] if keys else "filename", image.get("filename")))
        if name in found or not isinstance(image.get("sentences"), list):
            raise InputError(f"{path}: image {name} stands there twice or has no sentences; mend it")
        found[name] = [_text(sentence, "raw", path, number) for sentence in image["sentences"]]
    return found


def _rows(path: Path) -> Any:
    """The JSON of a file, or the list of its lines' JSON when it ends in .jsonl."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read as UTF-8 text ({error}); check the path") from error
    if path.suffix.lower() != ".jsonl":
        return _json(text, str(path))
    lines = enumerate(text.split("\n"), 1)  # not splitlines: U+2028 may stand inside a caption
    return [_json(line, f"{path}, line {number}") for number, line in lines if line.strip()]


def _json(text: str, where: str) -> Any:
    try:
        return jsonlib.loads(text)
    except jsonlib.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON ({error}); write it again, or end its name in .jsonl for lines") from error


def _id(row: Any, path: Path, number: int) -> str:
    if not isinstance(row, dict) or not isinstance(row.get("image_id"), (int, str)):
        raise InputError(f'{path}: entry {number} (0 is the first) has no "image_id", a number or a text: {row!r:.80}')
    return str(row["image_id"])


def _text(row: Any, key: str, path: Path, number: int) -> str:
    if not isinstance(row, dict) or not isinstance(row.get(key), str):
        raise InputError(f'{path}: entry {number} (0 is the first) has no text "{key}": {row!r:.80}')
    result: str = row[key]
    return result


def _texts(row: dict[str, Any], path: Path, number: int) -> list[str]:
    texts = row.get("captions")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f'{path}: entry {number} (0 is the first) has no list of texts "captions": {row!r:.80}')
    return texts


def score_mask_files(refs: Path, preds: Path, classes: int | None = None, empty: Empty = "one") -> dict[str, Any]:
    """The scores of a folder of masks or index maps, paired by name; arguments as in `segue.commands.score.masks`."""
    if classes is not None and classes < 1:
        raise InputError(f"classes: got {classes}, expected 1 or more; leave it out for masks")
    pairs = _paired(refs, preds)
    if classes is None:
        counts = [Counts.of([read_mask(pred)], [read_mask(ref)], [name]) for name, (ref, pred) in pairs.items()]
        return scores(Counts.joined(counts), empty=empty)
    total = [_named(name, Confusion.of, _labels(pred), _labels(ref), classes) for name, (ref, pred) in pairs.items()]
    return {**reduce(add, total).scores(empty=empty), "images": len(pairs)}


def _named(name: str, count: Any, *args: Any) -> Any:
    try:
        return count(*args)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _paired(refs: Path, preds: Path) -> dict[str, tuple[Path, Path]]:
    """Reference and prediction by name without its ending, in any format of pictures."""
    truth, said = _pictures(refs), _pictures(preds)
    if not truth:
        raise InputError(f"{refs}: no pictures there; expected one for each picture, such as a PNG")
    if missing := [name for name in truth if name not in said]:
        raise InputError(
            f"{preds}: {len(missing)} of {len(truth)} predictions are missing, such as {truth[missing[0]].name}; "
            "predict every picture, with an empty mask where there is nothing"
        )
    if unknown := [name for name in said if name not in truth]:
        raise InputError(
            f"{preds}: {len(unknown)} files have no reference of that name, such as {said[unknown[0]].name}"
        )
    return {path.name: (path, said[name]) for name, path in truth.items()}


def _pictures(folder: Path) -> dict[str, Path]:
    """By name without its ending. Warns of other files; raises InputError for two pictures of one name."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one of PNG files")
    found: dict[str, Path] = {}
    for path in list_pictures(folder):
        if (twin := found.setdefault(path.stem, path)) != path:
            raise InputError(f"{folder}: both {twin.name} and {path.name}, expected one of a name; remove one")
    tell_left_out(folder, list(found.values()))
    return found


def _pixels(path: Path) -> NDArray[Any]:
    with open_picture(path) as picture:
        return np.asarray(picture)


def _labels(path: Path) -> NDArray[np.integer]:
    """(H, W) class numbers of an index or grey PNG."""
    pixels = _pixels(path)
    if pixels.ndim != 2:
        raise InputError(f"{path}: a colour picture, expected class numbers in one channel; save it as an index PNG")
    return pixels.astype(np.int64)


def score_panoptic_files(refs: Path, ref_dir: Path, preds: Path, pred_dir: Path) -> dict[str, Any]:
    """Panoptic quality of COCO's panoptic json and PNG files; arguments as in `segue.commands.score.panoptic`."""
    truth, said = _panoptic(refs), _panoptic(preds)
    names = _categories(refs)
    if missing := [name for name in truth if name not in said]:
        raise InputError(f"{preds}: {len(missing)} of {len(truth)} images are missing, such as {missing[0]}")
    if unknown := [name for name in said if name not in truth]:
        raise InputError(f"{preds}: {len(unknown)} images are unknown to {refs}, such as {unknown[0]}")
    total = None
    for name, (file, segments) in truth.items():
        pred_file, pred_segments = said[name]
        found = (_segment_map(pred_dir / pred_file), pred_segments, _segment_map(ref_dir / file), segments, list(names))
        counts = _named(f"image {name}", PanopticCounts.of, *found)
        total = counts if total is None else total + counts
    if total is None:
        raise InputError(f"{refs}: no annotations there; expected one for each image")
    quality = total.class_quality().T.tolist()
    classes = {
        c["name"]: dict(zip(("pq", "sq", "rq"), row, strict=True)) | _of_class(total, i)
        for i, (c, row) in enumerate(zip(names.values(), quality, strict=True))
        if row[0] == row[0]  # a class that never occurs is NaN
    }
    return {**total.scores([c["thing"] for c in names.values()]), "classes": classes, "images": len(truth)}


def _of_class(counts: PanopticCounts, i: int) -> dict[str, int]:
    return {f.name: int(getattr(counts, f.name)[i]) for f in fields(counts) if f.name != "iou"}


def _panoptic(path: Path) -> dict[str, tuple[str, dict[int, Segment]]]:
    """By image: the PNG's name and its segments."""
    rows = _rows(path)
    try:
        found = {
            str(row["image_id"]): (
                str(row["file_name"]),
                {int(s["id"]): Segment(int(s["category_id"]), bool(s.get("iscrowd", 0))) for s in row["segments_info"]},
            )
            for row in rows["annotations"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not COCO's panoptic json ({error!r}); expected annotations with image_id, file_name and "
            "segments_info, each with id and category_id"
        ) from error
    if len(found) != len(rows["annotations"]):
        raise InputError(f"{path}: an image stands there twice, expected one annotation for each; leave one out")
    return found


def _categories(path: Path) -> dict[int, dict[str, Any]]:
    """By number: name, and whether it is a thing."""
    try:
        return {
            int(c["id"]): {"name": str(c.get("name", c["id"])), "thing": bool(c["isthing"])}
            for c in _rows(path)["categories"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no categories with id and isthing ({error!r}); take COCO's panoptic json") from error


def _segment_map(path: Path) -> NDArray[np.int64]:
    """(H, W) numbers of segments: R + 256 G + 256^2 B."""
    pixels = _pixels(path)
    if pixels.ndim != 3 or pixels.shape[2] < 3:
        raise InputError(f"{path}: not a colour picture; COCO's panoptic PNG hold R + 256 G + 65536 B")
    return segment_ids(pixels[..., :3]).astype(np.int64)
