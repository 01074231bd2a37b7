"""The demo's grounded captions: the bundled model describes a box on a scene, each phrase with its mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segue.api.describer import Describer, load_describer
from segue.commands.demo.scenes import SEED, SIZE, figure
from segue.data.export import overlay, write_grounded_captions
from segue.data.visualize import outline
from segue.options import DescribeOptions
from segue.synthetic.scenes.annotations import annotate
from segue.synthetic.scenes.render import render
from segue.synthetic.scenes.sampling import sample_scene
from segue.types import GroundedCaption
from segue.weights import bundled

MODEL = "describe-scenes"
NUM = 3  # captions of a box


def grounded_captions_section(out: Path, count: int, model: str | Path = MODEL) -> str:
    """Describe a box on each of `count` scenes, into the folder `out`; returns HTML, none without the bundled model."""
    if model == MODEL and MODEL not in bundled():
        return ""
    describer = load_describer(model)
    return "\n".join(
        [
            '<h2 id="grounded-captions">One box, several captions</h2>',
            f"<p>The box is the prompt; the scene's objects and relations are given. {NUM} captions of it, the best "
            "first, each with the masks of what it names (<code>segue describe</code>). Follow a link to highlight a "
            "mask by its phrase.</p>",
            *(_row(out, number, describer) for number in range(count)),
        ]
    )


def _row(out: Path, number: int, describer: Describer) -> str:
    drawn = render(scene := sample_scene(SEED + number), SIZE)
    regions, relations = annotate(scene, drawn.segments)
    x, y, w, h = (int(v) for v in regions[0].box)
    options = DescribeOptions(num=NUM, seed=number)
    captions = describer.describe(
        drawn.image, box=regions[0].box, regions=regions, relations=relations, options=options
    )
    inside = np.zeros(drawn.segments.shape, np.bool_)
    inside[y : y + h, x : x + w] = True
    (page,) = write_grounded_captions(out, f"grounded-{number}", drawn.image, captions, ("html",))
    figures = [figure(out, f"grounded-{number}.png", outline(drawn.image, inside), "The box", regions[0].label)]
    figures += [
        figure(out, f"grounded-{number}-{i}.png", overlay(drawn.image, one), one.caption, _masks(one))
        for i, one in enumerate(captions)
    ]
    return f'<div class="row">{"".join(figures)}</div><p><a href="{page.name}">these captions, phrase by phrase</a></p>'


def _masks(caption: GroundedCaption) -> str:
    masks = "; ".join(f"{one.phrase}: {one.label}" for one in caption.groundings)
    return f"({caption.score:.2g}) {masks or 'no mask'}"
