"""The demo's page of scenes: synthetic scenes with their captions, masks and relations."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.data.images import write_image
from segue.data.visualize import outline
from segue.synthetic.scenes.language.captions import caption_scene
from segue.synthetic.scenes.render import RenderedScene, render
from segue.synthetic.scenes.sampling import sample_scene
from segue.synthetic.scenes.scene import Scene

SEED, SIZE = 20_000, 256
COLOURS = ((64, 224, 112), (255, 176, 32), (80, 176, 255), (255, 96, 144), (190, 130, 255), (240, 240, 90))


def scenes_section(out: Path, count: int) -> str:
    """Draw `count` scenes into the folder `out`; returns their HTML: picture, things, captions, relations."""
    rows = [_row(out, i, sample_scene(SEED + i)) for i in range(count)]
    return "\n".join(
        [
            '<h2 id="scenes">Scenes</h2>',
            "<p>Drawn from parameters, with the whole truth in COCO's and Visual Genome's formats "
            "(<code>segue data make scenes</code>). Captions leave things out, as those of the web do.</p>",
            *rows,
        ]
    )


def _row(out: Path, number: int, scene: Scene) -> str:
    drawn, other = render(scene, SIZE), render(scene, SIZE, "synthetic")
    figures = [
        figure(out, f"scene-{number}-photo.png", drawn.image, "Photo style", "A synthetic scene"),
        figure(out, f"scene-{number}-masks.png", draw_outlines(scene, drawn), "Its objects", _objects(scene, drawn)),
        figure(out, f"scene-{number}-synthetic.png", other.image, "Synthetic style", "The same scene in another style"),
    ]
    captions = caption_scene(scene, area_shares(scene, drawn).tolist(), SEED + number)
    items = "".join(f"<li>{html.escape(caption.text)}</li>" for caption in captions)
    related = "; ".join(html.escape(_relation(scene, r)) for r in scene.relations)
    words = f"<div><b>Captions</b><ul>{items}</ul></div><div><b>Relations</b><p>{related or 'none'}</p></div>"
    return f'<div class="row">{"".join(figures)}</div><div class="row">{words}</div>'


def draw_outlines(scene: Scene, drawn: RenderedScene) -> NDArray[np.uint8]:
    """The image with every object outlined where it is visible."""
    image = drawn.image
    for i in range(len(scene.things)):
        image = outline(image, drawn.segments == len(scene.stuff) + i, COLOURS[i % len(COLOURS)])
    return image


def area_shares(scene: Scene, drawn: RenderedScene) -> NDArray[np.float64]:
    """The share of the image's area of each stuff class and object, in the order of `Scene`."""
    return np.bincount(drawn.segments.ravel(), minlength=len(scene.stuff) + len(scene.things)) / drawn.segments.size


def _objects(scene: Scene, drawn: RenderedScene) -> str:
    visible = area_shares(scene, drawn)[len(scene.stuff) :] > 0
    return ", ".join(f"{t.colour} {t.kind}" for t, shown in zip(scene.things, visible, strict=True) if shown)


def _relation(scene: Scene, relation: tuple[int, str, int]) -> str:
    subject, predicate, target = relation
    return f"{scene.things[subject].kind} {predicate} {scene.things[target].kind}"


def figure(out: Path, name: str, pixels: NDArray[np.uint8], heading: str, text: str) -> str:
    """Write an image to out/name; returns its HTML with a caption."""
    write_image(pixels, out / name)
    alt = html.escape(f"{heading}: {text}", quote=True)
    caption = f"<b>{html.escape(heading)}</b> {html.escape(text)}"
    return f'<figure><img src="{name}" alt="{alt}"><figcaption>{caption}</figcaption></figure>'
