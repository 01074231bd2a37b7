"""docs/claims.md: what the papers claim, and what the rows in results/ say to it (`segue report --claims FILE`).

The claims of a paper stand in a table of their own, `claims_PAPER.py`; every verdict is computed here.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from segue.lab.claims import cocu, crossmodal, reclmis, sgdiff, syntic
from segue.lab.claims.model import NO_ROW, Claim, Comparison, Paper
from segue.lab.registry import TABLES
from segue.lab.report import EXACT, Cells, cell, files_of, read
from segue.lab.run import rows_of
from segue.types import InputError

Verdict = Literal["shown", "not shown", "contradicted", "not measured yet", "not measured here", "not testable here"]
Seeds = Mapping[tuple[str, str, str], int]  # (table, experiment, system) -> how many seeds the table runs


def papers() -> list[Paper]:
    """All five, in the order of the jobs."""
    return [one.PAPER for one in (reclmis, cocu, syntic, sgdiff, crossmodal)]


def claims_page(results: Path) -> str:
    """The page in markdown. Raises InputError for a claim that names what no table has."""
    files_of(results)
    seeds, told = defined(), papers()
    check_names(told, seeds)
    judged = [[_judged(claim, results, seeds) for claim in paper.claims] for paper in told]
    parts = [HEAD, _summary(told, judged)]
    for paper, verdicts in zip(told, judged, strict=True):
        here = "\n".join(
            f"- `results/{table}.csv`{'' if (results / f'{table}.csv').exists() else ' (no rows yet)'}: {what}."
            for table, what in paper.here.items()
        )
        lines = ["| where | claim | paper | here | verdict |", "|---|---|---|---|---|"]
        for claim, (verdict, measured) in zip(paper.claims, verdicts, strict=True):
            lines.append(f"| {claim.where} | {claim.says} | {claim.figures} | {measured} | **{verdict}** |")
        parts.append(f"## {paper.title}\n\nThe paper: {paper.data}. Here:\n\n{here}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def defined() -> dict[tuple[str, str, str], int]:
    """How many seeds the tables run of each (table, experiment, system); nothing is run."""
    return dict(Counter((name, row.experiment, row.system) for name in TABLES for row in rows_of(name)))


def check_names(told: Sequence[Paper], seeds: Seeds) -> None:
    """Raise InputError for a comparison whose table, experiment or system is not defined."""
    for paper in told:
        for claim in paper.claims:
            if not (claim.tests or claim.why):
                raise InputError(f"claim {claim.where!r}: no comparison; give one, or say in `why` that there is none")
            for test in claim.tests:
                for experiment, system in test.sides():
                    key = (test.table, experiment, system)
                    if isinstance(system, str) and key not in seeds:
                        raise InputError(
                            f"claim {claim.where!r}: no table has {'/'.join(map(str, key))}; mend the name"
                        )
                if test.table not in paper.here:
                    raise InputError(f"{paper.title}: `here` does not tell what {test.table} is measured on")


def judge(test: Comparison, results: Path, seeds: Seeds) -> tuple[Verdict, str]:
    """The verdict on one comparison, and its figures in words."""
    file = results / f"{test.table}.csv"
    found = read(file) if file.exists() else {}
    values = [_values(test, side, found.get(experiment, {})) for experiment, side in test.sides()]
    wanted = [1 if isinstance(side, float) else seeds[test.table, where, side] for where, side in test.sides()]
    shown = [_cell(test.metric, side, v) for (_, side), v in zip(test.sides(), values, strict=True)]
    told = f"{test.metric}: {', '.join(shown)}"
    if any(len(v) < n for v, n in zip(values, wanted, strict=True)):
        return "not measured yet", told
    if all(len(v) < 2 for v in values) and not test.metric.endswith(EXACT):
        return "not shown", f"{told} (one seed)"
    gain = (statistics.mean(values[0]) - statistics.mean(values[1])) * (-1 if test.less else 1)
    spread = sum(statistics.stdev(v) for v in values if len(v) > 1)
    return ("not shown" if abs(gain) <= spread else "shown" if gain > 0 else "contradicted"), told


def _values(test: Comparison, side: str | float, systems: Cells) -> list[float]:
    """The scores of one side, a seed each. Raises InputError when its rows are there and lack the metric."""
    if isinstance(side, float):
        return [side]
    cells = systems.get(side, {})
    if cells and test.metric not in cells:
        raise InputError(
            f"{test.table}, {side}: no {test.metric!r} in its rows, only {', '.join(cells)}; mend the claim"
        )
    return cells.get(test.metric, [])


def _cell(metric: str, system: str | float, values: list[float]) -> str:
    return f"{system:g}" if isinstance(system, float) else f"`{system}` {cell(metric, values)}"


def _judged(claim: Claim, results: Path, seeds: Seeds) -> tuple[Verdict, str]:
    """The verdict of a claim: that of its comparisons together."""
    if not claim.tests:
        return "not measured here" if claim.why.startswith(NO_ROW) else "not testable here", claim.why
    found = [judge(test, results, seeds) for test in claim.tests]
    order: tuple[Verdict, ...] = ("contradicted", "not measured yet", "not shown", "shown")
    verdict = next(one for one in order if one in {v for v, _ in found})
    return verdict, "<br>".join([*(told for _, told in found), *([claim.why] if claim.why else [])])


def _summary(told: Sequence[Paper], judged: Sequence[Sequence[tuple[Verdict, str]]]) -> str:
    kinds = get_args(Verdict)
    lines = [f"| paper | claims | {' | '.join(kinds)} |", "|---|---|" + "---|" * len(kinds)]
    for paper, verdicts in zip(told, judged, strict=True):
        count = Counter(verdict for verdict, _ in verdicts)
        lines.append(f"| {paper.title} | {len(verdicts)} | " + " | ".join(str(count[kind]) for kind in kinds) + " |")
    return "\n".join(lines)


HEAD = """# Claims

What the five papers claim, and what the rows in `results/` say to it. `segue report --claims docs/claims.md` writes
this page; the claims stand in `src/segue/recipes/claims_*.py`, and every verdict is computed.

A verdict is about our implementation, on our data, after a short training. It does not check the paper's own figures,
which were measured on other data with far more computing.

A claim is one or more comparisons of two systems, or of a system and a number, on one metric:

- **shown**: the difference has the claimed direction, and the two ranges (mean ± standard deviation over seeds) don't
  touch.
- **contradicted**: the difference has the other direction, and the ranges don't touch.
- **not shown**: the ranges touch, or both systems have one seed, so that no spread is known. The range of one that has
  a single seed beside one that has several is its figure. Counts of parameters and of multiply-accumulates are exact.
- **not measured yet**: a row that the table defines, with any of its seeds, is missing.
- **not measured here**: it could be tested here, but no table has the row that would tell.
- **not testable here**: no row of ours can tell, and why.

A claim with several comparisons is contradicted if one is, and shown if all are. Only the direction counts; the sizes
stand beside it. Three seeds are few and the comparisons many: some verdicts must be wrong by chance. Shares and caption
scores are shown times 100, as mean ± standard deviation (number of seeds)."""
