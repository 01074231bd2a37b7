"""A paper's claims as a forest plot: by how much a system of ours is ahead, and the paper's own gain beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from html import escape
from textwrap import shorten
from typing import NamedTuple

# The columns of the papers' tables, as `Claim.figures` has them: 26.1/137.4/66.3/47.2 : 24.2/127.4/62.3/43.2
COLUMNS = {4: ("SPICE", "CIDEr", "mIoU", "mAP"), 5: ("BLEU4", "METEOR", "ROUGE", "CIDEr", "SPICE")}
NAMES = {  # by our metrics the papers' names
    "cider": "CIDEr", "cider_oracle5": "CIDEr", "miou": "mIoU", "mask_iou_strict": "mIoU", "dice": "Dice", "map": "mAP",
    "bleu4": "BLEU4", "meteor": "METEOR", "rouge_l": "ROUGE",
}  # fmt: skip
NUMBER = r"(-|\d+(?:\.\d+)?)"
WIDTH, ROW, LEFT, RIGHT, HEAD = 860, 20, 470, 24, 44
STYLE = (
    ".b{fill:#fff}text{font:12px system-ui,sans-serif;fill:#334}.t{font-weight:600}.g{stroke:#8886}.z{stroke:#667}"
    ".supported{--c:#1a7f4b}.contradicted{--c:#c0392b}.open{--c:#778}"
    ".r{stroke:var(--c);stroke-width:2}.m{fill:var(--c)}.p{fill:none;stroke:#3282e6;stroke-width:1.6}"
    "@media(prefers-color-scheme:dark){.b{fill:#121212}text{fill:#ccd}.supported{--c:#3cbf7d}.contradicted{--c:#f0695a}.open{--c:#99a}}"
)


class Row(NamedTuple):
    """One comparison, in percentage points. label: the claim. measure: its metric, and what is behind.

    ours: the mean gain and the ends of its range. paper: the paper's gain. kind: "supported", "contradicted" or "open".
    """

    label: str
    measure: str
    ours: tuple[float, float, float]
    paper: float | None
    kind: str


def paper_gain(figures: str, metric: str) -> float | None:
    """The gain that a paper's figures have in a metric of ours; None where they have no single pair of it.

    figures: "CIDEr 101.1 : 88.5", or whole rows of a table, columns as in COLUMNS, perhaps of a data set that is named
    before. Of several data sets the first counts; a list behind the colon is no single pair.
    """
    name = NAMES.get(metric)
    if name is None:
        return None
    if found := re.search(rf"\b{name} {NUMBER} : {NUMBER}(?!\.?\d|, \d)", figures):
        return _difference(found[1], found[2])
    rows = re.search(rf"{NUMBER}((?:/{NUMBER})+) : {NUMBER}((?:/{NUMBER})+)", figures)
    if rows is None:
        return None
    ahead, behind = (side.split("/") for side in rows[0].split(" : "))
    heading = re.search(r"([A-Za-z]\w+(?:/[A-Za-z]\w+)+) $", figures[: rows.start()])  # SPICE/CIDEr 26.1/137.4 : ...
    columns = tuple(heading[1].split("/")) if heading else COLUMNS.get(len(ahead), ())
    if len(ahead) != len(behind) or len(ahead) != len(columns) or name not in columns:
        return None
    return _difference(ahead[columns.index(name)], behind[columns.index(name)])


def _difference(ahead: str, behind: str) -> float | None:
    return None if "-" in (ahead, behind) else round(float(ahead) - float(behind), 4)


def forest_svg(title: str, rows: Sequence[Row]) -> str:
    """The rows as an SVG file: dots with ranges are ours, diamonds the paper's; to the right is the claimed direction.

    A range that leaves the axis, as that of a single pair of seeds, ends at its rim.
    """
    points = [v for row in rows for v in (*row.ours, row.paper or 0.0) if math.isfinite(v)]
    low, high = min(points, default=0.0), max(points, default=0.0)
    low, high = min(low, 0.0) - 1, max(high, 0.0) + 1
    height = HEAD + ROW * len(rows) + 46

    def x(value: float) -> float:
        return round(LEFT + (WIDTH - RIGHT - LEFT) * (min(max(value, low), high) - low) / (high - low), 1)

    step = next(s for s in (1, 2, 5, 10, 20, 50, 100) if (high - low) / s <= 9)
    ticks = [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    end = HEAD + ROW * len(rows)
    parts = ['<rect class="b" width="100%" height="100%"/>', f'<text class="t" x="8" y="18">{escape(title)}</text>']
    for tick in ticks:
        kind = "g" if tick else "z"
        parts.append(f'<line class="{kind}" x1="{x(tick)}" x2="{x(tick)}" y1="{HEAD - 8}" y2="{end}"/>')
        parts.append(f'<text x="{x(tick)}" y="{end + 16}" text-anchor="middle">{f"{tick:+d}" if tick else 0}</text>')
    for i, row in enumerate(rows):
        parts.append(_row(row, HEAD + ROW * i + ROW / 2, x))
    about = "points ahead; dot and range: ours, diamond: the paper's; green: supported, red: contradicted, grey: open"
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{end + 36}" text-anchor="end">{about}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}"><style>{STYLE}</style>{"".join(parts)}</svg>\n'
    )


def _row(row: Row, y: float, x: Callable[[float], float]) -> str:
    mean, low, high = row.ours
    told = f"ours {mean:+.1f}" + ("" if row.paper is None else f", the paper's {row.paper:+.1f}")
    label = escape(f"{shorten(row.label, 70 - len(row.measure), placeholder='...')} ({row.measure})")
    parts = [
        f"<title>{escape(row.label)} ({escape(row.measure)}): {told}</title>",
        f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{label}</text>',
        f'<line class="r" x1="{x(low)}" x2="{x(high)}" y1="{y}" y2="{y}"/>',
        f'<circle class="m" cx="{x(mean)}" cy="{y}" r="4"/>',
    ]
    if row.paper is not None:
        at = x(row.paper)
        parts.append(f'<path class="p" d="M{at} {y - 5}l5 5l-5 5l-5 -5z"/>')
    return f'<g class="{row.kind}">{"".join(parts)}</g>'
