"""Segmenters on real radiographs and nuclei, all trained for the same minutes by the plan of the data.

`ours` and `unet` have the same augmentation, windows, precision and CPU time (see `segue.recipes.reclmis_plan`); the
U-Net is MONAI's BasicUNet, which reads no notes. `otsu` and `mean_mask` need no training. `truth by other notes` is the
true mask without the zones that another picture's note doesn't name: what a perfect reader of notes would score with
shuffled ones, as far as they take something away. The notes of covid_cxr were
derived from its masks: what they are worth there is an upper bound. Each row also has the interval of 95 % of its Dice,
by 2,000 bootstrap samples of the scored patients (of pictures, where each is a patient of its own): those are few. The
rows of five folds score each picture of both splits by the model that saw nothing of its patient. A mask's threshold
hangs on how probabilities are calibrated, so that what is trained here is calibrated on its training pictures anew: a
training does that on those that are scored here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from segue.api import Segmenter, load_segmenter
from segue.data.medical.lvit import read_lvit
from segue.data.medical.note_batches import load_examples, shrink
from segue.data.medical.notes import invent_note, parse_note
from segue.data.medical.views import keep_zones
from segue.data.transforms import resize_mask
from segue.evaluation.notes import reverse_clauses, reword_notes, shuffle_notes, shuffle_words
from segue.lab.engine import RequiredData, Row, Work
from segue.lab.trained import train_once
from segue.methods.reclmis.model import RecLMIS, named_places
from segue.recipes.reclmis import (
    RECLMIS,
    RecLMISSettings,
    calibrate,
    folds_by_group,
    train_reclmis,
    views_to_validate,
)
from segue.recipes.reclmis_options import System
from segue.types import Example

SETS = ("covid_cxr", "monuseg")
DATA = RequiredData(f"a folder that holds {' and '.join(SETS)} in the LViT layout", SETS)
SEEDS = (0, 1, 2)
SYSTEMS: dict[str, System] = {"unet": "unet", "ours": "auto"}
MINUTES = {"": 3.0, ", 15 minutes": 15.0}  # of a CPU for a training, by what is added to the system's name
FOLDS = 5
FOLDED: dict[str, dict[str, Any]] = {label: {"system": system} for label, system in SYSTEMS.items()}
FOLDED["ours without zones"] = {"system": "auto", "zones": False}
UNSEEN = 1  # trainings take one number as the seed of an invented note
Change = Callable[[list[str | None]], list[str | None]]  # makes other notes of the examples' own
Masks = list[NDArray[np.bool_]]


def budget_table() -> list[Row]:
    """The rows, the cheapest first."""
    rows = []
    for name in SETS:
        rows += [
            Row(name, "otsu", 0, partial(_otsu, name), DATA),
            Row(name, "mean_mask", 0, partial(_mean, name), DATA),
        ]
    rows.append(Row("covid_cxr", "truth by other notes", 0, _truth, DATA))
    rows.append(Row("covid_cxr", "reclmis-cxr", 0, _bundled, DATA))
    rows.append(Row("covid_cxr", "reclmis-cxr, reworded", 0, _reworded, DATA))
    for added, minutes in MINUTES.items():
        for seed in SEEDS:
            for name in SETS:
                for label, system in SYSTEMS.items():
                    trained = partial(_trained, name, system, seed, minutes)
                    rows.append(Row(name, label + added, seed, trained, DATA))
    for label, changes in FOLDED.items():
        rows.append(Row("covid_cxr", f"{label}, five folds", 0, partial(_folds, "covid_cxr", changes), DATA))
    return rows


def _otsu(name: str, work: Work) -> dict[str, float]:
    """Otsu's threshold on the red channel, of its dark and its bright side the better one."""
    from skimage import filters

    examples = _examples(DATA.folder(work.data) / name, "val")
    otsu: Any = filters.threshold_otsu
    dark = [e.image[..., 0] < otsu(e.image[..., 0]) for e in examples]
    groups = [e.group for e in examples]
    found = [_summary(_dice(masks, examples), groups) for masks in (dark, [~mask for mask in dark])]
    return max(found, key=lambda one: one["dice"])


def _mean(name: str, work: Work) -> dict[str, float]:
    """The mean mask of the training split, where it is at least one half; a half of its maximum if it never is."""
    data = DATA.folder(work.data) / name
    masks = [resize_mask(e.mask, (256, 256)) for e in _examples(data, "train") if e.mask is not None]
    mean = np.mean(masks, 0)
    mask = mean >= min(0.5, mean.max() / 2)
    examples = _examples(data, "val")
    masks = [resize_mask(mask, e.image.shape[:2]) for e in examples]
    return _summary(_dice(masks, examples), [e.group for e in examples])


def _trained(name: str, system: System, seed: int, minutes: float, work: Work) -> dict[str, float]:
    data = DATA.folder(work.data) / name
    model = train_once(_settings(data, system, seed, minutes, work.row), train_reclmis)  # no validation selected it
    return _summed([(_calibrated(model, _examples(data, "train")), _examples(data, "val"))])


def _folds(name: str, changes: dict[str, Any], work: Work) -> dict[str, float]:
    """Every picture by the model of the fold that held its patient out; MINUTES[""] for each fold."""
    data = DATA.folder(work.data) / name
    settings = replace(_settings(data, "auto", 0, FOLDS * MINUTES[""], work.row), folds=FOLDS, **changes)
    train_once(settings, train_reclmis)
    parts = folds_by_group(_examples(data, "train") + _examples(data, "val"), FOLDS, settings.seed)
    folders = [settings.out / f"fold-{i}" / "last" for i in range(FOLDS)]
    return _summed([(_calibrated(one, train), val) for one, (train, val) in zip(folders, parts, strict=True)])


def _calibrated(folder: Path, train: Sequence[Example]) -> Segmenter:
    model = load_segmenter(folder)
    patches: Literal["yes", "no"] = "yes" if model.window else "no"
    size = model.preprocessing.size
    views = views_to_validate(train, replace(RECLMIS, patches=patches, image_size=size))
    temperature = calibrate(model.members[0], model.preprocessing, [shrink(view, size) for view in views])
    model.members = [replace(model.members[0], temperature=temperature)]
    return model


def _bundled(work: Work) -> dict[str, float]:
    """The bundled model, which saw the training split of these pictures."""
    model = load_segmenter("reclmis-cxr")
    return _summed([(model, _examples(DATA.folder(work.data) / "covid_cxr", "val"))])


def _reworded(work: Work) -> dict[str, float]:
    """The bundled model by notes that say the same in other words, and by words in any order."""
    examples, model = _examples(DATA.folder(work.data) / "covid_cxr", "val"), load_segmenter("reclmis-cxr")
    notes = [e.note for e in examples]
    changed = {
        "synonyms": [reword_notes(notes)],
        "clauses_reversed": [reverse_clauses(notes)],
        "words_in_any_order": [shuffle_words(notes, seed) for seed in SEEDS],
    }
    scored = {what: [_scored(model, examples, one).mean() for one in all_] for what, all_ in changed.items()}
    return {f"dice_{what}": float(np.mean(dice)) for what, dice in scored.items()} | {"zones_read": _zones_read(model)}


def _zones_read(model: Segmenter) -> float:
    """The share of 500 invented notes of which the model reads all zones and no other."""
    notes = [invent_note(np.random.default_rng([UNSEEN, i])) for i in range(500)]
    network = model.members[0].network
    assert isinstance(network, RecLMIS)
    assert network.zones is not None
    with torch.inference_mode():
        read = (network.zones.logits(*network.encode_notes(notes)) > 0).tolist()
    return float(np.mean([one == named_places(note) for one, note in zip(read, notes, strict=True)]))


def _truth(work: Work) -> dict[str, float]:
    """The Dice of true masks cut to the zones of shuffled notes, where both notes name zones."""
    examples = _examples(DATA.folder(work.data) / "covid_cxr", "val")
    cut = [[_cut(e, note) for e, note in zip(examples, notes, strict=True)] for notes in _shuffled(examples)]
    return {"dice": 1.0, "dice_shuffled_notes": float(np.mean([_dice(masks, examples) for masks in cut]))}


def _cut(example: Example, note: str | None) -> NDArray[np.bool_]:
    own, other = (parse_note(one or "") for one in (example.note, note))
    assert example.mask is not None
    if own is None or other is None:
        return example.mask
    return keep_zones(example.mask, own.zones(), other.zones())


def _shuffled(examples: Sequence[Example]) -> list[list[str | None]]:
    """The notes given to other pictures, for each of SEEDS."""
    return [shuffle_notes([e.note for e in examples], seed) for seed in SEEDS]


def _summed(models: Sequence[tuple[Segmenter, Sequence[Example]]]) -> dict[str, float]:
    """Dice over the pictures of all models, each with those that it is scored on; by other notes if they are read."""
    groups = [e.group for _, part in models for e in part]
    noted = all(model.members[0].network.reads_notes for model, _ in models)

    def scored(change: Change) -> NDArray[np.float64]:
        return np.concatenate([_scored(model, part, change([e.note for e in part])) for model, part in models])

    if not noted:
        return _summary(scored(lambda notes: [None] * len(notes)), groups)
    found = {
        "dice_shuffled_notes": float(np.mean([scored(partial(shuffle_notes, seed=seed)).mean() for seed in SEEDS])),
        "dice_no_notes": float(scored(lambda notes: [None] * len(notes)).mean()),
    }
    return _summary(scored(list), groups) | found


def _settings(data: Path, system: System, seed: int, minutes: float, out: Path) -> RecLMISSettings:
    return replace(RECLMIS, data=data, out=out, seed=seed, minutes=minutes, evaluations=1, on_bad="skip", system=system)


def _examples(data: Path, split: str) -> list[Example]:
    return load_examples(read_lvit(data, split, "skip"))  # a picture of covid_cxr has two notes, the first counts


def _scored(model: Segmenter, examples: Sequence[Example], notes: Sequence[str | None]) -> NDArray[np.float64]:
    answers = model.segment_many([e.image for e in examples], notes)
    return _dice([answer.mask for answer in answers], examples)


def _dice(masks: Masks, examples: Sequence[Example]) -> NDArray[np.float64]:
    """Dice of each picture on its own grid."""
    pairs = [(mask, e.mask) for mask, e in zip(masks, examples, strict=True) if e.mask is not None]
    return np.array([2 * (a & b).sum() / max(1, a.sum() + b.sum()) for a, b in pairs])


def _summary(dice: NDArray[np.float64], groups: Sequence[str]) -> dict[str, float]:
    """Mean over the pictures, with the interval of 95 % by the bootstrap over their patients."""
    of = np.unique(groups, return_inverse=True)[1]
    totals, counts = np.bincount(of, dice), np.bincount(of)
    drawn = np.random.default_rng(0).choice(len(counts), (2000, len(counts)))
    low, high = np.quantile(totals[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return {"dice": float(dice.mean()), "dice_low": float(low), "dice_high": float(high)}
