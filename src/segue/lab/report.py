"""`segue lab report`: the results files as markdown tables and as curves. README quotes only what this prints."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated

from typing_extensions import Doc
from tyro.conf import arg

from segue.files import write_text
from segue.lab.engine import read_lines
from segue.lab.paired import render_differences
from segue.options import Options
from segue.types import InputError, to_install

CURVE_METRICS = ("dice", "cider", "mask_iou", "map", "miou")  # drawn over the systems whose names are numbers
Values = dict[str, dict[str, list[float]]]  # by system and metric, one value a seed
# Metrics are shares or caption scores, shown times 100 with one digit, unless their names end like these:
COUNTS = ("gmac", "params_m")  # exact, the same for every seed
TWO_DIGITS = (
    *COUNTS, "_pull", "speedup", "speedup_with_masks", "_over_transformers", "_over_onnxruntime", "_hours", "_gb",
)  # fmt: skip
ONE_DIGIT = (
    "_s", "_ms", "_us", "_kb", "_mb", "_mb_early", "_mb_late", "errors", "requests", "_held", "trained_m", "batch",
)  # fmt: skip


@dataclass(frozen=True)
class ReportOptions(Options):
    """What is made of the results files (`segue lab report`)."""

    results: Annotated[Path, Doc("folder of the results files, which are long-form CSV")] = Path("results")
    out: Annotated[Path | None, Doc("file for the tables in markdown; printed unless given"), arg(aliases=["-o"])] = (
        None
    )
    plots: Annotated[Path | None, Doc("folder for curves and the claims' forest plots as SVG; else none")] = None
    readme: Annotated[Path | None, Doc("fill the blocks `<!-- results:FILE:EXPERIMENT -->` of that file instead")] = (
        None
    )
    against: Annotated[
        str | None, Doc("show by table how the systems differ from that one, seed by seed, such as `full`")
    ] = None
    metric: Annotated[str, Doc("whose differences --against shows")] = "miou"


def write_report(options: ReportOptions = ReportOptions()) -> None:
    """Show the tables of the results folder: mean, standard deviation and number of seeds.

    Raises:
        InputError: when the folder has no results, and for a block that no result fills.
    """
    if options.readme is not None:
        text = options.readme.read_text(encoding="utf-8")
        write_text(options.readme, fill_blocks(text, options.results, options.readme))
        return
    text = render_report(options.results) if options.against is None else _all_differences(options)
    if options.out is None:
        print(text)
    else:
        write_text(options.out, text)
    if options.plots is not None:
        forests = resolve_name("segue.lab.claims.page:draw_forests")  # by name: the claims lie above the tables
        for path in [*draw_plots(options.results, options.plots), *forests(options.results, options.plots)]:
            print(path)


def render_report(results: Path) -> str:
    """Every experiment of the results folder as a markdown table, see `render_table`.

    Raises InputError when the folder has no results files.
    """
    parts = ["Shares and caption scores times 100; cells are mean ± standard deviation over seeds (number of seeds)."]
    for file in results_files(results):
        for experiment in read_values(file):
            parts.append(f"## {file.stem}: {experiment}\n\n{render_table(file, experiment)}")
    return "\n\n".join(parts) + "\n"


def _all_differences(options: ReportOptions) -> str:
    """The differences to options.against in every experiment that has it. Raises InputError when none has."""
    parts = []
    message = f"{options.against!r}: no experiment of {options.results} has such a system with {options.metric}"
    for file in results_files(options.results):
        for experiment, systems in read_values(file).items():
            if options.metric in systems.get(str(options.against), {}) and len(systems) > 1:
                table = render_differences(file, experiment, options.metric, str(options.against))
                parts.append(f"## {file.stem}: {experiment}\n\n{table}")
    if not parts:
        raise InputError(message)
    return "\n\n".join(parts) + "\n"


def read_values(file: Path) -> dict[str, Values]:
    """The values of a results file by experiment, system and metric, in the file's order."""
    found: dict[str, Values] = {}
    for line in read_lines(file):
        values = found.setdefault(line["experiment"], {}).setdefault(line["system"], {})
        values.setdefault(line["metric"], []).append(float(line["value"]))
    return found


def render_table(file: Path, experiment: str, link: str = "", only: str | None = None) -> str:
    """One experiment as a markdown table: a row for each system, a column for each metric.

    link: to the file, from every system; without one the head names the file. only: metrics separated by commas; the
    table has these alone, and the systems that have any of them.
    Raises InputError for an experiment or a metric that isn't in the file.
    """
    experiments = read_values(file)
    if experiment not in experiments:
        raise InputError(f"{file}: no experiment {experiment!r}; it has {', '.join(experiments) or 'none'}")
    systems = experiments[experiment]
    known = list(dict.fromkeys(metric for values in systems.values() for metric in values))
    metrics = only.split(",") if only else known
    if unknown := [metric for metric in metrics if metric not in known]:
        raise InputError(f"{file}: {experiment} has no metric {', '.join(unknown)}; it has {', '.join(known)}")
    systems = {system: values for system, values in systems.items() if set(values) & set(metrics)}
    head = f"[system]({link})" if link else f"system (`{file.resolve().parent.name}/{file.name}`)"
    lines = [f"| {head} | {' | '.join(metrics)} |", "|---|" + "---|" * len(metrics)]
    for system, values in systems.items():
        name = f"[{system}]({link})" if link else system
        lines.append(f"| {name} | " + " | ".join(format_values(m, values.get(m, [])) for m in metrics) + " |")
    return "\n".join(lines)


def format_values(metric: str, values: list[float]) -> str:
    """Mean ± sample standard deviation (number of values); a dash without values.

    TWO_DIGITS and ONE_DIGIT say which metrics are shown as they are; all others are multiplied by 100.
    """
    if not values:
        return "—"
    scale, digits = (1, 2) if metric.endswith(TWO_DIGITS) else (1, 1) if metric.endswith(ONE_DIGIT) else (100, 1)
    mean = scale * statistics.mean(values)
    spread = f" ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread} ({len(values)})"


BLOCK = re.compile(
    r"(?P<begin><!-- results:(?P<file>[\w-]+):(?P<experiment>[\w ,%-]+?)(?::(?P<metrics>[\w,.]+))? -->\n)"
    r".*?(?P<end><!-- /results -->)",
    re.DOTALL,
)
DIFFERENCES = re.compile(
    r"(?P<begin><!-- differences:(?P<file>[\w-]+):(?P<experiment>[\w ,%-]+?):"
    r"(?P<metric>\w+):(?P<against>[\w ',-]+) -->\n)"
    r".*?(?P<end><!-- /differences -->)",
    re.DOTALL,
)


def fill_blocks(text: str, results: Path, page: Path | None = None) -> str:
    """The text with the table of each block `<!-- results:FILE:EXPERIMENT --> ... <!-- /results -->` in it.

    A block `<!-- results:FILE:EXPERIMENT:METRIC,METRIC -->` gets these metrics alone, and a block
    `<!-- differences:FILE:EXPERIMENT:METRIC:SYSTEM --> ... <!-- /differences -->` the differences to that system.
    page: the file of the text. Its tables link to the results files in or below its folder; other files are named
    without a link, because the pages of a site can't link out of it.
    Raises InputError for a block without an end, and for one whose table isn't in the results.
    """
    if (begins := text.count("<!-- results:")) != (blocks := len(BLOCK.findall(text))):
        raise InputError(f"{begins} blocks <!-- results:FILE:EXPERIMENT --> begin, {blocks} end with <!-- /results -->")

    def filled(found: re.Match[str]) -> str:
        file, link = results / f"{found['file']}.csv", ""
        if page is not None and file.resolve().is_relative_to(home := page.resolve().parent):
            link = file.resolve().relative_to(home).as_posix()
        return found["begin"] + render_table(file, found["experiment"], link, found["metrics"]) + "\n" + found["end"]

    def compared(found: re.Match[str]) -> str:
        file = results / f"{found['file']}.csv"
        table = render_differences(file, found["experiment"], found["metric"], found["against"])
        return found["begin"] + table + "\n" + found["end"]

    return DIFFERENCES.sub(compared, BLOCK.sub(filled, text))


def draw_plots(results: Path, out: Path) -> list[Path]:
    """Draw curves as SVG into `out`, and return their files.

    Drawn are Dice against multiply-accumulates (gmac), metrics over systems whose names are numbers (such as values of
    lambda), and by system a metric that is measured during training (miou_at_25, miou_at_50, ... percent of it).
    Raises InputError when matplotlib is missing or the folder has no results files.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise InputError(f"plots need matplotlib, which is missing: {to_install('report')}") from error
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "segue"  # the same file for the same figures
    out.mkdir(parents=True, exist_ok=True)
    drawn = []
    for file in results_files(results):
        for experiment, systems in read_values(file).items():
            path = out / f"{file.stem}_{experiment}.svg"
            if any("gmac" in values for values in systems.values()):
                drawn.append(_pareto(systems, path))
            elif lines := _over_numeric_systems(systems):
                drawn.append(_curves(lines, experiment, path))
            if lines := _over_training(systems):
                drawn.append(_curves(lines, "% of the training", path.with_name(f"{path.stem}_training.svg")))
    return drawn


Line = list[tuple[float, list[float]]]  # (x, a value a seed)


def _over_numeric_systems(systems: Values) -> dict[str, Line]:
    """A line for each of CURVE_METRICS; none unless there are three systems or more and all have numbers as names."""
    if len(systems) < 3 or not all(re.fullmatch(r"\d+(\.\d+)?", system) for system in systems):
        return {}
    order = sorted(systems, key=float)
    lines = {m: [(float(x), systems[x][m]) for x in order if m in systems[x]] for m in CURVE_METRICS}
    return {metric: line for metric, line in lines.items() if line}


def _over_training(systems: Values) -> dict[str, Line]:
    """A line for each system, through its metrics ..._at_PERCENT."""
    found = {
        system: [(float(m.rpartition("_at_")[2]), v) for m, v in values.items() if re.fullmatch(r"\w+_at_\d+", m)]
        for system, values in systems.items()
    }
    return {system: sorted(line) for system, line in found.items() if line}


def _curves(lines: dict[str, Line], x_label: str, path: Path) -> Path:
    """Draw mean and standard deviation over the seeds, one line for each name."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.5, 4.2), layout="constrained")
    for name, line in lines.items():
        y = [100 * statistics.mean(values) for _, values in line]
        spread = [100 * statistics.stdev(values) if len(values) > 1 else 0.0 for _, values in line]
        axes.errorbar([x for x, _ in line], y, spread, marker="o", capsize=3, label=name)
    axes.set(xlabel=x_label, ylabel="%")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _pareto(systems: Values, path: Path) -> Path:
    """Draw mean and standard deviation of Dice against multiply-accumulates, a point for each system."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.5, 4.2), layout="constrained")
    for system, values in systems.items():
        if "gmac" not in values:
            continue
        gmac, dice = values["gmac"][0], [100 * v for v in values["dice"]]
        spread = statistics.stdev(dice) if len(dice) > 1 else 0.0
        axes.errorbar(gmac, statistics.mean(dice), spread, fmt="o", capsize=3)
        axes.annotate(system, (gmac, statistics.mean(dice)), xytext=(6, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel="GMAC at 224x224, batch 1", ylabel="Dice, %", xscale="log")
    axes.grid(alpha=0.25)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def results_files(results: Path) -> list[Path]:
    """The CSV files of the folder in alphabetical order. Raises InputError when there is none."""
    files = sorted(results.glob("*.csv"))
    if not files:
        raise InputError(
            f"{results}: no results there; `segue lab run TABLE` fills the folder, or give another --results"
        )
    return files
