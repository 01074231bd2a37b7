"""The demo's first image: one example of what each job's bundled model does."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.api import load_captioner, load_describer, load_illustrator, load_segmenter
from segue.api.label_segmenter import load_label_segmenter
from segue.commands.demo.models import loaded
from segue.commands.demo.photographs import BOXES, describe_photograph
from segue.data.example_photos import photographs
from segue.data.export import overlay
from segue.data.images import read_image, write_image
from segue.data.transforms import resize_image
from segue.data.visualize import layout_picture, name_classes, outline, side_by_side
from segue.synthetic.chest import draw_chest
from segue.types import NotInstalled
from segue.weights import bundled

Tile = tuple[str, str, NDArray[np.uint8]]  # heading, text, picture
CHEST = 20_002  # a seed outside the training split
PHOTOGRAPH = "motorcycle_left.png"  # of the five the nearest to the models' training pictures, by their own measure
SHRUNK = 2  # times, so that a legend can be read
LABELS = ("motorcycle", "floor", "wall")
SENTENCE = "a boat on the water with mountains in the background"


def jobs_section(out: Path) -> str:
    """Write out/jobs.png; returns its HTML, which says what is left out where a job's extra is not installed."""
    here, tiles, missing = bundled(), list[Tile](), dict[str, None]()
    for model, make in JOBS.items():
        if model in here:
            try:
                tiles.append(make(here[model]))
            except NotInstalled as error:
                missing[html.escape(str(error))] = None
    write_image(side_by_side(tiles), out / "jobs.png")
    alt = html.escape("; ".join(f"{heading}: {text}" for heading, text, _ in tiles), quote=True)
    return f'<p><img src="jobs.png" alt="{alt}"></p>' + "".join(f"<p>Not shown: {error}</p>" for error in missing)


def _photograph() -> NDArray[np.uint8]:
    (file,) = (file for file in photographs() if file.name == PHOTOGRAPH)
    pixels = read_image(file)
    return resize_image(pixels, (pixels.shape[0] // SHRUNK, pixels.shape[1] // SHRUNK))


def _segment_note(model: Path) -> Tile:
    drawn = draw_chest(CHEST)
    answer = loaded(load_segmenter, model).segment(drawn.image, note=drawn.note)
    return "Segmented by a note", drawn.note, outline(drawn.image, answer.mask)


def _caption(model: Path) -> Tile:
    image = _photograph()
    return "Captioned", loaded(load_captioner, model).caption(image)[0].text, image


def _segment_labels(model: Path) -> Tile:
    image = _photograph()
    answer = loaded(load_label_segmenter, model).segment(image, LABELS)
    return "Segmented by any names", ", ".join(LABELS), name_classes(image, answer.index, answer.names)


def _describe(model: Path) -> Tile:
    image = _photograph()
    caption = describe_photograph(loaded(load_describer, model), PHOTOGRAPH, image, SHRUNK)
    return f"A box described ({BOXES[PHOTOGRAPH][0][0]})", caption.caption, overlay(image, caption)


def _draw(model: Path) -> Tile:
    layout = loaded(load_illustrator, model).draw(SENTENCE)[0]
    return "A layout drawn from a sentence", SENTENCE, layout_picture(layout.labels, layout.classes)


JOBS: dict[str, Callable[[Path], Tile]] = {
    "reclmis-chest": _segment_note,
    "captions-photos": _caption,
    "photos-encoder": _segment_labels,
    "describe-photos": _describe,
    "crossmodal-scenes": _draw,
}
