"""The annotations of a rendered scene, as any other picture has them: regions and relations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segue.data import rle
from segue.synthetic.scenes.language.captions import scene_relations
from segue.synthetic.scenes.scene import Scene
from segue.types import Region, Relation


def annotate(scene: Scene, segments: NDArray[np.uint8]) -> tuple[tuple[Region, ...], tuple[Relation, ...]]:
    """The visible things, then the visible stuff, as regions with masks, and the relations between them.

    segments: (S, S), see `render.RenderedScene`.
    """
    first, parts = len(scene.stuff), (*scene.stuff, *scene.things)
    visible = set(np.unique(segments).tolist())
    chosen = [k for k in (*range(first, len(parts)), *range(first)) if k in visible]
    masks = [rle.encode(segments == k) for k in chosen]
    regions = [Region(parts[k].kind, rle.box(mask), mask, k >= first) for k, mask in zip(chosen, masks, strict=True)]
    place = {k: i for i, k in enumerate(chosen)}
    relations = [Relation(place[s], p, place[o]) for s, p, o in scene_relations(scene) if s in place and o in place]
    return tuple(regions), tuple(relations)
