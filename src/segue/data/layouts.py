"""Semantic layouts: (H, W) uint8 maps of positions in a list of classes, 255 unknown; as files, and as batches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from segue.data.class_colours import palette
from segue.data.formats.panoptic import segment_colours, segment_info
from segue.data.images import open_picture, upright
from segue.files import replacing, write_text
from segue.types import InputError

UNKNOWN = 255
Labels = NDArray[np.uint8]


def check_layout(labels: Labels, classes: int, where: str = "layout") -> None:
    """Refuse anything but an (H, W) uint8 map of 0..classes - 1 and 255.

    Raises InputError that begins with `where`.
    """
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype != np.uint8 or 0 in labels.shape:
        shape, kind = getattr(labels, "shape", "none"), getattr(labels, "dtype", type(labels).__name__)
        raise InputError(f"{where}: got shape {shape} and type {kind}, expected an (H, W) uint8 map of class positions")
    odd = np.unique(labels[(labels >= classes) & (labels != UNKNOWN)])
    if odd.size:
        raise InputError(
            f"{where}: holds the ids {', '.join(map(str, odd[:6]))}, expected 0 to {classes - 1}, or {UNKNOWN} for "
            "unknown; map them to the model's classes, or to 255"
        )


def read_layout(path: Path, classes: Sequence[str], colours: NDArray[np.uint8] | None = None) -> Labels:
    """A layout from an index PNG (grey or with a palette), or from a colour picture in the colours of `palette`.

    classes: names, in order. colours: (n, 3), where they are others.
    Raises InputError that names unknown ids or colours.
    """
    with open_picture(path) as opened:
        picture = upright(opened, path)
    if picture.mode in ("L", "P"):
        labels = np.array(picture)
    elif picture.mode in ("RGB", "RGBA"):
        labels = _from_colours(np.asarray(picture.convert("RGB")), colours, classes, path)
    else:
        raise InputError(f"{path}: a picture of mode {picture.mode}, expected 8-bit class positions; export it again")
    check_layout(labels, len(classes), str(path))
    return labels


def write_layout(labels: Labels, path: Path, classes: Sequence[str]) -> None:
    """Write an index PNG with `palette`, whole or not at all.

    Raises InputError for what is no layout of these classes, and a name that doesn't end in .png.
    """
    check_layout(labels, len(classes), str(path))
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: a layout is written as .png, which keeps its values; name it {path.stem}.png")
    picture = Image.fromarray(labels, "P")
    picture.putpalette(palette(classes).tobytes())
    _write(picture, path)


def paint(labels: Labels, classes: Sequence[str]) -> NDArray[np.uint8]:
    """(H, W) -> (H, W, 3) in the colours of `palette`."""
    return palette(classes)[labels]


def write_class_masks(labels: Labels, folder: Path, classes: Sequence[str]) -> list[Path]:
    """One 0/255 PNG for each class that is there, named after it."""
    check_layout(labels, len(classes))
    paths = []
    for i in np.unique(labels[labels != UNKNOWN]):
        path = folder / f"{classes[i].replace('/', '-').replace(' ', '_')}.png"
        _write(Image.fromarray((labels == i).astype(np.uint8) * 255), path)
        paths.append(path)
    return paths


def write_panoptic(labels: Labels, path: Path, classes: Sequence[str]) -> None:
    """COCO panoptic: a PNG (id = R + 256 G + 65536 B; a class's id is its position + 1) and its .json beside it.

    A layout knows classes, not individuals: each class is one segment.
    """
    check_layout(labels, len(classes))
    ids = np.where(labels == UNKNOWN, 0, labels.astype(np.uint32) + 1)
    _write(Image.fromarray(segment_colours(ids)), path)
    segments = [segment_info(i, i, ids == i) for i in np.unique(ids[ids > 0]).tolist()]
    contents = {
        "images": [{"id": 1, "file_name": path.name, "height": labels.shape[0], "width": labels.shape[1]}],
        "annotations": [{"image_id": 1, "file_name": path.name, "segments_info": segments}],
        "categories": [{"id": i + 1, "name": name, "isthing": 0} for i, name in enumerate(classes)],
    }
    write_text(path.with_suffix(".json"), json.dumps(contents, indent=1) + "\n")


def resize_layout(labels: Labels, size: tuple[int, int]) -> Labels:
    """(H, W) -> (height, width), nearest neighbour."""
    if labels.shape == size:
        return labels
    return np.array(Image.fromarray(labels).resize((size[1], size[0]), Image.Resampling.NEAREST))


def without_specks(labels: Labels, pixels: int, spared: NDArray[np.bool_] | None = None) -> Labels:
    """The layout with its specks filled: connected parts of at most that many pixels get the nearest other class.

    labels: (H, W) uint8; parts are connected by their sides. spared: (H, W); a part of which a pixel is spared stays.
    A layout of nothing but specks stays as it is.
    """
    specks = np.zeros(labels.shape, np.bool_)
    for kind in np.unique(labels):
        parts, _ = ndimage.label(labels == kind)
        small = np.bincount(parts.ravel()) <= pixels
        small[0] = False  # all else than the class
        if spared is not None:
            small[parts[spared]] = False
        specks |= small[parts]
    if specks.all() or not specks.any():
        return labels
    rows, columns = ndimage.distance_transform_edt(specks, return_distances=False, return_indices=True)
    filled: Labels = labels[rows, columns]
    return filled


@dataclass(frozen=True)
class LayoutBatches:
    """Batches of layouts with captions; each is a pure function of its keys (epoch, index) and the seed.

    codes: (N, h, w) int16 tokens of the layouts. caption_ids: for each layout the token ids of its captions, (n, T)
    int64, all padded to one T. images: (N, H, W, 3) uint8, or None. prompt_ids: for each layout the texts that it may
    be drawn from, as caption_ids; its captions unless given. captions_per_layout: captions sampled for each layout,
    with repetition where it has fewer. boxes: (N, h', w') uint8 painted boxes of each layout, or None.
    A batch of B: codes (B, h, w) int64, ids (B captions_per_layout, T) and prompt_ids (B, T) int64, image (B, 3, H, W)
    float32 in [-1, 1] or None, boxes (B, h', w') uint8 or None, seed [B].
    Raises InputError for an empty split, and a layout without captions.
    """

    codes: Tensor
    caption_ids: Sequence[Tensor]
    images: NDArray[np.uint8] | None = None
    seed: int = 0
    prompt_ids: Sequence[Tensor] | None = None
    captions_per_layout: int = 1
    boxes: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if not len(self.codes):
            raise InputError("there is no layout to train on: the split is empty")
        if len(self.caption_ids) != len(self.codes) or any(not len(one) for one in self.caption_ids):
            raise InputError(
                f"{len(self.codes)} layouts need a caption or more each; got {len(self.caption_ids)} lists of them"
            )

    def __len__(self) -> int:
        return len(self.codes)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """keys: (epoch, index) for each layout."""
        rows, prompts, seeds, choices = [], [], [], self.prompt_ids or self.caption_ids
        for epoch, index in keys:
            rng = np.random.default_rng([self.seed, epoch, index])
            rows.append(
                self.caption_ids[index][
                    np.resize(rng.permutation(len(self.caption_ids[index])), self.captions_per_layout)
                ]
            )
            prompts.append(choices[index][rng.integers(len(choices[index]))])
            seeds.append(int(rng.integers(2**31)))
        chosen = [index for _, index in keys]
        return {
            "codes": self.codes[chosen].long(),
            "ids": torch.cat(rows),
            "prompt_ids": torch.stack(prompts),
            "image": None if self.images is None else to_pixels(self.images[chosen]),
            "boxes": None if self.boxes is None else torch.from_numpy(self.boxes[chosen]),
            "seed": seeds,
        }


def to_pixels(images: NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _from_colours(
    image: NDArray[np.uint8], colours: NDArray[np.uint8] | None, classes: Sequence[str], path: Path
) -> Labels:
    known = palette(classes)[: len(classes)] if colours is None else colours
    table = {(0, 0, 0): UNKNOWN} | {tuple(int(v) for v in c): i for i, c in enumerate(known)}
    found, where = np.unique(image.reshape(-1, 3), axis=0, return_inverse=True)
    odd = [tuple(c.tolist()) for c in found if tuple(c.tolist()) not in table]
    if odd:
        raise InputError(
            f"{path}: a colour picture with {len(odd)} colours that no class has, such as {odd[0]}; give its palette, "
            "or export class positions as an 8-bit PNG"
        )
    return np.array([table[tuple(c.tolist())] for c in found], np.uint8)[where.ravel()].reshape(image.shape[:2])


def _write(picture: Image.Image, path: Path) -> None:
    with replacing(path) as fresh:
        picture.save(fresh, "PNG")
