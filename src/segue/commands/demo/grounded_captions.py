"""The demo's stories: what the bundled explainer tells of a box on a scene, each phrase with its mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segue.api.describer import Describer, load_describer
from segue.commands.demo.scenes import SEED, SIZE, figure
from segue.data.export import overlay, write_stories
from segue.data.visualize import outline
from segue.synthetic.scenes.annotations import known
from segue.synthetic.scenes.render import render
from segue.synthetic.scenes.sampling import sample_scene
from segue.types import GroundedCaption
from segue.weights import bundled

MODEL = "sgdiff-scenes"
TOP = 3  # stories of a box


def stories_section(out: Path, count: int, model: str | Path = MODEL) -> str:
    """Explain a box on each of `count` scenes, into the folder `out`; returns HTML, none without the bundled model."""
    if model == MODEL and MODEL not in bundled():
        return ""
    explainer = load_describer(model)
    return "\n".join(
        [
            '<h2 id="stories">One box, several stories</h2>',
            f"<p>The box is the prompt; the scene's objects and relations are given. {TOP} stories of it, the best "
            "first, each with the masks of what it names (<code>segue explain</code>). Follow a link to light a mask "
            "by its phrase.</p>",
            *(_row(out, number, explainer) for number in range(count)),
        ]
    )


def _row(out: Path, number: int, explainer: Describer) -> str:
    drawn = render(scene := sample_scene(SEED + number), SIZE)
    regions, relations = known(scene, drawn.owner)
    x, y, w, h = (int(v) for v in regions[0].box)
    stories = explainer.explain(
        drawn.image, box=regions[0].box, regions=regions, relations=relations, top=TOP, seed=number
    )
    inside = np.zeros(drawn.owner.shape, np.bool_)
    inside[y : y + h, x : x + w] = True
    (page,) = write_stories(out, f"stories-{number}", drawn.image, stories, ("html",))
    figures = [figure(out, f"stories-{number}.png", outline(drawn.image, inside), "The box", regions[0].label)]
    figures += [
        figure(out, f"stories-{number}-{i}.png", overlay(drawn.image, story), story.caption, _masks(story))
        for i, story in enumerate(stories)
    ]
    return f'<div class="row">{"".join(figures)}</div><p><a href="{page.name}">these stories, phrase by phrase</a></p>'


def _masks(story: GroundedCaption) -> str:
    told = "; ".join(f"{link.phrase}: {link.label}" for link in story.links)
    return f"({story.score:.2g}) {told or 'no mask'}"
