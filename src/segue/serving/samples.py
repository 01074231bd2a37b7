"""Pictures to try a model on, drawn by the sketchbook: what the bundled models were trained on."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from segue.data.images import png_bytes
from segue.data.sketchbook.chest import draw_chest
from segue.data.sketchbook.scenes.draw import render
from segue.data.sketchbook.scenes.sample import sample_scene

SEEDS = {"chest": (20_002, 20_003, 20_005), "scene": (20_000, 20_001, 20_004)}  # none of a training split


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


def _scene(seed: int) -> tuple[dict[str, Any], bytes]:
    scene = sample_scene(seed)
    drawn = render(scene, 256)
    regions: list[dict[str, Any]] = []
    place: dict[int, int] = {}
    for i, thing in enumerate(scene.things):
        rows, columns = np.nonzero(drawn.owner == len(scene.stuffs) + i)
        if len(rows):
            place[i] = len(regions)
            corner, end = (int(columns.min()), int(rows.min())), (int(columns.max()) + 1, int(rows.max()) + 1)
            regions.append({"label": thing.kind, "box": [*corner, end[0] - corner[0], end[1] - corner[1]]})
    relations = [
        {"subject": place[a], "predicate": word, "object": place[b]}
        for a, word, b in scene.relations
        if a in place and b in place
    ]
    labels = list(dict.fromkeys([t.kind for t in scene.things] + [s.kind for s in scene.stuffs]))
    return {"labels": labels, "regions": regions, "relations": relations, "alt": "A drawn scene"}, png_bytes(
        drawn.image
    )


_KINDS: dict[str, Callable[[int], tuple[dict[str, Any], bytes]]] = {"chest": _chest, "scene": _scene}
