"""The demo's part on open-vocabulary segmentation: scenes by names that their captions omit, heat maps, an archive."""

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

from segue.api.curation import PROMPT
from segue.api.open_vocabulary import OpenVocabularySegmenter, load_open_vocabulary
from segue.commands.demo.scenes import area_shares, figure
from segue.data.visualize import heat_map, name_classes
from segue.encoders.dual_encoder import DualEncoder
from segue.methods.cocu.archive import ARCHIVE, read_archive
from segue.methods.cocu.curation.inputs import CurationInputs
from segue.methods.cocu.curation.run import curate
from segue.methods.cocu.inference import dense_scores, embed_names
from segue.methods.cocu.vocabulary import Vocabulary
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.synthetic.scenes.language.captions import caption_scene
from segue.synthetic.scenes.render import render
from segue.synthetic.scenes.sampling import sample_close_up, sample_scene
from segue.synthetic.scenes.scene import CLASSES
from segue.types import to_install
from segue.weights import bundled

MODELS, ENCODER = {"CoCu": "cocu-scenes", "GroupViT": "groupvit-scenes"}, "scenes-encoder"
SEED, SIZE = 30_000, 128
CURATED_SCENES = 300  # wide ones, because the dual encoder was trained on them and not on scenes from near
SHOWN_SHARE = {"close": 0.02, "wide": 0.005}  # share of a picture from which a kind counts as shown


@dataclass(frozen=True)
class CaptionedScene:
    """A drawn scene, (H, W, 3) uint8, with a caption, and the kinds of it that the caption names and omits."""

    image: NDArray[np.uint8]
    caption: str
    named: list[str]
    omitted: list[str]


def labels_section(out: Path, count: int = 4) -> str:
    """Write the part's pictures into the folder `out`; returns its HTML.

    count: scenes of each kind. The scenes by names are left out where no model for them is bundled.
    """
    here = bundled()
    models = {title: load_open_vocabulary(here[name]) for title, name in MODELS.items() if name in here}
    segmented = []
    if models:
        near = islice((one for one in map(draw_scene, count_up(SEED)) if one.named and one.omitted), count)
        segmented = [
            '<h2 id="names">By any names</h2>',
            "<p>Models that were trained on captioned scenes, without any mask, give every pixel the likeliest of "
            f"{len(CLASSES)} names. The caption omits some of what they find. Heat maps: how well a pixel's group fits "
            "one name, from its lowest to its highest. (<code>segue segment --labels</code>)</p>",
            *(_row(out, i, one, models) for i, one in enumerate(near)),
        ]
    scenes = [draw_scene(SEED + i, "wide") for i in range(CURATED_SCENES)]
    shown = [i for i, one in enumerate(scenes) if one.named and one.omitted][:count]
    archive = archive_part(out, scenes, shown, load_dual_encoder(here[ENCODER]))
    return "\n".join([*segmented, '<h2 id="archive">What captions leave out</h2>', archive])


def draw_scene(seed: int, view: Literal["close", "wide"] = "close") -> CaptionedScene:
    """A scene in photo style, from near or as it is, with one caption."""
    scene = sample_close_up(seed) if view == "close" else sample_scene(seed)
    drawn = render(scene, SIZE)
    share = area_shares(scene, drawn)
    (caption,) = caption_scene(scene, share.tolist(), seed, n=1)
    kinds = [stuff.kind for stuff in scene.stuff] + [thing.kind for thing in scene.things]
    named = {kinds[owner] for phrase in caption.phrases for owner in phrase.segments}
    shown = dict.fromkeys(kind for kind, area in zip(kinds, share, strict=True) if area >= SHOWN_SHARE[view])
    omitted = [kind for kind in shown if kind not in named]
    return CaptionedScene(drawn.image, caption.text, [kind for kind in shown if kind in named], omitted)


def _row(out: Path, number: int, one: CaptionedScene, models: dict[str, OpenVocabularySegmenter]) -> str:
    text = f"{one.caption} Left out: {', '.join(one.omitted)}."
    figures = [figure(out, f"names-{number}.png", one.image, "Scene", text)]
    for name, segmenter in models.items():
        answer = segmenter.segment(one.image, list(CLASSES))
        slug = f"names-{number}-{name.lower()}"
        overlay = name_classes(one.image, answer.index, CLASSES)
        figures.append(figure(out, f"{slug}.png", overlay, name, "the likeliest names"))
        for kind, where in ((one.named[0], "in the caption"), (one.omitted[0], "left out of it")):
            heat = heat_map(one.image, name_heat(segmenter, one.image, kind))
            figures.append(figure(out, f"{slug}-{where.split()[0]}.png", heat, f"{name}: {kind}", where))
    return f'<div class="row">{"".join(figures)}</div>'


def name_heat(segmenter: OpenVocabularySegmenter, image: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    """(H, W) in [0, 1]: the cosine of each pixel's group with a name, scaled from the picture's lowest to highest."""
    protocol = replace(segmenter.protocol, top_k=None)
    text = embed_names(segmenter.model, [name], protocol.prompt)
    _, maps, _ = dense_scores(segmenter.model, image, text, protocol, cosines=True)
    resized = F.interpolate(maps[None], size=image.shape[:2], mode="bilinear", align_corners=False)[0, 0]
    low, high = resized.amin(), resized.amax()
    heat: NDArray[np.float32] = ((resized - low) / torch.clamp(high - low, min=1e-6)).cpu().numpy()
    return heat


def archive_part(out: Path, scenes: Sequence[CaptionedScene], rows: Sequence[int], encoder: DualEncoder) -> str:
    """The HTML of some scenes with what the curation of all of them finds. rows: positions of those that are shown."""
    if missing := [name for name in ("faiss", "pyarrow") if find_spec(name) is None]:
        return f"<p>Curation needs {missing[0]}, which is not installed: {to_install('cluster')}</p>"
    images = encoder.embed_images([one.image for one in scenes]).numpy().astype(np.float16)
    texts = encoder.embed_texts([PROMPT.format(kind) for kind in CLASSES]).numpy().astype(np.float16)
    inputs = CurationInputs(images, [one.caption for one in scenes], Vocabulary(CLASSES), texts)
    with tempfile.TemporaryDirectory() as folder:
        curate(inputs, Path(folder) / "run")
        archive = read_archive(Path(folder) / "run" / ARCHIVE)
    parts = []
    for i in rows:
        one = scenes[i]
        found = [concept for concept, _ in archive.concepts_of(i) if concept not in one.named][:3]
        items = "".join(f"<li>{html.escape(c)}{' (there)' if c in one.omitted else ''}</li>" for c in found)
        parts.append(figure(out, f"archive-{i}.png", one.image, "Caption", one.caption) + f"<ul>{items}</ul>")
    lead = (
        f"From {len(scenes)} scenes with one caption each: wide ones, on which the bundled dual encoder was trained. "
        "Below a scene are the three best concepts of its archive that its caption doesn't name; the ones that the "
        "scene shows are marked. (<code>segue curate</code>)"
    )
    return f'<p>{lead}</p><div class="row">{"".join(f"<div>{part}</div>" for part in parts)}</div>'
