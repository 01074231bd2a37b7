"""`segue lab claims`: docs/claims.md, which says what the papers claim and what the rows in results/ say about it.

The claims of a paper are data in a module of their own, `segue.lab.claims.PAPER`; every verdict is computed here.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, get_args

from typing_extensions import Doc
from tyro.conf import arg

from segue.files import write_text
from segue.lab.claims import cocu, crossmodal, reclmis, sgdiff, syntic
from segue.lab.claims.forest import Row, forest_svg, paper_gain
from segue.lab.claims.model import NO_ROW, Claim, Comparison, Paper
from segue.lab.paired import Paired, paired
from segue.lab.registry import TABLES
from segue.lab.report import COUNTS, Values, format_values, read_values, results_files
from segue.lab.run import rows_of
from segue.types import InputError

Verdict = Literal[
    "supported", "not supported", "contradicted", "not measured yet", "not measured here", "not testable here"
]
MODULES = {"reclmis": reclmis, "cocu": cocu, "syntic": syntic, "sgdiff": sgdiff, "crossmodal": crossmodal}
PLOTS = "plots"  # the folder beside the page
Seeds = Mapping[tuple[str, str, str], int]  # (table, experiment, system) -> how many seeds the table runs


def write_claims(
    results: Annotated[Path, Doc("folder of the results files, which are long-form CSV")] = Path("results"),
    out: Annotated[Path, Doc("file of the page"), arg(aliases=["-o"])] = Path("docs/claims.md"),
) -> None:
    """Write the page of what the papers claim and what the results say about it, with its plots in plots/ beside it.

    Raises:
        InputError: see `claims_page`.
    """
    write_text(out, claims_page(results))
    draw_forests(results, out.parent / PLOTS)


def papers() -> list[Paper]:
    """The five papers with their claims."""
    return [module.PAPER for module in MODULES.values()]


def draw_forests(results: Path, out: Path) -> list[Path]:
    """Write a forest plot of each paper's claims that rows test into `out`, and return the files.

    Raises InputError as `claims_page`.
    """
    results_files(results)
    seeds, files = count_seeds(), []
    for name, module in MODULES.items():
        if rows := _forest_rows(module.PAPER, results, seeds):
            files.append(out / f"claims-{name}.svg")
            write_text(files[-1], forest_svg(module.PAPER.title, rows))
    return files


def _forest_rows(paper: Paper, results: Path, seeds: Seeds) -> list[Row]:
    """The comparisons of shares and scores that are measured, in the order of the claims; costs have other units."""
    rows = []
    for claim in paper.claims:
        for test in claim.tests:
            found, (verdict, _) = gain(test, results), judge(test, results, seeds)
            if found is None or verdict == "not measured yet" or test.metric.endswith(COUNTS):
                continue
            kind = verdict if verdict in ("supported", "contradicted") else "open"
            mean, low, high = (100 * v for v in found)
            measure = f"{test.metric}, over {test.behind}"
            own = paper_gain(claim.figures, test.metric)
            rows.append(Row(claim.says, measure, (mean, low, high), own, kind))
    return rows


def claims_page(results: Path) -> str:
    """The page in markdown.

    Raises InputError when the folder has no results, and for a claim whose table, experiment, system or metric does
    not exist.
    """
    results_files(results)
    seeds, all_papers = count_seeds(), papers()
    check_names(all_papers, seeds)
    judged = [[_judge_claim(claim, results, seeds) for claim in paper.claims] for paper in all_papers]
    parts = [HEAD, _summary(all_papers, judged)]
    for name, paper, verdicts in zip(MODULES, all_papers, judged, strict=True):
        here = "\n".join(
            f"- `results/{table}.csv`{'' if (results / f'{table}.csv').exists() else ' (no rows yet)'}: {what}."
            for table, what in paper.here.items()
        )
        lines = ["| where | claim | paper | here | verdict |", "|---|---|---|---|---|"]
        for claim, (verdict, measured) in zip(paper.claims, verdicts, strict=True):
            lines.append(f"| {claim.where} | {claim.says} | {claim.figures} | {measured} | **{verdict}** |")
        plot = f"![{paper.title}: gains of ours and of the paper]({PLOTS}/claims-{name}.svg)\n\n"
        drawn = plot if _forest_rows(paper, results, seeds) else ""
        about = f"The paper: {paper.data}. Here:\n\n{here}\n\n"
        parts.append(f"## {paper.title}\n\n{drawn}{about}" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def count_seeds() -> dict[tuple[str, str, str], int]:
    """How many seeds the tables run of each (table, experiment, system); no row is run."""
    return dict(Counter((name, row.experiment, row.system) for name in TABLES for row in rows_of(name)))


def check_names(papers: Sequence[Paper], seeds: Seeds) -> None:
    """Check that what the claims compare is defined.

    Raises InputError for a comparison whose table, experiment or system no table has, for a table that the paper
    doesn't describe, and for a claim with neither a comparison nor a reason why there is none.
    """
    for paper in papers:
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
                    raise InputError(f"{paper.title}: `here` does not say what {test.table} is measured on")


def judge(test: Comparison, results: Path, seeds: Seeds) -> tuple[Verdict, str]:
    """The verdict on one comparison, and its figures as text.

    Raises InputError when the rows of a side lack the metric.
    """
    file, sides = results / f"{test.table}.csv", test.sides()
    experiments = _experiments(file, file.stat().st_mtime_ns) if file.exists() else {}
    values = [_values(test, side, experiments.get(experiment, {})) for experiment, side in sides]
    expected = [1 if isinstance(side, float) else seeds[test.table, experiment, side] for experiment, side in sides]
    shown = [_format_side(test.metric, side, v) for (_, side), v in zip(sides, values, strict=True)]
    figures = f"{test.metric}: {', '.join(shown)}"
    if any(len(v) < count for v, count in zip(values, expected, strict=True)):
        return "not measured yet", figures
    if all(len(v) < 2 for v in values) and not test.metric.endswith(COUNTS):
        return "not supported", f"{figures} (one seed)"
    if (pairs := _pairs(test, file)) is not None:
        figures += f"; difference {pairs.text()}"
    _, low, high = _gain(test, pairs, values)
    return ("supported" if low > 0 else "contradicted" if high < 0 else "not supported"), figures


def gain(test: Comparison, results: Path) -> tuple[float, float, float] | None:
    """How far `ahead` is ahead in the claimed direction: the mean and the ends of its range; None without rows.

    The range is the 95 % confidence interval of the pairs of seeds where they are paired, else the mean ± both
    standard deviations.
    Raises InputError as `judge`.
    """
    file = results / f"{test.table}.csv"
    experiments = _experiments(file, file.stat().st_mtime_ns) if file.exists() else {}
    values = [_values(test, side, experiments.get(experiment, {})) for experiment, side in test.sides()]
    return _gain(test, _pairs(test, file), values) if all(values) else None


def _pairs(test: Comparison, file: Path) -> Paired | None:
    """The pairs of seeds of a comparison that is judged by them, where there are two or more."""
    if not test.paired or not isinstance(test.behind, str):
        return None
    found = paired(file, test.experiment, test.metric, test.ahead, test.behind)
    return None if found is None or found.pairs < 2 else found


def _gain(test: Comparison, pairs: Paired | None, values: Sequence[list[float]]) -> tuple[float, float, float]:
    if pairs is None:
        mean, spread = statistics.mean(values[0]) - statistics.mean(values[1]), sum(map(_spread, values))
        found = (mean, mean - spread, mean + spread)
    else:
        found = (pairs.mean, pairs.low, pairs.high)
    return (-found[0], -found[2], -found[1]) if test.less else found


def _spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


@lru_cache(maxsize=64)
def _experiments(file: Path, _version: int) -> Mapping[str, Values]:
    """A results file, which many claims ask for. _version: when it was changed."""
    return read_values(file)


def _values(test: Comparison, side: str | float, systems: Values) -> list[float]:
    """The values of one side, one a seed. Raises InputError when its rows are there and lack the metric."""
    if isinstance(side, float):
        return [side]
    metrics = systems.get(side, {})
    if metrics and test.metric not in metrics:
        raise InputError(
            f"{test.table}, {side}: no {test.metric!r} in its rows, only {', '.join(metrics)}; mend the claim"
        )
    return metrics.get(test.metric, [])


def _format_side(metric: str, side: str | float, values: list[float]) -> str:
    return f"{side:g}" if isinstance(side, float) else f"`{side}` {format_values(metric, values)}"


def _judge_claim(claim: Claim, results: Path, seeds: Seeds) -> tuple[Verdict, str]:
    """The verdict on a claim, which is that of its comparisons together, and their figures as text."""
    if not claim.tests:
        return "not measured here" if claim.why.startswith(NO_ROW) else "not testable here", claim.why
    found = [judge(test, results, seeds) for test in claim.tests]
    order: tuple[Verdict, ...] = ("contradicted", "not measured yet", "not supported", "supported")
    verdict = next(one for one in order if one in {v for v, _ in found})
    return verdict, "<br>".join([*(figures for _, figures in found), *([claim.why] if claim.why else [])])


def _summary(papers: Sequence[Paper], judged: Sequence[Sequence[tuple[Verdict, str]]]) -> str:
    """How many claims of each paper got each verdict, as a markdown table."""
    kinds = get_args(Verdict)
    lines = [f"| paper | claims | {' | '.join(kinds)} |", "|---|---|" + "---|" * len(kinds)]
    for paper, verdicts in zip(papers, judged, strict=True):
        count = Counter(verdict for verdict, _ in verdicts)
        lines.append(f"| {paper.title} | {len(verdicts)} | " + " | ".join(str(count[kind]) for kind in kinds) + " |")
    return "\n".join(lines)


HEAD = """# Claims

What the five papers claim, and what the rows in `results/` say about it. `segue lab claims` writes this page. The
claims are data in `src/segue/lab/claims/`, and every verdict is computed.

A verdict is about our implementation, on our data, after a short training. It does not check the paper's own figures,
which were measured on other data with far more computing.

A claim is one or more comparisons of two systems, or of a system and a number, on one metric:

- **supported**: the difference has the claimed direction, and the two ranges (mean ± standard deviation over seeds) do
  not overlap.
- **contradicted**: the difference has the other direction, and the ranges do not overlap.
- **not supported**: the ranges overlap, or both systems have one seed, so that no deviation is known. Where only one of
  them has a single seed, its range is that value. Counts of parameters and of multiply-accumulates are exact.
- **not measured yet**: a row that the table defines, with any of its seeds, is missing.
- **not measured here**: a row could test it, but no table has that row.
- **not testable here**: no row of ours can test it; the reason stands beside it.

A claim with several comparisons is contradicted if one of them is, and supported if all are. Only the direction counts;
the figures stand beside it. Three seeds are few and the comparisons many, so some verdicts must be wrong by chance.
Shares and caption scores are shown times 100, as mean ± standard deviation (number of seeds)."""
