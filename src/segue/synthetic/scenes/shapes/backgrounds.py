"""How stuff is drawn: sky, grass, sand, water, road, snow, mountain, wall, each with its texture and its edge.

Stuff is painted for the whole picture at once: colours (S, S, 3) and a cover (S, S), both in [0, 1]. Textures are
sampled from one tile of noise by coordinates in units of the picture, so that all sizes show the same scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from segue.synthetic.scenes.scene import Stuff
from segue.synthetic.scenes.shapes.strokes import RGB, Field

TILE_SIZE = 256


@dataclass(frozen=True)
class Canvas:
    """x, y: (1, S) and (S, 1) pixel centres in units of the side. t: (S, 1), 0 at the stuff's top, 1 at its bottom."""

    x: Field
    y: Field
    t: Field
    stuff: Stuff
    light: str
    smooth: float  # 0: a photo's texture, 1: none
    rng: np.random.Generator


PaintedStuff = tuple[Field, Field]


@lru_cache(maxsize=1)
def noise_tile() -> Field:
    """(256, 256) noise that repeats without a seam: mean 0, deviation 1, some of it coarse and some fine."""
    white = np.random.default_rng(20).normal(size=(TILE_SIZE, TILE_SIZE))
    f = np.hypot(np.fft.fftfreq(TILE_SIZE)[:, None], np.fft.fftfreq(TILE_SIZE)[None])
    f[0, 0] = np.inf
    noise = np.fft.ifft2(np.fft.fft2(white) / f**0.8).real
    result: Field = (noise / noise.std()).astype(np.float32)
    return result


@lru_cache(maxsize=1)
def soft_noise_tile() -> Field:
    """(256, 256) like `noise_tile`, but only its coarse part."""
    white = np.random.default_rng(21).normal(size=(TILE_SIZE, TILE_SIZE))
    f = np.hypot(np.fft.fftfreq(TILE_SIZE)[:, None], np.fft.fftfreq(TILE_SIZE)[None])
    f[0, 0] = np.inf
    noise = np.fft.ifft2(np.fft.fft2(white) / np.maximum(f, 0.008) ** 1.9).real
    result: Field = (noise / noise.std()).astype(np.float32)
    return result


def _sample_noise(source: Field, u: Field, v: Field) -> Field:
    """Noise at (u, v), in tiles, between four neighbours. u: (R or 1, S), v: (R, 1) -> (R, S)."""
    u, v = (u * TILE_SIZE).astype(np.float32), (v * TILE_SIZE).astype(np.float32)
    iu, iv = np.floor(u).astype(np.intp), np.floor(v[:, 0]).astype(np.intp)
    fu, fv = u - iu, v - iv[:, None]
    lines = source[iv % TILE_SIZE] * (1 - fv) + source[(iv + 1) % TILE_SIZE] * fv
    row = np.arange(len(lines))[:, None]
    left, right = lines[row, iu % TILE_SIZE], lines[row, (iu + 1) % TILE_SIZE]
    out: Field = (left + (right - left) * fu).astype(np.float32)
    return out


def _perspective_noise(c: Canvas, scale: float, flat: float = 1.0, source: Field | None = None) -> Field:
    """Noise on horizontal ground in perspective: coarser in front."""
    depth = 1 / (0.22 + np.clip(c.y - c.stuff.top, 0, 2))
    ox, oy = c.rng.uniform(0, 1, 2)
    return _sample_noise(
        noise_tile() if source is None else source,
        (c.x - 0.5) * depth * scale * 0.3 + ox,
        depth * scale * flat * 0.3 + oy,
    )


def _upright_noise(c: Canvas, sx: float, sy: float) -> Field:
    """Noise on an upright surface: sx, sy tiles across the picture."""
    ox, oy = c.rng.uniform(0, 1, 2)
    return _sample_noise(noise_tile(), c.x * sx + ox, c.y * sy + oy)


def _step(values: Field, width: float) -> Field:
    """0 below, 1 above, a straight ramp of that width about 0."""
    out: Field = np.clip(values / width + 0.5, 0, 1).astype(np.float32)
    return out


def _ramp(c: Field, *stops: RGB) -> Field:
    """Colours between the stops: c (S, 1) or (S, S) in [0, 1] -> (..., 3)."""
    at = np.linspace(0, 1, len(stops))
    table = np.array(stops, dtype=np.float32)
    return np.stack([np.interp(c, at, table[:, k]).astype(np.float32) for k in range(3)], -1)


def _blend(below: Field, rgb: RGB, share: Field) -> Field:
    """`share` (S, S) of a colour over colours."""
    return below + (np.array(rgb, dtype=np.float32) - below) * share[..., None]


def _edge(c: Canvas, height: float, rough: float) -> Field:
    """Cover of stuff whose top edge rises by up to `height` over its top. rough: tiles across the picture."""
    ox, oy = c.rng.uniform(0, 1, 2)
    swell = np.clip(0.5 + 0.3 * _sample_noise(noise_tile(), c.x * rough + ox, np.full((1, 1), oy)), 0, 1)
    below = _step(c.y - (c.stuff.top - height * swell), 1 / len(c.y))
    return np.broadcast_to(below, (len(c.y), len(c.y)))


# ------------------------------------------------------------------------------------------------ sky

SKY_COLOURS: dict[str, tuple[RGB, ...]] = {
    "day": ((0.25, 0.50, 0.86), (0.50, 0.72, 0.93), (0.80, 0.90, 0.97)),
    "evening": ((0.32, 0.28, 0.52), (0.78, 0.43, 0.47), (0.98, 0.66, 0.36), (1.0, 0.84, 0.55)),
    "night": ((0.03, 0.04, 0.12), (0.06, 0.09, 0.22), (0.13, 0.17, 0.32)),
    "overcast": ((0.60, 0.63, 0.67), (0.72, 0.74, 0.77), (0.82, 0.83, 0.85)),
}
CLOUD_COLOURS: dict[str, tuple[RGB, RGB]] = {  # lit from above, shaded below
    "day": ((1.0, 1.0, 1.0), (0.78, 0.83, 0.90)),
    "evening": ((1.0, 0.78, 0.60), (0.62, 0.38, 0.46)),
    "night": ((0.20, 0.23, 0.34), (0.10, 0.12, 0.20)),
    "overcast": ((0.88, 0.89, 0.90), (0.55, 0.57, 0.61)),
}


def _sky(c: Canvas) -> PaintedStuff:
    rgb = np.broadcast_to(_ramp(c.t, *SKY_COLOURS[c.light]), (len(c.y), len(c.y), 3)).copy()
    rgb = _add_sun_or_moon(c, rgb)
    much = c.rng.uniform(-0.1, 1.5) if c.light != "overcast" else -0.6
    body, above = _clouds(c)
    share = _step(body - much - 0.3, c.rng.uniform(0.6, 1.1)) * (0.95 - 0.4 * c.t)
    lit, shaded = CLOUD_COLOURS[c.light]
    top = _step(body - above + 0.15, 1.2)[..., None]
    cloud = np.array(shaded, dtype=np.float32) * (1 - top) + np.array(lit, dtype=np.float32) * top
    return rgb + (cloud - rgb) * share[..., None], np.ones(rgb.shape[:2], dtype=np.float32)


def _clouds(c: Canvas) -> tuple[Field, Field]:
    """How thick the clouds are at a pixel, and a little above it; flatter towards the horizon."""
    ox, oy, wide, high = c.rng.uniform((0, 0, 0.3, 0.3), (1, 1, 0.75, 0.6))
    v = c.t * (1.0 + 1.2 * c.t) * high + oy
    fluff = 0.16 * (1 - 0.6 * c.smooth) * _upright_noise(c, 0.7, 0.9)
    body = _sample_noise(soft_noise_tile(), c.x * wide + ox, v)
    return body + fluff, _sample_noise(soft_noise_tile(), c.x * wide + ox + 0.01, v - 0.05)


def _add_sun_or_moon(c: Canvas, rgb: Field) -> Field:
    """Stars and a moon at night, the low sun in the evening, sometimes the high sun by day."""
    x, y = c.rng.uniform(0.1, 0.9), c.rng.uniform(0.12, 0.4)
    where = c.stuff.top + y * (c.stuff.bottom - c.stuff.top) * (2.0 if c.light == "evening" else 1.0)
    away = np.hypot(c.x - x, c.y - where)
    if c.light == "night":
        stars = c.rng.uniform(0, 1, (70, 3))
        for sx, sy, power in stars.tolist():
            i, j = int(sy * sy * len(c.y) * c.stuff.bottom), int(sx * len(c.y))
            rgb[min(i, len(c.y) - 1), min(j, len(c.y) - 1)] += 0.2 + 0.5 * power
        rgb = _blend(rgb, (0.95, 0.93, 0.82), 0.35 * np.exp(-((away / 0.09) ** 2)))
        crescent = _step(0.042 - away, 0.008) * (1 - _step(0.04 - np.hypot(c.x - x - 0.02, c.y - where + 0.008), 0.01))
        return _blend(rgb, (0.98, 0.96, 0.88), crescent)
    if c.light == "evening" or (c.light == "day" and c.rng.random() < 0.35):
        r = 0.06 if c.light == "evening" else 0.04
        rgb = _blend(rgb, (1.0, 0.93, 0.72), 0.6 * np.exp(-((away / (3 * r)) ** 2)))
        return _blend(rgb, (1.0, 0.97, 0.82), _step(r - away, 0.012))
    return rgb


# ------------------------------------------------------------------------------------------------ horizontal stuff


def _grass(c: Canvas) -> PaintedStuff:
    hue = c.rng.uniform(0, 1)
    near: RGB = (0.20 + 0.08 * hue, 0.44 + 0.03 * hue, 0.13)
    far: RGB = (0.46 + 0.10 * hue, 0.62, 0.28)
    rgb = np.broadcast_to(_ramp(np.sqrt(c.t), far, near), (len(c.y), len(c.y), 3)).copy()
    patches = _perspective_noise(c, 0.9, 1.0, soft_noise_tile())
    ox, oy = c.rng.uniform(0, 1, 2)
    depth = 1 / (0.25 + np.clip(c.y - c.stuff.top, 0, 2))
    bend = 0.012 * patches
    blades = _sample_noise(noise_tile(), (c.x - 0.5 + bend) * depth * 1.1 + ox, depth * 0.16 + c.y * 0.35 + oy)
    fine = 1 - 0.75 * c.smooth
    rgb *= (1 + 0.06 * patches + (0.05 + 0.09 * np.clip(c.t, 0, 1)) * fine * blades)[..., None]
    rgb = _blend(rgb, (0.72, 0.80, 0.35), np.clip(patches - 0.8, 0, 1) * 0.25)
    if c.rng.random() < 0.4:
        rgb = _add_flowers(c, rgb)
    return rgb, _edge(c, 0.016, 6.0)


def _add_flowers(c: Canvas, rgb: Field) -> Field:
    """Small flowers in the grass."""
    colour = ((0.97, 0.95, 0.90), (0.96, 0.85, 0.25), (0.75, 0.50, 0.80))[int(c.rng.integers(3))]
    side = len(c.y)
    for u, v, power in c.rng.uniform(0, 1, (60, 3)).tolist():
        y = c.stuff.top + (0.05 + 0.95 * v) * (c.stuff.bottom - c.stuff.top)
        r = 0.002 + 0.006 * v
        i, j, k = int(y * side), int(u * side), max(1, round(r * side))
        rgb[i : i + k, j : j + k] += (np.array(colour, dtype=np.float32) - rgb[i : i + k, j : j + k]) * (
            0.5 + 0.5 * power
        )
    return rgb


def _sand(c: Canvas) -> PaintedStuff:
    hue = c.rng.uniform(0, 1)
    rgb = np.broadcast_to(
        _ramp(c.t, (0.90, 0.82, 0.64), (0.83 + 0.04 * hue, 0.70, 0.47 + 0.05 * hue)), (len(c.y), len(c.y), 3)
    ).copy()
    dunes = _perspective_noise(c, 0.5, 2.2, soft_noise_tile())
    ripples = np.sin(60 / (0.35 + np.clip(c.y - c.stuff.top, 0, 2)) + 3.5 * dunes)
    fine = 1 - 0.8 * c.smooth
    rgb *= (1 + 0.05 * dunes + 0.028 * ripples + 0.045 * fine * _perspective_noise(c, 6.0, 2.0))[..., None]
    return rgb, _edge(c, 0.02, 0.6)


WATER_COLOURS: dict[str, tuple[RGB, RGB]] = {  # at the horizon, in front
    "day": ((0.45, 0.68, 0.82), (0.10, 0.36, 0.58)),
    "evening": ((0.92, 0.66, 0.48), (0.26, 0.28, 0.46)),
    "night": ((0.10, 0.15, 0.30), (0.03, 0.07, 0.17)),
    "overcast": ((0.66, 0.71, 0.75), (0.32, 0.42, 0.49)),
}


def _water(c: Canvas) -> PaintedStuff:
    rgb = np.broadcast_to(_ramp(np.sqrt(c.t), *WATER_COLOURS[c.light]), (len(c.y), len(c.y), 3)).copy()
    swell = _perspective_noise(c, 0.55, 5.0, soft_noise_tile())
    chop = _perspective_noise(c, 1.6, 8.0)
    waves = swell * 0.6 + chop * 0.5 * (1 - 0.6 * c.smooth)
    rgb *= (1 + 0.10 * waves)[..., None]
    bright = 1.0 if c.light != "night" else 0.35
    rgb = _blend(rgb, (0.93, 0.97, 1.0), bright * _step(waves - 1.15, 0.5) * (0.25 + 0.5 * c.t))
    return rgb, _edge(c, 0.002, 1.0)


def _snow(c: Canvas) -> PaintedStuff:
    rgb = np.broadcast_to(_ramp(c.t, (0.90, 0.93, 0.97), (0.96, 0.97, 0.99)), (len(c.y), len(c.y), 3)).copy()
    drifts = _perspective_noise(c, 0.55, 1.6, soft_noise_tile())
    rgb = _blend(rgb, (0.66, 0.75, 0.90), np.clip(0.28 * (drifts + 0.5), 0, 0.5))
    fine = 1 - 0.8 * c.smooth
    rgb *= (1 + 0.022 * fine * _perspective_noise(c, 5.0, 1.5))[..., None]
    return rgb, _edge(c, 0.022, 0.8)


def _road(c: Canvas) -> PaintedStuff:
    gray = c.rng.uniform(0.34, 0.44)
    rgb = np.broadcast_to(
        _ramp(c.t, (gray + 0.05,) * 3, (gray - 0.03, gray - 0.03, gray - 0.02)), (len(c.y), len(c.y), 3)
    ).copy()
    fine = 1 - 0.8 * c.smooth
    rgb *= (
        1 + 0.05 * _perspective_noise(c, 0.8, 1.5, soft_noise_tile()) + 0.06 * fine * _perspective_noise(c, 7.0, 2.5)
    )[..., None]
    tall, wide = c.stuff.bottom - c.stuff.top, 1 / len(c.y)
    line: RGB = (0.93, 0.91, 0.84) if c.rng.random() < 0.7 else (0.93, 0.76, 0.25)
    dash = _step(np.abs((c.x * c.rng.uniform(3, 4.5) + c.rng.uniform()) % 1 - 0.5) - 0.2, 6 * wide)
    middle = _step(0.028 * tall + 0.002 - np.abs(c.y - c.stuff.top - 0.46 * tall), wide)
    rgb = _blend(rgb, line, 0.9 * middle * dash)
    for at in (0.07, 0.93):
        rgb = _blend(
            rgb,
            (0.88, 0.87, 0.82),
            np.broadcast_to(
                0.75 * _step(0.012 * tall + 0.001 - np.abs(c.y - c.stuff.top - at * tall), wide),
                dash.repeat(len(c.y), 0).shape,
            ),
        )
    curb = np.broadcast_to(_step(0.018 - np.abs(c.t - 0.0), 0.01), rgb.shape[:2])
    return _blend(rgb, (0.66, 0.65, 0.62), curb), np.broadcast_to(_step(c.y - c.stuff.top, wide), rgb.shape[:2])


# ------------------------------------------------------------------------------------------------ upright stuff


def _mountain(c: Canvas) -> PaintedStuff:
    side, tall = len(c.y), c.stuff.bottom - c.stuff.top
    count = int(c.rng.integers(2, 6))
    peaks = (np.arange(count) + c.rng.uniform(0.1, 0.9, count)) / count
    heights, slopes = c.rng.uniform(0.55, 1.0, count), c.rng.uniform(1.0, 2.2, count) * np.sqrt(count)
    heights[c.rng.integers(count)] = 1.0
    rough = 0.035 * _sample_noise(soft_noise_tile(), c.x * 1.3 + c.rng.uniform(), np.full((1, 1), c.rng.uniform()))
    cones = heights[:, None] - slopes[:, None] * np.abs(c.x - peaks[:, None]) * (
        0.75 + 0.3 * np.abs(c.x - peaks[:, None])
    )
    which = cones.argmax(0)
    ridge = np.maximum(cones.max(0) + rough[0], 0.16 + 2 * rough[0]).astype(np.float32)[None]
    height = (c.stuff.bottom - c.y) / tall  # 1 at the top, (S, 1)
    rock = _upright_noise(c, 1.1, 1.6)
    crest = (c.x - peaks[which][None]) + 0.05 * rock + 0.10 * (ridge - height) * np.sin(9 * peaks[which])[None]
    sun = _step(crest, 0.02)
    base: RGB = ((0.42, 0.42, 0.50), (0.45, 0.40, 0.38), (0.36, 0.44, 0.42))[int(c.rng.integers(3))]
    rgb = np.array(base, dtype=np.float32) * (0.78 + 0.42 * sun + 0.09 * (1 - 0.7 * c.smooth) * rock)[..., None]
    wood = np.clip(0.30 - height + 0.06 * rock, 0, 0.25) * 3
    rgb = _blend(rgb, (0.24, 0.36, 0.26), wood)
    snow = _step(height - c.rng.uniform(0.55, 0.75) + 0.06 * rock + 0.05 * np.sin(60 * c.x + 9 * ridge), 0.03) * (
        0.62 + 0.38 * sun
    )
    rgb = _blend(rgb, (0.96, 0.97, 1.0), snow)
    rgb = _blend(
        rgb, SKY_COLOURS[c.light][-1], np.broadcast_to(0.30 * (1 - np.clip(height, 0, 1)) + 0.06, (side, side))
    )
    return rgb, _step(ridge - height, 1 / (side * tall))


def _wall(c: Canvas) -> PaintedStuff:
    side, tall = len(c.y), c.stuff.bottom - c.stuff.top
    base: RGB = ((0.66, 0.33, 0.25), (0.72, 0.52, 0.38), (0.58, 0.56, 0.54), (0.78, 0.72, 0.62))[int(c.rng.integers(4))]
    rows = max(4, round(tall / c.rng.uniform(0.030, 0.042)))
    v = (c.y - c.stuff.top) / tall * rows
    row = np.floor(v).astype(int)
    u = c.x * rows / tall / 2.3 + 0.5 * (row % 2) + c.rng.uniform()
    column = np.floor(u).astype(int)
    kind = noise_tile()[(row * 37) & 255, (column * 53) & 255]
    brick = np.minimum(
        _step(np.abs(u - column - 0.5) * -1 + 0.46, 0.08), _step(np.abs(v - row - 0.5) * -1 + 0.42, 0.12)
    )
    rough = _upright_noise(c, 3.0, 3.0)
    rgb = np.array(base, dtype=np.float32) * (1 + 0.055 * kind + 0.05 * (1 - 0.8 * c.smooth) * rough)[..., None]
    mortar: RGB = (0.80, 0.77, 0.72) if sum(base) < 1.9 else (0.60, 0.56, 0.50)
    rgb = _blend(rgb, mortar, (1 - brick) * 0.75)
    coping = np.broadcast_to(_step(0.022 - (c.y - c.stuff.top), 1 / side), rgb.shape[:2])
    rgb = _blend(rgb, (0.70, 0.68, 0.64), coping * 0.95)
    rgb *= (1 - 0.18 * np.clip(c.t, 0, 1))[..., None]
    return rgb, np.broadcast_to(_step(c.y - c.stuff.top, 1 / side), rgb.shape[:2])


PAINTERS: dict[str, Callable[[Canvas], PaintedStuff]] = {
    "sky": _sky, "grass": _grass, "sand": _sand, "water": _water,
    "road": _road, "snow": _snow, "mountain": _mountain, "wall": _wall,
}  # fmt: skip


def paint_stuff(stuff: Stuff, size: int, light: str, smooth: float) -> PaintedStuff:
    """Paint one stuff: colours (S, S, 3) and cover (S, S), down to its bottom."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    t = np.clip((at - stuff.top) / max(stuff.bottom - stuff.top, 1e-6), 0, 1)[:, None]
    canvas = Canvas(at[None], at[:, None], t, stuff, light, smooth, np.random.default_rng(stuff.seed))
    rgb, cover = PAINTERS[stuff.kind](canvas)
    return rgb, cover * (at <= stuff.bottom + 0.5 / size)[:, None]


def noise_crop(height: int, width: int, offset: int) -> NDArray[np.float32]:
    """(height, width) of the noise tile, repeated, from an offset."""
    rows, columns = (np.arange(height) + offset) % TILE_SIZE, (np.arange(width) + offset) % TILE_SIZE
    return noise_tile()[rows[:, None], columns]
