"""The workload of the decoder of the trainings of `segue.recipes.syntic`, for `segue data plan`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segue.data.tokenizer import CaptionTokenizer
from segue.methods.syntic import build_syntic
from segue.methods.syntic.tagging import pad_indices
from segue.recipes.plan import Workload
from segue.recipes.syntic import CaptionBatches, SynticSettings, model_config, read_captions

WIDTH = 512  # of the features of CLIP ViT-B/32, which is not loaded for a plan
NAMES = 3  # objects found in a picture


def plan_syntic(settings: SynticSettings) -> Workload:
    """The workload of the decoder's training, on random features; pictures to draw first are only counted.

    Raises InputError for captions that can't be read, and a system that has nothing to train.
    """
    corpus, config = read_captions(settings.data, settings.max_words, settings.on_bad), model_config(settings)
    tokenizer = CaptionTokenizer.learn(corpus.captions, size=settings.vocabulary)
    captions = corpus.captions[: settings.pictures]
    few = captions[: settings.batch_size]
    columns: dict[str, Tensor] = {
        name: torch.randn(len(few), WIDTH) for name in ("text", "image", "query", "projected")
    }
    if config.neighbours:
        columns["neighbours"] = torch.randn(len(few), config.neighbours, WIDTH)
    batches = CaptionBatches(
        few, tokenizer, config.max_tokens, columns, torch.randn(NAMES, WIDTH), pad_indices([[*range(NAMES)]] * len(few))
    )
    drawn: dict[str, Any] = {}
    if config.source == "image" and settings.text_to_image != "text":
        drawn = {"pictures_to_draw": len(captions)}
    return Workload(
        examples=len(captions),
        steps=settings.steps,
        batch_size=settings.batch_size,
        averaged=settings.ema > 0,
        task=build_syntic(
            config, vocabulary=len(tokenizer), encoder_width=WIDTH, end=tokenizer.end,
            suppressed_token_ids=tokenizer.suppressed_token_ids,
        ),
        batch=lambda count: batches.collate([(0, i % len(few)) for i in range(count)]),
        chosen=drawn,
    )  # fmt: skip
