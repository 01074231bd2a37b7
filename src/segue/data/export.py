"""Stories (captions with masks) as files of the field: COCO json, panoptic PNG, polygons, GranDf, an overlay, a page.

A `Told` is a picture's file name with its stories; masks are (H, W) bool on the picture's own grid.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from segue.data import rle
from segue.data.formats.panoptic import segment_colours, segment_info
from segue.data.images import png_bytes, write_image
from segue.data.transforms import resize_image
from segue.files import write_text
from segue.types import GroundedCaption, InputError, PhraseGrounding, check_image

Told = tuple[str, Sequence[GroundedCaption]]
Pngs = dict[str, NDArray[np.uint8]]  # file name -> (H, W, 3)
COLOURS = ((230, 80, 60), (50, 130, 230), (60, 170, 90), (220, 160, 30), (150, 90, 210), (30, 170, 180), (220, 90, 160))
WIDEST = 1600  # pixels of a page's picture


# ------------------------------------------------------------------------------------------------------- json


def class_of(link: PhraseGrounding) -> str:
    """The name of the link's category: its class, or its phrase where no class is known."""
    return link.label or link.phrase


def to_coco(
    told: Sequence[Told],
    categories: Sequence[str] = (),
    *,
    as_polygons: bool = False,
    sizes: Sequence[tuple[int, int]] = (),
) -> dict[str, Any]:
    """One COCO object: images, categories, annotations (a link each, with its score) and captions.

    categories: class names in the order of their ids, from 1; those found, sorted, by default.
    as_polygons: outlines instead of compressed run lengths. sizes: (height, width) of the pictures, where one may have
    no mask that tells it. Links without a pixel are left out, and so is a caption of no words.
    Raises InputError for a class outside `categories`.
    """
    names = list(categories) or sorted({class_of(x) for _, some in told for story in some for x in story.links})
    number = {name: i for i, name in enumerate(names, 1)}
    made: dict[str, Any] = {"info": {"description": "Predictions of Segue"}, "licenses": []}
    made |= {"images": [], "annotations": [], "captions": []}
    made["categories"] = [{"id": i, "name": name} for name, i in number.items()]
    pictures = zip(told, _sizes(told, sizes), strict=True)
    for image_id, ((file_name, stories), (height, width)) in enumerate(pictures, 1):
        made["images"].append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for story in stories:
            caption = {"id": len(made["captions"]) + 1, "image_id": image_id}
            if story.caption:
                made["captions"].append(caption | {"caption": story.caption, "score": story.score})
            for link in story.links:
                if class_of(link) not in number:
                    raise InputError(f"{file_name}: class {class_of(link)!r} is not among the categories; add it")
                if not link.mask.any():
                    continue
                more = {"id": len(made["annotations"]) + 1, "image_id": image_id}
                more |= {"caption_id": caption["id"]} if story.caption else {}
                more["category_id"] = number[class_of(link)]
                made["annotations"].append(more | _annotation(link, as_polygons))
    return made


def _annotation(link: PhraseGrounding, as_polygons: bool) -> dict[str, Any]:
    code = rle.encode(link.mask)
    return {
        "segmentation": rle.to_polygons(code) if as_polygons else rle.to_json(code),
        "area": rle.area(code),
        "bbox": list(rle.box(code)),
        "iscrowd": 0,
        "score": link.score,
        "phrase": link.phrase,
        "tokens_positive": [[link.start, link.end]],
    }


def join_coco(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `to_coco` made part by part, as one: numbers go on, pictures are one by file, categories by name."""
    names = sorted({one["name"] for part in parts for one in part["categories"]})
    number, made = {name: i for i, name in enumerate(names, 1)}, to_coco([], names)
    pictures: dict[str, int] = {}
    for part in parts:
        for one in part["images"]:
            if one["file_name"] not in pictures:
                pictures[one["file_name"]] = len(pictures) + 1
                made["images"].append(one | {"id": len(pictures)})
        shown = {one["id"]: pictures[one["file_name"]] for one in part["images"]}
        called = {one["id"]: one["name"] for one in part["categories"]}
        before = {key: len(made[key]) for key in ("annotations", "captions")}
        for key, past in before.items():
            for one in part[key]:
                moved = one | {"id": one["id"] + past, "image_id": shown[one["image_id"]]}
                if "caption_id" in one:
                    moved["caption_id"] = one["caption_id"] + before["captions"]
                if "category_id" in one:
                    moved["category_id"] = number[called[one["category_id"]]]
                made[key].append(moved)
    return made


def write_coco(
    path: Path,
    told: Sequence[Told],
    categories: Sequence[str] = (),
    *,
    as_polygons: bool = True,
    sizes: Sequence[tuple[int, int]] = (),
) -> None:
    """Write `to_coco`, whose arguments these are, whole or not at all.

    pycocotools reads it either way; imports of Label Studio and CVAT want the polygons, which are the default here.
    """
    write_text(path, json.dumps(to_coco(told, categories, as_polygons=as_polygons, sizes=sizes)))


def to_grandf(told: Sequence[Told], *, sizes: Sequence[tuple[int, int]] = ()) -> dict[str, Any]:
    """GranDf's COCO-like form: an image for each story, an annotation for each link.

    Characters tokens_positive of the caption are tied to sam_mask, compressed run lengths. sizes: as for `to_coco`.
    Raises InputError for a mask that no words are tied to: nobody could read it back.
    """
    made: dict[str, Any] = {"images": [], "annotations": []}
    for (file_name, stories), (height, width) in zip(told, _sizes(told, sizes), strict=True):
        for story in stories:
            image = {"id": len(made["images"]) + 1, "file_name": file_name, "height": height, "width": width}
            made["images"].append(image | {"caption": story.caption})
            for link in story.links:
                if not link.end:
                    raise InputError(f"{class_of(link)!r} is tied to no words, and GranDf needs some; export coco")
                code = rle.encode(link.mask)
                mark = {"id": len(made["annotations"]) + 1, "image_id": image["id"], "bbox": list(rle.box(code))}
                mark |= {"tokens_positive": [[link.start, link.end]], "sam_mask": rle.to_json(code)}
                made["annotations"].append(mark | {"score": link.score})
    return made


def _sizes(told: Sequence[Told], sizes: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """The sizes given, one for each picture; those that the masks tell where none are."""
    if sizes and len(sizes) != len(told):
        raise InputError(f"sizes: got {len(sizes)} for {len(told)} pictures, expected one for each")
    return sizes or [_size(stories) for _, stories in told]


def _size(stories: Sequence[GroundedCaption]) -> tuple[int, int]:
    """(height, width) of a picture by its masks; (0, 0) when no story has any."""
    found = {link.mask.shape for story in stories for link in story.links}
    if len(found) > 1:
        raise InputError(f"stories of one picture have masks of {len(found)} sizes; export each picture by itself")
    height, width = next(iter(found), (0, 0))
    return height, width


# ------------------------------------------------------------------------------------------------------ masks


def to_panoptic(stories: Sequence[GroundedCaption], name: str, picture: str) -> tuple[Pngs, dict[str, Any]]:
    """COCO's panoptic form: a PNG, (H, W, 3) uint8 with id = R + 256 G + 65536 B, for each story that has masks.

    With them the json: NAME.N.panoptic.png of story N is that of image N, whose file_name is `picture`. Where masks
    overlap the surer one is on top; a mask that is wholly covered has no segment. isthing is 1 throughout: a story
    doesn't tell things from stuff.
    """
    names = sorted({class_of(link) for story in stories for link in story.links})
    made: dict[str, Any] = {"images": [], "annotations": []}
    made["categories"] = [{"id": i, "name": label, "isthing": 1} for i, label in enumerate(names, 1)]
    drawn: Pngs = {}
    for n, story in enumerate(stories, 1):
        if not story.links:
            continue
        ids = np.zeros(story.links[0].mask.shape, np.int64)
        for i in sorted(range(len(story.links)), key=lambda i: story.links[i].score):
            ids[story.links[i].mask] = i + 1
        segments = [
            segment_info(i, names.index(class_of(link)) + 1, ids == i) | {"phrase": link.phrase, "score": link.score}
            for i, link in enumerate(story.links, 1)
            if (ids == i).any()
        ]
        file, (height, width) = f"{name}.{n}.panoptic.png", story.links[0].mask.shape
        drawn[file] = segment_colours(ids)
        made["images"].append({"id": n, "file_name": picture, "height": height, "width": width})
        made["annotations"].append({"image_id": n, "file_name": file, "segments_info": segments})
    return drawn, made


# ----------------------------------------------------------------------------------------------- for people


def overlay(image: NDArray[np.uint8], story: GroundedCaption) -> NDArray[np.uint8]:
    """The picture (H, W, 3) with each mask tinted in its own colour, its rim in full."""
    check_image(image)
    _check_grid(image, [story])
    drawn = image.astype(np.float32)
    for i, link in enumerate(story.links):
        for part in ndimage.find_objects(link.mask.astype(np.uint8)):  # its box, none of an empty mask
            mask = link.mask[part]
            rim = mask & ~ndimage.binary_erosion(mask)
            share = np.where(rim, 1.0, np.where(mask, 0.45, 0.0)).astype(np.float32)[..., None]
            drawn[part] = drawn[part] * (1 - share) + np.array(COLOURS[i % len(COLOURS)], np.float32) * share
    return drawn.round().astype(np.uint8)


def to_html(image: NDArray[np.uint8], stories: Sequence[GroundedCaption], title: str = "Stories") -> str:
    """A page that needs nothing else: the picture and its stories; a phrase under the pointer lights its masks.

    Of a picture wider or higher than WIDEST pixels it holds a smaller one as JPEG; the masks are as fine as they were.
    """
    check_image(image)
    _check_grid(image, stories)
    height, width = image.shape[:2]
    shapes, told = [], []
    for s, story in enumerate(stories):
        for i, link in enumerate(story.links):
            outlines = rle.to_polygons(rle.encode(link.mask))
            path = " ".join("M" + " ".join(f"{v:g}" for v in outline) + "Z" for outline in outlines)
            colour = "rgb({},{},{})".format(*COLOURS[i % len(COLOURS)])
            shapes.append(f'<path class="{_group(s, link)}" d="{path}" fill="{colour}" stroke="{colour}"/>')
        told.append(_told(s, story))
    return PAGE.format(
        title=escape(title),
        width=width,
        height=height,
        picture=_embedded(image),
        shapes="".join(shapes),
        told="".join(told),
    )


def _embedded(image: NDArray[np.uint8]) -> str:
    """The picture as a data URL."""
    if (longest := max(image.shape[:2])) <= WIDEST:
        return f"data:image/png;base64,{base64.b64encode(png_bytes(image)).decode()}"
    height, width = (max(1, round(side * WIDEST / longest)) for side in image.shape[:2])
    file = io.BytesIO()
    Image.fromarray(resize_image(image, (height, width))).save(file, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _group(story: int, link: PhraseGrounding) -> str:
    """The masks of one phrase light together; those without a phrase by themselves."""
    return f"s{story}-{link.start}-{link.end}" if link.end else f"s{story}-{id(link)}"


def _told(number: int, story: GroundedCaption) -> str:
    """A story's line: its caption with the phrases marked, its score, and a list of its masks."""
    line, at = "", 0
    for start, end in sorted({(link.start, link.end) for link in story.links if link.end}):
        if start >= at:  # a phrase inside another is in the list below
            line += escape(story.caption[at:start])
            line += f'<b data-lights="s{number}-{start}-{end}">{escape(story.caption[start:end])}</b>'
            at = end
    line += escape(story.caption[at:])
    masks = "".join(
        f'<li data-lights="{_group(number, link)}">{escape(link.phrase)} <i>{link.score:.2f}</i></li>'
        for link in story.links
    )
    return f"<section><p>{line} <i>{story.score:.2g}</i></p><ul>{masks}</ul></section>"


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
<main><h1>{title}</h1>{told}</main>
<script>
for (const phrase of document.querySelectorAll("[data-lights]"))
  for (const [event, lit] of [["mouseenter", true], ["mouseleave", false]])
    phrase.addEventListener(event, () => document.querySelectorAll("path." + phrase.dataset.lights)
      .forEach(path => path.classList.toggle("lit", lit)));
</script></html>
"""


def _check_grid(image: NDArray[np.uint8], stories: Sequence[GroundedCaption]) -> None:
    for story in stories:
        for link in story.links:
            if link.mask.shape != image.shape[:2]:
                got = f"{link.mask.shape[1]}x{link.mask.shape[0]}"
                raise InputError(
                    f"mask of {got}, the picture has {image.shape[1]}x{image.shape[0]} pixels; use its own"
                )


KINDS = ("overlay", "html", "grandf", "panoptic")


def write_stories(
    folder: Path,
    name: str,
    image: NDArray[np.uint8],
    stories: Sequence[GroundedCaption],
    kinds: Sequence[str] = KINDS,
    *,
    picture: str = "",
) -> list[Path]:
    """Files of one picture, each written whole or not at all; returns them. COCO's, of many, is by `write_coco`.

    kinds: overlay (NAME.N.png of each story), html (NAME.html), grandf (NAME.grandf.json), panoptic
    (NAME.N.panoptic.png of each story that has masks, and their segments in NAME.panoptic.json). picture: its file's
    name, as the json files tell it; NAME.png unless given.
    """
    if odd := [kind for kind in kinds if kind not in KINDS]:
        raise InputError(f"export: got {odd[0]!r}, expected some of {', '.join(KINDS)}")
    check_image(image)
    _check_grid(image, stories)
    folder.mkdir(parents=True, exist_ok=True)
    picture = picture or f"{name}.png"
    texts, made, pictures = dict[str, str](), list[Path](), Pngs()
    if "overlay" in kinds:
        pictures |= {f"{name}.{n}.png": overlay(image, story) for n, story in enumerate(stories, 1)}
    if "html" in kinds:
        texts[f"{name}.html"] = to_html(image, stories, name)
    if "grandf" in kinds:
        size = image.shape[0], image.shape[1]
        texts[f"{name}.grandf.json"] = json.dumps(to_grandf([(picture, stories)], sizes=[size]))
    if "panoptic" in kinds:
        drawn, told = to_panoptic(stories, name, picture)
        pictures |= drawn
        texts[f"{name}.panoptic.json"] = json.dumps(told)
    for file, pixels in pictures.items():
        write_image(pixels, folder / file)
        made.append(folder / file)
    for file, text in texts.items():
        write_text(folder / file, text)
        made.append(folder / file)
    return made
