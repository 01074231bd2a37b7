"""Open-vocabulary segmentation by a dual encoder alone: the feature of each cell against those of the names.

    score[n, y, x] = G( mean_s cos(cell of size s at (y, x), name n) ) + presence * cos(whole picture, name n)

The picture is read at several sizes s, as Zhou et al. 2022 (MaskCLIP) read CLIP's dense features at one. G is the
guided filter (He et al. 2013), which lets borders follow those of the picture's grey values; its coefficients are
computed on a smaller picture and applied to the whole one (He & Sun 2015, "Fast Guided Filter").

Shapes: K names, D width of the joint space, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.data.prompts import check_prompt, fill_prompt
from segue.encoders.dual_encoder import DualEncoder
from segue.types import InputError

TEMPLATES = ("{}", "a photo of a {}.", "a {} in the picture.", "there is a {}.")
FILTERED_SIDE = 480  # longer side, in pixels, at which the filter's coefficients are computed
PIXELS_AT_ONCE = 32_000_000  # of the maps that are held, so that neither many names nor a large picture fills memory


@dataclass(frozen=True)
class DenseProtocol:
    """How names are given to pixels; the defaults were chosen on val pictures of MSRC (results/labels_photos.csv).

    sizes: sides of the square at which the picture is read, in pixels; of an encoder with one size only that.
    presence: weight of the whole picture's cosine with a name. radius: of the filter, as a part of the picture's longer
    side; 0 for no filter. smoothness: grey values in [0, 1] that vary less than its root are smoothed over.
    threshold: a pixel whose best probability is below it is background; None for no background. top_k: how many names
    may be there, those likest to the whole picture; None for all. prompts: texts with {} in the place of the name,
    whose features are averaged. renamed: what stands in the prompts in the place of a data set's name.
    Raises InputError for values that make no sense.
    """

    sizes: tuple[int, ...] = (320, 416, 576)
    presence: float = 0.0
    radius: float = 0.05
    smoothness: float = 0.01
    threshold: float | None = None
    top_k: int | None = None
    prompts: tuple[str, ...] = TEMPLATES
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or not 0 <= self.radius <= 0.5 or not self.smoothness > 0:
            raise InputError(
                f"got sizes {self.sizes}, radius {self.radius}, smoothness {self.smoothness}; expected sizes above 0, "
                "a radius from 0 to .5 and a smoothness above 0"
            )
        for prompt in self.prompts:
            check_prompt(prompt)


@dataclass(frozen=True)
class DenseAnswer:
    """index: (H, W) int64, the best name of each pixel. probability: (H, W) float32, its share of the softmax over all
    names. similarity: (K,) float32, the cosine of each name with the whole picture.
    """

    index: NDArray[np.int64]
    probability: NDArray[np.float32]
    similarity: NDArray[np.float32]


def embed_names(encoder: DualEncoder, names: Sequence[str], prompts: Sequence[str] = TEMPLATES) -> Tensor:
    """(K, D): the mean over the prompts of each name's feature, normalised."""
    texts = [encoder.embed_texts([fill_prompt(prompt, name) for name in names]) for prompt in prompts]
    return F.normalize(torch.stack(texts).mean(0), dim=-1)


def segment_dense(encoder: DualEncoder, image: NDArray[np.uint8], text: Tensor, protocol: DenseProtocol) -> DenseAnswer:
    """The likeliest name of every pixel of an (H, W, 3) uint8 RGB picture. text: (K, D), from `embed_names`.

    Raises InputError for sizes that the encoder can't read.
    """
    height, width = image.shape[:2]
    sizes = protocol.sizes if encoder.image_encoder.any_size else (encoder.image_encoder.size,)
    cells = [encoder.embed_dense([image], size=size)[0] for size in sizes]
    similarity = (text @ encoder.embed_images([image])[0]).float()
    left_out = torch.zeros(len(text), dtype=torch.bool)
    if protocol.top_k is not None:
        left_out[similarity.argsort(descending=True)[protocol.top_k :]] = True
    guide = torch.from_numpy(np.asarray(image, np.float32).mean(2) / 255)
    best = torch.full((height, width), -torch.inf)
    index, total = torch.zeros(height, width, dtype=torch.int64), torch.full((height, width), -torch.inf)
    names_at_once = max(1, PIXELS_AT_ONCE // (height * width))
    for start in range(0, len(text), names_at_once):
        part = slice(start, start + names_at_once)
        score = _score_maps(cells, text[part], guide, protocol) + protocol.presence * similarity[part, None, None]
        score = (score / encoder.temperature).masked_fill(left_out[part, None, None], -torch.inf)
        highest, place = score.max(0)
        index = torch.where(highest > best, place + start, index)
        best, total = torch.maximum(best, highest), torch.logaddexp(total, score.logsumexp(0))
    return DenseAnswer(index.numpy(), (best - total).exp().numpy(), similarity.numpy())


def _score_maps(cells: Sequence[Tensor], text: Tensor, guide: Tensor, protocol: DenseProtocol) -> Tensor:
    """(k, H, W) of k names: cosines averaged over the sizes, on the guide's (H, W) grid, along its edges."""
    height, width = guide.shape
    if not protocol.radius:
        return torch.stack([_resized(torch.einsum("dhw,kd->khw", x, text), (height, width)) for x in cells]).mean(0)
    shrink = min(1.0, FILTERED_SIDE / max(height, width))
    small = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    maps = torch.stack([_resized(torch.einsum("dhw,kd->khw", x, text), small) for x in cells]).mean(0)
    low = F.interpolate(guide[None, None], size=small, mode="area")[0]
    slope, offset = guided_filter(low, maps, round(protocol.radius * max(small)), protocol.smoothness)
    return _resized(slope, (height, width)) * guide + _resized(offset, (height, width))


def guided_filter(guide: Tensor, maps: Tensor, radius: int, smoothness: float) -> tuple[Tensor, Tensor]:
    """He et al. 2013, Eq. 5-8: slope and offset (k, H, W) with filtered = slope * guide + offset.

    guide: (1, H, W) grey values in [0, 1]. maps: (k, H, W). radius: in pixels. smoothness: epsilon, above 0.
    """
    mean, means = _box(guide, radius), _box(maps, radius)
    slope = (_box(guide * maps, radius) - mean * means) / (_box(guide * guide, radius) - mean * mean + smoothness)
    return _box(slope, radius), _box(means - slope * mean, radius)


def _box(x: Tensor, radius: int) -> Tensor:
    """(k, H, W): the mean over squares of 2 radius + 1, with the border's values outside."""
    side = 2 * radius + 1
    padded = F.pad(x[None], (radius, radius, 0, 0), mode="replicate")
    rows = F.avg_pool2d(padded, (1, side), 1)
    return F.avg_pool2d(F.pad(rows, (0, 0, radius, radius), mode="replicate"), (side, 1), 1)[0]


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
