"""The table `sgdiff_decoders`: the ways to make a caption, side by side, all else being one network's and frozen.

Each row trains one decoder for equal steps on the picture side of the bundled model (`--start`): the same backbone,
nodes, adaptor and graph layers, so that decoders alone differ. They are scored on val with the first noun's box: on the
way (cider_at_200 and so on, by optimiser steps), and the last weights with single captions at several numbers of
denoising steps (cider_s4 and so on, one try), and five captions of the default tries with each decoder at its own
temperature: cider_selected, cider_oracle5, distinct2; and at each of TEMPERATURES (cider_selected_t0.2 and so on), so
that decoders can be compared where their captions differ as much. That side was trained together with analog bits,
which flatters these, if any. `masked, distilled` and its like learn what the decoder of the row `word by word` of their
seed writes.

experiment picture: word by word with captions that read the graph alone, and that read the whole picture as well
(`--picture`), on all pictures of val: `light_told`, the share of captions that tell the light, such as "at night", and
`light_wrong`, of these the share that tell one that no caption of the picture does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from segue.api.describer import Describer
from segue.data.formats import read_pictures
from segue.evaluation.grounded_captions import describe_case, make_cases, score_cases
from segue.lab.engine import Row, Work
from segue.lab.tables.data import given_or_default_scenes
from segue.lab.trained import train_once
from segue.methods.sgdiff.checkpoint import restore
from segue.options import DescribeOptions
from segue.recipes.sgdiff import SCENES, SGDiffSettings, train_on_pictures, with_named_regions
from segue.synthetic.scenes.language.parser import parse
from segue.training import read_history

TEACHER = "word by word"
DECODERS = {"bits": "full", "bits, time warped": "time_warp", "masked": "masked", TEACHER: "autoregressive"}
DISTILLED = ("masked", "bits, time warped")
SEEDS = (0, 1, 2)
STEPS = (4, 12, 20)
TEMPERATURES = (0.2, 0.4, 0.7, 1.0, 2.0)
VAL_PICTURES = 100
BASE = "sgdiff-scenes"
QUICK = replace(SCENES, start=BASE, caption_steps=1200, steps=1, evaluations=6, val_pictures=VAL_PICTURES)


def sgdiff_decoders_table() -> list[Row]:
    """Four decoders and two that learn from one of them, by 3 seeds. --data: scenes; drawn once unless given."""
    rows = [(name, system, False) for name, system in DECODERS.items()]
    rows += [(f"{name}, distilled", DECODERS[name], True) for name in DISTILLED]
    captions = [
        Row("captions", name, seed, partial(_row, replace(QUICK, system=system, seed=seed), distilled))
        for seed in SEEDS
        for name, system, distilled in rows
    ]
    word_by_word = replace(QUICK, system=DECODERS[TEACHER])
    return captions + [
        Row("picture", name, seed, partial(_picture_row, replace(word_by_word, seed=seed, picture=picture)))
        for seed in SEEDS
        for name, picture in (("graph alone", False), ("picture read", True))
    ]


def _row(settings: SGDiffSettings, distilled: bool, work: Work) -> dict[str, float]:
    settings = _trained(settings, distilled, work)
    val, out = read_pictures(settings.data, "val", settings.on_bad), settings.out
    curve = {f"cider_at_{row['step']:.0f}": row["evaluate/cider"] for row in _evaluated(out / "captions")}
    model = restore(out / "captions" / "last")[0]
    cases = make_cases(with_named_regions(val, "val")[: settings.val_pictures], "first")
    describer = Describer(model)
    found = curve | score_cases(partial(describe_case, describer), cases, java=False, masks=False)
    for temperature in TEMPERATURES:
        options = DescribeOptions(temperature=temperature)
        five = score_cases(partial(describe_case, describer, options=options), cases, java=False, masks=False)
        found |= {f"{name}_t{temperature:g}": five[name] for name in ("cider_selected", "cider_oracle5", "distinct2")}
    if model.config.decoder == "autoregressive":  # it has one word a step
        return found
    for steps in STEPS:
        options = DescribeOptions(steps=steps, best_of=1)
        one = score_cases(partial(describe_case, describer, options=options), cases, num=1, java=False, masks=False)
        found |= {f"{name}_s{steps}": one[name] for name in ("cider", "broken")}
    return found


def _picture_row(settings: SGDiffSettings, work: Work) -> dict[str, float]:
    settings = _trained(settings, False, work)
    val = read_pictures(settings.data, "val", settings.on_bad)
    cases = make_cases(with_named_regions(val, "val"), "first")
    describer = Describer(restore(settings.out / "captions" / "last")[0])
    first = [describe_case(describer, case, 1, i) for i, case in enumerate(cases)]
    scores = score_cases(lambda case, num, i: first[i], cases, num=1, java=False, masks=False)
    return scores | score_lights([one.caption for (one,) in first], [case.picture.captions for case in cases])


def score_lights(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """`light_told`, and where it is not 0 `light_wrong`; references: of each caption's scene."""
    said = [_light(caption) for caption in captions]
    wrong = [
        light not in map(_light, others) for light, others in zip(said, references, strict=True) if light is not None
    ]
    told = {"light_told": len(wrong) / len(said)}
    return told | {"light_wrong": sum(wrong) / len(wrong)} if wrong else told


def _light(caption: str) -> str | None:
    return parse(caption, strict=False).light


def _trained(settings: SGDiffSettings, distilled: bool, work: Work) -> SGDiffSettings:
    """The settings with the row's data and folder, in which it has been trained."""
    kind = "-distilled" * distilled + "-picture" * settings.picture
    out = work.table / f"{settings.system}{kind}-{settings.seed}"
    settings = replace(settings, data=given_or_default_scenes(work), out=out)
    if distilled:
        teacher = _trained(replace(settings, system=DECODERS[TEACHER]), False, work)
        settings = replace(settings, teacher=teacher.out / "captions" / "best")

    def train(own: SGDiffSettings) -> None:
        train_on_pictures(own, *(read_pictures(own.data, split, own.on_bad) for split in ("train", "val")))

    train_once(settings, train)
    return settings


def _evaluated(run: Path) -> list[dict[str, float]]:
    return [row for row in read_history(run) if "evaluate/cider" in row]
