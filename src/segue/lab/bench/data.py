"""`segue lab bench data`: pictures a second drawn, read from files, and decoded with all that is known of them."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from segue.data import rle
from segue.data.formats import detect_format, read_pictures
from segue.types import Picture


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


def _decode(picture: Picture) -> None:
    picture.load()
    for region in picture.regions:
        if region.mask is not None:
            rle.decode(region.mask)
    if picture.label_map is not None:
        picture.label_map()
