"""Random views of a picture with its mask and note, after nnU-Net's augmentation (Isensee et al. 2021).

One resampling does mirror, turn, scale, shift and elastic deformation; then blur, contrast, brightness, gamma, noise
and cut-outs. Left and right are exchanged in the note of a mirrored picture. What is drawn is a function of the random
generator alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.data.medical.notes import ZONES, parse_note, swap_sides
from segue.types import Example

ELASTIC_NODES = 6  # of the coarse grid of displacements, each way
WHOLE = 0.4  # how often `part_of_infection` keeps both sides, and all zones of a side


@dataclass(frozen=True)
class RandomViews:
    """Views of size (size, size) of examples.

    patches: a window of the picture at its own resolution, whose place, mirroring and quarter turns are random (a note
    speaks of the whole picture, so that it stays as it is); otherwise the whole picture, a little turned and scaled.
    strength: 1 for the ranges below, 0 for no augmentation but the mirror and the windows' place.
    """

    size: int
    patches: bool = False
    strength: float = 1.0

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """The example's view. Picture (size, size, 3) uint8, mask (size, size) bool."""
        note, mirrored = example.note, bool(rng.random() < 0.5)
        if mirrored and not self.patches and note is not None:
            swapped = swap_sides(note)
            note, mirrored = (note, False) if swapped is None else (swapped, True)
        (rows, columns), grid = _needed(self._grid(example.image.shape[:2], mirrored, rng), example.image.shape[:2])
        edge = "reflection" if self.patches else "zeros"
        image = F.grid_sample(_as_planes(example.image[rows, columns]), grid, align_corners=False, padding_mode=edge)
        mask = example.mask
        if mask is not None:
            sampled = F.grid_sample(_as_float(mask[rows, columns]), grid, align_corners=False, padding_mode=edge)
            mask = (sampled[0, 0] > 0.5).numpy()
        image = self._photometric(image, rng).expand(1, 3, -1, -1)
        pixels = (image[0].permute(1, 2, 0) * 255 + 0.5).to(torch.uint8).numpy()
        return replace(example, image=pixels, mask=mask, note=note)

    def _grid(self, shape: tuple[int, ...], mirrored: bool, rng: np.random.Generator) -> Tensor:
        """Where each pixel of the view lies in the picture: (1, size, size, 2), x and y from -1 to 1."""
        strength, (height, width) = self.strength, shape[:2]
        turn = math.radians(rng.uniform(-15, 15) * strength) if rng.random() < 0.7 else 0.0
        scale = math.exp(rng.uniform(-0.22, 0.18) * strength) if rng.random() < 0.7 else 1.0
        aspect = math.exp(rng.uniform(-0.1, 0.1) * strength)
        shift = rng.uniform(-0.08, 0.08, 2) * strength
        extent = np.ones(2)
        if self.patches:
            turn += math.pi / 2 * int(rng.integers(4))
            extent = np.array([self.size / width, self.size / height])
            shift = rng.uniform(-1, 1, 2) * np.maximum(0, 1 - extent)
        c, s, side = math.cos(turn) / scale, math.sin(turn) / scale, -1.0 if mirrored else 1.0
        affine = np.array([[c * side * aspect, -s], [s * side, c / aspect]]) * extent[:, None]
        theta = torch.tensor(np.concatenate([affine, shift[:, None]], 1), dtype=torch.float32)
        grid = F.affine_grid(theta[None], [1, 1, self.size, self.size], align_corners=False)
        if rng.random() < 0.3 * min(1.0, strength):
            moved = rng.normal(0, 0.03, (1, 2, ELASTIC_NODES, ELASTIC_NODES)) * extent[None, :, None, None] * strength
            nodes = torch.from_numpy(moved.astype(np.float32))
            grid = grid + F.interpolate(nodes, size=(self.size, self.size), mode="bicubic").permute(0, 2, 3, 1)
        return grid

    def _photometric(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        """(1, C, H, W) in [0, 1], C planes 1 for grey or 3, to the same."""
        strength = self.strength
        if strength == 0:
            return x
        if rng.random() < 0.3:
            x = _blur(x, float(rng.uniform(0.4, 0.4 + 0.8 * strength)))
        if rng.random() < 0.7:
            mean = x.mean()
            contrast, brightness = math.exp(rng.uniform(-0.35, 0.3) * strength), rng.uniform(-0.12, 0.12) * strength
            x = (x - mean) * contrast + mean + brightness
        if x.shape[1] == 3:
            x = x * torch.tensor(np.exp(rng.uniform(-0.15, 0.15, (1, 3, 1, 1)) * strength), dtype=torch.float32)
        x = x.clamp(0, 1)
        if rng.random() < 0.5:
            x = x ** math.exp(rng.uniform(-0.45, 0.45) * strength)
        if rng.random() < 0.3:
            noise = rng.standard_normal(tuple(x.shape), dtype=np.float32) * np.float32(rng.uniform(0, 0.06) * strength)
            x = (x + torch.from_numpy(noise)).clamp(0, 1)
        if rng.random() < 0.3:
            x = _cut_out(x, rng)
        return x


def part_of_infection(example: Example, rng: np.random.Generator) -> Example:
    """A picture with a part of its infection: some of the zones that the note names, in a note that names no others.

    So a network learns that the note decides, where the picture shows more. Sides end at the picture's middle; the rows
    of a side's mask are divided evenly among the zones named there. Examples without such a note stay as they are.
    """
    claims = None if example.note is None else parse_note(example.note)
    named = {} if claims is None else claims.zones()
    if example.mask is None or not named:
        return example
    both = len(named) == 1 or rng.random() < WHOLE
    kept = dict(named) if both else dict([list(named.items())[int(rng.integers(2))]])
    kept = {side: _some_of(zones, rng) for side, zones in kept.items()}
    mask, places, areas = keep_zones(example.mask, named, kept), list[str](), 0
    for side, zones in kept.items():
        places.append(f"{'all' if len(zones) == len(ZONES) else ' '.join(zones)} {side} lung")
        areas += 2 if zones == ["upper", "lower"] else 1
    kind = "Bilateral" if len(places) == 2 else "Unilateral"
    count = f"{('one', 'two', 'three', 'four')[areas - 1]} infected area{'s' if areas > 1 else ''}"
    return replace(example, mask=mask, note=f"{kind} pulmonary infection, {count}, {' and '.join(places)}.")


def keep_zones(
    mask: NDArray[np.bool_], named: Mapping[str, Sequence[str]], kept: Mapping[str, Collection[str]]
) -> NDArray[np.bool_]:
    """A lung mask (H, W) in the zones that are kept alone. named: the zones of each of the patient's sides, from above,
    that the mask covers, as its note says; the rows of a side's mask are divided evenly among them.
    """
    mask, middle = mask.copy(), mask.shape[1] // 2
    for side, zones in named.items():
        half = mask[:, middle:] if side == "left" else mask[:, :middle]  # the patient's left is the picture's right
        rows = np.flatnonzero(half.any(1))
        if len(rows):
            cuts = np.linspace(rows[0], rows[-1] + 1, len(zones) + 1).round().astype(int)
            for zone, first, last in zip(zones, cuts[:-1], cuts[1:], strict=True):
                half[first:last] &= zone in kept.get(side, ())
    return mask


def _some_of(zones: list[str], rng: np.random.Generator) -> list[str]:
    """Neighbours among a side's zones; those with a gap between them stay together."""
    if zones == ["upper", "lower"] or rng.random() < WHOLE:
        return zones
    first = int(rng.integers(len(zones)))
    return zones[first : int(rng.integers(first, len(zones))) + 1]


def _needed(grid: Tensor, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], Tensor]:
    """The rows and columns that a grid over a picture of that shape reads, and the grid over that part."""
    parts, scaled = list[slice](), list[Tensor]()
    for axis, length in ((1, shape[0]), (0, shape[1])):
        place = ((grid[..., axis] + 1) * length - 1) / 2  # in pixels
        first, last = max(0, math.floor(place.min()) - 1), min(length, math.ceil(place.max()) + 2)
        parts.append(slice(first, last))
        scaled.append((2 * (place - first) + 1) / (last - first) - 1)
    return (parts[0], parts[1]), torch.stack([scaled[1], scaled[0]], -1)


def _as_planes(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, C, H, W) in [0, 1]; a grey picture has one plane, which saves two thirds of the work."""
    pixels = torch.tensor(image)
    grey = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all())
    planes = pixels[..., :1] if grey else pixels
    return planes.permute(2, 0, 1)[None].float() / 255


def _as_float(mask: np.ndarray) -> Tensor:
    return torch.tensor(mask)[None, None].float()


def _blur(x: Tensor, sigma: float, radius: int = 2) -> Tensor:
    weight = torch.exp(-(torch.arange(-radius, radius + 1).float() ** 2) / (2 * sigma * sigma))
    weight = weight / weight.sum()
    planes = F.conv2d(x.transpose(0, 1), weight[None, None, :, None], padding=(radius, 0))
    return F.conv2d(planes, weight[None, None, None], padding=(0, radius)).transpose(0, 1)


def _cut_out(x: Tensor, rng: np.random.Generator) -> Tensor:
    """One to three boxes of one grey each, of a sixteenth to a quarter of the side; the mask keeps what they hide."""
    x = x.clone()
    height, width = x.shape[-2:]
    for _ in range(int(rng.integers(1, 4))):
        h, w = (int(rng.integers(side // 16, max(side // 16 + 1, side // 4))) for side in (height, width))
        top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        x[..., top : top + h, left : left + w] = float(rng.random())
    return x
