"""The tables of drawing and telling: what `segue ablate crossmodal_scenes` and `segue ablate crossmodal_real` run.

A system's name ends with its condition, full@caption+image. One training serves a system's four conditions, and the
row that comes first trains; the systems of a seed share a quantiser. All have the same short recipe (SHORT).

Systems: `full`; `no_align` without L_align; `separate_attention`, two sets of cross-attention weights; `depth4` and
`depth8`: at this size the full depth, 3 layers a stream, stands for the paper's 12, so they have 1 and 2, and full is
depth 12 itself. Without learning: `class_prior`, `nearest_caption` (@mask: the caption of the nearest layout), and
`vq_ceiling`, true layouts after the quantiser, which no drawing can surpass. `segmenter@image` is trained on pictures
and layouts alone, with the same encoder and as long.

Experiments: main; best_of (1, 4 and 16 drawings of one caption); round_trip (@caption: caption, mask, caption; @mask:
mask, caption, mask). Each layout is drawn once; so are the real ones. crossmodal_scenes_full: the bundled model, of the
full recipe, with one try and with as many as `segue draw` makes, of which it chooses itself.
Metrics: see `segue.evaluation.layouts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from segue.api.illustrator import Illustrator, load_illustrator
from segue.data import rle
from segue.data.formats import recognise
from segue.evaluation.layouts import (
    CONDITIONS,
    Case,
    Condition,
    caption_round_trip,
    drawer,
    mask_round_trip,
    score_best,
    score_drawing,
    score_illustrator,
    score_layouts,
    score_telling,
    teller,
)
from segue.evaluation.photo_splits import split_of
from segue.files import locked
from segue.lab.baselines.crossmodal import class_prior, nearest_caption, nearest_layout, segment_all, train_segmenter
from segue.lab.engine import Row, Work
from segue.lab.tables.data import given_data, given_or_default_scenes
from segue.methods.crossmodal.checkpoint import restore_vq
from segue.methods.crossmodal.vq import LayoutVQ
from segue.recipes.crossmodal import SCENES, Settings, System, Told, gather_told, quantiser, read_told, train_on
from segue.training.state import has_state
from segue.types import Picture, PictureSet

SEEDS = (0, 1, 2)
TRAINED: tuple[System, ...] = ("full", "no_align", "separate_attention", "depth4", "depth8")
BUNDLED, TRIES = "crossmodal-scenes", 4  # as `segue draw` has it
TESTED, BEST = 300, 60  # pictures of the test split; of them, those that are drawn 16 times
SHORT = replace(SCENES, steps=600, evaluations=1)
REAL = replace(SHORT, vq_steps=300, steps=250, evaluations=5)


def crossmodal_scenes_table(base: Settings = SHORT) -> list[Row]:
    """Every system under every condition by 3 seeds. --data: scenes drawn before; drawn once unless given."""
    rows = []
    for seed in SEEDS:
        one = replace(base, seed=seed)
        rows += [
            Row("main", f"{system}@{condition}", seed, partial(_trained_row, replace(one, system=system), condition))
            for system in TRAINED
            for condition in CONDITIONS
        ]
        rows.append(Row("main", "vq_ceiling@caption+image", seed, partial(_ceiling, one)))
        rows.append(Row("main", "segmenter@image", seed, partial(_segmenter, one)))
        rows.append(Row("best_of", "full@caption", seed, partial(_best, one)))
        rows += [Row("round_trip", f"full@{way}", seed, partial(_trip, one, way)) for way in ("caption", "mask")]
    rows += [Row("main", name, 0, partial(_unlearned, base, name)) for name in UNLEARNED]
    return rows


def crossmodal_bundled_table() -> list[Row]:
    """The bundled model under every condition, what is compared with it without learning, and its quantiser's ceiling.

    --data: as above.
    """
    rows = [Row("test", f"bundled@{way}", 0, partial(_bundled, SHORT, way, 1)) for way in CONDITIONS]
    rows += [
        Row("test", f"bundled, {TRIES} tries@{way}", 0, partial(_bundled, SHORT, way, TRIES)) for way in CONDITIONS[:2]
    ]
    rows += [Row("test", name, 0, partial(_unlearned, SHORT, name)) for name in UNLEARNED]
    return [*rows, Row("test", "vq_ceiling@caption+image", 0, partial(_bundled_ceiling, SHORT))]


def crossmodal_real_table(base: Settings = REAL) -> list[Row]:
    """The full system on captioned photographs with instance masks, in COCO's format and one split, such as coco_tiny.

    A layout has the instances' classes, the smaller instance over the larger, and the class "background" for the rest.
    """
    rows = [
        ("main", f"full@{condition}", seed, partial(_trained_row, replace(base, seed=seed), condition))
        for seed in SEEDS
        for condition in CONDITIONS
    ]
    rows += [("main", name, 0, partial(_unlearned, base, name)) for name in UNLEARNED]
    return [Row(experiment, system, seed, partial(_on_photographs, run)) for experiment, system, seed, run in rows]


def _on_photographs(run: Callable[[Work], dict[str, float]], work: Work) -> dict[str, float]:
    """Run a row of photographs, which needs --data: nothing is drawn in their place."""
    given_data(work, "a folder of captioned pictures with COCO's instances")
    return run(work)


# ---------------------------------------------------------------------------------------------------- rows


def _trained_row(settings: Settings, condition: Condition, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    return score_illustrator(_trained(settings, work), condition, *_tested(settings))


def _ceiling(settings: Settings, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    return _requantised(restore_vq(_quantiser(settings, work)).eval(), settings)


def _bundled_ceiling(settings: Settings, work: Work) -> dict[str, float]:
    return _requantised(load_illustrator(BUNDLED).saved.vq, _with_data(settings, work))


def _requantised(vq: LayoutVQ, settings: Settings) -> dict[str, float]:
    cases, _ = _tested(settings)
    truth = [case.layout for case in cases]
    with torch.inference_mode():
        again = [vq.decode(vq.encode(torch.from_numpy(one)[None]))[0].numpy() for one in truth]
    return score_layouts(again, truth, vq.config.classes)


def _segmenter(settings: Settings, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    train, val = _learned_from(settings)
    with _shared(settings, work, "segmenter") as ours:
        model = train_segmenter(ours, train, val)
    cases, _ = _tested(settings)
    drawn = segment_all(model, np.stack([case.image for case in cases]))
    return score_layouts(drawn, [case.layout for case in cases], len(train.classes))


def _best(settings: Settings, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    model = _trained(settings, work)
    return score_best(drawer(model, False), _tested(settings)[0][:BEST], len(model.classes), (1, 4, 16))


def _trip(settings: Settings, way: str, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    model = _trained(settings, work)
    go = caption_round_trip if way == "caption" else mask_round_trip
    return go(drawer(model, False), teller(model, False), _tested(settings)[0], model.classes)


def _unlearned(settings: Settings, name: str, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    train, _ = _learned_from(settings)
    told, others = _tested(settings)
    if name == "nearest_caption@mask":
        return score_telling(nearest_layout(train), told)
    draw = class_prior(train) if name.startswith("class_prior") else nearest_caption(train)
    return score_drawing(draw, told, others, train.classes)


UNLEARNED = ("class_prior@caption", "nearest_caption@caption", "nearest_caption@mask")


def _bundled(settings: Settings, condition: Condition, tries: int, work: Work) -> dict[str, float]:
    return score_illustrator(load_illustrator(BUNDLED), condition, *_tested(_with_data(settings, work)), tries)


# ---------------------------------------------------------------------------------------- what rows share


def _trained(settings: Settings, work: Work) -> Illustrator:
    """The system of the settings: trained by the first row that asks, gone on with where it was stopped."""
    with _shared(settings, work, settings.system) as ours:
        if not (ours.out / "last" / "config.json").exists():
            train_on(replace(ours, vq=_quantiser(settings, work)), *_learned_from(settings))
    return load_illustrator(ours.out / "best")


def _quantiser(settings: Settings, work: Work) -> Path:
    """The folder of the seed's quantiser, trained likewise."""
    with _shared(settings, work, "vq") as ours:
        folder = ours.out / "vq"
        if not (folder / "last" / "config.json").exists():
            quantiser(ours, *_learned_from(settings))
    return folder / "best"


@contextmanager
def _shared(settings: Settings, work: Work, name: str) -> Iterator[Settings]:
    """The settings for what several rows use, which one process makes while the others wait."""
    out = work.table / f"shared-{name}-{settings.seed}"
    with locked(out):
        yield replace(settings, out=out, resume=has_state(out / "state") or has_state(out / "vq" / "state"))


def _with_data(settings: Settings, work: Work) -> Settings:
    """The settings with the scenes drawn, once for all rows, unless the table was given data."""
    return replace(settings, data=given_or_default_scenes(work))


def _learned_from(settings: Settings) -> tuple[Told, Told]:
    return _split(settings, "train"), _split(settings, "val")


def _tested(settings: Settings) -> tuple[Sequence[Case], Sequence[Case]]:
    """The pictures that are drawn and told, and the rest, of which only the captions that say a relation are drawn."""
    told = _split(settings, "test")
    cases = [Case(*one) for one in zip(told.layouts, told.images, told.captions, strict=True)]
    return cases[:TESTED], cases[TESTED:]


def _split(settings: Settings, split: str) -> Told:
    if "test" in recognise(settings.data)[1]:
        return read_told(settings, split)
    found = split_of(settings.data, split)
    classes = (*found.classes, "background")
    pictures = [replace(p, label_map=partial(painted, p, classes)) for p in found.pictures]
    return gather_told(PictureSet(pictures, classes), settings.image_size, f"{settings.data}, {split}")


def painted(picture: Picture, classes: Sequence[str]) -> NDArray[np.uint8]:
    """(H, W): the picture's regions by class, the smaller over the larger, the last class for the rest; crowds too."""
    height, width = picture.load().shape[:2]
    layout = np.full((height, width), len(classes) - 1, np.uint8)
    masks = [(rle.decode(one.mask), classes.index(one.label)) for one in picture.regions if one.mask is not None]
    for mask, kind in sorted(masks, key=lambda pair: -int(pair[0].sum())):
        layout[mask] = kind
    return layout
