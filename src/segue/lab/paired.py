"""Differences between two systems of a table, seed by seed: what a short table can say, and what it can't.

Rows of the same seed share what the seed decides (first weights, order, augmentation), so their difference varies less
than either of them.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from segue.lab.engine import read_lines
from segue.types import InputError


@dataclass(frozen=True)
class Paired:
    """Differences of one metric, one a seed: mean, sample standard deviation and how many.

    low, high: the 95 % confidence interval of the mean, by Student's t. seen: the smallest true difference that so many
    pairs with that spread find with a power of 80 %. All three are infinite for a single pair.
    """

    mean: float
    spread: float
    pairs: int
    low: float
    high: float
    seen: float

    def text(self) -> str:
        """In percentage points, for a table's cell."""
        if self.pairs < 2:
            return f"{100 * self.mean:+.1f} (1 pair)"
        mean, spread, low, high, seen = (100 * x for x in (self.mean, self.spread, self.low, self.high, self.seen))
        return f"{mean:+.1f} ± {spread:.1f} ({self.pairs} pairs), 95 % {low:+.1f} to {high:+.1f}; sees {seen:.1f}"


def paired(file: Path, experiment: str, metric: str, ahead: str, behind: str) -> Paired | None:
    """The differences `ahead` - `behind` over the seeds that both have; None without such a seed."""
    values: dict[str, dict[str, float]] = {ahead: {}, behind: {}}
    for line in read_lines(file):
        if line["experiment"] == experiment and line["metric"] == metric and line["system"] in values:
            values[line["system"]][line["seed"]] = float(line["value"])
    shared = [seed for seed in values[ahead] if seed in values[behind]]
    return summarise([values[ahead][seed] - values[behind][seed] for seed in shared]) if shared else None


def summarise(differences: list[float]) -> Paired:
    """See `Paired`. differences: one or more."""
    from scipy.stats import t

    mean, n = statistics.mean(differences), len(differences)
    if n < 2:
        return Paired(mean, 0.0, n, -math.inf, math.inf, math.inf)
    spread = statistics.stdev(differences)
    error, freedom = spread / math.sqrt(n), n - 1
    half, seen = t.ppf(0.975, freedom) * error, (t.ppf(0.975, freedom) + t.ppf(0.8, freedom)) * error
    return Paired(mean, spread, n, mean - half, mean + half, seen)


def render_differences(file: Path, experiment: str, metric: str, against: str) -> str:
    """A markdown table: by system the differences to the system `against`, seed by seed.

    Raises InputError when no system of the experiment shares a seed and the metric with `against`.
    """
    systems = dict.fromkeys(line["system"] for line in read_lines(file) if line["experiment"] == experiment)
    found = {s: paired(file, experiment, metric, s, against) for s in systems if s != against}
    rows = [f"| {system} | {one.text()} |" for system, one in found.items() if one is not None]
    if not rows:
        raise InputError(f"{file}: {experiment} has no {metric} of {against!r} and of another system for one seed")
    return "\n".join([f"| system (`{file.name}`) | {metric}, less that of `{against}` |", "|---|---|", *rows])
