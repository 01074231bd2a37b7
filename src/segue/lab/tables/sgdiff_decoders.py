"""The table `sgdiff_decoders`: the ways to make a caption, side by side, all else being one network's and frozen.

Each row trains one decoder for equal steps on the picture side of the bundled model (`--start`): the same backbone,
nodes, adaptor and graph layers, so that decoders alone differ. They are scored on val with the first noun's box:
single captions at several numbers of steps (cider_s4 and so on, one try), and five captions of the default tries with
each decoder at its own temperature: cider_selected, cider_oracle5, distinct2. That side was trained together with
analog bits, which flatters these, if any.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from segue.api.describer import Describer
from segue.data.formats import read_pictures
from segue.evaluation.grounded_captions import describe_case, make_cases, score_cases
from segue.lab.engine import Row, Work
from segue.lab.tables.data import given_or_default_scenes
from segue.methods.sgdiff.checkpoint import restore
from segue.options import DescribeOptions
from segue.recipes.sgdiff import SCENES, SGDiffSettings, train_sgdiff, with_named_regions
from segue.training.state import has_state

DECODERS = {"bits": "full", "bits, time warped": "time_warp", "masked": "masked", "word by word": "autoregressive"}
STEPS = (4, 12, 20)
VAL_PICTURES = 100
BASE = "sgdiff-scenes"
QUICK = replace(SCENES, start=BASE, caption_steps=450, steps=1, evaluations=1, val_pictures=4)


def sgdiff_decoders_table() -> list[Row]:
    """Four decoders, one seed. --data: scenes; drawn once unless given."""
    return [Row("captions", name, 0, partial(_row, replace(QUICK, system=system))) for name, system in DECODERS.items()]


def _row(settings: SGDiffSettings, work: Work) -> dict[str, float]:
    out = work.table / settings.system
    settings = replace(settings, data=given_or_default_scenes(work), out=out)
    if not (out / "captions" / "best" / "config.json").exists():
        resume = has_state(out / "captions" / "state")
        train_sgdiff(replace(settings, resume=resume))
    model = restore(out / "captions" / "best")[0]
    val = with_named_regions(read_pictures(settings.data, "val", settings.on_bad), "val")[:VAL_PICTURES]
    cases, describer = make_cases(val, "first"), Describer(model)
    found = score_cases(partial(describe_case, describer), cases, java=False, masks=False)
    if model.config.decoder == "autoregressive":  # it has one word a step
        return found
    for steps in STEPS:
        options = DescribeOptions(steps=steps, best_of=1)
        one = score_cases(partial(describe_case, describer, options=options), cases, num=1, java=False, masks=False)
        found |= {f"{name}_s{steps}": one[name] for name in ("cider", "broken")}
    return found
