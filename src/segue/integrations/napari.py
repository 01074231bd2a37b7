"""napari: a reader of Segue's answers as COCO's json, which `--coco`, `--export coco` and the page write.

    napari photo.jpg photo.coco.json

Each picture of the file becomes a layer of labels, one number a mask, and a layer of boxes with their classes and
scores; the picture itself a layer too, where its file lies beside. napari finds the reader by `napari.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.configs import read_json
from segue.data import rle
from segue.data.images import read_image
from segue.types import InputError

Layer = tuple[Any, dict[str, Any], str]  # data, what napari's layer takes besides, "image", "labels" or "shapes"
PARTS = {
    "images": {"id", "file_name", "height", "width"},
    "annotations": {"id", "image_id", "category_id", "segmentation", "bbox"},
    "categories": {"id", "name"},
}


def napari_get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Layer]] | None:
    """The reader of a file or of several, None where one of them is no COCO json of masks."""
    return read_layers if all(map(_is_coco, _paths(path))) else None


def read_layers(path: str | Sequence[str]) -> list[Layer]:
    """The layers of each picture of the files: an "image" where its file is there, "labels" and "shapes".

    labels: (H, W) int32, 0 where there is no mask; where masks overlap, the smaller one is seen. features: of each
    number its label and score. shapes: a rectangle around each mask, (4, 2) rows and columns, with the same features.
    Raises InputError for a mask or a class that is not there.
    """
    return [layer for file in _paths(path) for layer in _layers(Path(file))]


def _paths(path: str | Sequence[str]) -> list[str]:
    return [str(path)] if isinstance(path, str | Path) else [str(one) for one in path]


def _is_coco(path: str) -> bool:
    if not path.lower().endswith(".json"):
        return False
    try:
        told = read_json(Path(path))
    except InputError:  # a json of another kind: napari asks its other readers
        return False
    return all(
        isinstance(told.get(part), list) and all(isinstance(one, dict) and keys <= set(one) for one in told[part])
        for part, keys in PARTS.items()
    )


def _layers(file: Path) -> list[Layer]:
    told, layers = read_json(file), list[Layer]()
    names = {one["id"]: one["name"] for one in told["categories"]}
    for image in told["images"]:
        mine = [one for one in told["annotations"] if one["image_id"] == image["id"]]
        if unknown := [one["category_id"] for one in mine if one["category_id"] not in names]:
            raise InputError(f"{file}: category {unknown[0]} is not among its categories; export it again")
        if (picture := file.parent / image["file_name"]).is_file():
            layers.append((read_image(picture), {"name": Path(image["file_name"]).stem}, "image"))
        layers += _of_picture(file, image, mine, [names[one["category_id"]] for one in mine])
    return layers


def _of_picture(
    file: Path, image: dict[str, Any], annotations: Sequence[dict[str, Any]], labels: list[str]
) -> list[Layer]:
    name, size = Path(image["file_name"]).stem, (int(image["height"]), int(image["width"]))
    masks = [rle.decode(rle.from_json(one["segmentation"], size, f"{file}: mask {one['id']}")) for one in annotations]
    scores = [float(one.get("score", 1)) for one in annotations]
    numbered = {"index": list(range(len(labels) + 1)), "label": ["", *labels], "score": [0.0, *scores]}
    found: list[Layer] = [(_numbers(masks, size), {"name": f"{name}: masks", "features": numbered}, "labels")]
    if labels:  # napari has no layer of no shapes that has features
        about = {"name": f"{name}: boxes", "features": {"label": labels, "score": scores}}
        text = {"string": "{label} {score:.2f}", "anchor": "upper_left", "color": "white"}
        how = {"shape_type": "rectangle", "face_color": "transparent", "edge_color": "white", "text": text}
        found.append(([_corners(one["bbox"]) for one in annotations], about | how, "shapes"))
    return found


def _numbers(masks: Sequence[NDArray[np.bool_]], size: tuple[int, int]) -> NDArray[np.int32]:
    """Each pixel's mask, counted from 1: the smallest that has it; 0 for none."""
    found = np.zeros(size, np.int32)
    for i in sorted(range(len(masks)), key=lambda i: -int(masks[i].sum())):
        found[masks[i]] = i + 1
    return found


def _corners(box: Sequence[float]) -> NDArray[np.float64]:
    """(x, y, width, height) as the rows and columns of the pixels' centres at its corners, (4, 2)."""
    x, y, width, height = box
    top, left, bottom, right = y, x, y + height - 1, x + width - 1
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left)], np.float64)
