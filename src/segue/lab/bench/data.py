"""`segue lab bench data`: pictures a second drawn, read from files, and decoded with all that is known of them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable
from multiprocessing import get_context
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np

from segue.data import rle
from segue.data.formats import detect_format, read_pictures
from segue.data.formats.check import check_folder
from segue.data.images import write_image
from segue.lab.bench.loading import memory_mb
from segue.types import Picture

COCO = 118_287  # pictures of train2017
DRAWN = 5000  # polygons and captions, which come again and again
MOST_LINKS = 50_000  # names of one file; file systems have limits
WORDS = ("a", "the", "man", "woman", "dog", "horse", "on", "in", "with", "red", "table", "grass", "sitting", "holding")


def bench_data(
    *, folder: Path | None = None, pictures: int = 200, size: int = 128, seed: int = 0, split: str = "train"
) -> dict[str, Any]:
    """Pictures a second.

    Args:
        folder: a data set in a known format; without one, scenes are drawn into a temporary folder.
        pictures: how many to draw, and the most to decode.
        size: of the synthetic scenes, side in pixels.
        seed: of the synthetic scenes.
        split: the split to read.
    """
    if folder is not None:
        return {"drawn_per_s": None, **_measured(folder, split, pictures)}
    from segue.synthetic.scenes.writer import make_scenes

    with tempfile.TemporaryDirectory() as place:
        start = time.perf_counter()
        make_scenes(Path(place) / "scenes", seed=seed, train=pictures, val=1, test=1, size=size, style="photo")
        drawn = (pictures + 2) / (time.perf_counter() - start)
        return {"drawn_per_s": round(drawn, 1), **_measured(Path(place) / "scenes", split, pictures)}


def _measured(folder: Path, split: str, limit: int) -> dict[str, Any]:
    """read: the annotations of a split. decoded: pixels, masks and label map of up to `limit` pictures, one thread."""
    start = time.perf_counter()
    found = read_pictures(folder, split)
    read = len(found.pictures) / (time.perf_counter() - start)
    chosen = found.pictures[:limit]
    start = time.perf_counter()
    for picture in chosen:
        _decode(picture)
    decoded = len(chosen) / (time.perf_counter() - start)
    return {
        "read_per_s": round(read, 1),
        "decoded_per_s": round(decoded, 1),
        "format": detect_format(folder)[0],
        "pictures": len(found.pictures),
        "decoded": len(chosen),
    }


def measure_coco(pictures: int = COCO) -> dict[str, float]:
    """CPU seconds and gigabytes to read COCO's files, and for the data check of them but the pictures' pixels.

    There are 7 polygons and 5 captions of each picture. gb: the most memory that the whole process had.
    """
    with tempfile.TemporaryDirectory() as place, get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        pool.apply(_write_coco, (Path(place), pictures))
        read, checked = (pool.apply(_work_once, (Path(place), check)) for check in (False, True))
    return {f"read_{name}": value for name, value in read.items()} | {f"check_{n}": v for n, v in checked.items()}


def _work_once(folder: Path, check: bool) -> dict[str, float]:
    """Read the train split, or check it. getrusage would count the memory of the process that started this one."""
    read_pictures(folder, "val")  # a small split, so that everything is imported
    start = time.process_time()
    if check:
        found = check_folder(folder, splits=("train",), decode_at_most=0)
        assert not found.findings, found.findings[:3]
    else:
        read_pictures(folder, "train")
    return {"s": time.process_time() - start, "gb": memory_mb("self", "VmHWM") / 1024}


def _write_coco(folder: Path, pictures: int) -> None:
    """A train split of so many pictures and a val split of one, in COCO's layout; all files are of one picture."""
    rng = np.random.default_rng(0)
    for split, count in (("train", pictures), ("val", 1)):
        names = [f"{i:012}.png" for i in range(count)]
        images = [{"id": i, "file_name": name, "width": 640, "height": 480} for i, name in enumerate(names)]
        shapes = [_polygon(rng) for _ in range(DRAWN)]
        texts = [{"caption": " ".join(rng.choice(WORDS, 11))} for _ in range(DRAWN)]
        marks = (shapes[i % DRAWN] | {"image_id": i // 7, "id": i} for i in range(7 * count))
        captions = (texts[i % DRAWN] | {"image_id": i // 5, "id": i} for i in range(5 * count))
        for kind, found in (("instances", marks), ("captions", captions)):
            _write_annotations(folder / "annotations" / f"{kind}_{split}.json", images, found)
        first = folder / "images" / split / names[0]
        first.parent.mkdir(parents=True)
        write_image(np.zeros((480, 640, 3), np.uint8), first)
        for at, name in enumerate(names[1:], 1):
            if at % MOST_LINKS:
                first.with_name(name).hardlink_to(first)
            else:
                first = Path(copyfile(first, first.with_name(name)))


def _write_annotations(path: Path, images: list[dict[str, Any]], annotations: Iterable[dict[str, Any]]) -> None:
    """One annotation after the other, since all of them take gigabytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    categories = [{"id": i, "name": f"thing {i}"} for i in range(1, 81)]
    with path.open("w") as file:
        file.write(f'{{"images": {json.dumps(images)}, "annotations": [')
        for at, one in enumerate(annotations):
            file.write(", " * (at > 0) + json.dumps(one))
        file.write(f'], "categories": {json.dumps(categories)}}}')


def _polygon(rng: np.random.Generator) -> dict[str, Any]:
    """An instance annotation with a polygon of 21 corners."""
    turn, radius, centre = np.sort(rng.uniform(0, 2 * np.pi, 21)), rng.uniform(20, 90), rng.uniform(100, 380, 2)
    corners = (centre + radius * np.stack([np.cos(turn), np.sin(turn)], 1)).round(2)
    box = [*(centre - radius).round(2).tolist(), round(2 * radius, 2), round(2 * radius, 2)]
    category, area = int(rng.integers(1, 81)), round(3 * radius**2, 2)
    segmentation = [corners.ravel().tolist()]
    return {"segmentation": segmentation, "area": area, "iscrowd": 0, "bbox": box, "category_id": category}


def _decode(picture: Picture) -> None:
    picture.load()
    for region in picture.regions:
        if region.mask is not None:
            rle.decode(region.mask)
    if picture.label_map is not None:
        picture.label_map()
