"""The answers of predictors as JSON, the same in `--json` of the command line and from the server; and as pictures."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segue.data import export, rle
from segue.data.images import png_bytes, write_image
from segue.data.visualize import layout_picture, name_classes, outline
from segue.files import write_text
from segue.types import (
    Answer,
    GroundedCaption,
    InputError,
    LabelMap,
    Layout,
    NotInstalled,
    PhraseGrounding,
    Segmentation,
    check_image,
)

if TYPE_CHECKING:
    import pandas
    import supervision

COLUMNS = ("label", "phrase", "score", "area", "share", "x", "y", "width", "height")  # of every answer's table
SHOWN_SHARES, SHOWN_ROWS = 5, 12  # masks that an answer's line names, and that a notebook lists


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

    The score is the mean calibrated probability of the pixels inside. threshold: that from which a pixel is inside.
    """
    centroid = answer.centroid
    return {
        "note": answer.note,
        "area": answer.area,
        "share": round(answer.area / answer.mask.size, 6),
        "centroid": centroid and [round(c, 2) for c in centroid],
        "score": round(answer.score, 4) if answer.area else None,
        "threshold": round(answer.threshold, 4),
        **domain_to_dict(answer.distance),
    }


def label_map_to_dict(answer: LabelMap) -> list[dict[str, Any]]:
    """For each name, and for background: its value in the map, pixels, share of the picture and mean score there.

    closeness: the cosine of the name with the whole picture. shown: see `LabelMap`; None where that isn't known.
    """
    classes = []
    for value, name in [*enumerate(answer.names), (answer.background, None)]:
        there = answer.index == value
        area = int(there.sum())
        score = round(float(answer.scores[there].mean()), 4) if area else None
        found = {"label": name or "background", "value": value, "area": area}
        found |= {"share": round(area / there.size, 6), "score": score}
        if name is not None:
            shown = None if answer.shown is None else round(float(answer.shown[value]), 4)
            classes.append(found | {"closeness": round(float(answer.image_similarity[value]), 4), "shown": shown})
        elif area:
            classes.append(found)
    return classes


DESCRIBED = "described"  # the class name of what a note describes


def mask_as_grounded_caption(answer: Answer) -> GroundedCaption:
    """A segmentation for `segue.data.export`: the mask of a note, or that of each name that has pixels; no caption.

    A layout likewise, with scores of 1; a grounded caption as it is.
    """
    if isinstance(answer, GroundedCaption):
        return answer
    if isinstance(answer, Segmentation):
        grounding = PhraseGrounding(0, 0, answer.note or "", mask=answer.mask, score=answer.score, label=DESCRIBED)
        return GroundedCaption("", answer.score, (grounding,) if answer.area else ())
    if isinstance(answer, Layout):
        there = [(name, answer.labels == value) for value, name in enumerate(answer.classes)]
        drawn = (PhraseGrounding(0, 0, name, mask=mask, score=1.0, label=name) for name, mask in there if mask.any())
        return GroundedCaption("", 1.0, tuple(drawn))
    assert isinstance(answer, LabelMap)  # there is no other
    found = [(name, answer.index == value) for value, name in enumerate(answer.names)]
    groundings = tuple(
        PhraseGrounding(0, 0, n, mask=m, score=float(answer.scores[m].mean()), label=n) for n, m in found if m.any()
    )
    return GroundedCaption("", float(answer.scores.mean()), groundings)


def grounded_caption_to_dict(caption: GroundedCaption) -> dict[str, Any]:
    """Caption, score and likelihood; for each grounding the characters of its phrase, its class, score, area and box.

    The score is None where it is not calibrated, else the likelihood is; see `GroundedCaption.worth`.
    """
    groundings = []
    for one in caption.groundings:
        code = rle.encode(one.mask)
        place = {"start": one.start, "end": one.end, "phrase": one.phrase, "label": one.label}
        groundings.append(place | {"score": round(one.score, 4), "area": rle.area(code), "bbox": list(rle.box(code))})
    return {"caption": caption.caption, **caption.worth, "groundings": groundings}


def layout_to_dict(layout: Layout) -> dict[str, Any]:
    """Seed, condition, the share of each class in the layout, and its boxes."""
    areas = {name: round(share, 6) for name, share in layout.areas.items()}
    boxes = [{"label": one.label, "box": list(one.box)} for one in layout.boxes]
    return {"seed": layout.seed, "condition": layout.condition, "areas": areas, "boxes": boxes}


# ------------------------------------------------------------------------------------- what any answer can do


def to_dict(answer: Answer) -> dict[str, Any]:
    """See `Answer.to_dict`."""
    if isinstance(answer, Segmentation):
        return segmentation_to_dict(answer)
    if isinstance(answer, GroundedCaption):
        return grounded_caption_to_dict(answer)
    if isinstance(answer, Layout):
        return layout_to_dict(answer)
    assert isinstance(answer, LabelMap)
    return {**domain_to_dict(answer.distance), "classes": label_map_to_dict(answer)}


def to_coco(answer: Answer) -> list[dict[str, Any]]:
    """See `Answer.to_coco`."""
    masks = replace(mask_as_grounded_caption(answer), caption="")
    names = answer.names if isinstance(answer, LabelMap) else answer.classes if isinstance(answer, Layout) else ()
    made = export.to_coco([("", [masks])], names, as_polygons=True)
    name_of = {one["id"]: one["name"] for one in made["categories"]}
    return [one | {"category_name": name_of[one["category_id"]]} for one in made["annotations"]]


def plot(answer: Answer) -> Image.Image:
    """See `Answer.plot`."""
    return Image.fromarray(_drawn(answer))


def save(answer: Answer, path: Path) -> None:
    """See `Answer.save`."""
    if (ending := path.suffix.lower()) == ".png":
        write_image(_drawn(answer), path)
    elif ending == ".json":
        write_text(path, answer.to_json() + "\n")
    else:
        raise InputError(f"{path}: expected a name that ends in .png, for the picture, or in .json, for the numbers")


def to_rows(answer: Answer) -> list[dict[str, Any]]:
    """For each mask that is not empty, in the order of `to_coco`, what `COLUMNS` names; see `Answer.to_pandas`."""
    rows = []
    for one in _masks(answer):
        code = rle.encode(one.mask)
        area = rle.area(code)
        found = (export.class_of(one), one.phrase, one.score, area, area / one.mask.size, *rle.box(code))
        rows.append(dict(zip(COLUMNS, found, strict=True)))
    return rows


def to_pandas(answer: Answer) -> pandas.DataFrame:
    """See `Answer.to_pandas`."""
    try:
        import pandas
    except ImportError as error:
        raise NotInstalled("to_pandas: the package pandas is missing: pip install pandas") from error
    return pandas.DataFrame(to_rows(answer), columns=COLUMNS)


def to_supervision(answer: Answer) -> supervision.Detections:
    """See `Answer.to_supervision`."""
    try:
        import supervision
    except ImportError as error:
        raise NotInstalled("to_supervision: the package supervision is missing: pip install supervision") from error
    if not (rows := to_rows(answer)):
        return supervision.Detections.empty()
    x, y, width, height = (np.array([row[name] for row in rows], np.float32) for name in COLUMNS[-4:])
    return supervision.Detections(
        xyxy=np.stack([x, y, x + width, y + height], axis=1),
        mask=np.stack([one.mask for one in _masks(answer)]),
        confidence=np.array([row["score"] for row in rows], np.float32),
        class_id=np.array([one["category_id"] - 1 for one in to_coco(answer)]),
        data={
            "class_name": np.array([row["label"] for row in rows]),
            "phrase": np.array([row["phrase"] for row in rows]),
        },
    )


def to_html(answer: Answer) -> str:
    """An answer for a notebook: its words, its plot, and a table of the largest masks."""
    try:
        plotted = base64.b64encode(png_bytes(_drawn(answer))).decode("ascii")
        shown = f'<img src="data:image/png;base64,{plotted}" style="max-width: 100%">'
    except InputError as error:  # nothing to draw
        shown = f"<p>{escape(str(error))}</p>"
    rows = sorted(to_rows(answer), key=lambda row: -row["area"])
    cells = [[row["label"], row["phrase"], f"{row['score']:.2f}", f"{row['share']:.1%}"] for row in rows[:SHOWN_ROWS]]
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in line) for line in cells]
    more = [f'<td colspan="4">and {len(rows) - SHOWN_ROWS} more</td>'] if len(rows) > SHOWN_ROWS else []
    head = "".join(f"<th>{name}</th>" for name in ("label", "phrase", "score", "share"))
    table = "".join(f"<tr>{line}</tr>" for line in (head, *lines, *more)) if rows else "<tr><td>no masks</td></tr>"
    return f"<div><p>{escape(_said(answer))}</p>{shown}<table>{table}</table></div>"


def summary(answer: Answer) -> str:
    """An answer on one line: its words, and the share of the picture that each of the largest masks covers."""
    rows = to_rows(answer)
    largest = sorted(rows, key=lambda row: -row["area"])[:SHOWN_SHARES] if len(rows) > SHOWN_SHARES else rows
    shares = [f"{row['label']} {row['share']:.1%}" for row in largest]
    shares += [f"{len(rows) - SHOWN_SHARES} more"] if len(rows) > SHOWN_SHARES else []
    said = shorten(_said(answer), 80, placeholder=" ...")
    return f"{type(answer).__name__}({f'{said!r}: ' if said else ''}{', '.join(shares) or 'no masks'})"


def _said(answer: Answer) -> str:
    """The note or the caption of an answer, or ""."""
    said: str | None = answer.note if isinstance(answer, Segmentation) else getattr(answer, "caption", None)
    return said or ""


def _masks(answer: Answer) -> list[PhraseGrounding]:
    """The masks of an answer that are not empty."""
    return [one for one in mask_as_grounded_caption(answer).groundings if one.mask.any()]


def _drawn(answer: Answer) -> NDArray[np.uint8]:
    if isinstance(answer, Layout):
        return layout_picture(answer.labels, answer.classes)
    if isinstance(answer, Segmentation):
        return outline(_ground(answer, answer.mask.shape), answer.mask)
    if isinstance(answer, LabelMap):
        return name_classes(_ground(answer, answer.index.shape), answer.index, answer.names)
    assert isinstance(answer, GroundedCaption)
    return export.overlay(_ground(answer, *(one.mask.shape for one in answer.groundings[:1])), answer)


def _ground(answer: Answer, size: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """The answer's picture, or black of the size (height, width) of its masks, which is None where it has none."""
    picture = answer.picture
    if picture is None:
        if size is None:
            raise InputError(f"{answer!r}: neither a picture nor a mask to draw; give it its picture")
        return np.zeros((*size, 3), np.uint8)
    check_image(picture, "picture")
    if size is not None and picture.shape[:2] != size:
        raise InputError(
            f"picture: got {picture.shape[1]}x{picture.shape[0]}, and the answer is {size[1]}x{size[0]} (width x "
            "height); give the picture that it is of"
        )
    return picture
