"""Charts as SVG inside a page: they take their colours from its style, so they are light or dark with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 205
LEFT, RIGHT, TOP, BOTTOM = 56, 22, 16, 36
MOST_POINTS = 300  # of a line; of more, runs of neighbours are drawn by their mean and range
CELL, LABELS = 30, 110  # pixels of a matrix

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """Where values lie on the picture. low, high: values at the pixels `start` and `end`. log: by powers of ten."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """The pixel of a value."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (at - low) / (high - low or 1)

    def ticks(self) -> list[float]:
        """Three to nine round values from low to high; powers of ten where the axis is logarithmic."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            powers = [10.0**n for n in range(first, last + 1)]
            return powers if len(powers) > 1 else [self.low, self.high]
        step = 10.0 ** math.floor(math.log10((self.high - self.low or 1) / 3))
        step = next(step * by for by in (1, 2, 5, 10) if (self.high - self.low) / (step * by) <= 8)
        return [step * n for n in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def line_chart(
    points: Sequence[Point],
    title: str,
    *,
    mark: float | None = None,
    reach: tuple[float, float] | None = None,
    linear: bool = False,
) -> str:
    """A line through (x, y) in the order of x, logarithmic where all are positive and differ more than a hundredfold.

    Values that are no finite numbers are left out, which the title says. mark: an x that is marked with its value.
    reach: the ends of the axis of x; those of the points unless given. linear: never logarithmic.
    """
    good = [(x, y) for x, y in points if math.isfinite(y)]
    if len(good) < len(points):
        title += f", {len(points) - len(good)} values that are no numbers left out"
    if not good:
        return _figure("", title)
    runs = _runs(good)
    low, high = min(low for *_, low, _ in runs), max(high for *_, high in runs)
    log = low > 0 and high > 100 * low and not linear
    ends = _wide(*(reach or (good[0][0], good[-1][0])), 0)
    across, up = _axes(ends, (low, high) if log else _wide(low, high, 0.05), log)
    placed = [(across.place(x), up.place(y), up.place(lowest), up.place(highest)) for x, y, lowest, highest in runs]
    parts = [_frame(across, up, "step")]
    if len(good) > len(runs):
        rim = [(x, top) for x, *_, top in placed] + [(x, bottom) for x, _, bottom, _ in reversed(placed)]
        parts.append(f'<polygon class="band" points="{_path(rim)}"/>')
    parts.append(f'<polyline class="line" points="{_path([(x, y) for x, y, *_ in placed])}"/>')
    if len(good) <= 60:
        parts += [_dot(across.place(x), up.place(y), f"{x:g}: {y:.4g}") for x, y in good]
    parts += [_mark(across, up, x, y) for x, y in good if x == mark]
    return _figure("".join(parts), title + (" (logarithmic)" if log else ""))


def _runs(points: Sequence[Point]) -> list[tuple[float, float, float, float]]:
    """(x, mean, lowest, highest) of each of at most MOST_POINTS runs of neighbours."""
    size = -(-len(points) // MOST_POINTS)
    found = []
    for at in range(0, len(points), size):
        part = points[at : at + size]
        ys = [y for _, y in part]
        found.append((sum(x for x, _ in part) / len(part), sum(ys) / len(ys), min(ys), max(ys)))
    return found


def histogram(values: Sequence[float], title: str, *, high: float = 1.0, bins: int = 20, x_label: str = "") -> str:
    """How many of the values, from 0 to `high`, lie in each of `bins` parts of that range; with their mean."""
    counts = [0] * bins
    for value in values:
        counts[min(int(value / high * bins), bins - 1)] += 1
    across, up = _axes((0, high), (0, max([*counts, 1])))
    parts = [_frame(across, up, x_label)]
    for i, count in enumerate(counts):
        left, right = across.place(i * high / bins), across.place((i + 1) * high / bins)
        about = f"{i * high / bins:.3g} to {(i + 1) * high / bins:.3g}: {count}"
        parts.append(_bar(left + 1, up.place(count), right - left - 2, up.place(0), about))
    if values:
        mean = across.place(sum(values) / len(values))
        text = f'<text x="{mean + 4:.1f}" y="{TOP - 4}">mean</text>' if mean < WIDTH - 60 else (
            f'<text x="{mean - 4:.1f}" y="{TOP - 4}" text-anchor="end">mean</text>'
        )  # fmt: skip
        line = f'<line x1="{mean:.1f}" x2="{mean:.1f}" y1="{TOP - 12}" y2="{up.place(0)}"/>'
        parts.append(f'<g class="mark">{line}{text}</g>')
    return _figure("".join(parts), title)


def reliability_chart(
    predicted: Sequence[float], observed: Sequence[float], shares: Sequence[float], title: str, labels: tuple[str, str]
) -> str:
    """Reliability diagram: a point for each bin, as large as its share of all, and the diagonal of what is calibrated.

    predicted, observed, shares: of each bin that is not empty, in [0, 1]. labels: below and above the axes.
    """
    across, up = _axes((0, 1), (0, 1))
    ends = [
        f'{name}="{axis.place(v):.1f}"'
        for v, n in ((0, 1), (1, 2))
        for name, axis in ((f"x{n}", across), (f"y{n}", up))
    ]
    parts = [_frame(across, up, labels[0]), f'<line class="ideal" {" ".join(ends)}/>']
    parts.append(f'<text x="{LEFT}" y="{TOP - 5}">{escape(labels[1])}</text>')
    points = [(across.place(p), up.place(o)) for p, o in zip(predicted, observed, strict=True)]
    parts.append(f'<polyline class="line" points="{_path(points)}"/>')
    for (x, y), p, o, share in zip(points, predicted, observed, shares, strict=True):
        parts.append(_dot(x, y, f"{p:.3f}: {o:.3f}, {share:.2%} of all", 2.5 + 7 * math.sqrt(share)))
    return _figure("".join(parts), title)


def matrix(rows: Sequence[str], columns: Sequence[str], shares: Sequence[Sequence[float]], title: str) -> str:
    """Shares in [0, 1] as cells, the darker the more; those of 1% and more are written, in percent.

    rows, columns: their names. shares: a row for each of the rows.
    """
    width, height = LABELS + CELL * len(columns), LABELS + CELL * len(rows)
    parts = []
    for j, name in enumerate(columns):
        x = LABELS + CELL * (j + 0.5) + 4
        parts.append(f'<text transform="translate({x:g} {LABELS - 6}) rotate(-60)">{escape(_cut(name))}</text>')
    for i, (name, cells) in enumerate(zip(rows, shares, strict=True)):
        y = LABELS + CELL * i
        parts.append(f'<text x="{LABELS - 6}" y="{y + 0.65 * CELL:g}" text-anchor="end">{escape(_cut(name))}</text>')
        parts += [_cell(LABELS + CELL * j, y, v, f"{name} as {columns[j]}: {v:.1%}") for j, v in enumerate(cells)]
    return _figure("".join(parts), title, (width + 40, height), f"max-width:{width + 40}px")


def _cell(x: float, y: float, share: float, about: str) -> str:
    size = f'width="{CELL - 1}" height="{CELL - 1}"'
    title = f"<title>{escape(about)}</title>"
    cell = f'<rect class="fill" x="{x}" y="{y}" {size} fill-opacity="{0.03 + 0.75 * share:.3f}">{title}</rect>'
    if share < 0.005:
        return cell
    middle = f'x="{x + CELL / 2:g}" y="{y + 0.63 * CELL:g}" text-anchor="middle" font-size="11" pointer-events="none"'
    return cell + f"<text {middle}>{100 * share:.0f}</text>"


def _cut(name: str) -> str:
    return name if len(name) <= 16 else name[:15] + "…"


def _wide(low: float, high: float, share: float) -> tuple[float, float]:
    """A range that is more than a point, wider by a share on both sides."""
    more = (high - low) * share if high > low else abs(low) * 0.1 or 0.5
    return low - more, high + more


def _axes(across: Point, up: Point, log: bool = False) -> tuple[Axis, Axis]:
    return Axis(*across, LEFT, WIDTH - RIGHT), Axis(*up, HEIGHT - BOTTOM, TOP, log)


def _frame(across: Axis, up: Axis, x_label: str) -> str:
    """The axes with their ticks."""
    parts = []
    for value, text in _with_texts(up.ticks()):
        y = up.place(value)
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    bottom = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    for value, text in _with_texts(across.ticks()):
        parts.append(f'<text x="{across.place(value):.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:g}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    return "".join(parts)


def _with_texts(ticks: Sequence[float]) -> list[tuple[float, str]]:
    """The ticks with their texts, in as many digits as tell them apart."""
    digits = next((n for n in range(3, 9) if len({_tick(value, n) for value in ticks}) == len(ticks)), 9)
    return [(value, _tick(value, digits)) for value in ticks]


def _tick(value: float, digits: int = 3) -> str:
    if abs(value) >= 1000 and value == round(value):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if abs(value) > 1e-12 else "0"


def _dot(x: float, y: float, about: str, radius: float = 3) -> str:
    return f'<circle class="fill" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{escape(about)}</title></circle>'


def _bar(x: float, y: float, width: float, bottom: float, about: str) -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{bottom - y:.1f}"'
    return f'<rect class="fill" {size}><title>{escape(about)}</title></rect>'


def _mark(across: Axis, up: Axis, x: float, y: float) -> str:
    at, left = across.place(x), across.place(x) > WIDTH / 2
    anchor = f'x="{at - 6 if left else at + 6:.1f}" y="{TOP - 4}" text-anchor="{"end" if left else "start"}"'
    line = f'x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 12}" y2="{HEIGHT - BOTTOM}" stroke-dasharray="3 3"'
    return (
        f'<g class="mark"><line {line}/>'
        f'<circle cx="{at:.1f}" cy="{up.place(y):.1f}" r="4"/><text {anchor}>best: {y:.4g} at {_tick(x)}</text></g>'
    )


def _path(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _figure(parts: str, title: str, size: tuple[float, float] = (WIDTH, HEIGHT), style: str = "") -> str:
    name = escape(title, quote=True)
    drawn = f'<svg viewBox="0 0 {size[0]:g} {size[1]:g}" role="img" aria-label="{name}">{parts}</svg>' if parts else ""
    return f'<figure class="chart" style="{style}"><figcaption><b>{escape(title)}</b></figcaption>{drawn}</figure>'
