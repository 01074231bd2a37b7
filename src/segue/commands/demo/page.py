"""`segue demo`: a page of what Segue does, drawn and computed on the spot: phantoms by their notes, and scenes."""

from __future__ import annotations

import html
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.api import Segmenter, load_segmenter
from segue.commands.demo.captions import captions_section
from segue.commands.demo.grounded_captions import grounded_captions_section
from segue.commands.demo.jobs import jobs_section
from segue.commands.demo.labels import labels_section
from segue.commands.demo.layouts import layouts_section
from segue.commands.demo.models import loaded
from segue.commands.demo.photographs import photographs_section
from segue.commands.demo.scenes import scenes_section
from segue.data.images import write_image
from segue.data.visualize import outline
from segue.files import write_text
from segue.metrics.masks import Counts, dice
from segue.pages.page import HEADING, STYLE
from segue.synthetic.chest import Phantom, draw_chest
from segue.types import InputError

SCENES = 6
SEED = 20_000  # none of the page's phantoms is in the training data, which is drawn from other seeds
Column = tuple[str, str, NDArray[np.uint8]]  # heading, text below, (H, W, 3) picture


def write_demo(out: Path, model: str, pictures: int) -> Path:
    """Draw phantoms, segment them, write out/index.html with its pictures; returns the page's path.

    Raises InputError for fewer than one picture.
    """
    if pictures < 1:
        raise InputError(f"pictures: got {pictures}, expected at least 1")
    start, predictor = time.perf_counter(), loaded(load_segmenter, model)
    out.mkdir(parents=True, exist_ok=True)
    phantoms = [draw_chest(SEED + i) for i in range(pictures)]
    answers = [_truth_and_answer(predictor, p) for p in phantoms]
    moved = [_with_other_notes(predictor, p) for p in phantoms if p.decoy_note]
    seconds = time.perf_counter() - start
    body = [
        photographs_section(out),
        jobs_section(out),
        _section("By their own notes", "Green: what the mask covers.", answers, out, "own"),
        _section(
            "One picture, three notes",
            "Its own note, a note that names the zone of another opacity, and none at all. "
            "The opacities look alike: only the note says which one is meant.",
            moved,
            out,
            "moved",
        ),
        scenes_section(out, SCENES),
        layouts_section(out),
        captions_section(out, SCENES),
        grounded_captions_section(out, SCENES),
        labels_section(out),
    ]
    sections = "\n".join(body)
    links = "; ".join(f'<a href="#{name}">{title}</a>' for name, title in HEADING.findall(sections))
    page = PAGE.format(
        style=STYLE, model=html.escape(model), seconds=seconds, pictures=pictures, links=links, body=sections
    )
    write_text(out / "index.html", page)
    return out / "index.html"


def _truth_and_answer(predictor: Segmenter, phantom: Phantom) -> list[Column]:
    answer = predictor.segment(phantom.image, note=phantom.note)
    score = _dice(answer.mask, phantom.mask)
    return [
        ("Picture", phantom.note, phantom.image),
        ("Truth", f"{int(phantom.mask.sum()):,} pixels", outline(phantom.image, phantom.mask)),
        ("Segue", f"{answer.area:,} pixels, Dice {score:.2f}", outline(phantom.image, answer.mask)),
    ]


def _with_other_notes(predictor: Segmenter, phantom: Phantom) -> list[Column]:
    own = predictor.segment(phantom.image, note=phantom.note)
    other = predictor.segment(phantom.image, note=phantom.decoy_note)
    none = predictor.segment(phantom.image, note=None)
    return [
        ("Picture", "Several opacities", phantom.image),
        ("Its own note", phantom.note, outline(phantom.image, own.mask)),
        ("Another zone's note", phantom.decoy_note or "", outline(phantom.image, other.mask)),
        ("No note", "The model's own guess", outline(phantom.image, none.mask)),
    ]


def _dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(dice(Counts.of(mask[None], truth[None]), empty="one")[0])


def _section(title: str, lead: str, rows: list[list[Column]], out: Path, prefix: str) -> str:
    lines = [f'<h2 id="{prefix}">{html.escape(title)}</h2>', f"<p>{html.escape(lead)}</p>"]
    for i, row in enumerate(rows):
        cells = []
        for j, (heading, text, pixels) in enumerate(row):
            name = f"{prefix}-{i}-{j}.png"
            write_image(pixels, out / name)
            alt = html.escape(f"{heading}: {text}", quote=True)
            caption = f"<b>{html.escape(heading)}</b> {html.escape(text)}"
            cells.append(f'<figure><img src="{name}" alt="{alt}"><figcaption>{caption}</figcaption></figure>')
        lines.append('<div class="row">' + "".join(cells) + "</div>")
    return "\n".join(lines)


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Segue: between words and masks</title>
<style>{style}
  .row {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 1rem; margin: 0 0 1.5rem; }}
  ul {{ margin: .3rem 0; padding-left: 1.2rem; }}
  .note {{ border-left: 4px solid var(--second); padding-left: .8rem; }}
</style>
<h1>Segue: between words and masks</h1>
<p>{pictures} chest phantoms, drawn by Segue and segmented by the model <code>{model}</code>
in {seconds:.1f} seconds on this machine. The model has never seen them.</p>
<p class="note">Drawn phantoms and a research model: not for diagnosis.</p>
<p>Below: {links}.</p>
{body}
</html>
"""
