"""Open-vocabulary segmentation by a dual encoder alone: the feature of each cell against those of the names.

    S[n, y, x] = mean_s cos(cell of size s at (y, x), name n)
    score[n, y, x] = G( S[n, y, x] ) + presence * cos(whole picture, name n) + prior * log part[n]
    part[n] = mean_{y, x} softmax_n( S[n, y, x] / prior )

The picture is read at several sizes s, as Zhou et al. 2022 (MaskCLIP) read CLIP's dense features at one. G is the
guided filter (He et al. 2013), which lets borders follow those of the picture's grey values; its coefficients are
computed on a smaller picture and applied to the whole one (He & Sun 2015, "Fast Guided Filter"). A cell sees far
around itself, so what a picture shows as a whole is in all of its cells: `presence` below 0 takes that off. part[n] is
the part of the picture that is likeliest n: a name that is hardly anywhere is less likely everywhere.

Shapes: K names, D width of the joint space, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.data.english import plural
from segue.data.prompts import check_prompt, fill_prompt
from segue.encoders.class_names import TEMPLATES
from segue.encoders.dual_encoder import DualEncoder
from segue.types import InputError

FILTERED_SIDE = 480  # longer side, in pixels, at which the filter's coefficients are computed
SHORTLIST = 32  # names of which maps at picture resolution are made, where there are more
PLACES = 0.1  # of the cells, in which a name is looked for
RIVALS = 5  # known names that a name is compared with in a cell
PIXELS_AT_ONCE = 32_000_000  # of the maps that are held, so that neither many names nor a large picture fills memory


@dataclass(frozen=True)
class DenseProtocol:
    """How names are given to pixels (results/labels_photos.csv).

    The default sizes were chosen on val pictures of MSRC, the radius on train pictures of MSRC and on coco_tiny,
    weights, presence and prior on those and on train pictures of CamVid.

    sizes: sides of the square at which the picture is read, in pixels; of an encoder with one size only that. weights:
    of the sizes' cosines in their mean, above 0. presence: weight of the whole picture's cosine with a name. prior:
    temperature at which the names' parts of the picture are measured, and their weight, in cosines; 0 for no such
    prior. radius: of the filter, as a part of the picture's longer side; 0 for no filter. smoothness: grey values in
    [0, 1] that vary less than its root are smoothed over. threshold: a pixel whose best probability is below it is
    background; None for no background. top_k: how many names may be there, those likest to the whole picture; None for
    all. prompts: texts with {} in the place of the name, whose features are averaged. renamed: what stands in the
    prompts in the place of a data set's name.
    Raises InputError for values that make no sense.
    """

    sizes: tuple[int, ...] = (320, 416, 576)
    weights: tuple[float, ...] = (1.0, 1.0, 2.0)
    presence: float = -0.15
    prior: float = 0.01
    radius: float = 0.08
    smoothness: float = 0.01
    threshold: float | None = None
    top_k: int | None = None
    prompts: tuple[str, ...] = TEMPLATES
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sound = self.sizes and min(self.sizes) > 0 and 0 <= self.radius <= 0.5 and self.smoothness > 0
        if not sound or not self.prior >= 0:
            raise InputError(
                f"got sizes {self.sizes}, radius {self.radius}, smoothness {self.smoothness}, prior {self.prior}; "
                "expected sizes above 0, a radius from 0 to .5, a smoothness above 0 and a prior of 0 or more"
            )
        if len(self.weights) != len(self.sizes) or not min(self.weights, default=1) > 0:
            raise InputError(f"got weights {self.weights}, expected one above 0 for each of the sizes {self.sizes}")
        for prompt in self.prompts:
            check_prompt(prompt)


@dataclass(frozen=True)
class DenseAnswer:
    """index: (H, W) int64, the best name of each pixel. probability: (H, W) float32, its share of the softmax over all
    names. similarity: (K,) float32, the cosine of each name with the whole picture. margin: (K,) float32, see
    `margins`; None where the encoder knows no names of its own.
    """

    index: NDArray[np.int64]
    probability: NDArray[np.float32]
    similarity: NDArray[np.float32]
    margin: NDArray[np.float32] | None = None


def embed_names(encoder: DualEncoder, names: Sequence[str], prompts: Sequence[str] = TEMPLATES) -> Tensor:
    """(K, D): the mean over the prompts of each name's feature, normalised.

    A noun whose shift the encoder knows, or its plural, is moved by it.
    """
    texts = [encoder.embed_texts([fill_prompt(prompt, name) for name in names]) for prompt in prompts]
    text = F.normalize(torch.stack(texts).mean(0), dim=-1)
    if not encoder.nouns or encoder.noun_shifts is None:
        return text
    places = {name: i for i, noun in enumerate(encoder.nouns) for name in (plural(noun), noun)}
    found = [places.get(name.strip().lower(), -1) for name in names]
    shifts = encoder.noun_shifts.detach().to(text)
    return F.normalize(text + torch.cat([shifts, torch.zeros_like(shifts[:1])])[found], dim=-1)


def segment_dense(encoder: DualEncoder, image: NDArray[np.uint8], text: Tensor, protocol: DenseProtocol) -> DenseAnswer:
    """The likeliest name of every pixel of an (H, W, 3) uint8 RGB picture. text: (K, D), from `embed_names`.

    Raises InputError for sizes that the encoder can't read.
    """
    return segment_dense_many(encoder, [image], text, protocol)[0]


def segment_dense_many(
    encoder: DualEncoder, images: Sequence[NDArray[np.uint8]], text: Tensor, protocol: DenseProtocol
) -> list[DenseAnswer]:
    """As `segment_dense` for pictures of any sizes, which the encoder reads as one batch of each of the sizes."""
    sizes, weights = protocol.sizes, protocol.weights
    if not encoder.image_encoder.any_size:
        sizes, weights = (encoder.image_encoder.size,), (1.0,)
    whole, shares = encoder.embed_with_shares(images)
    dense = [encoder.embed_dense(images, size=size, shares=shares) for size in sizes]
    similarity = whole @ text.T
    known = encoder.known_names
    answers = []
    for i, image in enumerate(images):
        cells = [one[i] * (weight / sum(weights)) for one, weight in zip(dense, weights, strict=True)]
        answer = _name_pixels(image, cells, similarity[i].float(), text, encoder.temperature, protocol)
        answers.append(answer if known is None else replace(answer, margin=margins(dense[-1][i], text, known).numpy()))
    return answers


def margins(cells: Tensor, text: Tensor, known: Tensor) -> Tensor:
    """(K,): how far each name leads names that are known anyway, in the cells where it leads most.

        margin[n] = mean over its best PLACES i of cos(cell i, n) - mean of the RIVALS best cos(cell i, c)

    A name of nothing in the picture leads nowhere. cells: (D, h, w). text: (K, D). known: (C, D) of the names c.
    """
    flat = cells.flatten(1)
    rivals = (known @ flat).topk(min(RIVALS, len(known)), dim=0).values.mean(0)
    return (text @ flat - rivals).topk(max(1, round(PLACES * flat.shape[1])), dim=1).values.mean(1)


def _name_pixels(
    image: NDArray[np.uint8],
    cells: Sequence[Tensor],
    similarity: Tensor,
    text: Tensor,
    temperature: float,
    protocol: DenseProtocol,
) -> DenseAnswer:
    height, width = image.shape[:2]
    offset = protocol.presence * similarity
    if protocol.top_k is not None:
        offset[similarity.argsort(descending=True)[protocol.top_k :]] = -torch.inf
    allowed = torch.nonzero(offset > -torch.inf)[:, 0]
    coarse = _coarse_maps(cells, text[allowed])
    if protocol.prior:
        parts = (coarse / protocol.prior).softmax(0).mean((1, 2)).clamp(min=1e-6)
        offset[allowed] += protocol.prior * parts.log()
    chosen, others = _shortlist(coarse + offset[allowed, None, None], allowed, temperature)
    guide = torch.from_numpy(np.asarray(image, np.float32).mean(2) / 255)
    best, total = torch.full((height, width), -torch.inf), _resized(others[None], (height, width))[0]
    index = torch.zeros(height, width, dtype=torch.int64)
    names_at_once = max(1, PIXELS_AT_ONCE // (height * width))
    for start in range(0, len(chosen), names_at_once):
        part = chosen[start : start + names_at_once]
        score = (_score_maps(cells, text[part], guide, protocol) + offset[part, None, None]) / temperature
        highest, place = score.max(0)
        index = torch.where(highest > best, part[place], index)
        best, total = torch.maximum(best, highest), torch.logaddexp(total, score.logsumexp(0))
    return DenseAnswer(index.numpy(), (best - total).exp().numpy(), similarity.numpy())


def _coarse_maps(cells: Sequence[Tensor], text: Tensor) -> Tensor:
    """(k, h, w): cosines of k names averaged over the sizes, on the last one's grid. cells: times their weights."""
    grid = (cells[-1].shape[1], cells[-1].shape[2])
    return torch.stack([_resized(torch.einsum("dhw,kd->khw", x, text), grid) for x in cells]).sum(0)


def _shortlist(maps: Tensor, allowed: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The names that may win a pixel, in ascending order, and the log of what all others add to the softmax, (h, w).

    Up to SHORTLIST names all may. Of more those stay that come nearest to the best one on the cells' own grid.
    maps: (k, h, w), the scores there of the allowed names, (k,).
    """
    if len(allowed) <= SHORTLIST:
        return allowed, torch.full(maps.shape[1:], -1e30)  # -inf can't be interpolated
    gap = (maps.amax(0) - maps).amin((1, 2))
    near = gap.topk(SHORTLIST, largest=False).indices
    far = torch.ones(len(allowed), dtype=torch.bool).index_fill(0, near, False)
    return allowed[near.sort().values], (maps[far] / temperature).logsumexp(0)


def _score_maps(cells: Sequence[Tensor], text: Tensor, guide: Tensor, protocol: DenseProtocol) -> Tensor:
    """(k, H, W) of k names: cosines averaged over the sizes, on the guide's (H, W) grid, along its edges."""
    height, width = guide.shape
    if not protocol.radius:
        return torch.stack([_resized(torch.einsum("dhw,kd->khw", x, text), (height, width)) for x in cells]).sum(0)
    shrink = min(1.0, FILTERED_SIDE / max(height, width))
    small = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    maps = torch.stack([_resized(torch.einsum("dhw,kd->khw", x, text), small) for x in cells]).sum(0)
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
    """(k, H, W): the mean over squares of 2 radius + 1, with the border's values outside; by sums that are running."""
    side = 2 * radius + 1
    padded = F.pad(x[None], (radius + 1, radius, radius + 1, radius), mode="replicate")[0]
    rows = padded.cumsum(2)  # of some hundred cosines: float32 keeps their mean to 1e-6
    rows = rows[:, :, side:] - rows[:, :, :-side]
    columns = rows.cumsum(1)
    return (columns[:, side:] - columns[:, :-side]) / side**2


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
