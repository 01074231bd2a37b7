"""Pictures for people: outlines, heat maps and contact sheets. All (H, W, 3) uint8 RGB."""

from __future__ import annotations

import base64
import colorsys
import io
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segue.data import rle
from segue.data.class_colours import palette as class_palette
from segue.data.images import png_bytes
from segue.data.medical.lvit import ImageNoteRecord
from segue.types import InputError, Picture, check_image, check_mask

GREEN = (64, 224, 112)
TINT = 0.18  # of a colour inside of an outline
COLOURS = (
    GREEN,
    (255, 96, 64),
    (64, 160, 255),
    (255, 208, 48),
    (208, 96, 255),
    (48, 224, 224),
    (255, 112, 176),
    (160, 208, 64),
    (144, 144, 255),
    (255, 160, 96),
    (96, 192, 160),
)
HIT, MISSED, WRONG = GREEN, (255, 64, 64), (72, 136, 255)  # of a mask: true positives, false negatives, false positives
RIM = (40, 40, 40)  # between the classes of a layout, and around the colours of a legend
TAG = 20  # pixels that the number of a box is high


def outline(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int] = GREEN
) -> NDArray[np.uint8]:
    """The picture with the mask's rim in full colour and its inside faintly tinted."""
    check_image(image)
    check_mask(mask)
    width, result = max(1, round(min(mask.shape) / 150)), image.copy()
    if not mask.any():
        return result
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    part, whole = result[place], mask[place]  # nothing is there outside of it
    inside = scipy.ndimage.binary_erosion(whole, iterations=width)
    tinted = (np.arange(256)[:, None] * (1 - TINT) + np.array(colour) * TINT).round().astype(np.uint8)
    part[inside] = tinted[part[inside], np.arange(3)]
    part[whole & ~inside] = colour
    return result


def compare_masks(
    image: NDArray[np.uint8], predicted: NDArray[np.bool_], truth: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The picture with what both masks have in HIT's colour, what only the truth in MISSED's, the rest in WRONG's."""
    for mask, colour in ((predicted & truth, HIT), (truth & ~predicted, MISSED), (predicted & ~truth, WRONG)):
        image = outline(image, mask, colour)
    return image


def palette(count: int) -> NDArray[np.uint8]:
    """(count, 3) colours for classes: COLOURS, then hues that step by the golden angle."""
    more = (colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.5 + 0.15 * (i % 3), 0.95 - 0.15 * (i % 4)) for i in range(count))
    rest = [tuple(round(255 * v) for v in colour) for colour in more]
    return np.array([*COLOURS, *rest][:count], np.uint8).reshape(-1, 3)


def name_classes(
    image: NDArray[np.uint8], index: NDArray[np.integer], names: Sequence[str], least: float = 0.002
) -> NDArray[np.uint8]:
    """The picture tinted by the classes of its pixels, with a legend below of those on a share `least` of it or more.

    index: (H, W) positions in `names`; what is past them stays as it is. Small pictures are magnified to be readable.
    """
    check_image(image)
    scale = max(1, -(-320 // image.shape[1]))
    image, index = (np.repeat(np.repeat(x, scale, 0), scale, 1) for x in (image, index))
    colours, known = palette(len(names)), index < len(names)
    tinted = tint_classes(image, index, colours)
    shares = np.bincount(index[known].astype(np.int64), minlength=len(names)) / index.size
    shown = [int(i) for i in np.argsort(-shares, kind="stable") if shares[i] >= least]
    entries = [(f"{names[i]} {shares[i]:.0%}", (colours[i][0], colours[i][1], colours[i][2])) for i in shown]
    return np.concatenate([tinted, _legend(entries, tinted.shape[1])])


def tint_classes(image: NDArray[np.uint8], index: NDArray[np.integer], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture tinted by the classes of its pixels. index: (H, W) rows of `colours`; what is past them stays."""
    known = index < len(colours)
    tints = colours[np.where(known, index, 0)]
    tinted: NDArray[np.uint8] = np.where(known[..., None], (0.45 * image + 0.55 * tints).astype(np.uint8), image)
    return tinted


def layout_picture(labels: NDArray[np.uint8], classes: Sequence[str], least: float = 0.002) -> NDArray[np.uint8]:
    """(H, W) layout -> (H', W', 3) to look at: each class in its colour, rims between them, and a legend below.

    classes: names, in the order of the layout's values; 255 is black. The legend has those on a share `least` of it or
    more, the largest first. Small layouts are magnified to be readable.
    """
    scale = max(1, -(-320 // labels.shape[1]))
    labels = np.repeat(np.repeat(labels, scale, 0), scale, 1)
    colours = class_palette(classes)
    painted, rims = colours[labels], np.zeros(labels.shape, np.bool_)
    rims[1:] |= labels[1:] != labels[:-1]
    rims[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    painted[rims] = RIM
    shares = np.bincount(labels.ravel(), minlength=256)[: len(classes)] / labels.size
    shown = [int(i) for i in np.argsort(-shares, kind="stable") if shares[i] >= least]
    entries = [(f"{classes[i]} {shares[i]:.0%}", (colours[i][0], colours[i][1], colours[i][2])) for i in shown]
    return np.concatenate([painted, _legend(entries, painted.shape[1], RIM)])


def _legend(
    entries: Sequence[tuple[str, tuple[int, int, int]]], width: int, rim: tuple[int, int, int] | None = None
) -> NDArray[np.uint8]:
    """(H, width, 3): a coloured square and its text one after another, in as many lines as they need."""
    font, line, places, x, y = ImageFont.load_default(12), 20, [], 6, 4
    for text, _ in entries:
        long = 32 + int(font.getlength(text))
        if x > 6 and x + long > width:
            x, y = 6, y + line
        places.append((x, y))
        x += long
    sheet = Image.new("RGB", (width, y + line), (250, 250, 248))
    draw = ImageDraw.Draw(sheet)
    for (text, colour), (left, top) in zip(entries, places, strict=True):
        draw.rectangle((left, top, left + 11, top + 11), fill=colour, outline=rim)
        draw.text((left + 17, top - 1), text, (30, 30, 30), font)
    return np.array(sheet)


def data_url(image: NDArray[np.uint8], longest: int, *, small: bool = False) -> str:
    """The picture as a URL: PNG, and JPEG where `small` is asked or a side above `longest` pixels is shrunk to that."""
    check_image(image)
    shrunk = max(image.shape[:2]) > longest
    if not shrunk and not small:
        return f"data:image/png;base64,{base64.b64encode(png_bytes(image)).decode()}"
    file = io.BytesIO()
    fitted = _fit(image, longest, Image.Resampling.BILINEAR) if shrunk else image
    Image.fromarray(fitted).save(file, "JPEG", quality=90, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def heat_map(image: NDArray[np.uint8], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture with values in [0, 1] laid over it, from nothing by red to yellow."""
    check_image(image)
    v = np.clip(values, 0, 1)[..., None]
    colour = np.concatenate([np.minimum(2 * v, 1), np.maximum(2 * v - 1, 0), np.zeros_like(v)], -1) * 255
    return (image * (1 - 0.65 * v) + colour * 0.65 * v).round().astype(np.uint8)


def contact_sheet(
    records: Sequence[ImageNoteRecord] | Sequence[Picture], *, columns: int = 6, tile: int = 224, limit: int = 24
) -> NDArray[np.uint8]:
    """Up to `limit` examples, spread evenly over the records: outlined picture, name, note or first caption below.

    A record that can't be read has an empty tile with the reason in red: the sheet shows what is wrong with the others.
    Raises InputError without records, and for less than 1 column, 32 pixels or a limit of 1.
    """
    if not records or columns < 1 or tile < 32 or limit < 1:
        raise InputError(
            f"contact sheet: got {len(records)} records, {columns} columns, tile {tile}, limit {limit}; "
            "expected at least 1 record, 1 column, 32 pixels and a limit of 1"
        )
    chosen = [records[i] for i in np.unique(np.linspace(0, len(records) - 1, min(limit, len(records))).astype(int))]
    caption, gap = 62, 10
    rows = -(-len(chosen) // columns)
    size = (columns * (tile + gap) + gap, rows * (tile + caption + gap) + gap)
    sheet = Image.new("RGB", size, (250, 250, 248))
    for i, record in enumerate(chosen):
        corner = (gap + i % columns * (tile + gap), gap + i // columns * (tile + caption + gap))
        _paste(sheet, record, corner, tile)
    return np.array(sheet)


def side_by_side(tiles: Sequence[tuple[str, str, NDArray[np.uint8]]], *, tile: int = 256) -> NDArray[np.uint8]:
    """Pictures side by side, each with a heading and text below. tiles: (heading, text, picture)."""
    caption, gap = 62, 10
    sheet = Image.new("RGB", (len(tiles) * (tile + gap) + gap, tile + caption + 2 * gap), (250, 250, 248))
    for i, (heading, text, pixels) in enumerate(tiles):
        check_image(pixels)
        x, small = gap + i * (tile + gap), _fit(pixels, tile, Image.Resampling.BILINEAR)
        sheet.paste(Image.fromarray(small), (x + (tile - small.shape[1]) // 2, gap + (tile - small.shape[0]) // 2))
        _write_below(sheet, heading, text, (x, gap), tile, (30, 30, 30))
    return np.array(sheet)


def _paste(sheet: Image.Image, record: ImageNoteRecord | Picture, corner: tuple[int, int], tile: int) -> None:
    try:
        small, text = _draw_tile(record, tile)
    except InputError as error:
        message = str(error)
        if isinstance(record, ImageNoteRecord):
            message = message.replace(f"{record.image.parents[1]}/", "")  # the split's folder is the same in all tiles
        _write_below(sheet, record.name, message, corner, tile, (176, 32, 32))
        return
    x, y = corner
    sheet.paste(Image.fromarray(small), (x + (tile - small.shape[1]) // 2, y + (tile - small.shape[0]) // 2))
    _write_below(sheet, record.name, text, corner, tile, (30, 30, 30))


def _draw_tile(record: ImageNoteRecord | Picture, tile: int) -> tuple[NDArray[np.uint8], str]:
    """A tile's picture with its masks, and the text below it."""
    if isinstance(record, Picture):
        names = ", ".join(dict.fromkeys(region.label for region in record.regions))
        return _with_regions(record, tile), record.captions[0] if record.captions else names or "(no caption)"
    example = record.load()
    small = _fit(example.image, tile, Image.Resampling.BILINEAR)
    if example.mask is not None:
        small = outline(small, _fit(example.mask, tile, Image.Resampling.NEAREST))
    return small, record.note or "(no note)"


def _with_regions(picture: Picture, tile: int) -> NDArray[np.uint8]:
    """A picture `tile` pixels long with its regions outlined, the larger first, or tinted by its label map."""
    image = picture.load()
    small, scale = _fit(image, tile, Image.Resampling.BILINEAR), tile / max(image.shape[:2])
    regions = sorted(picture.regions, key=lambda region: -region.box[2] * region.box[3])
    if picture.label_map is not None and not any(region.mask for region in regions):
        labels = _fit(picture.label_map(), tile, Image.Resampling.NEAREST)
        tints = np.array(COLOURS, np.uint8)[labels % len(COLOURS)]
        small = np.where(
            (labels != np.iinfo(labels.dtype).max)[..., None], (0.5 * small + 0.5 * tints).astype(np.uint8), small
        )
    for i, region in enumerate(regions):
        colour = COLOURS[i % len(COLOURS)]
        if region.mask is not None:
            small = outline(small, _fit(rle.decode(region.mask), tile, Image.Resampling.NEAREST), colour)
        elif region.box[2] > 0 and region.box[3] > 0:
            x, y, w, h = (v * scale for v in region.box)
            drawn = Image.fromarray(small)
            ImageDraw.Draw(drawn).rectangle((x, y, x + w - 1, y + h - 1), outline=colour, width=2)
            small = np.array(drawn)
    return small


def number_boxes(image: NDArray[np.uint8], boxes: NDArray[np.float32], longest: int) -> NDArray[np.uint8]:
    """An image whose longer side has `longest` pixels with numbered boxes, from 1; the smaller ones over the larger.

    boxes: (N, 4) x, y, width, height in pixels of the image as it is given.
    """
    scale = longest / max(image.shape[:2])
    drawn = Image.fromarray(_fit(image, longest, Image.Resampling.BILINEAR))
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(TAG)
    for i in np.argsort(-boxes[:, 2] * boxes[:, 3], kind="stable").tolist():
        x, y, w, h = (float(v) * scale for v in boxes[i])
        colour, text = COLOURS[i % len(COLOURS)], str(i + 1)
        corner = min(max(x, 0), drawn.width - TAG), min(max(y, 0), drawn.height - TAG)
        pen.rectangle((x, y, x + w - 1, y + h - 1), outline=colour, width=2)
        pen.rectangle((*corner, corner[0] + 4 + pen.textlength(text, font), corner[1] + TAG), fill=colour)
        pen.text((corner[0] + 2, corner[1]), text, (0, 0, 0), font)
    return np.array(drawn)


def _fit(pixels: NDArray[Any], tile: int, how: Image.Resampling) -> NDArray[Any]:
    """Pixels shrunk or magnified so that the longer side has `tile` pixels."""
    height, width = pixels.shape[:2]
    scale = tile / max(height, width)
    return np.array(Image.fromarray(pixels).resize((max(1, round(width * scale)), max(1, round(height * scale))), how))


def _write_below(
    sheet: Image.Image, name: str, text: str, corner: tuple[int, int], tile: int, ink: tuple[int, int, int]
) -> None:
    """A tile's name, and up to three lines of text; what does not fit ends in an ellipsis."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    x, y = corner[0], corner[1] + tile
    across = max(8, tile // 6)
    name = name if len(name) <= across else name[: across - 1] + "…"
    draw.text((x, y + 3), name, (120, 120, 120), font)
    lines = textwrap.wrap(text[: 8 * across], across, max_lines=3, placeholder=" …")
    draw.multiline_text((x, y + 17), "\n".join(lines), ink, font, spacing=2)
