"""Outlines as polygons, parts of drawings, and how parts become shaded pixels.

Outlines are (N, 2) float arrays of (x, y) in the thing's own units, x to the right, y UP, the ground at y = 0. A thing
looks to the right. A `Frame` maps them into the thing's box. Colours are RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]
Field = NDArray[np.floating]
RGB = tuple[float, float, float]
XY = tuple[float, float]
NoiseSource = Callable[[int, int], NDArray[np.float32]]

PALETTE: dict[str, RGB] = {
    "red": (0.82, 0.13, 0.13),
    "orange": (0.95, 0.50, 0.10),
    "yellow": (0.96, 0.83, 0.18),
    "green": (0.18, 0.58, 0.24),
    "blue": (0.16, 0.36, 0.82),
    "purple": (0.48, 0.22, 0.64),
    "pink": (0.96, 0.58, 0.73),
    "brown": (0.46, 0.28, 0.15),
    "black": (0.13, 0.13, 0.14),
    "white": (0.95, 0.95, 0.94),
    "gray": (0.53, 0.53, 0.54),
}


@dataclass(frozen=True)
class Part:
    """One filled outline. volume: how round it looks, 0 is flat. gloss: strength of its highlight. rough: of its grain.
    lamp: it glows at night.
    """

    points: Points
    rgb: RGB
    volume: float
    gloss: float
    rough: float
    lamp: bool


@dataclass
class Sheet:
    """The parts of a drawing in progress. rgb, colour: the thing's colour, and its name. head_scale: the size of heads,
    1 is natural. roles: what relations ask of the drawing ("holding", "riding"). anchors: named points, in the
    units of the outlines.
    """

    rng: np.random.Generator
    rgb: RGB
    colour: str
    head_scale: float = 1.0
    roles: frozenset[str] = frozenset()
    parts: list[Part] = field(default_factory=list)
    anchors: dict[str, XY] = field(default_factory=dict)

    def add(
        self, points: Points, rgb: RGB, volume: float = 0.5, gloss: float = 0.0, rough: float = 0.3, lamp: bool = False
    ) -> None:
        """Add a part, on top of the others."""
        self.parts.append(Part(points, rgb, volume, gloss, rough, lamp))

    def rotate(self, degrees: float) -> None:
        """Rotate all parts so far anticlockwise about the origin."""
        self.parts = [replace(part, points=rotated(part.points, degrees)) for part in self.parts]

    def pick(self, *choices: RGB) -> RGB:
        """One of the colours at random."""
        return choices[int(self.rng.integers(len(choices)))]

    def vary(self, low: float, high: float) -> float:
        """A random number between the two."""
        return float(self.rng.uniform(low, high))

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return bool(self.rng.random() < p)


# ------------------------------------------------------------------------------------------------ colours


def tint(rgb: RGB, by: float) -> RGB:
    """Lighter (by > 0, 1 is white) or darker (by < 0, -1 is black)."""
    to = 1.0 if by > 0 else 0.0
    r, g, b = (c + (to - c) * abs(by) for c in rgb)
    return r, g, b


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """`share` of b in a."""
    r, g, c = (p + (q - p) * share for p, q in zip(a, b, strict=True))
    return r, g, c


# ------------------------------------------------------------------------------------------------ outlines


def ellipse(cx: float, cy: float, rx: float, ry: float, turn: float = 0.0, arc: XY = (0.0, 360.0)) -> Points:
    """turn and arc in degrees, counted anticlockwise from the right; an arc is closed by its chord."""
    points = _circle(arc) * (rx, ry)
    if turn:
        points = rotated(points, turn)
    result: Points = points + np.array((cx, cy))
    return result


@lru_cache(maxsize=64)
def _circle(arc: XY) -> Points:
    t = np.deg2rad(np.linspace(arc[0], arc[1], 28))
    return np.stack([np.cos(t), np.sin(t)], 1)


def rect(x0: float, y0: float, x1: float, y1: float) -> Points:
    """An upright rectangle."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)


def poly(*corners: XY) -> Points:
    """Straight edges between the corners."""
    return np.array(corners, dtype=float)


def rounded(x0: float, y0: float, x1: float, y1: float, r: float) -> Points:
    """A rectangle with round corners."""
    t = np.deg2rad(np.linspace(0, 90, 5))
    corners = [(x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180), (x1 - r, y0 + r, 270)]
    bends = [
        np.stack([cx + r * np.cos(t + np.deg2rad(a)), cy + r * np.sin(t + np.deg2rad(a))], 1) for cx, cy, a in corners
    ]
    return np.concatenate(bends)


@lru_cache(maxsize=8)
def _basis(steps: int) -> NDArray[np.float64]:
    t = np.arange(steps) / steps
    return 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1
    )  # Catmull-Rom


def blob(*corners: XY, steps: int = 6) -> Points:
    """A smooth closed curve through the corners."""
    p = np.array(corners, dtype=float)
    around = np.stack([np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)])
    result: Points = np.einsum("tk,knc->ntc", _basis(steps), around).reshape(-1, 2)
    return result


def curve(corners: Sequence[XY], steps: int = 5) -> Points:
    """A smooth open curve from the first corner to the last."""
    p = np.array(corners, dtype=float)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    pieces = np.stack([p[:-3], p[1:-2], p[2:-1], p[3:]])
    path = np.einsum("tk,knc->ntc", _basis(steps), pieces).reshape(-1, 2)
    return np.concatenate([path, p[-2:-1]])


def limb(corners: Sequence[XY], widths: Sequence[float], smooth: bool = True) -> Points:
    """A bent tube with round ends through the corners. widths: across it, at each corner."""
    path = curve(corners) if smooth and len(corners) > 2 else np.array(corners, dtype=float)
    at = np.arange(len(path)) / (len(path) - 1)
    half = np.interp(at, np.arange(len(widths)) / (len(widths) - 1), widths)[:, None] / 2
    steps = path[1:] - path[:-1]
    along = np.concatenate([steps[:1], steps[1:] + steps[:-1], steps[-1:]])
    along /= np.maximum(np.hypot(along[:, :1], along[:, 1:]), 1e-9)
    normal = along[:, ::-1] * (-1.0, 1.0)
    end = path[-1] + half[-1] * (_CAP @ np.stack([normal[-1], along[-1]]))
    start = path[0] - half[0] * (_CAP @ np.stack([normal[0], along[0]]))
    side = half * normal
    return np.concatenate([path + side, end, (path - side)[::-1], start])


_CAP = np.stack([np.cos(np.linspace(0, np.pi, 7)), np.sin(np.linspace(0, np.pi, 7))], 1)[1:-1]


def ring(cx: float, cy: float, r: float, width: float) -> Points:
    """A wheel's rim: the outer circle and the inner one, joined by a cut."""
    outer, inner = ellipse(cx, cy, r, r), ellipse(cx, cy, r - width, r - width)
    return np.concatenate([outer, inner[::-1]])


def rotated(points: Points, degrees: float, about: XY = (0.0, 0.0)) -> Points:
    """The outline rotated anticlockwise about a point."""
    a, c = np.deg2rad(degrees), np.array(about)
    result: Points = (points - c) @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + c
    return result


# ------------------------------------------------------------------------------------------------ into the box


@dataclass(frozen=True)
class BoxTransform:
    """The map from a thing's own units into the picture: x' = left + sx * x, y' = foot - sy * y, in picture units."""

    left: float
    foot: float
    sx: float
    sy: float

    def __call__(self, points: Points) -> Points:
        """(N, 2) own units -> (N, 2) picture units, y down."""
        return points * (self.sx, -self.sy) + (self.left, self.foot)


MAX_STRETCH = 1.2  # by this factor a thing is stretched to fill its box


def bounds(parts: Sequence[Part]) -> tuple[Points, Points]:
    """The lowest and the highest (x, y) of all parts."""
    every = np.concatenate([part.points for part in parts])
    return every.min(0), every.max(0)


def fit_to_box(
    parts: Sequence[Part], box: tuple[float, float, float, float], flip: bool, airborne: bool
) -> BoxTransform:
    """Fit the parts into a box: at its bottom, or at its middle for things in the air. flip: mirrored."""
    low, high = bounds(parts)
    wide, tall = np.maximum(high - low, 1e-6)
    x, y, w, h = box
    sx, sy = min(w / wide, MAX_STRETCH * h / tall), min(h / tall, MAX_STRETCH * w / wide)
    left = x + (w - sx * wide) / 2
    foot = y + h - ((h - sy * tall) / 2 if airborne else 0)
    if flip:
        return BoxTransform(float(left + sx * high[0]), float(foot + sy * low[1]), float(-sx), float(sy))
    return BoxTransform(float(left - sx * low[0]), float(foot + sy * low[1]), float(sx), float(sy))


# ------------------------------------------------------------------------------------------------ pixels


@dataclass(frozen=True)
class Shading:
    """How parts are shaded. light: its direction, (right, up). volume, gloss, rough, line: strengths."""

    light: XY
    volume: float
    gloss: float
    rough: float
    line: float


@dataclass(frozen=True)
class Sprite:
    """A thing's pixels in a window of the picture. rgb: (h, w, 3), alpha, glow: (h, w), in [0, 1]. glow: its light at
    night.
    """

    top: int
    left: int
    rgb: Field
    alpha: Field
    glow: Field

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns in the picture."""
        h, w = self.alpha.shape
        return slice(self.top, self.top + h), slice(self.left, self.left + w)


def rasterise(
    parts: Sequence[Part], frame: BoxTransform, size: int, shading: Shading, fine: int, grain: NoiseSource
) -> Sprite | None:
    """Rasterise and shade `parts`, `fine` samples to a pixel's side; None where no pixel of the picture
    is touched. At most 255 parts.

    grain: gives noise (height, width) for the shading.
    """
    every = frame(np.concatenate([part.points for part in parts])) * size
    x0, y0 = np.maximum(np.floor(every.min(0) + 0.01), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(every.max(0) - 0.01), size).astype(int)
    if x1 <= x0 or y1 <= y0:
        return None
    ends = np.cumsum([len(part.points) for part in parts])[:-1]
    outlines = np.split((every - (x0, y0)) * fine - 0.5, ends)
    canvas = Image.new("L", (int(x1 - x0) * fine, int(y1 - y0) * fine), 0)
    draw = ImageDraw.Draw(canvas)
    for i, outline in enumerate(outlines):
        draw.polygon(outline.ravel().tolist(), fill=i + 1)
    label = np.asarray(canvas)
    rgb = _shade(label, parts, outlines, shading, grain(*label.shape))
    shaded = (label > 0).astype(np.float32)
    alpha = downsample(shaded, fine)
    rgb = downsample(rgb, fine) / np.maximum(alpha, 1e-3)[..., None]
    lamps = np.array([0.0, *(part.lamp for part in parts)], dtype=np.float32)
    glow = downsample(lamps[label], fine) if lamps.any() else np.zeros_like(alpha)
    return Sprite(int(y0), int(x0), rgb, alpha, glow)


def _shade(
    label: NDArray[np.uint8], parts: Sequence[Part], outlines: Sequence[Points], shading: Shading, grain: Field
) -> Field:
    """Each part is lit as if it bulged out of its bounding box; a thin dark line keeps parts apart."""
    rows, columns = np.nonzero(label)
    at = label[rows, columns].astype(np.intp) - 1
    low = np.array([outline.min(0) for outline in outlines], dtype=np.float32)
    high = np.array([outline.max(0) for outline in outlines], dtype=np.float32)
    middle, reach = (low + high) / 2, 2 / (high - low + 1)
    u = (columns.astype(np.float32) - middle[at, 0]) * reach[at, 0]
    v = (middle[at, 1] - rows.astype(np.float32)) * reach[at, 1]
    lx, ly = shading.light
    volume = np.array([shading.volume * part.volume for part in parts], dtype=np.float32)[at]
    tone = 1 + volume * (lx * u + ly * v - 0.35 * (u * u + v * v) + 0.2)
    tone += np.array([shading.rough * part.rough for part in parts], dtype=np.float32)[at] * grain[rows, columns]
    edge = np.zeros(label.shape, dtype=bool)
    edge[1:] = label[1:] != label[:-1]
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    tone -= shading.line * edge[rows, columns]
    shaded = np.array([part.rgb for part in parts], dtype=np.float32)[at] * tone[:, None]
    gloss = np.array([shading.gloss * part.gloss for part in parts], dtype=np.float32)
    if gloss.any():
        shaded += (gloss[at] * np.exp(-7 * ((u - 0.45 * lx) ** 2 + (v - 0.5 * ly) ** 2)))[:, None]
    rgb = np.zeros((*label.shape, 3), dtype=np.float32)
    rgb[rows, columns] = np.clip(shaded, 0, 1)
    return rgb


def downsample(values: Field, fine: int) -> Field:
    """Mean over blocks of `fine` by `fine`."""
    down = values[::fine].copy()
    for k in range(1, fine):
        down += values[k::fine]
    across = down[:, ::fine].copy()
    for k in range(1, fine):
        across += down[:, k::fine]
    return across / np.float32(fine * fine)
