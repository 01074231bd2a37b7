"""One look for the pages that commands and trainings write: one file, light and dark, nothing from the network.

Functions return HTML and escape the texts that they are given; what is HTML already is named so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from segue.files import write_text
from segue.types import InputError

INDEX = "index.html"
RUN_REPORT = "report"  # in the folder of a training's run: its page
MARK = '<meta name="generator" content="segue report">'  # tells a report from a page of someone else's
HEADING = re.compile('<h2 id="(.+?)">(.+?)</h2>')


class Card(NamedTuple):
    """A picture, or several side by side, with its text. sources: URLs. details: HTML below the text."""

    sources: Sequence[str]
    heading: str
    text: str = ""
    details: str = ""


def write_report(folder: Path, title: str, lead: str, parts: Sequence[str]) -> Path:
    """Write FOLDER/index.html, whole or not at all; an older report there is replaced. Returns the page.

    parts: HTML, see `section`; those with a heading are linked at the top.
    Raises InputError as `check_report_folder` does.
    """
    check_report_folder(folder)
    body = "\n".join(parts)
    links = "; ".join(f'<a href="#{name}">{text}</a>' for name, text in HEADING.findall(body))
    write_text(
        folder / INDEX,
        PAGE.format(mark=MARK, title=escape(title), style=STYLE, lead=escape(lead), links=links, body=body, sort=SORT),
    )
    return folder / INDEX


def check_report_folder(folder: Path) -> None:
    """Raise InputError for a file, and for a folder that holds something but no report."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder for the report; name another")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    page = folder / INDEX
    if not page.is_file() or MARK not in page.read_text(encoding="utf-8", errors="replace")[:1000]:
        raise InputError(
            f"{folder}: holds files but no report, expected a new folder or an older report's; name another"
        )


def section(name: str, title: str, lead: str = "", *html: str) -> str:
    """A heading with the anchor `name`, a sentence below it, and HTML."""
    lead = f"<p>{escape(lead)}</p>" if lead else ""
    return f'<section><h2 id="{name}">{escape(title)}</h2>{lead}\n' + "\n".join(html) + "</section>"


def facts(values: Mapping[str, Any]) -> str:
    """Names and values in two columns; a mapping among the values is opened below its name."""
    return f'<table class="facts">{"".join(_fact_rows(values, 0))}</table>'


def _fact_rows(values: Mapping[str, Any], depth: int) -> Iterable[str]:
    for name, value in values.items():
        head = f'<th style="padding-left:{1.2 * depth:g}rem">{escape(str(name))}</th>'
        if isinstance(value, Mapping) and value:
            yield f"<tr>{head}<td></td></tr>"
            yield from _fact_rows(value, depth + 1)
        else:
            yield f"<tr>{head}<td>{escape(shown(value))}</td></tr>"


def shown(value: Any) -> str:
    """A value for people: numbers in four digits, lists with commas, a dash for nothing."""
    if value is None or value == {} or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    return str(value)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table that scrolls where it is long and sorts by the column whose head is clicked. rows: of HTML.

    numbers: positions of the columns that are set right.
    """
    kind = ['class="number"' if i in numbers else "" for i in range(len(heads))]
    head = "".join(f"<th {kind[i]} tabindex=0>{escape(text)}</th>" for i, text in enumerate(heads))
    lines = ("<tr>" + "".join(f"<td {kind[i]}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>\n" for row in rows)
    rows_of_all = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll"><table class="sorts">{rows_of_all}</table></div>'


def bar(share: float, text: str) -> str:
    """A cell's text with a bar of that share of its width, in [0, 1]."""
    return f'<span class="bar" style="--share:{100 * share:.1f}%">{escape(text)}</span>'


def link(text: str, file: Path | None, folder: Path) -> str:
    """The text as a link from a page in `folder` to a file, by the way from one to the other; plain without a file."""
    if file is None:
        return escape(text)
    way = os.path.relpath(file.resolve(), folder.resolve())
    return f'<a href="{quote(Path(way).as_posix())}">{escape(text)}</a>'


def cards(shown_cards: Iterable[Card]) -> str:
    """Pictures in a grid, each with its heading and text."""
    return f'<div class="cards">{"".join(map(_card, shown_cards))}</div>'


def _card(card: Card) -> str:
    alt = escape(f"{card.heading}: {card.text}", quote=True)
    pictures = "".join(f'<img src="{source}" alt="{alt}" loading="lazy">' for source in card.sources)
    kind = f' class="wide" style="--pictures:{len(card.sources)}"' if len(card.sources) > 1 else ""
    return (
        f'<figure{kind}><div class="pictures">{pictures}</div>'
        f"<figcaption><b>{escape(card.heading)}</b> {escape(card.text)}{card.details}</figcaption></figure>"
    )


def legend(colours: Mapping[str, tuple[int, int, int]]) -> str:
    """Names with their colours (red, green, blue) in one line."""
    items = (f'<li><i style="background:rgb{colour}"></i>{escape(name)}</li>' for name, colour in colours.items())
    return f'<ul class="legend">{"".join(items)}</ul>'


STYLE = """
  :root { color-scheme: light dark; --line: #8886; --on: #076; --second: #b50; --faint: #667; }
  @media (prefers-color-scheme: dark) { :root { --on: #1b8; --second: #fa5; --faint: #99a; } }
  body { font: 16px/1.45 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
  a { color: inherit; }
  h2 { margin: 2.2rem 0 .4rem; }
  section p { margin: .3rem 0 .8rem; }
  .faint, figcaption i { color: var(--faint); }
  .charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 1rem; }
  .cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 14rem), 1fr)); gap: 1.2rem 1rem; }
  .cards:has(.wide) { grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
  figure { margin: 0; min-width: 0; }
  figure .pictures { display: grid; grid-template-columns: repeat(var(--pictures, 1), 1fr); gap: .3rem; }
  img { width: 100%; border-radius: 6px; display: block; }
  figcaption { font-size: .875rem; margin-top: .4rem; overflow-wrap: anywhere; }
  .chart figcaption { margin: 0 0 .5rem; }
  svg { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif; }
  svg text { fill: currentColor; }
  svg .axis { stroke: var(--line); }
  svg .line { fill: none; stroke: var(--on); stroke-width: 1.8; stroke-linejoin: round; }
  svg .band { fill: var(--on); opacity: .18; }
  svg .fill { fill: var(--on); }
  svg .mark { stroke: var(--second); fill: var(--second); }
  svg .mark text { stroke: none; fill: var(--second); }
  svg .ideal { stroke: var(--faint); stroke-dasharray: 4 4; }
  .scroll { overflow: auto; max-height: 44rem; border: 1px solid var(--line); border-radius: 6px; }
  table { border-collapse: collapse; font-size: .9rem; }
  .scroll table { width: 100%; }
  th, td { text-align: left; vertical-align: top; padding: .22rem .6rem; }
  td { overflow-wrap: anywhere; }
  .facts th { font-weight: 400; color: var(--faint); white-space: nowrap; }
  .facts tr + tr, .sorts tbody tr { border-top: 1px solid var(--line); }
  .sorts th { position: sticky; top: 0; background: Canvas; cursor: pointer; white-space: nowrap; z-index: 1; }
  .number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
  .bar { display: block; min-width: 7rem; padding: 0 .3rem; border-radius: 3px;
    background: linear-gradient(color-mix(in srgb, var(--on) 35%, transparent) 0 0) 0 / var(--share) 100% no-repeat; }
  .legend { list-style: none; display: flex; flex-wrap: wrap; gap: .15rem .9rem; padding: 0; margin: .5rem 0 .7rem; }
  figcaption .legend { margin: .3rem 0; }
  .legend i { display: inline-block; width: .85em; height: .85em; border-radius: .2em; margin-right: .35em;
    vertical-align: -.08em; border: 1px solid var(--line); }
  code { overflow-wrap: anywhere; }
"""
SORT = """
for (const head of document.querySelectorAll(".sorts th")) {
  const sort = () => {
    const body = head.closest("table").tBodies[0], at = head.cellIndex, up = head.dataset.up = head.dataset.up ? "" : 1;
    const text = row => row.cells[at].textContent, value = row => parseFloat(text(row).replaceAll(",", ""));
    const rows = [...body.rows], numbers = rows.some(row => !isNaN(value(row)));
    const order = (a, b) => numbers ? (value(a) || 0) - (value(b) || 0) : text(a).localeCompare(text(b));
    body.append(...rows.sort((a, b) => up ? order(a, b) : order(b, a)));
  };
  head.addEventListener("click", sort);
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
}
"""
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
{mark}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
<h1>{title}</h1>
<p>{lead}</p>
<p>Below: {links}.</p>
{body}
<script>{sort}</script>
</html>
"""
