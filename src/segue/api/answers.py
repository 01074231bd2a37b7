"""What predictors answer, as JSON: the same in `--json` of the command line and from the server."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.api.illustrator import Layout
from segue.data import rle
from segue.data.images import png_bytes
from segue.methods.cocu.inference import LabelMap
from segue.types import GroundedCaption, PhraseGrounding, Segmentation


def _png(mask: NDArray[np.bool_]) -> str:
    return base64.b64encode(png_bytes(mask)).decode("ascii")


# An (H, W) bool mask as COCO's compressed run lengths, as a PNG of 0 and 255 in base64, or as COCO's polygons.
MASKS: dict[str, Callable[[NDArray[np.bool_]], Any]] = {
    "rle": lambda mask: rle.to_json(rle.encode(mask)),
    "png": _png,
    "polygons": lambda mask: rle.to_polygons(rle.encode(mask)),
}


def of_segmentation(answer: Segmentation) -> dict[str, Any]:
    """Note, area in pixels and as a share, centroid (x, y) or None, score."""
    return {
        "note": answer.note,
        "area": answer.area,
        "area_share": round(answer.area / answer.mask.size, 6),
        "centroid": answer.centroid and [round(c, 2) for c in answer.centroid],
        "score": round(answer.score, 4),
    }


def of_map(answer: LabelMap) -> list[dict[str, Any]]:
    """For each name, and for background: its value in the map, pixels, share of the picture and mean score there.

    closeness: the cosine of the name with the whole picture.
    """
    told = []
    for value, name in [*enumerate(answer.names), (answer.background, None)]:
        there = answer.index == value
        area = int(there.sum())
        score = round(float(answer.scores[there].mean()), 4) if area else None
        found = {"name": name or "background", "value": value, "area": area}
        found |= {"share": round(area / there.size, 6), "score": score}
        if name is not None:
            told.append(found | {"closeness": round(float(answer.image_similarity[value]), 4)})
        elif area:
            told.append(found)
    return told


DESCRIBED = "described"  # the one class of what a note describes


def as_story(answer: Segmentation | LabelMap) -> GroundedCaption:
    """An answer as `segue.data.export` takes it: what a note describes, or each name that has pixels; no caption."""
    if isinstance(answer, Segmentation):
        link = PhraseGrounding(0, 0, answer.note or "", answer.mask, answer.score, DESCRIBED)
        return GroundedCaption("", answer.score, (link,) if answer.area else ())
    found = [(name, answer.index == value) for value, name in enumerate(answer.names)]
    links = tuple(PhraseGrounding(0, 0, n, m, float(answer.scores[m].mean()), n) for n, m in found if m.any())
    return GroundedCaption("", float(answer.scores.mean()), links)


def of_story(story: GroundedCaption) -> dict[str, Any]:
    """Caption, score, and for each link the characters of its phrase, its class, score, area and box.

    A story's score has four digits, not places: of many nodes a set may have a probability of .00001.
    """
    links = []
    for link in story.links:
        code = rle.encode(link.mask)
        said = {"start": link.start, "end": link.end, "phrase": link.phrase, "label": link.label}
        links.append(said | {"score": round(link.score, 4), "area": rle.area(code), "bbox": list(rle.box(code))})
    return {"caption": story.caption, "score": float(f"{story.score:.4g}"), "links": links}


def of_layout(layout: Layout) -> dict[str, Any]:
    """Seed, condition, and the share of each class that is there."""
    areas = {name: round(share, 6) for name, share in layout.areas.items()}
    return {"seed": layout.seed, "condition": layout.condition, "areas": areas}
