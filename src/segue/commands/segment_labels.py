"""`segue segment --labels`: pictures and names in; maps of the names, overlays and numbers out."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from segue.api.answers import domain_to_dict, label_map_to_dict
from segue.api.label_segmenter import load_label_segmenter
from segue.commands.domain import refuse_far
from segue.commands.segment_notes import (
    Work,
    check_ending,
    check_targets,
    mask_targets,
    overlay_of,
    read_ahead,
    write_answers,
)
from segue.data.ahead import ahead
from segue.data.images import write_image, write_index
from segue.data.picture_files import bare_name, check_out_folder, pictures_in
from segue.data.visualize import name_classes, palette
from segue.methods.cocu.inference import parse_labels
from segue.options import Dtype, LabelOptions
from segue.types import InputError, LabelMap

MOST_NAMES = 255  # that a PNG of one byte a pixel holds beside background
UNLIKELY = 0.1  # probability that the picture shows a name, below which that is told


def segment_by_labels(
    image: Path,
    labels: str,
    *,
    model: str,
    out: Path | None,
    coco: Path | None,
    strict: bool,
    as_json: bool,
    device: str,
    dtype: Dtype,
    options: LabelOptions,
) -> None:
    """The work of `segue segment --labels`; see there. Raises InputError for more than MOST_NAMES names."""
    names = parse_labels(labels)
    if len(names) > MOST_NAMES:
        raise InputError(
            f"labels: got {len(names)} names, expected at most {MOST_NAMES}, which a PNG holds; use segue.load"
        )
    works, targets = _works(image, out)
    check_targets([work.files for work in works], targets, extra=[coco], default=out is None)
    for target in targets:
        check_ending(target)
    predictor = load_label_segmenter(model, device=device, dtype=dtype)
    protocol = asdict(predictor.chosen_protocol(options))
    failed: list[str] = []
    found: list[tuple[str, Any]] = []

    def answered() -> Iterator[tuple[Work, LabelMap, Path]]:
        read = deque[tuple[Work, Path]]()

        def pictures() -> Iterator[NDArray[np.uint8]]:
            for work, pixels, target in read_ahead(zip(works, targets, strict=True), failed):
                read.append((work, target))
                yield pixels

        for answer in predictor.segment_many(pictures(), names, options=options):
            work, target = read.popleft()
            if refusal := refuse_far(work.name, answer.distance, strict=strict):
                failed.append(refusal)
                continue
            if coco is not None:
                found.append((work.name, answer))
            yield work, answer, target

    for written in ahead(lambda one: _write(one[0].name, one[1], one[2]), answered()):
        _print(written | {"protocol": protocol}, as_json)
    if coco is not None:
        write_answers(coco, found, names)
    if failed:
        raise InputError(f"{len(failed)} of {len(works)} pictures have no map: " + "; ".join(failed))


def _works(image: Path, out: Path | None) -> tuple[list[Work], list[Path]]:
    """The pictures, and the map's file for each."""
    files = pictures_in(image) if image.is_dir() else [image]
    works = [Work(file.name, (file,), None, volume=False) for file in files]
    if image.is_dir():
        if out is not None:
            check_out_folder(out, image, "maps")
        return works, mask_targets(works, out or Path("labels"))
    if not image.exists():
        raise InputError(f"{image}: no such file; give a picture or a folder of pictures")
    return works, [out or Path(f"{bare_name(image)}.labels.png")]


def _write(name: str, answer: LabelMap, target: Path) -> dict[str, Any]:
    """answer: of the segmenter, with its picture."""
    overlay = overlay_of(target)
    index = answer.index.astype(np.uint8)
    write_index(index, target, palette(len(answer.names)))
    write_image(name_classes(cast(NDArray[np.uint8], answer.picture), index, answer.names), overlay)
    about = {"image": name, **domain_to_dict(answer.distance)}
    return {**about, "classes": label_map_to_dict(answer), "map": str(target), "overlay": str(overlay)}


def _print(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
        return
    found = sorted((one for one in answer["classes"] if one["area"]), key=lambda one: -one["area"])
    shares = ", ".join(f"{one['label']} {one['share']:.1%}" for one in found)
    absent = ", ".join(one["label"] for one in answer["classes"] if not one["area"])
    nowhere = f"  nowhere: {absent}" if absent else ""
    if unlikely := [one["label"] for one in found if one.get("shown") is not None and one["shown"] < UNLIKELY]:
        nowhere += f"  hardly there: {', '.join(unlikely)}"
    print(f"{answer['image']}  {shares}{nowhere}  map {answer['map']}  overlay {answer['overlay']}")
