"""The demo's photographs: five of open licence, captioned and segmented by names; first come, not chosen."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.api.captioner import Caption, load_captioner
from segue.api.label_segmenter import load_label_segmenter
from segue.api.open_vocabulary import LabelMap
from segue.data.example_photos import NAMES, PHOTOGRAPHS, photographs
from segue.data.images import read_image, write_image
from segue.data.visualize import name_classes
from segue.options import Decoding
from segue.types import InputError
from segue.weights import LABEL_MODEL

CAPTIONER = "captions-photos"


def photographs_section(out: Path) -> str:
    """Caption and segment the photographs; their pictures go into the folder `out`. Returns HTML.

    Where the photographs or the encoders' weights are not installed, it says so and how to get them.
    """
    heading = '<h2 id="photographs">Photographs</h2>'
    try:
        files, captioner, segmenter = photographs(), load_captioner(CAPTIONER), load_label_segmenter(LABEL_MODEL)
    except InputError as error:
        return f"{heading}<p>Not shown: {html.escape(str(error))}</p>"
    rows = []
    for file in files:
        pixels = read_image(file)
        captions = captioner.caption(pixels, options=Decoding(num=3, beams=5))
        rows.append(_row(out, file, pixels, captions, segmenter.segment(pixels, NAMES)))
    lead = (
        "Each photograph with three captions of a model that learned from captions alone (<code>segue caption</code>), "
        f"and with the likeliest of {len(NAMES)} names at every pixel, by a dual encoder that saw no mask "
        f'(<code>segue segment --labels "{", ".join(NAMES)}"</code>). All of the list are shown.'
    )
    return "\n".join([heading, f"<p>{lead}</p>", *rows])


def _row(out: Path, file: Path, pixels: NDArray[np.uint8], captions: Sequence[Caption], answer: LabelMap) -> str:
    stem = f"photograph-{file.stem}"
    write_image(pixels, out / f"{stem}.png")
    write_image(name_classes(pixels, answer.index, answer.names), out / f"{stem}-names.png")
    first, others = html.escape(captions[0].text), "".join(f"<li>{html.escape(c.text)}</li>" for c in captions[1:])
    credit = html.escape(PHOTOGRAPHS[file.name])
    return (
        f'<div class="row"><figure><img src="{stem}.png" alt="{first}">'
        f"<figcaption><b>{first}</b><ul>{others}</ul>Photograph: {credit}</figcaption></figure>"
        f'<figure><img src="{stem}-names.png" alt="The same, each pixel named"><figcaption>Segmented by names'
        "</figcaption></figure></div>"
    )
