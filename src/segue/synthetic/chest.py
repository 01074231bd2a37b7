"""Chest phantoms with notes: a synthetic data set in the LViT layout, byte for byte reproducible.

A phantom is a radiograph-like picture with infected areas, a mask of them, and a note in QaTa-COV19's wording that
says where they are. Decoys are opacities drawn like infected areas, in zones that the note does not name: the picture
alone does not distinguish them. Nodules, leads and tubes are distractors that can be recognised by their looks.

Zones are thirds of a lung's height. "Left" is the patient's left, the picture's right, as radiographs are shown.
Coordinates are shares of the picture's side: x to the right, y down. Areas that fill neighbouring zones of one lung
are one area ("middle lower left lung" is one, "upper lower left lung" is two).
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from segue.synthetic.output import check_request, new_folder, run_jobs
from segue.types import InputError

ZONES = ("upper", "middle", "lower")
SPLITS = ("Train", "Val", "Test")
Field = NDArray[np.floating]
ZonesBySide = dict[str, tuple[int, ...]]  # zones (0, 1, 2) by side


@dataclass(frozen=True)
class Style:
    """The looks of a scanner: gamma, noise, blur (share of the side), contrast of the ribs, crop, frame."""

    gamma: float
    noise: float
    blur: float
    ribs: float
    crop: float
    frame: bool


STYLES = {
    "a": Style(gamma=1.0, noise=0.035, blur=0.004, ribs=0.075, crop=1.0, frame=False),
    "b": Style(gamma=0.7, noise=0.055, blur=0.007, ribs=0.12, crop=0.9, frame=True),
}


@dataclass(frozen=True)
class Phantom:
    """One drawn radiograph.

    image: (S, S, 3) uint8, grey. mask: (S, S) bool, the infected areas. note: their number and places. decoy_mask:
    (S, S) bool. decoy_note: the note by which the decoys would be the infected areas; None without decoys.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    note: str
    decoy_mask: NDArray[np.bool_]
    decoy_note: str | None


@dataclass(frozen=True)
class Lung:
    """Centre, half width, top and bottom of one lung; inside: (S, S) float in [0, 1], soft-edged."""

    x: float
    half: float
    top: float
    bottom: float
    inside: Field

    def centre(self, zone: float) -> tuple[float, float]:
        """The middle of a zone."""
        return self.x, self.top + (zone + 0.5) / 3 * (self.bottom - self.top)


def draw_chest(seed: int | Iterable[int], size: int = 224, style: str = "a") -> Phantom:
    """Draw the phantom of a seed, a number or several. Anatomy, areas and note depend on the seed only, not on `style`.

    size: the side in pixels. Raises InputError for a size below 32 and for an unknown style.
    """
    look = _style(style)
    if size < 32:
        raise InputError(f"size: got {size}, expected at least 32 pixels")
    numbers = [seed] if isinstance(seed, int) else list(seed)
    rng, grain = np.random.default_rng([*numbers, 0]), np.random.default_rng([*numbers, 1])
    x, y = _grid(rng, size, look)
    lungs = _lungs(rng, x, y)
    picture = _body(rng, x, y, lungs, look)
    infected, decoys = _choose_zones(rng)
    mask, haze = _areas(rng, x, y, lungs, infected)
    decoy_mask, decoy_haze = _areas(rng, x, y, lungs, decoys)
    apart = ~ndimage.binary_dilation(mask, iterations=max(1, size // 64))
    decoy_mask &= apart
    decoy_haze = decoy_haze * ndimage.gaussian_filter(apart.astype(np.float32), 0.008 * size)
    picture += np.maximum(haze, decoy_haze)
    picture += _distractors(rng, x, y, lungs)
    grey = _expose(grain, picture, look)
    image = np.repeat(grey[..., None], 3, axis=2)
    other = _note(rng, decoys) if decoy_mask.any() else None
    return Phantom(image, mask, _note(rng, infected), decoy_mask, other)


# ------------------------------------------------------------------------------------------------ anatomy


def _grid(rng: np.random.Generator, size: int, look: Style) -> tuple[Field, Field]:
    """The patient's coordinates of every pixel: a little turned, shifted and magnified."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    u, v = np.meshgrid(axis * look.crop, axis * look.crop)
    angle, scale = np.deg2rad(rng.uniform(-4, 4)), rng.uniform(0.95, 1.08)
    dx, dy = rng.uniform(-0.025, 0.025, 2)
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    return (c * u - s * v + 0.5 + dx).astype(np.float32), (s * u + c * v + 0.5 + dy).astype(np.float32)


def _edge(distance: Field, softness: float) -> Field:
    """1 inside (negative distance), 0 outside, with a smooth step of width `softness`."""
    result: Field = 1 / (1 + np.exp(np.clip(distance / softness, -20, 20)))
    return result


def _lungs(rng: np.random.Generator, x: Field, y: Field) -> dict[str, Lung]:
    apart, wide = rng.uniform(0.185, 0.21), rng.uniform(0.125, 0.15)
    top, bottom = rng.uniform(0.12, 0.17), rng.uniform(0.76, 0.84)
    lungs = {}
    for side, sign in (("right", -1), ("left", 1)):
        low = bottom - (0.04 if side == "right" else 0.0) + rng.uniform(-0.015, 0.015)
        half, middle = wide * rng.uniform(0.94, 1.06), 0.5 + sign * apart
        t = np.clip((y - top) / (low - top), 0, 1)
        reach = half * (0.45 + 0.75 * np.sqrt(t * (1.35 - 0.45 * t)))  # narrow apex, wide base
        lateral = np.abs(x - middle - sign * 0.035 * t) - reach
        dome = low - 0.075 * np.exp(-(((x - middle + sign * 0.03) / 0.1) ** 2)) + 0.02
        roof = top + 0.55 * (x - middle) ** 2 / half
        inside = _edge(lateral, 0.006) * _edge(y - dome, 0.006) * _edge(roof - y, 0.01)
        lungs[side] = Lung(middle + sign * 0.012, half, top, low - 0.03, inside)
    return lungs


def _body(rng: np.random.Generator, x: Field, y: Field, lungs: dict[str, Lung], look: Style) -> Field:
    size = len(x)
    trunk = _edge(np.abs(x - 0.5) - 0.44 - 0.06 * np.clip(y, 0, 1), 0.012) * _edge(
        0.07 - y + 0.9 * (x - 0.5) ** 2, 0.02
    )
    neck = _edge(np.abs(x - 0.5) - 0.11, 0.02)
    picture = 0.06 + 0.56 * np.maximum(trunk, neck * (y < 0.2))
    air = np.maximum(lungs["left"].inside, lungs["right"].inside)
    heart_x, heart_y, girth = rng.uniform(0.545, 0.57), rng.uniform(0.62, 0.66), rng.uniform(0.115, 0.15)
    heart = _edge(np.hypot((x - heart_x) / girth, (y - heart_y) / (girth * 1.15)) - 1, 0.06)
    aorta = _edge(np.hypot((x - 0.535) / 0.05, (y - 0.33) / 0.07) - 1, 0.1)
    soft = np.maximum(heart, aorta)
    picture -= rng.uniform(0.36, 0.44) * air * (1 - 0.85 * soft)
    spine = np.exp(-(((x - 0.5) / 0.035) ** 2)) * (0.8 + 0.2 * np.cos(2 * np.pi * y / 0.062 + rng.uniform(0, 6)))
    picture += 0.10 * spine + 0.08 * np.exp(-(((x - 0.5) / 0.075) ** 2)) * trunk
    picture += look.ribs * _ribs(rng, x, y) * trunk + 0.5 * look.ribs * _clavicles(rng, x, y)
    picture += 0.055 * _vessels(rng, x, y, size) * air
    return picture + 0.05 * _clouds(rng, size, 4)


def _ribs(rng: np.random.Generator, x: Field, y: Field) -> Field:
    out, u = np.zeros_like(x), np.abs(x - 0.5)
    start, gap = rng.uniform(0.10, 0.13), rng.uniform(0.078, 0.09)
    for k in range(9):
        behind = start + k * gap + 0.55 * u * (0.35 + 0.05 * k) - 0.05 + 0.9 * np.clip(u - 0.3, 0, None) ** 2 * 6
        out += 0.8 * _band(y - behind, 0.013)
        if k < 7:  # the front ends run in the other direction, are fainter and end before the sternum
            front = start + 0.17 + k * gap - 0.42 * (u - 0.1)
            out += 0.45 * _band(y - front, 0.014) * _edge(0.13 - u, 0.015)
    return out


def _band(distance: Field, half: float) -> Field:
    """A tube from the side: its rims are brighter than its middle."""
    inside = _edge(np.abs(distance) - half, 0.003)
    return inside * (0.55 + 0.45 * np.clip(np.abs(distance) / half, 0, 1) ** 2)


def _clavicles(rng: np.random.Generator, x: Field, y: Field) -> Field:
    u = np.abs(x - 0.5)
    line = rng.uniform(0.15, 0.18) - 0.22 * (u - 0.05) + 0.25 * (u - 0.2) ** 2
    return 1.6 * _band(y - line, 0.014) * _edge(0.04 - u, 0.01) * _edge(u - 0.4, 0.01)


def _vessels(rng: np.random.Generator, x: Field, y: Field, size: int) -> Field:
    ridges = 1 - np.clip(np.abs(_clouds(rng, size, 14)) * 2.2, 0, 1)
    reach = np.exp(-(((np.abs(x - 0.5) - 0.11) / 0.13) ** 2) - ((y - 0.47) / 0.2) ** 2)
    result: Field = ridges**2 * (0.15 + 1.3 * reach) + 1.2 * reach * np.exp(-(((np.abs(x - 0.5) - 0.09) / 0.035) ** 2))
    return result


def _clouds(rng: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth noise with about that many bumps a side, deviation about 0.5."""
    coarse = rng.normal(size=(cells + 3, cells + 3)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)) * 0.6


# ------------------------------------------------------------------------------------------------ areas


def _runs(zones: tuple[int, ...]) -> list[tuple[int, int]]:
    """Neighbouring zones joined: (0, 1) -> [(0, 1)], (0, 2) -> [(0, 0), (2, 2)]."""
    runs: list[tuple[int, int]] = []
    for zone in zones:
        if runs and runs[-1][1] == zone - 1:
            runs[-1] = (runs[-1][0], zone)
        else:
            runs.append((zone, zone))
    return runs


def _choose_zones(rng: np.random.Generator) -> tuple[ZonesBySide, ZonesBySide]:
    """Zones of the infected areas (one to three areas) and of the decoys (in about 70% of the phantoms)."""
    free = [(side, zone) for side in ("left", "right") for zone in range(3)]
    rng.shuffle(free)
    if rng.random() < 0.12:  # a whole lung
        side = str(rng.choice(["left", "right"]))
        chosen = [(side, zone) for zone in range(3)]
        chosen += [one for one in free if one[0] != side][: rng.integers(0, 2)]
    else:
        chosen = free[: rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2])]
    rest = [one for one in free if one not in chosen]
    decoys = rest[: rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2])] if rng.random() < 0.72 else []
    return _by_side(chosen), _by_side(decoys)


def _by_side(zones: list[tuple[str, int]]) -> ZonesBySide:
    sides = {side: tuple(sorted(z for s, z in zones if s == side)) for side in ("left", "right")}
    return {side: found for side, found in sides.items() if found}


def _areas(
    rng: np.random.Generator, x: Field, y: Field, lungs: dict[str, Lung], where: ZonesBySide
) -> tuple[NDArray[np.bool_], Field]:
    """Mask and haze of one opacity for each run of zones."""
    size = len(x)
    mask, haze = np.zeros(x.shape, dtype=bool), np.zeros_like(x)
    for side, zones in where.items():
        lung = lungs[side]
        for first, last in _runs(zones):
            blob = _blob(rng, x, y, lung, first, last) & (lung.inside > 0.5)
            labels, count = ndimage.label(blob)
            if count > 1:  # one area is one piece
                blob = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
            mask |= blob
            veil = ndimage.gaussian_filter(blob.astype(np.float32), rng.uniform(0.008, 0.02) * size)
            texture = 1 + rng.uniform(0.15, 0.5) * _clouds(rng, size, int(rng.integers(12, 30)))
            haze = np.maximum(haze, rng.uniform(0.10, 0.26) * veil * texture)
    return mask, haze.astype(np.float32)


def _blob(rng: np.random.Generator, x: Field, y: Field, lung: Lung, first: int, last: int) -> NDArray[np.bool_]:
    """An irregular capsule from the middle of the first zone to that of the last."""
    (ax, ay), (bx, by) = lung.centre(first), lung.centre(last)
    jitter = rng.uniform(-0.03, 0.03, 2), rng.uniform(-0.018, 0.018, 2)
    ax, bx, ay, by = ax + jitter[0][0], bx + jitter[0][1], ay + jitter[1][0], by + jitter[1][1]
    along = np.clip((y - ay) / max(by - ay, 1e-6), 0, 1) if by > ay else np.zeros_like(y)
    wide, tall = rng.uniform(0.055, 0.115), rng.uniform(0.055, 0.085)
    distance = ((x - ax - along * (bx - ax)) / wide) ** 2 + ((y - ay - along * (by - ay)) / tall) ** 2
    result: NDArray[np.bool_] = distance + rng.uniform(0.3, 0.7) * _clouds(rng, len(x), int(rng.integers(8, 16))) < 1
    return result


def _distractors(rng: np.random.Generator, x: Field, y: Field, lungs: dict[str, Lung]) -> Field:
    """Small sharp nodules, leads and tubes, which are no infections and look different."""
    out = np.zeros_like(x)
    for _ in range(rng.integers(0, 4)):
        lung = lungs[str(rng.choice(["left", "right"]))]
        px, py = lung.centre(rng.uniform(0, 2))
        out += 0.25 * _edge(np.hypot(x - px - rng.uniform(-0.06, 0.06), y - py) - rng.uniform(0.006, 0.014), 0.002)
    if rng.random() < 0.35:
        bend, level = rng.uniform(-0.25, 0.25), rng.uniform(0.3, 0.9)
        out += 0.3 * _edge(np.abs(y - level - bend * np.sin(3 * x)) - 0.003, 0.0015)
    if rng.random() < 0.25:
        out += 0.25 * _edge(np.abs(x - 0.5 - 0.02 * np.sin(6 * y)) - 0.005, 0.002) * (y < rng.uniform(0.3, 0.5))
    return out


def _expose(rng: np.random.Generator, picture: Field, look: Style) -> NDArray[np.uint8]:
    size = len(picture)
    exposed = ndimage.gaussian_filter(picture, look.blur * size)
    exposed = np.clip(exposed * rng.uniform(0.9, 1.1) + rng.uniform(-0.03, 0.03), 0, 1) ** look.gamma
    noise = rng.normal(size=picture.shape).astype(np.float32)
    noise = ndimage.gaussian_filter(noise, 0.6) * 1.6
    exposed = exposed + look.noise * (0.5 + exposed) * noise
    if look.frame:
        margin = size // 28
        exposed[:margin], exposed[-margin:], exposed[:, :margin], exposed[:, -margin:] = 0, 0, 0, 0
        exposed[size // 12 : size // 8, -size // 8 : -size // 12] = 0.95
    result: NDArray[np.uint8] = (np.clip(exposed, 0, 1) * 255).round().astype(np.uint8)
    return result


# ------------------------------------------------------------------------------------------------ notes

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def _note(rng: np.random.Generator, where: ZonesBySide) -> str:
    """QaTa-COV19's wording; about one in twelve has a slip that the real notes have too."""
    count = sum(len(_runs(zones)) for zones in where.values())
    parts = [
        f"all {side} lung" if len(zones) == 3 else " ".join(ZONES[z] for z in zones) + f" {side} lung"
        for side, zones in where.items()
    ]
    sides = "Bilateral" if len(where) == 2 else "Unilateral"
    areas = "area" if count == 1 else "areas"
    note = f"{sides} pulmonary infection, {NUMBERS[count]} infected {areas}, {' and '.join(parts)}."
    slips = ((" and all", " andall"), (", all", " ,all"), ("middle", "mmiddle"), ("upper", "higher"))
    possible = [(right, wrong) for right, wrong in slips if right in note]
    if possible and rng.random() < 0.12:
        right, wrong = possible[rng.integers(len(possible))]
        note = note.replace(right, wrong, 1)
    return note


# ------------------------------------------------------------------------------------------------ files


def make_chest(
    out: Path,
    *,
    seed: int = 0,
    train: int = 1500,
    val: int = 200,
    test: int = 300,
    size: int = 224,
    style: str = "a",
    workers: int | None = None,
) -> None:
    """Write a data set of phantoms in the LViT layout, whole or not at all.

    out must not be there yet, or be empty. The files are the same bytes whatever the number of workers (processes;
    None: as many as CPUs). Raises InputError for a folder that holds something, bad counts, a size below 32, and an
    unknown style.
    """
    counts = dict(zip(SPLITS, (train, val, test), strict=True))
    _style(style)
    check_request(out, counts, size)
    with new_folder(out) as fresh:
        for split in (s for s in SPLITS if counts[s]):
            for kind in ("img", "labelcol"):
                (fresh / f"{split}_Folder" / kind).mkdir(parents=True)
        jobs = _jobs(fresh, counts, seed, size, style)
        notes = list(run_jobs(_draw, jobs, workers))
        for split in (s for s in SPLITS if counts[s]):
            rows = [(job.mask.name, note) for job, note in zip(jobs, notes, strict=True) if job.split == split]
            (fresh / f"{split}_text.xlsx").write_bytes(_workbook(rows))


@dataclass(frozen=True)
class _Job:
    split: str
    image: Path
    mask: Path
    seed: tuple[int, int, int]
    size: int
    style: str


def _jobs(folder: Path, counts: dict[str, int], seed: int, size: int, style: str) -> list[_Job]:
    jobs, number = [], 0
    for k, (split, count) in enumerate(counts.items()):
        for i in range(count):
            number += 1
            image = folder / f"{split}_Folder" / "img" / f"covid_{number}.png"
            mask = folder / f"{split}_Folder" / "labelcol" / f"mask_covid_{number}.png"
            jobs.append(_Job(split, image, mask, (seed, k, i), size, style))
    return jobs


def _draw(job: _Job) -> str:
    phantom = draw_chest(job.seed, job.size, job.style)
    Image.fromarray(phantom.image[..., 0]).save(job.image, compress_level=4)
    Image.fromarray(phantom.mask.astype(np.uint8) * 255).save(job.mask)
    return phantom.note


def _style(name: str) -> Style:
    if name not in STYLES:
        raise InputError(f"style: got {name!r}, expected one of {', '.join(STYLES)}")
    return STYLES[name]


def _workbook(rows: list[tuple[str, str]]) -> bytes:
    """An xlsx of (mask's file name, note), without the dates that would differ from run to run."""
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in [("Image", "Description"), *rows]:
        sheet.append(row)
    dated, still = io.BytesIO(), io.BytesIO()
    book.save(dated)
    with zipfile.ZipFile(dated) as old, zipfile.ZipFile(still, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2000-01-01T00:00:00Z", old.read(name))
            new.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return still.getvalue()
