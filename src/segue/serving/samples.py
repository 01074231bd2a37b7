"""Pictures to try a model on: photographs, where they are installed, and synthetic ones of the kinds of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

from segue.data.example_photos import NAMES, PHOTOGRAPHS, photographs
from segue.data.images import png_bytes, read_image
from segue.synthetic.chest import draw_chest
from segue.synthetic.scenes.annotations import annotate
from segue.synthetic.scenes.render import render
from segue.synthetic.scenes.sampling import sample_close_up, sample_scene
from segue.types import InputError

# none of a training split; "near" are close-ups, like those that the open-vocabulary models were trained on
SEEDS = {"chest": (20_002, 20_003, 20_005), "scene": (20_000, 20_001, 20_004), "near": (20_004, 20_007)}


PHOTO = "photo"


@lru_cache
def sample(name: str) -> tuple[dict[str, Any], bytes]:
    """The annotations of a sample, and its PNG: note of a chest; labels, regions and relations of a scene.

    Of a photograph nothing but names to look for is known.
    """
    kind, _, number = name.partition("-")
    return _photo(number) if kind == PHOTO else _KINDS[kind](SEEDS[kind][int(number)])


def names() -> list[str]:
    """The samples there are; photographs first, if scikit-image is installed."""
    synthetic = [f"{kind}-{i}" for kind, seeds in SEEDS.items() for i in range(len(seeds))]
    try:
        return [f"{PHOTO}-{file.stem}" for file in photographs()] + synthetic
    except InputError:
        return synthetic


def _photo(stem: str) -> tuple[dict[str, Any], bytes]:
    file = next(file for file in photographs() if file.stem == stem)
    alt = f"A photograph ({PHOTOGRAPHS[file.name]})"
    return {"labels": list(NAMES), "alt": alt, "synthetic": False}, png_bytes(read_image(file))


def _chest(seed: int) -> tuple[dict[str, Any], bytes]:
    drawn = draw_chest(seed)
    found = {"note": drawn.note, "alt": "A synthetic chest radiograph", "synthetic": True}
    return found, png_bytes(drawn.image)


def _scene(seed: int, near: bool = False) -> tuple[dict[str, Any], bytes]:
    scene = sample_close_up(seed) if near else sample_scene(seed)
    drawn = render(scene, 256)
    regions, relations = annotate(scene, drawn.segments)
    found = {
        "labels": list(dict.fromkeys(region.label for region in regions)),
        "regions": [{"label": r.label, "box": [int(v) for v in r.box], "thing": r.thing} for r in regions],
        "relations": [asdict(relation) for relation in relations],
        "alt": "A synthetic scene, seen from near" if near else "A synthetic scene",
        "synthetic": True,
    }
    return found, png_bytes(drawn.image)


_KINDS: dict[str, Callable[[int], tuple[dict[str, Any], bytes]]] = {
    "chest": _chest,
    "scene": _scene,
    "near": partial(_scene, near=True),
}
