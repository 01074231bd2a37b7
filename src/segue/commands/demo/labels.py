"""The demo's part on naming pixels: scenes by names that their captions omit, heat maps of names, and an archive."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import count as count_up
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from segue.api import Labeller, load_labeller
from segue.api.curation import PROMPT
from segue.commands.demo.scenes import figure, shares
from segue.data.visualize import heat_map, name_classes
from segue.encoders.dual_encoder import DualEncoder
from segue.methods.cocu.archive import ARCHIVE, read_archive
from segue.methods.cocu.curation.arrays import CurateSettings
from segue.methods.cocu.curation.run import curate
from segue.methods.cocu.inference import embed_names, name_maps
from segue.methods.cocu.vocabulary import Vocabulary
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.synthetic.scenes.language.captions import captions
from segue.synthetic.scenes.render import render
from segue.synthetic.scenes.sampling import sample_near, sample_scene
from segue.synthetic.scenes.scene import CLASSES
from segue.types import to_install
from segue.weights import bundled

MODELS, PAIR = {"CoCu": "cocu-scenes", "GroupViT": "groupvit-scenes"}, "pair-scenes"
SEED, SIZE = 30_000, 128
CURATED = 300  # scenes that lend each other their concepts; the pair knows scenes as they are drawn, not from near
SEEN = {"close": 0.02, "wide": 0.005}  # share of a picture from which a kind counts as shown


@dataclass(frozen=True)
class Shown:
    """A drawn scene with a caption, and the kinds of it that the caption names and omits."""

    image: NDArray[np.uint8]
    caption: str
    named: list[str]
    omitted: list[str]


def labels_section(out: Path, count: int = 4) -> str:
    """The HTML of the part, its pictures in the folder `out`; of names only where a model for them is bundled."""
    here = bundled()
    models = {title: load_labeller(here[name]) for title, name in MODELS.items() if name in here}
    named = []
    if models:
        near = islice((one for one in map(draw, count_up(SEED)) if one.named and one.omitted), count)
        named = [
            '<h2 id="names">By any names</h2>',
            "<p>Models that learned from captioned scenes alone, no mask among them, give every pixel the likeliest of "
            f"{len(CLASSES)} names. The caption omits some of what they find. Heat maps: how well a pixel's group fits "
            "one name, from its lowest to its highest. (<code>segue segment --labels</code>)</p>",
            *(_row(out, i, one, models) for i, one in enumerate(near)),
        ]
    scenes = [draw(SEED + i, "wide") for i in range(CURATED)]
    telling = [i for i, one in enumerate(scenes) if one.named and one.omitted][:count]
    archive = archive_part(out, scenes, telling, load_dual_encoder(here[PAIR]))
    return "\n".join([*named, '<h2 id="archive">What captions leave out</h2>', archive])


def draw(seed: int, view: Literal["close", "wide"] = "close") -> Shown:
    """A scene in photo style, from near or as it is, with one caption."""
    scene = sample_near(seed) if view == "close" else sample_scene(seed)
    drawn = render(scene, SIZE)
    seen = shares(scene, drawn)
    (told,) = captions(scene, seen.tolist(), seed, n=1)
    kinds = [stuff.kind for stuff in scene.stuffs] + [thing.kind for thing in scene.things]
    named = {kinds[owner] for phrase in told.phrases for owner in phrase.owners}
    shown = dict.fromkeys(kind for kind, share in zip(kinds, seen, strict=True) if share >= SEEN[view])
    return Shown(drawn.image, told.text, [k for k in shown if k in named], [k for k in shown if k not in named])


def _row(out: Path, number: int, one: Shown, models: dict[str, Labeller]) -> str:
    told = f"{one.caption} Left out: {', '.join(one.omitted)}."
    figures = [figure(out, f"names-{number}.png", one.image, "Scene", told)]
    for name, labeller in models.items():
        answer = labeller.segment(one.image, list(CLASSES))
        slug = f"names-{number}-{name.lower()}"
        figures.append(
            figure(out, f"{slug}.png", name_classes(one.image, answer.index, CLASSES), name, "the likeliest names")
        )
        for kind, where in ((one.named[0], "in the caption"), (one.omitted[0], "left out of it")):
            heat = heat_map(one.image, heat_of(labeller, one.image, kind))
            figures.append(figure(out, f"{slug}-{where.split()[0]}.png", heat, f"{name}: {kind}", where))
    return f'<div class="row">{"".join(figures)}</div>'


def heat_of(labeller: Labeller, image: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    """(H, W) in [0, 1]: the cosine of each pixel's group with a name, from the picture's lowest to its highest."""
    card = replace(labeller.card, top_k=None)
    text = embed_names(labeller.model, [name], card.prompt)
    _, maps, _ = name_maps(labeller.model, image, text, card, cosines=True)
    grown = F.interpolate(maps[None], size=image.shape[:2], mode="bilinear", align_corners=False)[0, 0]
    low, high = grown.amin(), grown.amax()
    return ((grown - low) / torch.clamp(high - low, min=1e-6)).cpu().numpy()


def archive_part(out: Path, scenes: Sequence[Shown], rows: Sequence[int], pair: DualEncoder) -> str:
    """The scenes of these positions with what curation over all of them finds for them."""
    if missing := [name for name in ("faiss", "pyarrow") if find_spec(name) is None]:
        return f"<p>Curation needs {missing[0]}, which is not installed: {to_install('cluster')}</p>"
    vocabulary = Vocabulary(CLASSES)
    pictures = pair.embed_images([one.image for one in scenes]).numpy().astype(np.float16)
    texts = pair.embed_texts([PROMPT.format(kind) for kind in CLASSES]).numpy().astype(np.float16)
    with tempfile.TemporaryDirectory() as folder:
        told = [one.caption for one in scenes]
        curate(pictures, told, vocabulary, texts, Path(folder) / "run", CurateSettings())
        archive = read_archive(Path(folder) / "run" / ARCHIVE)
    cards = []
    for i in rows:
        one = scenes[i]
        found = [concept for concept, _ in archive.of(i) if concept not in one.named][:3]
        right = "".join(f"<li>{html.escape(c)}{' (there)' if c in one.omitted else ''}</li>" for c in found)
        cards.append(figure(out, f"archive-{i}.png", one.image, "Caption", one.caption) + f"<ul>{right}</ul>")
    lead = (
        f"From {len(scenes)} scenes with one caption each: wide ones, which the bundled pair knows. Below a scene the "
        "three best-ranked concepts of its archive that its caption doesn't name; the sketchbook knows which of them "
        "are there. (<code>segue curate</code>)"
    )
    return f'<p>{lead}</p><div class="row">{"".join(f"<div>{card}</div>" for card in cards)}</div>'
