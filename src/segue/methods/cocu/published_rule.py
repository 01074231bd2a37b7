"""How GroupViT and CoCu, as released, name pixels; written anew from what their code does.

The picture is resized without anti-aliasing (`data.transforms.resize_without_antialiasing`). In each window:

    group of a pixel   argmax_g of the stages' soft assignments, multiplied, made as large as the window (bilinear)
    score of a name    softmax over the window's top names TIMES softmax over all names, of scale * cos(group, name);
                       the top names are those that fit the window as a whole best, the others score 0
    background         1 where a pixel's best score is below min(threshold, the best score of any group of the window),
                       else 0: the surest group of a window is never background

Names and background are averaged where windows overlap and made as large as the picture (bilinear); the highest wins,
background and then the first name where they are level. A window is never padded: what is left of its patches at the
right and at the bottom is not seen. B windows, G groups, C names, k of them in the top names of any window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.protocols import EvalProtocol
from segue.methods.cocu.windows import Corner, crops, window_batches
from segue.nn.stopping import stop_point
from segue.types import InputError


class PublishedScores(NamedTuple):
    """The averages over the windows of a picture of H x W pixels.

    names: (k,) positions of the names that score anywhere, ascending. scores: (k', H, W) of some of them, in [0, 1], by
    their places in `names`. background: (H, W), in [0, 1], or None for a protocol without. similarity: (C,) cosines of
    all names with the whole picture.
    """

    names: Tensor
    scores: Callable[[slice], Tensor]
    background: Tensor | None
    similarity: Tensor


class _Windows(NamedTuple):
    """groups: (B, h, w) the group of each pixel. affinity: (B, G, C). top: (B, k'). image: (B, P)."""

    groups: Tensor
    affinity: Tensor
    top: Tensor
    image: Tensor


@torch.inference_mode()
def published_scores(model: GroupViT, pixels: Tensor, text: Tensor, protocol: EvalProtocol) -> PublishedScores:
    """Score a resized and normalised picture.

    pixels: (3, H, W). text: (C, P) of `embed_names`. Raises InputError for a window of less than one patch.
    """
    height, width = pixels.shape[1:]
    batches = window_batches(height, width, protocol)
    found = [_look(model, pixels, text, protocol, corners) for corners in batches]
    names = torch.cat([one.top.flatten() for one in found]).unique()
    windows = [
        (slice(top, top + groups.shape[0]), slice(left, left + groups.shape[1]), groups, affinity)
        for corners, one in zip(batches, found, strict=True)
        for (top, left), groups, affinity in zip(corners, one.groups, one.affinity, strict=True)
    ]
    count = pixels.new_zeros(height, width)
    for rows, columns, _, _ in windows:
        count[rows, columns] += 1

    def average(of_groups: Callable[[Tensor], Tensor], layers: int) -> Tensor:
        """(layers, H, W). of_groups: a window's affinity (G, C) -> (layers, G)."""
        total = pixels.new_zeros(layers, height, width)
        for rows, columns, groups, affinity in windows:
            total[:, rows, columns] += of_groups(affinity)[:, groups]
        return total / count

    def scores(some: slice) -> Tensor:
        return average(lambda affinity: affinity[:, names[some]].T, len(names[some]))

    whole = F.normalize(torch.cat([one.image for one in found]).mean(0), dim=0)
    background = None if protocol.threshold is None else average(lambda a: _background(a, protocol)[None], 1)[0]
    return PublishedScores(names, scores, background, text @ whole)


def _look(model: GroupViT, pixels: Tensor, text: Tensor, protocol: EvalProtocol, corners: list[Corner]) -> _Windows:
    stop_point()
    windows = crops(pixels, corners, protocol)
    height, width = windows.shape[2:]
    patch = model.config.patch
    rows, columns = height // patch, width // patch
    if not rows or not columns:
        raise InputError(f"picture: becomes {width}x{height} pixels, less than one patch of {patch}; make it less long")
    vision = model.encode_image(windows[:, :, : rows * patch, : columns * patch])
    maps = torch.unflatten(vision.patch_assignment(), 2, vision.grid)
    groups = F.interpolate(maps, (height, width), mode="bilinear", align_corners=False).argmax(1)
    image = model.embed_image(vision)
    top = (image @ text.T).topk(min(protocol.top_k or len(text), len(text))).indices  # (B, k')
    logits = model.scale * model.embed_groups(vision) @ text.T  # (B, G, C)
    rest = torch.ones_like(logits[:, 0], dtype=torch.bool).scatter(1, top, False)
    among_top = logits.masked_fill(rest[:, None], -torch.inf).softmax(2)
    return _Windows(groups, among_top * logits.softmax(2), top, image)


def _background(affinity: Tensor, protocol: EvalProtocol) -> Tensor:
    """(G,) 1 for the groups of a window, (G, C), whose pixels are background, else 0."""
    assert protocol.threshold is not None
    best = affinity.amax(1)
    return (best < min(protocol.threshold, float(best.max()))).to(affinity)
