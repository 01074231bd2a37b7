"""The workload of the joint model of `segue.recipes.crossmodal`, for `segue data plan`."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice
from typing import Any

import numpy as np
import torch

from segue.data.formats import read_pictures
from segue.data.layouts import LayoutBatches
from segue.data.tokenizer import CaptionTokenizer
from segue.methods.crossmodal.boxes import layout_boxes, paint_boxes
from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.model import BINS_PER_CELL, build_crossmodal
from segue.methods.crossmodal.vq import VQConfig
from segue.recipes.crossmodal import (
    CAPTIONS_PER_LAYOUT,
    CaptionedLayouts,
    CrossModalSettings,
    captioned_layouts,
    model_config,
    padded_ids,
)
from segue.recipes.plan import SIZES, Workload
from segue.types import PictureSet

BASE: dict[str, Any] = {
    "width": 768,
    "heads": 12,
    "depth": 12,
    "vocabulary": 30_522,
    "norms": "post",
}  # ViT-B/16 and BERT-base


def plan_crossmodal(settings: CrossModalSettings) -> Workload:
    """The workload of the joint model of a training of `segue.recipes.crossmodal`.

    Weights are random, and so are the codes of the layouts: neither changes time or memory. Of the data the pictures
    that the plan's steps need are read, and the number of the others is taken from their captions.
    """
    pictures = read_pictures(settings.data, "train", settings.on_bad)
    fit = [
        one for one in pictures.pictures if one.label_map is not None and (one.captions or settings.template_captions)
    ]
    few = list(islice(fit, max(SIZES)))
    split = captioned_layouts(PictureSet(few, pictures.classes), settings, "train")
    tokenizer = CaptionTokenizer.learn(chain(*split.prompts))
    longest = max(tokenizer.encode(list(prompts), 512)[0].shape[1] for prompts in split.prompts)
    codes = VQConfig(len(pictures.classes), settings.factor).codes
    config = model_config(replace(settings, vit="", bert=""), codes, len(pictures.classes), tokenizer, longest)
    if settings.vit:
        config = replace(config, **BASE)
    batches = _batches(split, config, tokenizer)
    return Workload(
        examples=len(fit),
        steps=settings.steps,
        batch_size=settings.batch_size,
        averaged=settings.ema > 0,
        task=build_crossmodal(config),
        batch=lambda count: batches.collate([(0, i % len(batches)) for i in range(count)]),
    )


def _batches(split: CaptionedLayouts, config: CrossModalConfig, tokenizer: CaptionTokenizer) -> LayoutBatches:
    bins = BINS_PER_CELL * config.grid[0]
    draw = torch.Generator().manual_seed(0)
    return LayoutBatches(
        torch.randint(config.codes, (len(split), *config.grid), generator=draw, dtype=torch.int16),
        [padded_ids(tokenizer, config, texts) for texts in split.captions],
        images=split.images,
        prompt_ids=[padded_ids(tokenizer, config, texts) for texts in split.prompts],
        captions_per_layout=CAPTIONS_PER_LAYOUT,
        boxes=np.stack([paint_boxes(layout_boxes(one, bins, 14), bins) for one in split.layouts]),
    )
