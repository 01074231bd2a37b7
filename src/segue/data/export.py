"""Grounded captions as files: COCO json, COCO panoptic, GranDf, an overlay, a web page.

Masks are (H, W) bool on the picture's own grid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from segue.data import rle
from segue.data.formats.panoptic import segment_colours, segment_info
from segue.data.images import write_image
from segue.data.visualize import data_url
from segue.files import write_text
from segue.types import GroundedCaption, InputError, PhraseGrounding, check_image

CaptionedFile = tuple[str, Sequence[GroundedCaption]]  # a picture's file name and its grounded captions
Pngs = dict[str, NDArray[np.uint8]]  # file name -> (H, W, 3)
COLOURS = ((230, 80, 60), (50, 130, 230), (60, 170, 90), (220, 160, 30), (150, 90, 210), (30, 170, 180), (220, 90, 160))
MAX_PAGE_SIDE = 1600  # pixels of the longer side of the picture in a page


# ------------------------------------------------------------------------------------------------------- json


def class_of(grounding: PhraseGrounding) -> str:
    """The category of a grounding: its class, or its phrase where no class is known."""
    return grounding.label or grounding.phrase


def to_coco(
    pictures: Sequence[CaptionedFile],
    categories: Sequence[str] = (),
    *,
    as_polygons: bool = False,
    sizes: Sequence[tuple[int, int]] = (),
) -> dict[str, Any]:
    """One COCO object: images, categories, annotations (one for each grounding, with its score) and captions.

    categories: class names in the order of their ids, from 1; those found, sorted, by default.
    as_polygons: outlines instead of compressed run lengths. sizes: (height, width) of each picture, needed where one
    may have no mask. Empty masks and empty captions are left out.
    Raises InputError for a class outside `categories`, or for sizes that don't fit the pictures.
    """
    names = list(categories) or sorted({class_of(g) for _, some in pictures for c in some for g in c.groundings})
    number = {name: i for i, name in enumerate(names, 1)}
    made: dict[str, Any] = {"info": {"description": "Predictions of Segue"}, "licenses": []}
    made |= {"images": [], "annotations": [], "captions": []}
    made["categories"] = [{"id": i, "name": name} for name, i in number.items()]
    with_sizes = zip(pictures, _sizes(pictures, sizes), strict=True)
    for image_id, ((file_name, captions), (height, width)) in enumerate(with_sizes, 1):
        made["images"].append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for caption in captions:
            entry = {"id": len(made["captions"]) + 1, "image_id": image_id}
            if caption.caption:
                made["captions"].append(entry | {"caption": caption.caption, **caption.worth})
            for grounding in caption.groundings:
                if (name := class_of(grounding)) not in number:
                    raise InputError(f"{file_name}: class {name!r} is not among the categories; add it")
                if not grounding.mask.any():
                    continue
                more = {"id": len(made["annotations"]) + 1, "image_id": image_id}
                more |= {"caption_id": entry["id"]} if caption.caption else {}
                more["category_id"] = number[name]
                made["annotations"].append(more | _annotation(grounding, as_polygons))
    return made


def _annotation(grounding: PhraseGrounding, as_polygons: bool) -> dict[str, Any]:
    code = rle.encode(grounding.mask)
    return {
        "segmentation": rle.to_polygons(code) if as_polygons else rle.to_json(code),
        "area": rle.area(code),
        "bbox": list(rle.box(code)),
        "iscrowd": 0,
        "score": grounding.score,
        "phrase": grounding.phrase,
        "tokens_positive": [[grounding.start, grounding.end]],
    }


def join_coco(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge results of `to_coco` into one: ids are renumbered, pictures merged by file name, categories by name."""
    names = sorted({one["name"] for part in parts for one in part["categories"]})
    number, made = {name: i for i, name in enumerate(names, 1)}, to_coco([], names)
    image_ids: dict[str, int] = {}
    for part in parts:
        for image in part["images"]:
            if image["file_name"] not in image_ids:
                image_ids[image["file_name"]] = len(image_ids) + 1
                made["images"].append(image | {"id": len(image_ids)})
        new_id = {image["id"]: image_ids[image["file_name"]] for image in part["images"]}
        category = {one["id"]: one["name"] for one in part["categories"]}
        offsets = {key: len(made[key]) for key in ("annotations", "captions")}
        for key, offset in offsets.items():
            for entry in part[key]:
                moved = entry | {"id": entry["id"] + offset, "image_id": new_id[entry["image_id"]]}
                if "caption_id" in entry:
                    moved["caption_id"] = entry["caption_id"] + offsets["captions"]
                if "category_id" in entry:
                    moved["category_id"] = number[category[entry["category_id"]]]
                made[key].append(moved)
    return made


def write_coco(
    path: Path,
    pictures: Sequence[CaptionedFile],
    categories: Sequence[str] = (),
    *,
    as_polygons: bool = True,
    sizes: Sequence[tuple[int, int]] = (),
) -> None:
    """Write the result of `to_coco`, which has the same arguments, to a file, atomically.

    pycocotools reads both forms of masks; Label Studio and CVAT need the polygons, which are the default here.
    Raises InputError as `to_coco` does.
    """
    write_text(path, json.dumps(to_coco(pictures, categories, as_polygons=as_polygons, sizes=sizes)))


def to_grandf(pictures: Sequence[CaptionedFile], *, sizes: Sequence[tuple[int, int]] = ()) -> dict[str, Any]:
    """GranDf's COCO-like form: an image for each caption, an annotation for each grounding.

    Of an annotation, tokens_positive are the characters of the phrase and sam_mask the mask as compressed run lengths.
    sizes: as for `to_coco`.
    Raises InputError for a mask without a phrase, which could not be read back.
    """
    made: dict[str, Any] = {"images": [], "annotations": []}
    for (file_name, captions), (height, width) in zip(pictures, _sizes(pictures, sizes), strict=True):
        for caption in captions:
            image = {"id": len(made["images"]) + 1, "file_name": file_name, "height": height, "width": width}
            made["images"].append(image | {"caption": caption.caption})
            for grounding in caption.groundings:
                if not grounding.end:
                    raise InputError(
                        f"{class_of(grounding)!r} is the class of a mask without a phrase, and GranDf needs phrases; "
                        "export coco"
                    )
                code = rle.encode(grounding.mask)
                mark = {"id": len(made["annotations"]) + 1, "image_id": image["id"], "bbox": list(rle.box(code))}
                mark |= {"tokens_positive": [[grounding.start, grounding.end]], "sam_mask": rle.to_json(code)}
                made["annotations"].append(mark | {"score": grounding.score})
    return made


def _sizes(pictures: Sequence[CaptionedFile], sizes: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """The given sizes, one for each picture, or else those of the masks."""
    if sizes and len(sizes) != len(pictures):
        raise InputError(f"sizes: got {len(sizes)} for {len(pictures)} pictures, expected one for each")
    return sizes or [_size(captions) for _, captions in pictures]


def _size(captions: Sequence[GroundedCaption]) -> tuple[int, int]:
    """(height, width) of a picture by its masks; (0, 0) when no caption has any."""
    found = {grounding.mask.shape for caption in captions for grounding in caption.groundings}
    if len(found) > 1:
        raise InputError(f"captions of one picture have masks of {len(found)} sizes; export each picture by itself")
    height, width = next(iter(found), (0, 0))
    return height, width


# ------------------------------------------------------------------------------------------------------ masks


def to_panoptic(captions: Sequence[GroundedCaption], name: str, picture: str) -> tuple[Pngs, dict[str, Any]]:
    """COCO's panoptic form: a PNG, (H, W, 3) uint8 with id = R + 256 G + 65536 B, for each caption that has masks.

    With them the json: NAME.N.panoptic.png of caption N is that of image N, whose file_name is `picture`. Where masks
    overlap, the one of the higher score is on top; a mask that is wholly covered has no segment. isthing is 1
    throughout, because a grounding doesn't say whether it is a thing or stuff.
    """
    names = sorted({class_of(grounding) for caption in captions for grounding in caption.groundings})
    made: dict[str, Any] = {"images": [], "annotations": []}
    made["categories"] = [{"id": i, "name": label, "isthing": 1} for i, label in enumerate(names, 1)]
    drawn: Pngs = {}
    for n, caption in enumerate(captions, 1):
        if not (groundings := caption.groundings):
            continue
        ids = np.zeros(groundings[0].mask.shape, np.int64)
        for i in sorted(range(len(groundings)), key=lambda i: groundings[i].score):
            ids[groundings[i].mask] = i + 1
        segments = [
            segment_info(i, names.index(class_of(g)) + 1, ids == i) | {"phrase": g.phrase, "score": g.score}
            for i, g in enumerate(groundings, 1)
            if (ids == i).any()
        ]
        file, height, width = f"{name}.{n}.panoptic.png", len(ids), len(ids[0])
        drawn[file] = segment_colours(ids)
        made["images"].append({"id": n, "file_name": picture, "height": height, "width": width})
        made["annotations"].append({"image_id": n, "file_name": file, "segments_info": segments})
    return drawn, made


# ----------------------------------------------------------------------------------------------- for people


def overlay(image: NDArray[np.uint8], caption: GroundedCaption) -> NDArray[np.uint8]:
    """The picture (H, W, 3) with each mask tinted in its own colour, and its outline in the full colour.

    Raises InputError when a mask has another size than the picture.
    """
    check_image(image)
    _check_grid(image, [caption])
    drawn = image.astype(np.float32)
    for i, grounding in enumerate(caption.groundings):
        for part in scipy.ndimage.find_objects(grounding.mask.astype(np.uint8)):  # its box, none of an empty mask
            mask = grounding.mask[part]
            rim = mask & ~scipy.ndimage.binary_erosion(mask)
            share = np.where(rim, 1.0, np.where(mask, 0.45, 0.0)).astype(np.float32)[..., None]
            drawn[part] = drawn[part] * (1 - share) + np.array(COLOURS[i % len(COLOURS)], np.float32) * share
    return drawn.round().astype(np.uint8)


def to_html(image: NDArray[np.uint8], captions: Sequence[GroundedCaption], title: str = "Grounded captions") -> str:
    """A web page in one file: the picture and its captions; a phrase under the pointer highlights its masks.

    A picture with a side above MAX_PAGE_SIDE pixels is stored smaller, as JPEG; the masks keep their resolution.
    Raises InputError when a mask has another size than the picture.
    """
    check_image(image)
    _check_grid(image, captions)
    height, width = image.shape[:2]
    shapes, sections = [], []
    for c, caption in enumerate(captions):
        for i, grounding in enumerate(caption.groundings):
            outlines = rle.to_polygons(rle.encode(grounding.mask))
            path = " ".join("M" + " ".join(f"{v:g}" for v in outline) + "Z" for outline in outlines)
            colour = "rgb({},{},{})".format(*COLOURS[i % len(COLOURS)])
            shapes.append(f'<path class="{_group(c, grounding)}" d="{path}" fill="{colour}" stroke="{colour}"/>')
        sections.append(_section(c, caption))
    return PAGE.format(
        title=escape(title),
        width=width,
        height=height,
        picture=data_url(image, MAX_PAGE_SIDE),
        shapes="".join(shapes),
        sections="".join(sections),
    )


def _group(number: int, grounding: PhraseGrounding) -> str:
    """The CSS class of the masks that are highlighted together: those of one phrase of caption `number`."""
    if not grounding.end:
        return f"s{number}-{id(grounding)}"
    return f"s{number}-{grounding.start}-{grounding.end}"


def _section(number: int, caption: GroundedCaption) -> str:
    """A caption with its phrases marked, its score, and the list of its masks."""
    line, at = "", 0
    for start, end in sorted({(g.start, g.end) for g in caption.groundings if g.end}):
        if start >= at:  # a phrase inside another is in the list below
            line += escape(caption.caption[at:start])
            line += f'<b data-lights="s{number}-{start}-{end}">{escape(caption.caption[start:end])}</b>'
            at = end
    line += escape(caption.caption[at:])
    masks = "".join(
        f'<li data-lights="{_group(number, g)}">{escape(g.phrase)} <i>{g.score:.2f}</i></li>'
        for g in caption.groundings
    )
    return f"<section><p>{line} <i>{worth_in_words(caption.worth)}</i></p><ul>{masks}</ul></section>"


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; margin: 2em; display: flex; gap: 2em; flex-wrap: wrap }}
svg {{ width: min(90vw, 640px) }}
path {{ fill-opacity: .6; stroke-width: 1; visibility: hidden }} path.lit {{ visibility: visible }}
svg:has(path.lit) image {{ opacity: .5 }}
[data-lights] {{ cursor: pointer; border-bottom: 2px dotted #888 }} [data-lights]:hover {{ background: #fe9 }}
i {{ color: #888; font-size: 80% }} ul {{ list-style: none; padding: 0; display: flex; gap: 1em; font-size: 85% }}
</style>
<svg viewBox="0 0 {width} {height}">
<image width="{width}" height="{height}" preserveAspectRatio="none" href="{picture}"/>
{shapes}</svg>
<main><h1>{title}</h1>{sections}</main>
<script>
for (const phrase of document.querySelectorAll("[data-lights]"))
  for (const [event, lit] of [["mouseenter", true], ["mouseleave", false]])
    phrase.addEventListener(event, () => document.querySelectorAll("path." + phrase.dataset.lights)
      .forEach(path => path.classList.toggle("lit", lit)));
</script></html>
"""


def _check_grid(image: NDArray[np.uint8], captions: Sequence[GroundedCaption]) -> None:
    for caption in captions:
        for grounding in caption.groundings:
            if grounding.mask.shape != image.shape[:2]:
                got = f"{grounding.mask.shape[1]}x{grounding.mask.shape[0]}"
                raise InputError(
                    f"mask of {got}, the picture has {image.shape[1]}x{image.shape[0]} pixels; use its own"
                )


FORMATS = ("overlay", "html", "grandf", "panoptic")


def write_grounded_captions(
    folder: Path,
    name: str,
    image: NDArray[np.uint8],
    captions: Sequence[GroundedCaption],
    formats: Sequence[str] = FORMATS,
    *,
    picture: str = "",
) -> list[Path]:
    """Write the files of one picture, each atomically; returns their paths. For COCO's file see `write_coco`.

    formats: overlay (NAME.N.png of each caption), html (NAME.html), grandf (NAME.grandf.json), panoptic
    (NAME.N.panoptic.png of each caption that has masks, and their segments in NAME.panoptic.json). picture: the file
    name in the json files; NAME.png unless given.
    Raises InputError for an unknown format, and when a mask has another size than the picture.
    """
    if unknown := [one for one in formats if one not in FORMATS]:
        raise InputError(f"export: got {unknown[0]!r}, expected some of {', '.join(FORMATS)}")
    check_image(image)
    _check_grid(image, captions)
    folder.mkdir(parents=True, exist_ok=True)
    picture = picture or f"{name}.png"
    texts, written, pngs = dict[str, str](), list[Path](), Pngs()
    if "overlay" in formats:
        pngs |= {f"{name}.{n}.png": overlay(image, caption) for n, caption in enumerate(captions, 1)}
    if "html" in formats:
        texts[f"{name}.html"] = to_html(image, captions, name)
    if "grandf" in formats:
        size = image.shape[0], image.shape[1]
        texts[f"{name}.grandf.json"] = json.dumps(to_grandf([(picture, captions)], sizes=[size]))
    if "panoptic" in formats:
        segments, index = to_panoptic(captions, name, picture)
        pngs |= segments
        texts[f"{name}.panoptic.json"] = json.dumps(index)
    for file, pixels in pngs.items():
        write_image(pixels, folder / file)
        written.append(folder / file)
    for file, text in texts.items():
        write_text(folder / file, text)
        written.append(folder / file)
    return written


def worth_in_words(worth: Mapping[str, float | None]) -> str:
    """The score of `GroundedCaption.worth`, or the likelihood under its name."""
    score, likelihood = worth["score"], worth["likelihood"]
    return f"{score:.3g}" if score is not None else f"likelihood {likelihood:.2g}"
