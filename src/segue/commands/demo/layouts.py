"""The demo's sentences drawn as layouts, and the layouts told, once the model for it is bundled."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.api.illustrator import Illustrator, Layout, load_illustrator
from segue.data.images import write_image
from segue.data.visualize import name_classes
from segue.weights import bundled

MODEL = "crossmodal-scenes"
SENTENCES = (
    "a dog to the left of a red car on the grass",
    "two sheep in a green field",
    "a boat on the water with mountains in the background",
)
EACH = 3  # layouts of a sentence


def layouts_section(out: Path, model: str | Path = MODEL) -> str:
    """Draw each sentence, tell what was drawn, into the folder `out`; returns HTML, none without the bundled model."""
    if model == MODEL and MODEL not in bundled():
        return ""
    illustrator = load_illustrator(model)
    rows = [_row(illustrator, sentence, number, out) for number, sentence in enumerate(SENTENCES)]
    return "\n".join(
        [
            '<h2 id="layouts">Sentences drawn, layouts told</h2>',
            "<p>Three layouts of each sentence (<code>segue draw</code>), and below each what the model says of it, "
            "which has not seen the sentence then (<code>segue tell</code>). "
            "What a sentence leaves open differs from draw to draw.</p>",
            *rows,
        ]
    )


def _row(illustrator: Illustrator, sentence: str, number: int, out: Path) -> str:
    drawn = illustrator.draw(sentence, num=EACH, seed=20_000)
    told = illustrator.tell_many([one.labels for one in drawn])
    figures = [
        _figure(one, each[0].caption, out / f"layout-{number}-{i}.png")
        for i, (one, each) in enumerate(zip(drawn, told, strict=True))
    ]
    return f'<p><b>{html.escape(sentence)}</b></p><div class="row">{"".join(figures)}</div>'


def _figure(layout: Layout, caption: str, file: Path) -> str:
    write_image(with_legend(layout), file)
    text = html.escape(caption, quote=True)
    return f'<figure><img src="{file.name}" alt="{text}"><figcaption><b>Told</b> {text}</figcaption></figure>'


def with_legend(layout: Layout) -> NDArray[np.uint8]:
    """(H, W, 3): a layout in colours on white, with a legend below."""
    paper = np.full((*layout.labels.shape, 3), 255, np.uint8)
    return name_classes(paper, layout.labels, layout.classes)
