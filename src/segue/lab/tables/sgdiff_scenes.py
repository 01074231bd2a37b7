"""The tables `sgdiff_scenes` and `sgdiff_scenes_full`: grounded captions of synthetic scenes.

Rows of sgdiff_scenes have the same short training; those with equal settings share it, and those that differ in MECL
alone share the first stage, which doesn't have it.

experiment main: the paper's ablations, the autoregressive baseline, and "sequential": the caption first, by the system
without masks, then the masks of the nouns in it, by the system without captions (both of the row's seed).
experiments lambda_adaptor and lambda_mecl: the curves over lambda_1 and lambda_2. sgdiff_scenes_full: the bundled
model, of the full training. Metrics are those of `segue.evaluation.grounded_captions` with the first noun's box as the
prompt, and with the prefix "random_" for any object's.

experiment gradients of sgdiff_scenes_full: how strongly each term of the loss pulls at the bundled model's features,
over the cross-entropy's pull (`JointStage.term_gradients`; picture_dice_pull and so on), with MECL as it is, with
--mecl-by-noise, and with --mecl-words detached as well; and by what clipping at norm 1 scales the gradient of what
makes captions, with all parts clipped together (`captions_clipped`) and with --apart (`captions_clipped_apart`). Means
over PULLS batches of val.

experiment nodes of sgdiff_scenes_full: single captions of the bundled models on scenes of val, of the nodes that the
adaptor chooses (as always), of those that the prompt's caption names (as in training), and of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from segue.api.describer import Describer, ScenePredictor, load_describer
from segue.data.english import word_spans
from segue.data.formats import read_pictures
from segue.evaluation.grounded_captions import (
    DRAWS,
    Case,
    Prompt,
    describe_case,
    make_cases,
    noun_classes,
    score_cases,
    score_model,
)
from segue.lab.engine import Row, Work
from segue.lab.tables.data import given_or_default_scenes
from segue.lab.trained import train_once
from segue.methods.sgdiff.adaptor import AdaptorOutput
from segue.methods.sgdiff.checkpoint import restore
from segue.methods.sgdiff.model import SGDiff
from segue.methods.sgdiff.stages import JointStage
from segue.recipes.sgdiff import SCENES, SGDiffBatches, SGDiffSettings, train_sgdiff, with_named_regions
from segue.types import GroundedCaption, PhraseGrounding, Picture

SEEDS = (0, 1, 2)
SYSTEMS = (
    "full",
    "no_psga",
    "filter",
    "rank",
    "no_cross_attention",
    "mask_only",
    "caption_only",
    "mecl_none",
    "mecl_intra",
    "mecl_inter",
    "autoregressive",
)
PROMPTS: tuple[Prompt, ...] = ("first", "any")
SAME_FIRST_STAGE = ("full", "mecl_none", "mecl_intra", "mecl_inter")
LAMBDAS = (0.0, 1.0, 2.0, 5.0, 10.0)
BUNDLED, WORD_BY_WORD = "sgdiff-scenes", "describe-scenes"
MECLS: dict[str, dict[str, Any]] = {
    "as printed": {},
    "by noise": {"mecl_by_noise": True},
    "by noise, words detached": {"mecl_by_noise": True, "mecl_words": "detached"},
}
PULLS = 4
Nodes = Literal["chosen", "named", "all"]
NODES_PICTURES = 300
TEST_PICTURES = 150
SHORT = replace(SCENES, caption_steps=800, steps=800, evaluations=1)


def sgdiff_scenes_table() -> list[Row]:
    """12 systems by 3 seeds, then the curves over both lambdas. --data: scenes; drawn once unless given."""
    rows = []
    for seed in SEEDS:
        for system in SYSTEMS:
            rows.append(Row("main", system, seed, partial(_row, replace(SHORT, system=system, seed=seed))))
        rows.append(Row("main", "sequential", seed, partial(_sequential, replace(SHORT, seed=seed))))
    for value in LAMBDAS:  # 0 is the system without the part
        adaptor = replace(SHORT, lambda_adaptor=value) if value else replace(SHORT, system="no_psga")
        mecl = replace(SHORT, lambda_mecl=value) if value else replace(SHORT, system="mecl_none")
        rows.append(Row("lambda_adaptor", f"{value:g}", 0, partial(_row, adaptor)))
        rows.append(Row("lambda_mecl", f"{value:g}", 0, partial(_row, mecl)))
    return rows


def sgdiff_bundled_table() -> list[Row]:
    """The bundled models, with the first noun's box as the prompt and with any object's; "sampled" at temperature 1.

    describe-scenes at its own temperature. --data: as above.
    """
    rows = [
        Row("test", f"bundled, {prompt}{suffix}", 0, partial(_bundled, SHORT, BUNDLED, prompt, temperature))
        for temperature, suffix in ((0.0, ""), (1.0, ", sampled"))
        for prompt in PROMPTS
    ]
    rows += [
        Row("test", f"{WORD_BY_WORD}, {prompt}", 0, partial(_bundled, SHORT, WORD_BY_WORD, prompt, None))
        for prompt in PROMPTS
    ]
    rows += [
        Row("nodes", f"{model}, {nodes}", 0, partial(_given_nodes, SHORT, model, nodes))
        for model in (BUNDLED, WORD_BY_WORD)
        for nodes in get_args(Nodes)
    ]
    return rows + [Row("gradients", name, 0, partial(_gradients, SHORT, changes)) for name, changes in MECLS.items()]


def _row(settings: SGDiffSettings, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    model, pictures = restore(_trained(settings, work))[0], _test_pictures(settings)
    first, random = (score_model(model, pictures, prompt) for prompt in PROMPTS)
    return _joined(first, random)


def _bundled(
    settings: SGDiffSettings, name: str, prompt: Prompt, temperature: float | None, work: Work
) -> dict[str, float]:
    pictures = _test_pictures(_with_data(settings, work))
    return score_model(load_describer(name).model, pictures, prompt, temperature=temperature)


def _gradients(settings: SGDiffSettings, changes: dict[str, Any], work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    model = load_describer(BUNDLED).model
    model.config = replace(model.config, **changes)
    val = with_named_regions(read_pictures(settings.data, "val", settings.on_bad), "val")
    stage, batches = JointStage(model, apart=True).eval(), SGDiffBatches(val, model.lexicon, model.config, settings)
    drawn = [batches.collate([(epoch, i) for i in range(settings.batch_size)]) for epoch in range(PULLS)]
    found = [stage.term_gradients(batch, i) | _clipped(stage, batch, i) for i, batch in enumerate(drawn)]
    means = {name: fmean(one[name] for one in found) for name in found[0]}
    return {_pull_name(name): value for name, value in means.items()}


def _given_nodes(settings: SGDiffSettings, name: str, nodes: Nodes, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    val = with_named_regions(read_pictures(settings.data, "val", settings.on_bad), "val")[:NODES_PICTURES]
    describer = load_describer(name)
    describer.generator = given = GivenNodes(describer.model, nodes)

    def describe(case: Case, num: int, seed: int) -> list[GroundedCaption]:
        height, width = case.picture.load().shape[:2]
        boxes = np.array([case.picture.regions[region].box for region in case.named])
        given.named = torch.from_numpy(boxes / [width, height, width, height]).float()
        return describe_case(describer, case, num, seed)

    return score_cases(describe, make_cases(val, "first"), num=1, java=False, masks=False)


class GivenNodes(ScenePredictor):
    """A predictor that may be given the nodes. named: (M, 4), the boxes of those that a caption names, as fractions."""

    def __init__(self, model: SGDiff, nodes: Nodes) -> None:
        super().__init__(model)
        self.nodes, self.named = nodes, torch.zeros(0, 4)

    def choose_nodes(
        self, output: AdaptorOutput, batch: dict[str, Tensor], num: int, seed: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As the base's; the probability stays that of the adaptor's own nodes, which single captions don't need."""
        prompt_of, keep, log_p = super().choose_nodes(output, batch, num, seed)
        if self.nodes == "named":
            distance = (batch["boxes"][:, :, None] - self.named).abs().amax(-1)  # (P, N, M)
            keep = ((distance.amin(-1) < 1e-4) & batch["node_mask"])[prompt_of]
            keep[:, 0] = True  # the prompt's node
        elif self.nodes == "all":
            keep = batch["node_mask"][prompt_of]
        return prompt_of, keep, log_p


def _pull_name(name: str) -> str:
    return f"{name.removeprefix('gradient_')}_pull" if name.startswith("gradient_") else name


def _clipped(stage: JointStage, batch: dict[str, Tensor], seed: int) -> dict[str, float]:
    """By what clipping at 1 scales the gradient of all that `clip_apart` leaves: with the rest together, and apart."""
    stage.zero_grad()
    torch.manual_seed(seed)
    stage.training_step(batch)["loss"].backward()
    parts = {True: 0.0, False: 0.0}
    for name, parameter in stage.named_parameters():
        if parameter.grad is not None:
            parts[name.startswith(stage.clip_apart)] += float(parameter.grad.square().sum())
    together, captions = sum(parts.values()) ** 0.5, parts[False] ** 0.5
    return {"captions_clipped": min(1.0, 1 / together), "captions_clipped_apart": min(1.0, 1 / captions)}


def _sequential(settings: SGDiffSettings, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    captioner, segmenter = (
        Describer(restore(_trained(replace(settings, system=part), work))[0]) for part in ("caption_only", "mask_only")
    )
    pictures = _test_pictures(settings)
    describe = partial(describe_sequentially, captioner, segmenter, noun_classes(pictures))
    first, random = (score_cases(describe, make_cases(pictures, prompt), draws=DRAWS) for prompt in PROMPTS)
    return _joined(first, random)


def describe_sequentially(
    captioner: Describer, segmenter: Describer, classes: dict[str, str], case: Case, num: int, seed: int
) -> list[GroundedCaption]:
    """The captions first; then each mask is grounded in the first word that names its class, or else left out.

    classes: word -> class.
    """
    masks, found = describe_case(segmenter, case, 1, seed)[0].groundings, []
    for caption in describe_case(captioner, case, num, seed):
        first: dict[str, tuple[int, int]] = {}
        for word, start, end in word_spans(caption.caption):
            first.setdefault(classes.get(word, ""), (start, end))
        groundings = [_grounded(mask, caption.caption, *first[mask.label]) for mask in masks if mask.label in first]
        found.append(replace(caption, groundings=tuple(groundings)))
    return found


def _grounded(mask: PhraseGrounding, caption: str, start: int, end: int) -> PhraseGrounding:
    return replace(mask, start=start, end=end, phrase=caption[start:end])


def _joined(first: dict[str, float], random: dict[str, float]) -> dict[str, float]:
    return first | {f"random_{name}": value for name, value in random.items()}


def _test_pictures(settings: SGDiffSettings) -> Sequence[Picture]:
    return with_named_regions(read_pictures(settings.data, "test", settings.on_bad), "test")[:TEST_PICTURES]


def _trained(settings: SGDiffSettings, work: Work) -> Path:
    """The best weights of a short training: started by the first row that needs it, resumed if it was stopped."""
    out = work.table / f"shared-{settings.system}-{settings.lambda_adaptor:g}-{settings.lambda_mecl:g}-{settings.seed}"
    full = replace(settings, system="full", lambda_mecl=SHORT.lambda_mecl)

    def train(own: SGDiffSettings) -> None:
        if settings.system in SAME_FIRST_STAGE and settings != full:
            own = replace(own, captions=_trained(full, work).parent / "captions" / "best")
        train_sgdiff(own)

    return train_once(replace(settings, out=out), train).parent / "best"


def _with_data(settings: SGDiffSettings, work: Work) -> SGDiffSettings:
    """The settings with the scenes of `--data`, or else the default ones."""
    return replace(settings, data=given_or_default_scenes(work))
