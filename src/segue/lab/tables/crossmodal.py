"""The tables of drawing and captioning layouts: `segue lab run crossmodal_scenes` and `segue lab run crossmodal_real`.

A system's name ends with its condition, as in full@caption+image. One training serves a system's four conditions, and
the first row of a system trains it; the systems of a seed share a quantiser, and the box decoder that `full` trains,
in which they don't differ. All have the same short recipe (SHORT).

Systems: `full`; `no_align` without L_align; `separate_attention`, two sets of cross-attention weights; `depth4` and
`depth8`: at this size the full depth, 3 layers a stream, stands for the paper's 12, so they have 1 and 2, and full is
depth 12 itself. Without learning: `class_prior`, `nearest_caption` (@mask: the caption of the nearest layout), and
`vq_ceiling`, true layouts after the quantiser, an upper bound of any drawn layout. `segmenter@image` is trained on
images and layouts alone, with the same image encoder and as long.

Experiments: main; best_of (1, 4 and 16 layouts of one caption); cycle (@caption: caption, layout, caption; @mask:
layout, caption, layout). Elsewhere each layout is drawn once, by cells alone.

crossmodal_scenes_full: the bundled model, trained by the full recipe, with one try of each layout, and with as many as
`segue draw` makes, of which that is kept which fits the sentence best (unchecked: the likeliest). Its things are
silhouettes of the training's, unless cells alone fill them. With the boxes of the nearest training caption's layout in
the place of the model's own (retrieved boxes). The plain segmenter has as many steps as the model's streams had. Other
ways to draw with its weights, on val (sampler), by cells alone where no silhouettes are named.

Metrics: see `segue.evaluation.layouts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from segue.api.illustrator import TRIES, TRIES_OF_BOXES, Illustrator, load_illustrator
from segue.data import rle
from segue.data.formats import detect_format
from segue.evaluation.layouts import (
    CONDITIONS,
    ONE_TRY,
    Condition,
    LayoutExample,
    describing,
    drawing,
    score_best_of,
    score_caption_cycle,
    score_drawing,
    score_illustrator,
    score_layout_captions,
    score_layout_cycle,
    score_layouts,
)
from segue.evaluation.photo_splits import read_photo_split
from segue.lab.baselines.crossmodal import (
    class_prior,
    in_boxes_of,
    nearest_caption,
    nearest_layout,
    segment_all,
    train_segmenter,
)
from segue.lab.engine import RequiredData, Row, Work
from segue.lab.tables.data import given_or_default_scenes
from segue.lab.trained import train_once
from segue.methods.crossmodal.checkpoint import load_quantiser
from segue.methods.crossmodal.vq import LayoutVQ
from segue.options import DrawOptions
from segue.recipes.crossmodal import (
    SCENES,
    CaptionedLayouts,
    CrossModalSettings,
    System,
    captioned_layouts,
    read_split,
    train_model,
    train_quantiser,
)
from segue.types import Picture, PictureSet

SEEDS = (0, 1, 2)
TRAINED: tuple[System, ...] = ("full", "no_align", "separate_attention", "depth4", "depth8")
BUNDLED, BUNDLED_STEPS = "crossmodal-scenes", 3000  # of its streams
MASKGIT = DrawOptions(temperature=1.0, steps=8, guidance=1.0, specks=0, best_of=1)
STEPS, TRIED = (4, 8, 12, 16), (4, 8)
UNCHECKED = ", unchecked"
SAMPLERS: tuple[tuple[Condition, DrawOptions], ...] = (
    *(
        (condition, replace(options, silhouettes=False, guidance=options.guidance or 2.0))
        for condition in CONDITIONS[:2]
        for options in (
            MASKGIT,
            DrawOptions(best_of=1, specks=0, steps=16),
            *(DrawOptions(best_of=1, steps=n) for n in STEPS),
            *(DrawOptions(best_of=n, check_sentence=check) for n in TRIED for check in (False, True)),
        )
    ),
    *(
        ("caption+image", DrawOptions(best_of=1, steps=n, guidance=strength, silhouettes=False))
        for strength in (1.0, 1.5)
        for n in (4, 16)
    ),
    ("caption", DrawOptions(best_of=TRIED[1], guidance=2.0)),
)
TESTED, DRAWN_OFTEN = 300, 60  # pictures of the test split; of them, those of which 16 layouts are drawn
SHORT = replace(SCENES, box_steps=800, steps=600, evaluations=1)
REAL = replace(SHORT, vq_steps=300, box_steps=250, steps=250, evaluations=5)


def crossmodal_scenes_table(base: CrossModalSettings = SHORT) -> list[Row]:
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
        rows.append(Row("best_of", "full@caption", seed, partial(_best_of, one)))
        rows += [Row("cycle", f"full@{start}", seed, partial(_cycle, one, start)) for start in ("caption", "mask")]
    rows += [Row("main", name, 0, partial(_untrained, base, name)) for name in UNTRAINED]
    return rows


def crossmodal_bundled_table() -> list[Row]:
    """The bundled model under every condition, the baselines without learning, and its quantiser's ceiling.

    --data: as above.
    """
    cells, of_boxes = DrawOptions(silhouettes=False), f"best of {TRIES_OF_BOXES}"
    drawn: list[tuple[str, Condition, DrawOptions]] = [
        (of_boxes, "caption", DrawOptions()),
        (f"{of_boxes}, cells alone", "caption", cells),
        (f"{of_boxes}, cells alone{UNCHECKED}", "caption", replace(cells, check_sentence=False)),
        ("silhouettes", "caption", replace(ONE_TRY, silhouettes=True)),
        (f"best of {TRIES}", "caption+image", DrawOptions()),
        (f"best of {TRIES}{UNCHECKED}", "caption+image", DrawOptions(check_sentence=False)),
    ]
    rows = [Row("test", f"bundled@{one}", 0, partial(_bundled, SHORT, one, ONE_TRY)) for one in CONDITIONS]
    rows += [
        Row("test", f"bundled, {name}@{one}", 0, partial(_bundled, SHORT, one, options)) for name, one, options in drawn
    ]
    rows += [Row("sampler", _sampler_name(*one), 0, partial(_sampler, SHORT, *one)) for one in SAMPLERS]
    rows += [Row("test", name, 0, partial(_untrained, SHORT, name)) for name in UNTRAINED]
    rows.append(Row("test", "retrieved boxes@caption", 0, partial(_retrieved, SHORT)))
    rows.append(
        Row("test", "segmenter@image", 0, partial(_segmenter, replace(SHORT, steps=BUNDLED_STEPS, evaluations=5)))
    )
    return [*rows, Row("test", "vq_ceiling@caption+image", 0, partial(_bundled_ceiling, SHORT))]


def crossmodal_real_table(base: CrossModalSettings = REAL) -> list[Row]:
    """The full system on captioned photographs with instance masks, in COCO's format and one split, such as coco_tiny.

    A layout has the instances' classes, the smaller instance over the larger, and the class "background" for the rest.
    """
    data = RequiredData("a folder of captioned pictures with COCO's instances")
    rows = [
        Row("main", f"full@{condition}", seed, partial(_trained_row, replace(base, seed=seed), condition), data)
        for seed in SEEDS
        for condition in CONDITIONS
    ]
    return rows + [Row("main", name, 0, partial(_untrained, base, name), data) for name in UNTRAINED]


# --- rows


def _trained_row(settings: CrossModalSettings, condition: Condition, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    return score_illustrator(_trained(settings, work), condition, *_test_examples(settings))


def _ceiling(settings: CrossModalSettings, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    return _quantiser_scores(load_quantiser(_quantiser(settings, work)), settings)


def _bundled_ceiling(settings: CrossModalSettings, work: Work) -> dict[str, float]:
    return _quantiser_scores(load_illustrator(BUNDLED).checkpoint.quantiser, _with_data(settings, work))


def _quantiser_scores(quantiser: LayoutVQ, settings: CrossModalSettings) -> dict[str, float]:
    examples, _ = _test_examples(settings)
    truth = [example.layout for example in examples]
    with torch.inference_mode():
        decoded = [quantiser.decode(quantiser.encode(torch.from_numpy(one)[None]))[0].numpy() for one in truth]
    return score_layouts(decoded, truth, quantiser.config.classes)


def _segmenter(settings: CrossModalSettings, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    train, val = _training_splits(settings)
    shared = _shared(settings, work, "segmenter")
    model = train_segmenter(shared, train, val)
    examples, _ = _test_examples(settings)
    segmented = segment_all(model, np.stack([example.image for example in examples]))
    return score_layouts(segmented, [example.layout for example in examples], len(train.classes))


def _best_of(settings: CrossModalSettings, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    model = _trained(settings, work)
    examples = _test_examples(settings)[0][:DRAWN_OFTEN]
    return score_best_of(drawing(model, False), examples, len(model.classes), (1, 4, 16))


def _cycle(settings: CrossModalSettings, start: str, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    model = _trained(settings, work)
    score = score_caption_cycle if start == "caption" else score_layout_cycle
    return score(drawing(model, False), describing(model, False), _test_examples(settings)[0], model.classes)


def _untrained(settings: CrossModalSettings, name: str, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    train, _ = _training_splits(settings)
    examples, others = _test_examples(settings)
    if name == "nearest_caption@mask":
        return score_layout_captions(nearest_layout(train), examples)
    draw = class_prior(train) if name.startswith("class_prior") else nearest_caption(train)
    return score_drawing(draw, examples, others, train.classes)


UNTRAINED = ("class_prior@caption", "nearest_caption@caption", "nearest_caption@mask")


def _bundled(settings: CrossModalSettings, condition: Condition, options: DrawOptions, work: Work) -> dict[str, float]:
    examples, others = _test_examples(_with_data(settings, work))
    return score_illustrator(load_illustrator(BUNDLED), condition, examples, others, options)


def _retrieved(settings: CrossModalSettings, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    draw = in_boxes_of(nearest_caption(_training_splits(settings)[0]), load_illustrator(BUNDLED))
    return score_drawing(draw, *_test_examples(settings), load_illustrator(BUNDLED).classes)


def _sampler(settings: CrossModalSettings, condition: Condition, options: DrawOptions, work: Work) -> dict[str, float]:
    """The bundled model on the first pictures of val, on which the defaults of `segue draw` are chosen.

    Of the others only captions that say a relation are drawn.
    """
    examples = _examples(_split(_with_data(settings, work), "val"))
    drawn, others = examples[:DRAWN_OFTEN], examples[DRAWN_OFTEN:]
    return score_illustrator(load_illustrator(BUNDLED), condition, drawn, others, options)


def _sampler_name(condition: Condition, options: DrawOptions) -> str:
    chosen = "the default" if options.temperature is None else f"{options.temperature:g}"
    passes = "" if options.steps is None else f"{options.steps} steps, "
    how = f"temperature {chosen}, {passes}guidance {options.guidance:g}, specks {options.specks}"
    if options.best_of != 1:
        how += f", best of {options.best_of}" + ("" if options.check_sentence else UNCHECKED)
    return f"{how}{', silhouettes' if options.silhouettes else ''}@{condition}"


# --- what rows share


def _trained(settings: CrossModalSettings, work: Work) -> Illustrator:
    """The system of the settings, trained by the first row that needs it; a training that was stopped is resumed."""
    return load_illustrator(_run_of(settings, work) / "best")


def _run_of(settings: CrossModalSettings, work: Work) -> Path:
    """The folder in which the system of the settings has been trained."""

    def train(own: CrossModalSettings) -> None:
        quantiser, boxes = _quantiser(settings, work), None
        if own.system != "full":
            boxes = _run_of(replace(settings, system="full"), work) / "boxes" / "best"
        train_model(replace(own, vq=quantiser, boxes=boxes), *_training_splits(settings))

    return train_once(_shared(settings, work, settings.system), train).parent


def _quantiser(settings: CrossModalSettings, work: Work) -> Path:
    """The folder of the seed's quantiser, trained in the same way."""

    def train(part: CrossModalSettings) -> None:
        train_quantiser(replace(part, out=part.out.parent), *_training_splits(settings))  # into out/vq

    shared = _shared(settings, work, "vq")
    return train_once(replace(shared, out=shared.out / "vq"), train).parent / "best"


def _shared(settings: CrossModalSettings, work: Work, name: str) -> CrossModalSettings:
    """The settings with the folder of a training that several rows share."""
    return replace(settings, out=work.table / f"shared-{name}-{settings.seed}")


def _with_data(settings: CrossModalSettings, work: Work) -> CrossModalSettings:
    """The settings with the scenes drawn, once for all rows, unless the table was given data."""
    return replace(settings, data=given_or_default_scenes(work))


def _training_splits(settings: CrossModalSettings) -> tuple[CaptionedLayouts, CaptionedLayouts]:
    return _split(settings, "train"), _split(settings, "val")


def _test_examples(settings: CrossModalSettings) -> tuple[Sequence[LayoutExample], Sequence[LayoutExample]]:
    """The test pictures that are scored, and the others, of which only captions that say a relation are drawn."""
    examples = _examples(_split(settings, "test"))
    return examples[:TESTED], examples[TESTED:]


def _examples(split: CaptionedLayouts) -> list[LayoutExample]:
    return [LayoutExample(*one) for one in zip(split.layouts, split.images, split.captions, strict=True)]


def _split(settings: CrossModalSettings, split: str) -> CaptionedLayouts:
    if "test" in detect_format(settings.data)[1]:
        return read_split(settings, split)
    found = read_photo_split(settings.data, split)
    classes = (*found.classes, "background")
    pictures = [replace(p, label_map=partial(layout_of_regions, p, classes)) for p in found.pictures]
    return captioned_layouts(PictureSet(pictures, classes), settings, split)


def layout_of_regions(picture: Picture, classes: Sequence[str]) -> NDArray[np.uint8]:
    """(H, W) uint8: the classes of a picture's regions, crowds too, the smaller over the larger.

    classes: names, in the order of the positions; the last one is that of all other pixels.
    """
    height, width = picture.load().shape[:2]
    layout: NDArray[np.uint8] = np.full((height, width), len(classes) - 1, np.uint8)
    masks = [(rle.decode(one.mask), classes.index(one.label)) for one in picture.regions if one.mask is not None]
    for mask, kind in sorted(masks, key=lambda pair: -int(pair[0].sum())):
        layout[mask] = kind
    return layout
