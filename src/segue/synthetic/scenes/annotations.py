"""What is known of a drawn scene, in the terms of any other picture: its regions and how they relate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segue.data import rle
from segue.synthetic.scenes.language.captions import facts
from segue.synthetic.scenes.scene import Scene
from segue.types import Region, Relation


def known(scene: Scene, owner: NDArray[np.uint8]) -> tuple[tuple[Region, ...], tuple[Relation, ...]]:
    """The things, then the stuffs, that are seen in a drawing, and the relations between them.

    owner: (S, S), see `draw.Drawn`.
    """
    first, parts = len(scene.stuffs), (*scene.stuffs, *scene.things)
    seen = set(np.unique(owner).tolist())
    shown = [k for k in (*range(first, len(parts)), *range(first)) if k in seen]
    runs = [rle.encode(owner == k) for k in shown]
    regions = [Region(parts[k].kind, rle.box(run), run, k >= first) for k, run in zip(shown, runs, strict=True)]
    place = {k: i for i, k in enumerate(shown)}
    related = [Relation(place[s], p, place[o]) for s, p, o in facts(scene) if s in place and o in place]
    return tuple(regions), tuple(related)
