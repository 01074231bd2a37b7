"""The demo's layouts: drawn from sentences and captioned again, by the bundled model."""

from __future__ import annotations

import html
from pathlib import Path

from segue.api.illustrator import Illustrator, load_illustrator
from segue.commands.demo.models import loaded
from segue.data.images import write_image
from segue.data.visualize import layout_picture
from segue.options import DrawOptions
from segue.types import Layout
from segue.weights import bundled

MODEL = "crossmodal-scenes"
SENTENCES = (
    "a dog to the left of a red car on the grass",
    "two sheep in a green field",
    "a boat on the water with mountains in the background",
)
LAYOUTS_PER_SENTENCE = 3


def layouts_section(out: Path, model: str | Path = MODEL) -> str:
    """Draw and caption layouts of each sentence, with pictures in the folder `out`; returns HTML.

    "" when no model is bundled.
    """
    if model == MODEL and MODEL not in bundled():
        return ""
    illustrator = loaded(load_illustrator, model)
    rows = [_row(illustrator, sentence, number, out) for number, sentence in enumerate(SENTENCES)]
    return "\n".join(
        [
            '<h2 id="layouts">Layouts drawn and captioned</h2>',
            "<p>Three layouts of each sentence (<code>segue draw</code>), and below each the model's caption of it, "
            "made without the sentence (<code>segue caption-layout</code>). "
            "What a sentence does not say differs from draw to draw.</p>",
            *rows,
        ]
    )


def _row(illustrator: Illustrator, sentence: str, number: int, out: Path) -> str:
    drawn = illustrator.draw(sentence, options=DrawOptions(num=LAYOUTS_PER_SENTENCE, seed=20_000))
    captions = illustrator.caption_layouts([one.labels for one in drawn])
    figures = [
        _figure(one, each[0].caption, out / f"layout-{number}-{i}.png")
        for i, (one, each) in enumerate(zip(drawn, captions, strict=True))
    ]
    return f'<p><b>{html.escape(sentence)}</b></p><div class="row">{"".join(figures)}</div>'


def _figure(layout: Layout, caption: str, file: Path) -> str:
    write_image(layout_picture(layout.labels, layout.classes), file)
    text = html.escape(caption, quote=True)
    return f'<figure><img src="{file.name}" alt="{text}"><figcaption><b>Caption</b> {text}</figcaption></figure>'
