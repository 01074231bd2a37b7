"""Scores of captions, masks and panoptic maps in files against their references in files.

Captions: references are in any format of `segue.data.corpus` that names pictures; predictions are COCO's results json
[{"image_id", "caption"}] or the same as jsonl, and call a picture by its file name or its id. 7 is "7".
"""

from __future__ import annotations

import json as jsonlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.data.corpus import stream_rows
from segue.data.formats.lookup import list_places, locate, stem_of, tidy
from segue.data.formats.panoptic import segment_ids
from segue.data.images import open_picture, read_class_numbers, read_mask
from segue.data.picture_files import UNSUPPORTED_SUFFIXES, VOLUME_SUFFIXES, list_pictures
from segue.data.problems import collecting, handle_problems
from segue.data.records import each_once, read_flag, read_id, read_text
from segue.metrics.captions import score_captions
from segue.metrics.masks import Counts, Empty, scores
from segue.metrics.panoptic import Confusion, PanopticCounts, Segment
from segue.types import InputError

FILE_NAME = "file name"
COCO_NUMBER = re.compile(r"^(?:COCO_\w+_)?0*(?=\d*$)")  # what stands before a picture's number in COCO's file names


class Reference(NamedTuple):
    """A picture's captions, and what it is called, by kinds of ids."""

    ids: dict[str, str]
    captions: list[str]

    @property
    def name(self) -> str:
        """What its file calls it first."""
        return next(iter(self.ids.values()))


def score_caption_files(
    refs: Path,
    preds: Path,
    *,
    split: str | None = None,
    java: bool = True,
    on_bad: str = "stop",
    only_predicted: bool = False,
) -> dict[str, Any]:
    """The scores of a file of captions; arguments as in `segue.commands.score.captions`."""
    predictions, references = read_predictions(preds), read_references(refs, split, on_bad)
    captions, key = match_captions(references, predictions, refs, only_predicted=only_predicted)
    found = score_captions(predictions, captions, with_java=java)
    return {
        **found.to_json(),
        "images": len(captions),
        "not_predicted": len(references) - len(captions),
        "matched_by": key,
        "empty_predictions": sum(not text.strip() for text in predictions.values()),
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


def read_references(path: Path, split: str | None = None, on_bad: str = "stop") -> list[Reference]:
    """The captions of each picture, of a file in any format of `segue.data.corpus` that names pictures.

    split: of a Karpathy json, where restval joins train. on_bad: as in `read_corpus`. Raises InputError for captions
    without a picture, and for another split.
    """
    bad, found = list[str](), dict[tuple[str, str], Reference]()
    rows = [*stream_rows(path, split=None, report=collecting(bad))]
    handle_problems(bad, f"{path}: {len(bad)} captions can't be used", on_bad)
    splits = sorted({row.split for row in rows} - {""})
    if split is not None and not splits:
        raise InputError(f"{path}: --split {split} is for a Karpathy json, and this file has no splits; leave it out")
    if split is not None and split not in splits:
        raise InputError(f"{path}: no image is of split {split!r}; it has {', '.join(splits)}")
    entries = dict[tuple[str, str], int]()
    for row in (row for row in rows if split in (None, row.split)):
        if not row.ids:
            raise InputError(f"{row.where}: a caption without its picture; name it, as image_id does in COCO's json")
        key = next(iter(row.ids.items()))
        if entries.setdefault(key, row.entry) != row.entry:
            raise InputError(f"{path}: image {key[1]} stands there twice; put all its captions into one entry")
        found.setdefault(key, Reference(row.ids, [])).captions.append(row.text)
    if not found:
        raise InputError(f"{path}: no captions there; expected some of each picture")
    return [*found.values()]


def match_captions(
    references: Sequence[Reference], predicted: Iterable[str], path: Path, *, only_predicted: bool = False
) -> tuple[dict[str, list[str]], str]:
    """The captions of each picture by what its prediction calls it, and the kind of id by which they were matched.

    A kind fits when every picture has a prediction by it. File names go before all; imgid is taken only when nothing
    else has a prediction. Raises InputError when two kinds fit and differ. Where none fits, the one with the most
    predictions is taken, which tells what is missing.

    only_predicted: leave out pictures without a prediction. A kind then fits when every prediction has its picture, and
    imgid never does: any small number is one. Raises InputError also when no prediction has its picture.
    """
    predicted = {*predicted}
    kinds = _matches(references, predicted)
    if len(kinds) > 1 or only_predicted:
        kinds.pop("imgid", None)
    if only_predicted and not kinds:
        raise InputError(
            f"{path}: none of {len(predicted)} predictions is of an image there, such as {min(predicted)}; call them "
            "by the images' file names or COCO's ids, or choose the split they belong to"
        )
    wanted = len(predicted) if only_predicted else len(references)
    fits = {kind: found for kind, found in kinds.items() if len({*found.values()}) == wanted}
    best = next(iter(fits), max(kinds, key=lambda kind: len(kinds[kind]), default=""))
    for kind, found in fits.items() if best != FILE_NAME else ():
        if other := [name for name in fits[best] if found.get(name) != fits[best][name]]:
            raise InputError(
                f"{path}: {other[0]} is one picture by its {best} and another by its {kind}; call the predictions by "
                "the pictures' file names"
            )
    called = {at: name for name, at in kinds.get(best, {}).items()}
    kept = ((at, one) for at, one in enumerate(references) if at in called or not only_predicted)
    return {called.get(at, one.ids.get(best, one.name)): one.captions for at, one in kept}, best


def _matches(references: Sequence[Reference], predicted: set[str]) -> dict[str, dict[str, int]]:
    """By kind of id: prediction -> position of its picture; only kinds that tell all apart and have a prediction."""
    found = {FILE_NAME: _by_name(references, predicted, lambda name: [tidy(name)])}
    found[f"{FILE_NAME} or COCO's number in it"] = _by_name(
        references, predicted, lambda name: [tidy(name), *coco_number(name)]
    )
    found[f"{FILE_NAME} without ending"] = _by_name(references, predicted, lambda name: [stem_of(name)])
    stems = {name: COCO_NUMBER.sub("", stem_of(name).rpartition("/")[2]) or "0" for name in predicted}
    for kind in ("image_id", "cocoid", "imgid", "address"):
        of = {one.ids[kind]: at for at, one in enumerate(references) if kind in one.ids}
        if len(of) == sum(kind in one.ids for one in references):
            found[kind] = {name: of[name] for name in predicted if name in of}
            if kind in ("image_id", "cocoid") and len({*stems.values()}) == len(predicted):
                found[f"{kind} as file name"] = {name: of[stem] for name, stem in stems.items() if stem in of}
    return {kind: one for kind, one in found.items() if one}


def coco_number(name: str) -> list[str]:
    """The number by which COCO names a picture, where a file is named so ("COCO_val2014_000000000042.jpg": 42)."""
    found = re.fullmatch(r"(?:.*/)?(?:COCO_\w+_)?(\d{12})\.\w+", tidy(name))
    return [str(int(found[1]))] if found else []


def _by_name(references: Sequence[Reference], predicted: set[str], keys: Callable[[str], list[str]]) -> dict[str, int]:
    """By file name: a prediction's path may be the end of the picture's, or the other way round."""
    places: dict[str, list[Path]] = {}
    for at, one in enumerate(references):
        for key in keys(one.ids[FILE_NAME]) if FILE_NAME in one.ids else ():
            places.setdefault(key, []).append(Path(str(at)))
    return {name: int(path.name) for name, path in locate(places, predicted).found.items()}


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
        return jsonlib.loads(text, object_pairs_hook=each_once)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error}); write it again, or end its name in .jsonl for lines") from error


def _id(row: Any, path: Path, number: int) -> str:
    try:
        return str(read_id(row, "image_id"))
    except InputError as error:
        raise InputError(
            f'{path}: entry {number} (0 is the first) has no "image_id", a number or a text ({error}): {row!r:.80}'
        ) from error


def _text(row: Any, key: str, path: Path, number: int) -> str:
    if not isinstance(row, dict) or not isinstance(row.get(key), str):
        raise InputError(f'{path}: entry {number} (0 is the first) has no text "{key}": {row!r:.80}')
    result: str = row[key]
    return result


def score_mask_files(refs: Path, preds: Path, classes: int | None = None, empty: Empty = "one") -> dict[str, Any]:
    """The scores of a folder of masks or index maps, paired by name; arguments as in `segue.commands.score.masks`.

    Raises InputError for classes below 1, files without a partner, and what can't be compared.
    """
    if classes is not None and classes < 1:
        raise InputError(f"classes: got {classes}, expected 1 or more; leave it out for masks")
    pairs = _paired(refs, preds)
    if classes is None:
        counts = [Counts.of([read_mask(pred)], [read_mask(ref)], [name]) for name, (ref, pred) in pairs.items()]
        return scores(Counts.joined(counts), empty=empty)
    total = [
        _named(name, Confusion.of, *(read_class_numbers(file).astype(np.int64) for file in (pred, ref)), classes)
        for name, (ref, pred) in pairs.items()
    ]
    return {**reduce(add, total).scores(empty=empty), "images": len(pairs)}


def _named(name: str, count: Any, *args: Any) -> Any:
    try:
        return count(*args)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _paired(refs: Path, preds: Path) -> dict[str, tuple[Path, Path]]:
    """Truth and prediction by their paths without ending; what has no partner or can't be read is an error."""
    truth, predictions = _masks(refs), _masks(preds)
    if not truth:
        raise InputError(f"{refs}: no pictures there; expected one for each picture, such as PNG files")
    if missing := [name for name in truth if name not in predictions]:
        raise InputError(
            f"{preds}: {len(missing)} of {len(truth)} predictions are missing, such as {truth[missing[0]].name}; "
            "predict every picture, with an empty mask where there is nothing"
        )
    if unknown := [name for name in predictions if name not in truth]:
        raise InputError(
            f"{preds}: {len(unknown)} files have no reference of that name, such as {predictions[unknown[0]].name}"
        )
    return {truth[name].relative_to(refs).as_posix(): (truth[name], predictions[name]) for name in truth}


def _masks(folder: Path) -> dict[str, Path]:
    """The pictures of a folder and those below it by their paths without ending."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one of PNG files")
    if others := list_pictures(folder, deep=True, suffixes=(*UNSUPPORTED_SUFFIXES, *VOLUME_SUFFIXES)):
        raise InputError(
            f"{folder}: {len(others)} files of kinds that aren't scored, such as {others[0].name}; save as PNG"
        )
    places = list_places(folder, stems=True)
    if twins := [paths for paths in places.values() if len(paths) > 1]:
        raise InputError(f"{folder}: {twins[0][0].name} and {twins[0][1].name} are of one name; keep one")
    return {name: paths[0] for name, paths in places.items()}


def _pixels(path: Path) -> NDArray[Any]:
    with open_picture(path) as picture:
        return np.asarray(picture)


def score_panoptic_files(refs: Path, ref_dir: Path, preds: Path, pred_dir: Path) -> dict[str, Any]:
    """Panoptic quality of COCO's panoptic json and PNG files; arguments as in `segue.commands.score.panoptic`.

    Raises InputError for images that one of the files lacks, and what can't be compared.
    """
    truth, predictions = _panoptic(refs), _panoptic(preds)
    names = _categories(refs)
    if missing := [name for name in truth if name not in predictions]:
        raise InputError(f"{preds}: {len(missing)} of {len(truth)} images are missing, such as {missing[0]}")
    if unknown := [name for name in predictions if name not in truth]:
        raise InputError(f"{preds}: {len(unknown)} images are unknown to {refs}, such as {unknown[0]}")
    total = None
    for name, (file, segments) in truth.items():
        pred_file, pred_segments = predictions[name]
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
            str(read_id(row, "image_id")): (read_text(row, "file_name"), _segments(row)) for row in rows["annotations"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not COCO's panoptic json ({error}); expected annotations with image_id, file_name and "
            "segments_info, each with id and category_id"
        ) from error
    if len(found) != len(rows["annotations"]):
        raise InputError(f"{path}: an image stands there twice, expected one annotation for each; leave one out")
    return found


def _segments(row: Any) -> dict[int, Segment]:
    found = {
        int(read_id(s, "id")): Segment(int(read_id(s, "category_id")), read_flag(s, "iscrowd"))
        for s in row["segments_info"]
    }
    if len(found) != len(row["segments_info"]):
        raise InputError(f"two segments of the image {row['image_id']} have one id; give each its own")
    return found


def _categories(path: Path) -> dict[int, dict[str, Any]]:
    """By number: name, and whether it is a thing."""
    try:
        rows = _rows(path)["categories"]
        found = {int(read_id(c, "id")): {"name": _category_name(c), "thing": read_flag(c, "isthing")} for c in rows}
        if any("isthing" not in c for c in rows) or len(found) != len(rows):
            raise InputError("one without isthing, or two of one id")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no categories with id and isthing ({error}); take COCO's panoptic json") from error
    return found


def _category_name(category: Any) -> str:
    return read_text(category, "name") if "name" in category else str(category["id"])


def _segment_map(path: Path) -> NDArray[np.int64]:
    """(H, W) numbers of segments: R + 256 G + 256^2 B."""
    pixels = _pixels(path)
    if pixels.ndim != 3 or pixels.shape[2] < 3:
        raise InputError(f"{path}: not a colour picture; COCO's panoptic PNG hold R + 256 G + 65536 B")
    return segment_ids(pixels[..., :3]).astype(np.int64)
