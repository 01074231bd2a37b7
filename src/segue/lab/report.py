"""`segue report`: the results files as tables and curves. README quotes only what this prints."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from segue.lab.engine import read_lines
from segue.types import InputError, to_install

SHOWN = ("dice", "cider", "mask_iou", "map", "miou")  # over systems that are numbers
Cells = dict[str, dict[str, list[float]]]  # values by system and metric
# How metrics end that are no shares:
PLAIN = ("_per_s", "_ms", "_us", "_kb", "_mb", "_mb_early", "_mb_late", "errors", "requests", "_held")
EXACT = ("gmac", "params_m")  # counted, so that one seed tells all
FINE = (
    *EXACT,
    "speedup",
    "speedup_with_masks",
    "_over_transformers",
    "_over_onnxruntime",
    "_hours",
)  # no shares either, with two digits


def report(results: Path) -> str:
    """Every table of the results folder in markdown: mean ± sample deviation (number of seeds) for each metric."""
    files = files_of(results)
    parts = ["Shares and caption scores times 100; cells are mean ± standard deviation over seeds (number of seeds)."]
    for file in files:
        for experiment in read(file):
            parts.append(f"## {file.stem}: {experiment}\n\n{table(file, experiment)}")
    return "\n\n".join(parts) + "\n"


def read(file: Path) -> dict[str, Cells]:
    """Values by experiment, system and metric, in the file's order."""
    found: dict[str, Cells] = {}
    for line in read_lines(file):
        cells = found.setdefault(line["experiment"], {}).setdefault(line["system"], {})
        cells.setdefault(line["metric"], []).append(float(line["value"]))
    return found


def table(file: Path, experiment: str, link: str = "", only: str | None = None) -> str:
    """One experiment as a markdown table: systems down, metrics across.

    link: to the file, from every system; without one the head names the file. only: these metrics, "one,other", of
    the systems that have any; all unless given. Raises InputError for an experiment or a metric that isn't in the file.
    """
    found = read(file)
    if experiment not in found:
        raise InputError(f"{file}: no experiment {experiment!r}; it has {', '.join(found) or 'none'}")
    systems = found[experiment]
    there = list(dict.fromkeys(metric for cells in systems.values() for metric in cells))
    metrics = only.split(",") if only else there
    if odd := [metric for metric in metrics if metric not in there]:
        raise InputError(f"{file}: {experiment} has no metric {', '.join(odd)}; it has {', '.join(there)}")
    systems = {system: cells for system, cells in systems.items() if set(cells) & set(metrics)}
    head = f"[system]({link})" if link else f"system (`{file.resolve().parent.name}/{file.name}`)"
    lines = [f"| {head} | {' | '.join(metrics)} |", "|---|" + "---|" * len(metrics)]
    for system, cells in systems.items():
        name = f"[{system}]({link})" if link else system
        lines.append(f"| {name} | " + " | ".join(cell(m, cells.get(m, [])) for m in metrics) + " |")
    return "\n".join(lines)


def cell(metric: str, values: list[float]) -> str:
    """Mean ± deviation (n); a dash for what was not computed."""
    if not values:
        return "—"
    scale, digits = (1, 2) if metric.endswith(FINE) else (1, 1) if metric.endswith(PLAIN) else (100, 1)
    mean = scale * statistics.mean(values)
    spread = f" ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread} ({len(values)})"


BLOCK = re.compile(
    r"(?P<begin><!-- results:(?P<file>[\w-]+):(?P<experiment>[\w -]+?)(?::(?P<metrics>[\w,]+))? -->\n)"
    r".*?(?P<end><!-- /results -->)",
    re.DOTALL,
)


def fill(text: str, results: Path, page: Path | None = None) -> str:
    """The text with each block `<!-- results:FILE:EXPERIMENT --> ... <!-- /results -->` holding its table.

    `<!-- results:FILE:EXPERIMENT:ONE,OTHER -->` holds these metrics alone.
    page: the text's file, whose tables link to theirs where they lie in or below its folder. A site's pages can't link
    out of it, and name the file.
    Raises InputError for a block that has no end, and for one whose table is not there.
    """
    if (begun := text.count("<!-- results:")) != (whole := len(BLOCK.findall(text))):
        raise InputError(f"{begun} blocks <!-- results:FILE:EXPERIMENT --> begin, {whole} end with <!-- /results -->")

    def filled(found: re.Match[str]) -> str:
        file, link = results / f"{found['file']}.csv", ""
        if page is not None and file.resolve().is_relative_to(home := page.resolve().parent):
            link = file.resolve().relative_to(home).as_posix()
        return found["begin"] + table(file, found["experiment"], link, found["metrics"]) + "\n" + found["end"]

    return BLOCK.sub(filled, text)


def plots(results: Path, out: Path) -> list[Path]:
    """What a picture tells better than a table, as SVG: dice against gmac; metrics over systems that are numbers
    (lambda); and a metric's course in training by system (miou_at_25, miou_at_50, ...).
    """
    try:
        import matplotlib
    except ImportError as error:
        raise InputError(f"plots need matplotlib, which is missing: {to_install('report')}") from error
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "segue"  # the same file for the same figures
    out.mkdir(parents=True, exist_ok=True)
    drawn = []
    for file in files_of(results):
        for experiment, systems in read(file).items():
            path = out / f"{file.stem}_{experiment}.svg"
            if any("gmac" in cells for cells in systems.values()):
                drawn.append(_pareto(systems, path))
            elif lines := _over_numbers(systems):
                drawn.append(_curves(lines, experiment, path))
            if lines := _over_training(systems):
                drawn.append(_curves(lines, "% of the training", path.with_name(f"{path.stem}_training.svg")))
    return drawn


Line = list[tuple[float, list[float]]]  # (x, values of the seeds)


def _over_numbers(systems: Cells) -> dict[str, Line]:
    """By metric of SHOWN, over systems that are all numbers, three or more; otherwise nothing."""
    if len(systems) < 3 or not all(re.fullmatch(r"\d+(\.\d+)?", system) for system in systems):
        return {}
    order = sorted(systems, key=float)
    lines = {m: [(float(x), systems[x][m]) for x in order if m in systems[x]] for m in SHOWN}
    return {metric: line for metric, line in lines.items() if line}


def _over_training(systems: Cells) -> dict[str, Line]:
    """By system, its metrics called ..._at_PERCENT."""
    found = {
        system: [(float(m.rpartition("_at_")[2]), v) for m, v in cells.items() if re.fullmatch(r"\w+_at_\d+", m)]
        for system, cells in systems.items()
    }
    return {system: sorted(line) for system, line in found.items() if line}


def _curves(lines: dict[str, Line], under: str, path: Path) -> Path:
    """Means with their deviation, one line for each name."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.5, 4.2), layout="constrained")
    for name, line in lines.items():
        y = [100 * statistics.mean(values) for _, values in line]
        spread = [100 * statistics.stdev(values) if len(values) > 1 else 0.0 for _, values in line]
        axes.errorbar([x for x, _ in line], y, spread, marker="o", capsize=3, label=name)
    axes.set(xlabel=under, ylabel="%")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _pareto(systems: Cells, path: Path) -> Path:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.5, 4.2), layout="constrained")
    for system, cells in systems.items():
        if "gmac" not in cells:
            continue
        gmac, dice = cells["gmac"][0], [100 * v for v in cells["dice"]]
        spread = statistics.stdev(dice) if len(dice) > 1 else 0.0
        axes.errorbar(gmac, statistics.mean(dice), spread, fmt="o", capsize=3)
        axes.annotate(system, (gmac, statistics.mean(dice)), xytext=(6, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel="GMAC at 224x224, batch 1", ylabel="Dice, %", xscale="log")
    axes.grid(alpha=0.25)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def files_of(results: Path) -> list[Path]:
    """The results files, in order. Raises InputError when there is none."""
    files = sorted(results.glob("*.csv"))
    if not files:
        raise InputError(
            f"{results}: no results there; `segue ablate TABLE` fills the folder, or give another --results"
        )
    return files
