"""The answers of predictors as JSON, the same in `--json` of the command line and from the server."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segue.data import rle
from segue.data.images import png_bytes
from segue.types import GroundedCaption, PhraseGrounding, Segmentation

if TYPE_CHECKING:  # one command's answers need no other method's modules
    from segue.api.illustrator import Layout
    from segue.methods.cocu.inference import LabelMap


def _png(mask: NDArray[np.bool_]) -> str:
    return base64.b64encode(png_bytes(mask)).decode("ascii")


# An (H, W) bool mask as COCO's compressed run lengths, as a PNG of 0 and 255 in base64, or as COCO's polygons.
MASKS: dict[str, Callable[[NDArray[np.bool_]], Any]] = {
    "rle": lambda mask: rle.to_json(rle.encode(mask)),
    "png": _png,
    "polygons": lambda mask: rle.to_polygons(rle.encode(mask)),
}


def domain_to_dict(distance: float | None) -> dict[str, Any]:
    """How far the picture lies from those that the model learned from, and whether that is far: above 1.

    None for a model that doesn't measure it.
    """
    if distance is None:
        return {"domain_distance": None, "out_of_domain": None}
    return {"domain_distance": round(distance, 3), "out_of_domain": distance > 1}


def segmentation_to_dict(answer: Segmentation) -> dict[str, Any]:
    """Note, area in pixels and as a share, centroid (x, y), score; the last two are None where nothing is outlined.

    The score is the mean calibrated probability of the pixels inside.
    """
    return {
        "note": answer.note,
        "area": answer.area,
        "area_share": round(answer.area / answer.mask.size, 6),
        "centroid": answer.centroid and [round(c, 2) for c in answer.centroid],
        "score": round(answer.score, 4) if answer.area else None,
        **domain_to_dict(answer.distance),
    }


def label_map_to_dict(answer: LabelMap) -> list[dict[str, Any]]:
    """For each name, and for background: its value in the map, pixels, share of the picture and mean score there.

    closeness: the cosine of the name with the whole picture.
    """
    classes = []
    for value, name in [*enumerate(answer.names), (answer.background, None)]:
        there = answer.index == value
        area = int(there.sum())
        score = round(float(answer.scores[there].mean()), 4) if area else None
        found = {"name": name or "background", "value": value, "area": area}
        found |= {"share": round(area / there.size, 6), "score": score}
        if name is not None:
            classes.append(found | {"closeness": round(float(answer.image_similarity[value]), 4)})
        elif area:
            classes.append(found)
    return classes


DESCRIBED = "described"  # the class name of what a note describes


def mask_as_grounded_caption(answer: Segmentation | LabelMap) -> GroundedCaption:
    """A segmentation for `segue.data.export`: the mask of a note, or that of each name that has pixels; no caption."""
    if isinstance(answer, Segmentation):
        grounding = PhraseGrounding(0, 0, answer.note or "", mask=answer.mask, score=answer.score, label=DESCRIBED)
        return GroundedCaption("", answer.score, (grounding,) if answer.area else ())
    found = [(name, answer.index == value) for value, name in enumerate(answer.names)]
    groundings = tuple(
        PhraseGrounding(0, 0, n, mask=m, score=float(answer.scores[m].mean()), label=n) for n, m in found if m.any()
    )
    return GroundedCaption("", float(answer.scores.mean()), groundings)


def grounded_caption_to_dict(caption: GroundedCaption) -> dict[str, Any]:
    """Caption and score; for each grounding the characters of its phrase, its class, score, area and box.

    A caption's score has four significant digits, because it may be as low as 0.00001.
    """
    groundings = []
    for one in caption.groundings:
        code = rle.encode(one.mask)
        place = {"start": one.start, "end": one.end, "phrase": one.phrase, "label": one.label}
        groundings.append(place | {"score": round(one.score, 4), "area": rle.area(code), "bbox": list(rle.box(code))})
    return {"caption": caption.caption, "score": float(f"{caption.score:.4g}"), "groundings": groundings}


def layout_to_dict(layout: Layout) -> dict[str, Any]:
    """Seed, condition, the share of each class in the layout, and its boxes."""
    areas = {name: round(share, 6) for name, share in layout.areas.items()}
    boxes = [{"label": one.label, "box": list(one.box)} for one in layout.boxes]
    return {"seed": layout.seed, "condition": layout.condition, "areas": areas, "boxes": boxes}
