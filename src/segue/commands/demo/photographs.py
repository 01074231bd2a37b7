"""The demo's photographs: five of open licence, captioned, described and segmented; first come, not chosen."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.api.captioner import Caption, load_captioner
from segue.api.describer import Describer, load_describer
from segue.api.label_segmenter import load_label_segmenter
from segue.commands.demo.models import loaded
from segue.data.example_photos import NAMES, PHOTOGRAPHS, photographs
from segue.data.export import overlay
from segue.data.images import read_image, write_image
from segue.data.visualize import name_classes
from segue.options import Decoding, DescribeOptions
from segue.types import GroundedCaption, InputError, LabelMap, Region
from segue.weights import LABEL_MODEL

CAPTIONER, DESCRIBER = "captions-photos", "describe-photos"
BOXES = {  # what a YOLOX-nano finds in them: in the rocket's nothing, so that its box is drawn by hand
    "astronaut.png": (("person", (11, 20, 357, 487)),),
    "chelsea.png": (("cat", (0, 0, 449, 300)),),
    "coffee.png": (("cup", (162, 15, 260, 278)), ("dining table", (0, 0, 598, 398))),
    "motorcycle_left.png": (("motorcycle", (111, 66, 599, 380)), ("person", (347, 9, 59, 79))),
    "rocket.jpg": (("rocket", (290, 80, 70, 280)),),
}


def photographs_section(out: Path) -> str:
    """Caption and segment the photographs; their pictures go into the folder `out`. Returns HTML.

    Where the photographs or the encoders' weights are not installed, it says so and how to get them.
    """
    heading = '<h2 id="photographs">Photographs</h2>'
    try:
        files, captioner = photographs(), loaded(load_captioner, CAPTIONER)
        segmenter, describer = loaded(load_label_segmenter, LABEL_MODEL), loaded(load_describer, DESCRIBER)
    except InputError as error:
        return f"{heading}<p>Not shown: {html.escape(str(error))}</p>"
    rows = []
    for file in files:
        pixels = read_image(file)
        captions = captioner.caption(pixels, options=Decoding(num=3, beams=5))
        described = describe_photograph(describer, file.name, pixels)
        rows.append(_row(out, file, pixels, captions, described, segmenter.segment(pixels, NAMES)))
    lead = (
        "Each photograph with three captions of a model that learned from captions alone (<code>segue caption</code>); "
        "with the first caption of the largest object that a detector finds, each phrase with its mask "
        "(<code>segue describe --every --detector yolox_nano.onnx</code>); "
        f"and with the likeliest of {len(NAMES)} names at every pixel, by a dual encoder that saw no mask "
        f'(<code>segue segment --labels "{", ".join(NAMES)}"</code>). All of the list are shown.'
    )
    return "\n".join([heading, f"<p>{lead}</p>", *rows])


def describe_photograph(describer: Describer, name: str, pixels: NDArray[np.uint8], shrunk: int = 1) -> GroundedCaption:
    """The first caption of a photograph's first object of BOXES, by its file name. shrunk: so many times."""
    regions = [
        Region(label, (x // shrunk, y // shrunk, w // shrunk, h // shrunk)) for label, (x, y, w, h) in BOXES[name]
    ]
    return describer.describe(pixels, box=regions[0].box, regions=regions, options=DescribeOptions(num=1))[0]


def _row(
    out: Path,
    file: Path,
    pixels: NDArray[np.uint8],
    captions: Sequence[Caption],
    described: GroundedCaption,
    answer: LabelMap,
) -> str:
    stem = f"photograph-{file.stem}"
    write_image(pixels, out / f"{stem}.png")
    write_image(name_classes(pixels, answer.index, answer.names), out / f"{stem}-names.png")
    write_image(overlay(pixels, described), out / f"{stem}-described.png")
    first, others = html.escape(captions[0].text), "".join(f"<li>{html.escape(c.text)}</li>" for c in captions[1:])
    credit = html.escape(PHOTOGRAPHS[file.name])
    return (
        f'<div class="row"><figure><img src="{stem}.png" alt="{first}">'
        f"<figcaption><b>{first}</b><ul>{others}</ul>Photograph: {credit}</figcaption></figure>"
        f'<figure><img src="{stem}-described.png" alt="Its phrases with their masks"><figcaption>Described: '
        f"<b>{html.escape(described.caption)}</b></figcaption></figure>"
        f'<figure><img src="{stem}-names.png" alt="The same, each pixel named"><figcaption>Segmented by names'
        "</figcaption></figure></div>"
    )
