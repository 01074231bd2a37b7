"""Zero-shot segmentation with GroupViT: names -> prompts -> a map of names on the picture's own grid.

A pixel belongs softly to groups, a group softly to names; the pixel's score for a name is the sum over the groups:

    score[c, n] = sum_g A[g, n] softmax_c(scale * cos(group g, prompt c)),     A = A_last ... A_0

over the names c that are among the picture's top k; the others score 0. Scores are interpolated (bilinear) to pixels,
averaged where windows overlap, and where the best one is below the card's threshold the pixel is background.
The published protocols differ in the numbers alone: see PROTOCOLS, and never put two of them into one table.
B windows, G groups, C names, k of them scored, N patches, P channels.
"""

from __future__ import annotations

import csv
import unicodedata
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.data.transforms import resize_image
from segue.methods.cocu.groupvit.model import GroupViT, Seen
from segue.nn.stopping import stop_point
from segue.types import InputError, check_image

WINDOWS_AT_ONCE = 8
STRIP = 20


@dataclass(frozen=True)
class EvalProtocol:
    """A protocol of evaluation.

    short_side: pixels to which the picture's shorter side is brought. crop, stride: of the sliding window, in pixels
    of the resized picture. threshold: a pixel whose best score is below it is background; None: no background.
    top_k: how many names a picture may have; None: all. soft: soft or hard groups. prompt: the name goes to the {}.
    """

    short_side: int
    crop: int
    stride: int
    threshold: float | None = None
    top_k: int | None = 5
    soft: bool = True
    prompt: str = "a photo of a {}."

    def __post_init__(self) -> None:
        if min(self.short_side, self.crop, self.stride) < 1 or self.stride > self.crop:
            raise InputError(
                f"card: got short side {self.short_side}, crop {self.crop}, stride {self.stride}, expected 1 or more "
                "and a stride no longer than the crop, which would leave pixels out"
            )
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k: got {self.top_k}, expected 1 or more, or none (--top-k 0) for all names")
        if self.prompt.count("{}") != 1:
            raise InputError(f"prompt: got {self.prompt!r}, expected one {{}} where the name goes")


PROTOCOLS: dict[str, EvalProtocol] = {
    "voc": EvalProtocol(448, 448, 224, 0.95),
    "coco-object": EvalProtocol(448, 448, 224, 0.95),
    "imagenet-s-50": EvalProtocol(448, 448, 224, 0.95),
    "context": EvalProtocol(448, 448, 224, 0.35),
    "imagenet-s-300": EvalProtocol(448, 448, 224, 0.75),
    "cityscapes": EvalProtocol(1024, 448, 224),
    "ade150": EvalProtocol(512, 224, 112),
    "coco-stuff171": EvalProtocol(512, 224, 112),
    # ours, for the sketchbook's scenes and for models trained at 64 pixels; `naming_loss` leaves names to the groups
    "scenes": EvalProtocol(128, 128, 64, top_k=None),
    "small": EvalProtocol(64, 64, 32, top_k=None),
}


@dataclass(frozen=True)
class NamedMap:
    """What zero-shot segmentation answers, on the picture's own grid.

    index: (H, W) uint8, or uint16 from 256 names on; positions in `names`, and the type's highest value (255 or 65535)
    where there is background. scores: (H, W) float32 in [0, 1] of the best name. picture: (C,) float32, every name's
    cosine with the whole picture.
    """

    names: tuple[str, ...]
    index: NDArray[np.unsignedinteger]
    scores: NDArray[np.float32]
    picture: NDArray[np.float32]

    @property
    def background(self) -> int:
        """The value of background in `index`."""
        return int(np.iinfo(self.index.dtype).max)


# ------------------------------------------------------------------------------------------------ names


def parse_labels(text: str) -> list[str]:
    """'dog, grass, "chair, folding"' -> its names; one that holds a comma stands in double quotes, as in CSV.

    Spaces are tidied and unicode is composed (NFC). Raises InputError for no name, an empty or a repeated one (in any
    case of letters), and quotes that don't close.
    """
    flat = " ".join(unicodedata.normalize("NFC", text).split()).replace('" ,', '",')
    try:
        rows = list(csv.reader([flat], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise InputError(
            f'labels: {text!r} is not readable ({error}); put double quotes around whole names: dog, "chair, folding"'
        ) from error
    return check_names([name.strip() for name in rows[0]] if rows else [])


def check_names(names: Sequence[str]) -> list[str]:
    """The names themselves, if there is one or more, none is empty and none is repeated."""
    if isinstance(names, str):
        raise InputError(f"labels: got one text {names!r:.40}, expected a list of names; see parse_labels")
    if not names:
        raise InputError('labels: got no name, expected some, for instance "dog, grass, sky"')
    seen: set[str] = set()
    for i, name in enumerate(names):
        if not name.strip():
            raise InputError(f"labels: name {i + 1} of {len(names)} is empty; take a comma out or write the name")
        if name.casefold() in seen:
            raise InputError(f"labels: {name!r} is there twice; name each once")
        seen.add(name.casefold())
    return list(names)


def embed_names(model: GroupViT, names: Sequence[str], prompt: str = "a photo of a {}.") -> Tensor:
    """The names' places in the common space, (C, P) of unit length; make it once for many pictures.

    A name of which the tokenizer knows no word is refused with InputError, one of which it knows a part warned of.
    """
    names = check_names(names)
    if model.tokenizer is None:
        raise InputError("this model came without a tokenizer; put its tokenizer.json into its folder")
    unknown = model.tokenizer.token_to_id(getattr(model.tokenizer.model, "unk_token", None) or "")
    for name in names:
        ids = model.tokenizer.encode(name, add_special_tokens=False).ids
        if not set(ids) - {unknown}:
            raise InputError(f"labels: {name!r} means nothing to this model, whose tokenizer knows no word of it")
        if unknown in ids:
            warnings.warn(f"label {name!r}: this model's tokenizer doesn't know all of its words", stacklevel=2)
        if model.tokenizer.encode(prompt.replace("{}", name)).overflowing:
            raise InputError(f"labels: {name[:40]!r}... is longer than the model's {model.config.max_tokens} tokens")
    with torch.inference_mode():
        chunks = [list(names[i : i + 256]) for i in range(0, len(names), 256)]
        return torch.cat([model.embed_texts([prompt.replace("{}", name) for name in chunk]) for chunk in chunks])


def vocabulary_overlap(classes: Sequence[str], concepts: Collection[str]) -> tuple[int, list[str]]:
    """How many of the classes a concept vocabulary holds, and which it lacks: belongs beside a "zero-shot" figure."""
    held = {concept.casefold() for concept in concepts}
    missing = [name for name in classes if name.casefold() not in held]
    return len(classes) - len(missing), missing


# ------------------------------------------------------------------------------------------------ maps


def group_maps(seen: Seen, soft: bool = True) -> Tensor:
    """(B, G, rows, columns): `Seen.owners` on the patches' grid."""
    return seen.owners(soft).unflatten(2, seen.grid)


def windows(height: int, width: int, crop: int, stride: int) -> list[tuple[int, int]]:
    """Top left corners (row, column) of square windows that cover the picture; the last ones end at its edge."""

    def starts(length: int) -> list[int]:
        last = max(length - crop, 0)
        return [*range(0, last, stride), last]

    return [(top, left) for top in starts(height) for left in starts(width)]


@torch.inference_mode()
def name_maps(
    model: GroupViT, picture: NDArray[np.uint8], text: Tensor, card: EvalProtocol, *, cosines: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Every scored name's map of one picture, (H, W, 3) uint8, at the card's size.

    text: (C, P) of `embed_names`. Returns the positions of the scored names (k,), their scores (k, H', W'), and the
    cosines (C,) of all names with the picture. cosines: instead of scores give sum_g A[g, n] cos(group g, name c), in
    [-1, 1], which no other name competes with: the heat map of a name.
    """
    check_image(picture)
    pixels = _pixels(model, picture, card)
    height, width = pixels.shape[1:]
    corners = windows(height, width, card.crop, card.stride)
    looked = [_look(model, pixels, some, card) for some in _chunks(corners)]
    whole = F.normalize(torch.cat([shown for shown, _, _ in looked]).mean(0), dim=0)
    cosine = text @ whole
    k = len(text) if card.top_k is None else min(card.top_k, len(text))
    scored = cosine.topk(k).indices.sort().values
    total, count = pixels.new_zeros(k, height, width), pixels.new_zeros(height, width)
    for some, (_, groups, maps) in zip(_chunks(corners), looked, strict=True):
        names = groups @ text[scored].T  # (B, G, k)
        weight = names if cosines else (model.scale * names).softmax(2)
        for (top, left), score in zip(some, _to_pixels(model, weight, maps), strict=True):
            rows, columns = slice(top, top + card.crop), slice(left, left + card.crop)
            area = count[rows, columns]
            total[:, rows, columns] += score[:, : area.shape[0], : area.shape[1]]
            area += 1
    return scored, total / count, cosine


def segment(
    model: GroupViT, picture: NDArray[np.uint8], names: Sequence[str], card: EvalProtocol, text: Tensor | None = None
) -> NamedMap:
    """Give every pixel of a picture, (H, W, 3) uint8 RGB, the likeliest of the names.

    names: two or more, see `parse_labels`. text: what `embed_names` made of them, when many pictures share them.
    Raises InputError for names that can't be used, and for a picture more than 20 times as long as it is wide.
    """
    names = check_names(names)
    if len(names) < 2:
        raise InputError(
            f"labels: got {names[0]!r} alone, expected two or more, because a pixel goes to the likeliest of them; "
            f'add what else there is, for instance "{names[0]}, background"'
        )
    text = embed_names(model, names, card.prompt) if text is None else text
    scored, maps, cosine = name_maps(model, picture, text, card)
    size = (picture.shape[0], picture.shape[1])
    best = torch.full(size, -1.0, device=maps.device)
    index = torch.zeros(size, dtype=torch.int64, device=maps.device)
    for position, one in zip(scored, maps, strict=True):  # one at a time: all maps of a large picture are large
        grown = F.interpolate(one[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        index, best = torch.where(grown > best, position, index), torch.maximum(grown, best)
    kind: type[np.unsignedinteger] = np.uint8 if len(names) < 256 else np.uint16
    found: NDArray[np.unsignedinteger] = index.cpu().numpy().astype(kind)
    scores = best.clamp(0, 1).cpu().numpy()
    if card.threshold is not None:
        found[scores < card.threshold] = np.iinfo(kind).max
    return NamedMap(tuple(names), found, scores, cosine.cpu().numpy())


def _chunks(corners: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    return [corners[i : i + WINDOWS_AT_ONCE] for i in range(0, len(corners), WINDOWS_AT_ONCE)]


def _pixels(model: GroupViT, picture: NDArray[np.uint8], card: EvalProtocol) -> Tensor:
    """(3, H', W') normalised, the shorter side as the card has it, on the model's device."""
    height, width = picture.shape[:2]
    if max(height, width) > STRIP * min(height, width):  # resized, it would be gigabytes
        raise InputError(
            f"picture: got {width}x{height} pixels, expected a longer side of at most {STRIP} times the shorter; cut it"
        )
    factor = card.short_side / min(height, width)
    resized = resize_image(picture, (max(1, round(height * factor)), max(1, round(width * factor))))
    pixels = torch.from_numpy(resized.copy()).to(model.logit_scale.device).permute(2, 0, 1).float() / 255
    mean, std = (pixels.new_tensor(v)[:, None, None] for v in (model.config.mean, model.config.std))
    return (pixels - mean) / std


def _look(
    model: GroupViT, pixels: Tensor, corners: list[tuple[int, int]], card: EvalProtocol
) -> tuple[Tensor, Tensor, Tensor]:
    """Windows' places (B, P), their groups' places (B, G, P) and group maps (B, G, rows, columns)."""
    stop_point()
    cut = [pixels[:, top : top + card.crop, left : left + card.crop] for top, left in corners]
    seen = model.see(torch.stack(cut))
    return model.embed_seen(seen), model.embed_groups(seen), group_maps(seen, card.soft)


def _to_pixels(model: GroupViT, weight: Tensor, maps: Tensor) -> Tensor:
    """(B, G, k) and (B, G, rows, columns) -> (B, k, rows * patch, columns * patch)."""
    score = torch.einsum("bgk,bgrc->bkrc", weight, maps)
    return F.interpolate(score, scale_factor=model.config.patch, mode="bilinear", align_corners=False)
