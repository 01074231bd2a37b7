"""Pictures for people: outlines, heat maps and contact sheets. All (H, W, 3) uint8 RGB."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from segue.data.lvit import Record
from segue.types import InputError, check_image, check_mask

GREEN = (64, 224, 112)


def outline(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int] = GREEN
) -> NDArray[np.uint8]:
    """The picture with the mask's rim in full colour and its inside faintly tinted."""
    check_image(image)
    check_mask(mask)
    width = max(1, round(min(mask.shape) / 150))
    rim = mask & ~ndimage.binary_erosion(mask, iterations=width)
    tint = np.where(mask, 0.18, 0.0) + np.where(rim, 0.82, 0.0)
    return (image * (1 - tint[..., None]) + np.array(colour) * tint[..., None]).round().astype(np.uint8)


def heat_map(image: NDArray[np.uint8], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture with values in [0, 1] laid over it, from nothing by red to yellow."""
    check_image(image)
    v = np.clip(values, 0, 1)[..., None]
    colour = np.concatenate([np.minimum(2 * v, 1), np.maximum(2 * v - 1, 0), np.zeros_like(v)], -1) * 255
    return (image * (1 - 0.65 * v) + colour * 0.65 * v).round().astype(np.uint8)


def contact_sheet(
    records: Sequence[Record], *, columns: int = 6, tile: int = 224, limit: int = 24
) -> NDArray[np.uint8]:
    """Up to `limit` examples, spread evenly over the records: outlined picture, name and note below it.

    A record that can't be read has an empty tile with the reason in red: the sheet shows what is wrong with the others.
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


def _paste(sheet: Image.Image, record: Record, corner: tuple[int, int], tile: int) -> None:
    try:
        example = record.load()
    except InputError as error:
        told = str(error).replace(f"{record.image.parents[1]}/", "")  # the split's folder is the same in all tiles
        _write_below(sheet, record.name, told, corner, tile, (176, 32, 32))
        return
    scale = tile / max(example.image.shape[:2])
    size = (max(1, round(example.image.shape[1] * scale)), max(1, round(example.image.shape[0] * scale)))
    small = np.array(Image.fromarray(example.image).resize(size, Image.Resampling.BILINEAR))
    if example.mask is not None:
        mask = np.asarray(Image.fromarray(example.mask).resize(size, Image.Resampling.NEAREST))
        small = outline(small, mask)
    x, y = corner
    sheet.paste(Image.fromarray(small), (x + (tile - size[0]) // 2, y + (tile - size[1]) // 2))
    _write_below(sheet, record.name, record.note or "(no note)", corner, tile, (30, 30, 30))


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
