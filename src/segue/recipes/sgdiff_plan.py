"""The workload of the trainings of `segue.recipes.sgdiff`, for `segue data plan`."""

from __future__ import annotations

from segue.data.formats import read_pictures
from segue.methods.sgdiff.graph import SPATIAL
from segue.methods.sgdiff.lexicon import build_lexicon
from segue.methods.sgdiff.model import SGDiff
from segue.methods.sgdiff.stages import JointStage
from segue.recipes.plan import Workload
from segue.recipes.sgdiff import SGDiffBatches, SGDiffSettings, config_of, stage_steps, with_named_regions


def plan_sgdiff(settings: SGDiffSettings) -> Workload:
    """Both stages counted as the second, which does all that the first does and the masks."""
    pictures = with_named_regions(read_pictures(settings.data, "train", "skip"), "train")
    config, lexicon = config_of(settings), build_lexicon(pictures, settings.min_count, SPATIAL)
    batches = SGDiffBatches(pictures, lexicon, config, settings)
    return Workload(
        examples=len(batches),
        steps=sum(stage_steps(settings).values()),
        batch_size=settings.batch_size,
        averaged=settings.ema > 0,
        task=JointStage(SGDiff(config, lexicon)),
        batch=lambda count: batches.collate([(0, i % len(batches)) for i in range(count)]),
    )
