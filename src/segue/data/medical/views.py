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

from segue.data.medical.notes import parse_note, swap_sides, write_note
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
        part, grid = _needed(self._places(example.image.shape[:2], mirrored, rng), example.image.shape[:2])
        planes, mask = _as_planes(example.image[part]), example.mask
        if mask is not None:
            planes = torch.cat([planes, torch.tensor(mask[part])[None, None]], 1)
        sampled = F.grid_sample(
            planes, grid, align_corners=False, padding_mode="reflection" if self.patches else "zeros"
        )
        if mask is not None:
            sampled, mask = sampled[:, :-1], (sampled[0, -1] > 0.5).numpy()
        pixels = self._photometric(sampled, rng)[0].mul(255).add(0.5).to(torch.uint8).permute(1, 2, 0).numpy()
        grey = pixels.shape[2] == 1
        return replace(example, image=np.repeat(pixels, 3, axis=2) if grey else pixels, mask=mask, note=note)

    def _places(self, shape: tuple[int, ...], mirrored: bool, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Row and column of the picture, in pixels, at which each pixel of the view lies: (size, size) each."""
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
        centres = (torch.arange(self.size) * 2 + 1) / self.size - 1  # from -1 to 1, as are x and y of the picture
        x, y = (
            centres * a + (centres * b + c)[:, None] for (a, b), c in zip(affine.tolist(), shift.tolist(), strict=True)
        )
        if rng.random() < 0.3 * min(1.0, strength):
            moved = rng.normal(0, 0.03, (1, 2, ELASTIC_NODES, ELASTIC_NODES)) * extent[None, :, None, None] * strength
            nodes = torch.from_numpy(moved.astype(np.float32))
            bent = F.interpolate(nodes, size=(self.size, self.size), mode="bicubic")[0]
            x, y = x + bent[0], y + bent[1]
        return ((y + 1) * height - 1) / 2, ((x + 1) * width - 1) / 2

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
            drawn = torch.Generator().manual_seed(int(rng.integers(2**63)))  # torch's is four times as fast as NumPy's
            x = (x + torch.randn(x.shape, generator=drawn) * (rng.uniform(0, 0.06) * strength)).clamp(0, 1)
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
    return replace(example, mask=keep_zones(example.mask, named, kept), note=write_note(kept))


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


def _needed(places: tuple[Tensor, Tensor], shape: tuple[int, ...]) -> tuple[tuple[slice, slice], Tensor]:
    """The rows and columns of a picture of that shape that are read at some places (row, column; (S, S) each), and the
    places in that part as `grid_sample` takes them: (1, S, S, 2), x and y from -1 to 1.
    """
    parts, scaled = list[slice](), list[Tensor]()
    for place, length in zip(places, shape, strict=True):
        low, high = (float(x) for x in torch.aminmax(place))
        first, last = max(0, math.floor(low) - 1), min(length, math.ceil(high) + 2)
        parts.append(slice(first, last))
        scaled.append((place - (first - 0.5)) * (2 / (last - first)) - 1)
    return (parts[0], parts[1]), torch.stack([scaled[1], scaled[0]], -1)[None]


def _as_planes(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, C, H, W) in [0, 1]; a grey picture has one plane, which saves two thirds of the work."""
    pixels = torch.tensor(image)
    grey = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all())
    planes = pixels[..., :1] if grey else pixels
    return planes.permute(2, 0, 1)[None].float() / 255


def _blur(x: Tensor, sigma: float, radius: int = 2) -> Tensor:
    """By sums of shifted planes, four times as fast as convolutions of so few channels."""
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma * sigma))
    for axis, padding in ((2, (0, 0, radius, radius)), (3, (radius, radius))):
        padded, length = F.pad(x, padding), x.shape[axis]
        x = torch.zeros_like(x)
        for place, weight in enumerate((weights / weights.sum()).tolist()):
            x.add_(padded.narrow(axis, place, length), alpha=weight)
    return x


def _cut_out(x: Tensor, rng: np.random.Generator) -> Tensor:
    """One to three boxes of one grey each, of a sixteenth to a quarter of the side; the mask keeps what they hide."""
    x = x.clone()
    height, width = x.shape[-2:]
    for _ in range(int(rng.integers(1, 4))):
        h, w = (int(rng.integers(side // 16, max(side // 16 + 1, side // 4))) for side in (height, width))
        top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        x[..., top : top + h, left : left + w] = float(rng.random())
    return x
