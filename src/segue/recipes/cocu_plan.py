"""The workloads of the trainings of `segue.recipes.cocu`, for `segue data plan`."""

from __future__ import annotations

from dataclasses import replace

from segue.api.curation import read_curation_corpus
from segue.methods.cocu.curation.cost import plan_curation
from segue.recipes.cocu import (
    CocuBatches,
    CocuSettings,
    build_model,
    read_cells,
    training_options,
    training_task,
)
from segue.recipes.plan import Workload


def plan_cocu(settings: CocuSettings) -> Workload:
    """The workload of a training of `segue.recipes.cocu`.

    The caption's nouns stand for the concepts of an archive, whole words for CLIP's tokens, so that neither has to be
    there.
    """
    settings = replace(settings, system="groupvit", probability=False, tokenizer=None)
    corpus = read_curation_corpus(
        settings.data, "train", captions=settings.captions, vocabulary=settings.vocabulary, on_bad=settings.on_bad
    )
    reader = read_cells(settings, corpus, kept=False)
    model = build_model(settings, corpus, (), reader)
    batches = CocuBatches(corpus, None, settings, model, reader)
    options = training_options(settings, len(batches))
    sizes = {"these_pictures": len(batches), "cc3m": 2_750_000, "cc12m": 12_400_000, "400m": 400_000_000}
    return Workload(
        examples=len(batches),
        steps=options.steps,
        batch_size=options.batch_size,
        averaged=options.ema > 0,
        task=training_task(model, settings, corpus, reader),
        batch=lambda count: batches.collate([(0, i % len(batches)) for i in range(count)]),
        chosen={"curation_core_hours": plan_curation(sizes)},
    )
