"""A page of pictures with their captions and what curation found for them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segue.data.images import write_image
from segue.files import write_text
from segue.methods.cocu.archive import Archive
from segue.methods.cocu.vocabulary import Vocabulary
from segue.pages.page import STYLE
from segue.types import Picture

MOST = 16  # concepts of a picture that are shown


def write_page(
    out: Path,
    pictures: Sequence[Picture],
    captions: Sequence[Sequence[str]],
    vocabulary: Vocabulary,
    archive: Archive,
    show: int,
) -> Path:
    """Write out/index.html with `show` pictures, spread evenly over all, and their archives; returns the page."""
    out.mkdir(parents=True, exist_ok=True)
    rows = np.unique(np.linspace(0, len(pictures) - 1, min(show, len(pictures))).astype(int)).tolist()
    cards = [
        _card(out, i, pictures[row], captions[row], vocabulary, archive.concepts_of(row)) for i, row in enumerate(rows)
    ]
    write_text(out / "index.html", PAGE.format(style=STYLE, shown=len(rows), of=len(pictures), body="\n".join(cards)))
    return out / "index.html"


def _card(
    out: Path,
    number: int,
    picture: Picture,
    captions: Sequence[str],
    vocabulary: Vocabulary,
    found: Sequence[tuple[str, float]],
) -> str:
    name = f"picture-{number:03d}.png"
    write_image(picture.load(), out / name)
    own = {vocabulary.concepts[n] for caption in captions for n in vocabulary.find(caption)}
    concepts = "".join(_concept(concept, score, concept in own) for concept, score in found[:MOST])
    more = f"<li>and {len(found) - MOST} more</li>" if len(found) > MOST else ""
    texts = "".join(f"<p>{html.escape(caption)}</p>" for caption in captions) or "<p><i>no caption</i></p>"
    alt = html.escape(captions[0] if captions else picture.name, quote=True)
    return (
        f'<article><img src="{name}" alt="{alt}"><div>{texts}'
        f"<ul>{concepts or '<li>nothing found</li>'}{more}</ul></div></article>"
    )


def _concept(concept: str, score: float, own: bool) -> str:
    kind = "own" if own else "new"
    return f'<li class="{kind}">{html.escape(concept)} <span>{score:.2f}</span></li>'


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Segue: what captions leave out</title>
<style>{style}
  article {{ display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: 1rem; margin: 0 0 1.5rem; }}
  p {{ margin: 0 0 .3rem; }}
  ul {{ list-style: none; display: flex; flex-wrap: wrap; gap: .35rem; padding: 0; margin: .6rem 0 0; }}
  li {{ border: 1px solid var(--line); border-radius: 1rem; padding: .05rem .6rem; font-size: .9rem; }}
  li.new {{ border: 2px solid var(--on); font-weight: 600; }}
  li span {{ color: var(--faint); font-weight: 400; font-size: .8rem; }}
</style>
<h1>What captions leave out</h1>
<p>{shown} of {of} pictures with their captions and the concepts that curation found for them, best score first. In
bold with a thick rim: concepts that the caption doesn't name.</p>
{body}
</html>
"""
