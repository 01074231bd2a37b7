"""The demo's captions: what the bundled captioner says of scenes that it never saw."""

from __future__ import annotations

import html
from pathlib import Path

from segue.api.captioner import Captioner, load_captioner
from segue.commands.demo.scenes import SEED, SIZE, shares
from segue.data.images import write_image
from segue.synthetic.scenes.language.captions import captions
from segue.synthetic.scenes.render import render
from segue.synthetic.scenes.sampling import sample_scene
from segue.weights import bundled

MODEL = "syntic-scenes"


def captions_section(out: Path, count: int, model: str | Path = MODEL) -> str:
    """Caption `count` scenes, drawn into the folder `out`; returns the HTML, "" when the model is not bundled."""
    if model == MODEL and MODEL not in bundled():
        return ""
    captioner = load_captioner(model)
    figures = "".join(_figure(out, i, captioner) for i in range(count))
    return "\n".join(
        [
            '<h2 id="captions">Captions</h2>',
            "<p>Written by a captioner that learned from captions alone and never saw a picture of this style "
            "(<code>segue caption</code>). Below each: what it says, the nearest caption of its training text, and one "
            "that the sketchbook tells from the scene itself.</p>",
            f'<div class="row">{figures}</div>',
        ]
    )


def _figure(out: Path, number: int, captioner: Captioner) -> str:
    scene = sample_scene(SEED + number)
    drawn = render(scene, SIZE)
    said = captioner.caption(drawn.image)[0].text
    near = captioner.caption(drawn.image, retrieve=True)[0].text
    true = captions(scene, shares(scene, drawn).tolist(), SEED + number)[0].text
    name = f"caption-{number}.png"
    write_image(drawn.image, out / name)
    said, near, true = (html.escape(text, quote=True) for text in (said, near, true))
    told = f"<b>{said}</b><ul><li>nearest: {near}</li><li>sketchbook: {true}</li></ul>"
    return f'<figure><img src="{name}" alt="{said}"><figcaption>{told}</figcaption></figure>'
