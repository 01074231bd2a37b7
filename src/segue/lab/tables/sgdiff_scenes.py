"""The table of stories: what `segue ablate sgdiff_scenes` runs, every row with the same short recipe.

Rows that ask for the same training share it, and those that differ in MECL alone share the first stage, which has none.

experiment main: the paper's ablations, the rival that writes word by word, and "sequential": the caption first, by the
system that only tells, then the masks of the nouns it told, by the system that only outlines (both of the row's seed).
experiments lambda_adaptor and lambda_mecl: the curves over lambda_1 and lambda_2. sgdiff_scenes_full: the bundled
model, of the full recipe. Metrics are those of `sgdiff_scores` with the first noun's box as the prompt, and after
"random_" with any object's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from segue.api.describer import Describer, load_describer
from segue.data.formats import read_pictures
from segue.evaluation.grounded_captions import (
    DRAWS,
    Case,
    Prompt,
    cases_of,
    nouns_of,
    score_cases,
    score_stories,
    tell_by,
)
from segue.files import locked
from segue.lab.engine import Row, Work
from segue.lab.tables.data import given_or_default_scenes
from segue.methods.sgdiff.checkpoint import restore
from segue.methods.sgdiff.lexicon import word_spans
from segue.recipes.sgdiff import SCENES, SGDiffSettings, sgdiff, usable
from segue.training.state import has_state
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
LIKE_FULL = ("full", "mecl_none", "mecl_intra", "mecl_inter")  # in the first stage
LAMBDAS = (0.0, 1.0, 2.0, 5.0, 10.0)
BUNDLED = "sgdiff-scenes"
TESTED = 150  # of the test pictures
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
    """The bundled model, with the first noun's box as the prompt and with any object's; "drawn" at temperature 1.

    --data: as above.
    """
    return [
        Row("test", f"bundled, {prompt}{more}", 0, partial(_bundled, SHORT, prompt, temperature))
        for temperature, more in ((0.0, ""), (1.0, ", drawn"))
        for prompt in PROMPTS
    ]


def _row(settings: SGDiffSettings, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    model, pictures = restore(_trained(settings, work))[0], _tested(settings)
    first, random = (score_stories(model, pictures, prompt) for prompt in PROMPTS)
    return _joined(first, random)


def _bundled(settings: SGDiffSettings, prompt: Prompt, temperature: float, work: Work) -> dict[str, float]:
    pictures = _tested(_with_data(settings, work))
    return score_stories(load_describer(BUNDLED).model, pictures, prompt, temperature=temperature)


def _sequential(settings: SGDiffSettings, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    teller, outliner = (
        Describer(restore(_trained(replace(settings, system=part), work))[0]) for part in ("caption_only", "mask_only")
    )
    pictures = _tested(settings)
    tell = partial(tell_in_turn, teller, outliner, nouns_of(pictures))
    first, random = (score_cases(tell, cases_of(pictures, prompt), draws=DRAWS) for prompt in PROMPTS)
    return _joined(first, random)


def tell_in_turn(
    teller: Describer, outliner: Describer, classes: dict[str, str], case: Case, count: int, seed: int
) -> list[GroundedCaption]:
    """The caption first, then the masks of the words in it that name a class: the first such word takes the masks."""
    masks, stories = tell_by(outliner, case, 1, seed)[0].links, []
    for story in tell_by(teller, case, count, seed):
        first: dict[str, tuple[int, int]] = {}
        for word, start, end in word_spans(story.caption):
            first.setdefault(classes.get(word, ""), (start, end))
        links = [_tied(mask, story.caption, *first[mask.label]) for mask in masks if mask.label in first]
        stories.append(GroundedCaption(story.caption, story.score, tuple(links)))
    return stories


def _tied(mask: PhraseGrounding, caption: str, start: int, end: int) -> PhraseGrounding:
    return replace(mask, start=start, end=end, phrase=caption[start:end])


def _joined(first: dict[str, float], random: dict[str, float]) -> dict[str, float]:
    return first | {f"random_{name}": value for name, value in random.items()}


def _tested(settings: SGDiffSettings) -> Sequence[Picture]:
    return usable(read_pictures(settings.data, "test", settings.on_bad), "test")[:TESTED]


def _trained(settings: SGDiffSettings, work: Work) -> Path:
    """The best weights of a short training: made by the first row that asks, gone on with where it was stopped."""
    out = work.table / f"shared-{settings.system}-{settings.lambda_adaptor:g}-{settings.lambda_mecl:g}-{settings.seed}"
    full = replace(settings, system="full", lambda_mecl=SHORT.lambda_mecl)
    with locked(out):
        if not (out / "last" / "config.json").exists():
            if settings.system in LIKE_FULL and settings != full:
                settings = replace(settings, captions=_trained(full, work).parent / "captions" / "best")
            begun = has_state(out / "state") or has_state(out / "captions" / "state")
            sgdiff(replace(settings, out=out, resume=begun))
    return out / "best"


def _with_data(settings: SGDiffSettings, work: Work) -> SGDiffSettings:
    """The settings with the scenes drawn, once for all rows, unless the table was given some."""
    return replace(settings, data=given_or_default_scenes(work))
