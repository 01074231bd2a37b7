"""Layouts in the report of a training: the sentence, the true layout, the one that is drawn, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from segue.api.illustrator import Illustrator
from segue.data.visualize import data_url, layout_picture
from segue.evaluation.reports.cases import SIDE, examples_section_of, spread_evenly
from segue.pages.page import Card


def layout_examples(
    illustrator: Illustrator, layouts: Sequence[NDArray[np.uint8]], captions: Sequence[Sequence[str]]
) -> str:
    """A section with some of the layouts (H, W), spread evenly. captions: those of each; the first one is drawn."""
    chosen = spread_evenly(range(len(layouts)))
    sentences, true = [captions[i][0] for i in chosen], [layouts[i] for i in chosen]
    drawn, said = illustrator.draw_many(sentences), illustrator.caption_layouts(true)
    shown = [
        Card(
            [data_url(layout_picture(one, illustrator.classes), SIDE) for one in (labels, made.labels)],
            sentence,
            "The true layout, then the one that was drawn.",
            f"<br>Said of the true layout: <i>{escape(some[0].caption)}</i>",
        )
        for sentence, labels, made, some in zip(sentences, true, drawn, said, strict=True)
    ]
    return examples_section_of(shown, len(layouts))
