"""Pictures to try a model on, drawn by the sketchbook: what the bundled models were trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

from segue.data.images import png_bytes
from segue.synthetic.chest import draw_chest
from segue.synthetic.scenes.annotations import known
from segue.synthetic.scenes.render import render
from segue.synthetic.scenes.sampling import sample_near, sample_scene

# none of a training split; "near" are scenes from near, which the models of names know
SEEDS = {"chest": (20_002, 20_003, 20_005), "scene": (20_000, 20_001, 20_004), "near": (20_004, 20_007)}


@lru_cache
def sample(name: str) -> tuple[dict[str, Any], bytes]:
    """What is known of a sample, and its PNG: note of a chest; labels, regions and relations of a scene."""
    kind, _, number = name.partition("-")
    return _KINDS[kind](SEEDS[kind][int(number)])


def names() -> list[str]:
    """The samples there are."""
    return [f"{kind}-{i}" for kind, seeds in SEEDS.items() for i in range(len(seeds))]


def _chest(seed: int) -> tuple[dict[str, Any], bytes]:
    drawn = draw_chest(seed)
    return {"note": drawn.note, "alt": "A drawn chest radiograph"}, png_bytes(drawn.image)


def _scene(seed: int, near: bool = False) -> tuple[dict[str, Any], bytes]:
    scene = sample_near(seed) if near else sample_scene(seed)
    drawn = render(scene, 256)
    regions, relations = known(scene, drawn.owner)
    told = {
        "labels": list(dict.fromkeys(region.label for region in regions)),
        "regions": [{"label": r.label, "box": [int(v) for v in r.box], "thing": r.thing} for r in regions],
        "relations": [asdict(relation) for relation in relations],
        "alt": "A drawn scene from near" if near else "A drawn scene",
    }
    return told, png_bytes(drawn.image)


_KINDS: dict[str, Callable[[int], tuple[dict[str, Any], bytes]]] = {
    "chest": _chest,
    "scene": _scene,
    "near": partial(_scene, near=True),
}
