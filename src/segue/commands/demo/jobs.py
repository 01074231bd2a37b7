"""The demo's first image: one example of what each bundled model does."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.api import load_captioner, load_describer, load_illustrator, load_open_vocabulary, load_segmenter
from segue.commands.demo.scenes import SIZE
from segue.data.export import overlay
from segue.data.images import write_image
from segue.data.visualize import layout_picture, name_classes, outline, side_by_side
from segue.options import DescribeOptions
from segue.synthetic.chest import draw_chest
from segue.synthetic.scenes.annotations import annotate
from segue.synthetic.scenes.render import render
from segue.synthetic.scenes.sampling import sample_close_up, sample_scene
from segue.weights import bundled

Tile = tuple[str, str, NDArray[np.uint8]]  # heading, text, picture
CHEST, SCENE, CLOSE_UP = 20_002, 20_000, 30_002  # seeds outside the training splits
SENTENCE = "a boat on the water with mountains in the background"


def jobs_section(out: Path) -> str:
    """Write out/jobs.png; returns its HTML."""
    here = bundled()
    tiles = [make(here[model]) for model, make in JOBS.items() if model in here]
    write_image(side_by_side(tiles), out / "jobs.png")
    alt = html.escape("; ".join(f"{heading}: {text}" for heading, text, _ in tiles), quote=True)
    return f'<p><img src="jobs.png" alt="{alt}"></p>'


def _segment_note(model: Path) -> Tile:
    drawn = draw_chest(CHEST)
    answer = load_segmenter(model).segment(drawn.image, note=drawn.note)
    return "Segmented by a note", drawn.note, outline(drawn.image, answer.mask)


def _caption(model: Path) -> Tile:
    image = render(sample_scene(SCENE), SIZE).image
    return "Captioned", load_captioner(model).caption(image)[0].text, image


def _segment_labels(model: Path) -> Tile:
    scene = sample_close_up(CLOSE_UP)
    drawn = render(scene, SIZE)
    names = list(dict.fromkeys(region.label for region in annotate(scene, drawn.segments)[0]))
    answer = load_open_vocabulary(model).segment(drawn.image, names)
    return "Segmented by any names", ", ".join(names), name_classes(drawn.image, answer.index, answer.names)


def _describe(model: Path) -> Tile:
    scene = sample_scene(SCENE)
    drawn = render(scene, SIZE)
    regions, relations = annotate(scene, drawn.segments)
    given: dict[str, Any] = {"box": regions[0].box, "regions": regions, "relations": relations}
    caption = load_describer(model).describe(drawn.image, **given, options=DescribeOptions(num=1))[0]
    return f"A box described ({regions[0].label})", caption.caption, overlay(drawn.image, caption)


def _draw(model: Path) -> Tile:
    layout = load_illustrator(model).draw(SENTENCE)[0]
    return "A layout drawn from a sentence", SENTENCE, layout_picture(layout.labels, layout.classes)


JOBS: dict[str, Callable[[Path], Tile]] = {
    "reclmis-chest": _segment_note,
    "syntic-scenes": _caption,
    "cocu-scenes": _segment_labels,
    "describe-scenes": _describe,
    "crossmodal-scenes": _draw,
}
