"""The tables of note-guided segmentation: what `segue lab run reclmis` and its like run.

Every row of a table uses the same short recipe. It is short so that all rows fit into an evening on 2 CPU cores:
the rows compare systems with each other, not with the best that a system reaches after a long training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segue.api import load_segmenter
from segue.data.medical.lvit import read_lvit, splits
from segue.data.medical.note_batches import load_examples
from segue.evaluation.notes import evaluate, reverse_clauses, reword_notes, shuffle_notes, shuffle_words
from segue.lab.bench.reclmis import macs
from segue.lab.conditions import condition_shares
from segue.lab.engine import RequiredData, Row, Work
from segue.lab.trained import train_once
from segue.methods.reclmis.config import SIZES
from segue.methods.segmenters import NetworkConfig
from segue.options import SegmentOptions
from segue.recipes.reclmis import RecLMISSettings, create_chest_once, train_network
from segue.recipes.reclmis_options import System, network_config
from segue.training import read_history

SEEDS = (0, 1, 2)
PAIRED = tuple(range(6))  # a seed decides the first weights, the order of the pictures and their augmentation
COMPARED: tuple[System, ...] = ("unet", "text_blind", "full")
METRICS = ("dice", "iou", "miou", "class_miou")
SHORT = RecLMISSettings(out=Path(), data=Path(), image_size=64, steps=240, batch_size=16, evaluations=1, ema=0.98)
# 14 x 14 patches. After 300 steps a network hardly reads the notes, after 900 it does (Dice .65 and .80 of val).
GRID = replace(SHORT, image_size=112, steps=900, batch_size=8, evaluations=3)
GRID_WIDTHS = (16, 32, 64)
AS_PUBLISHED = SegmentOptions(threshold=0.5)  # for all systems and pictures
Network = NetworkConfig | None
Notes = Callable[[list[str | None]], list[str | None]] | None  # makes other notes of the examples' own


def ablations_table() -> list[Row]:
    """Tables III, IV and V and Fig. 7, 8, 11 and 12 with 14 x 14 patches, on --data in the LViT layout or on phantoms.

    The rows of a seed are trained alike but for what their names say, so that they are compared in pairs.
    """
    groups = ((TERMS, SEEDS), (RIVALS, SEEDS), (TERMS, PAIRED[len(SEEDS) :]), (SINGLE_CHANGES, PAIRED))
    rows = []
    for systems, seeds in groups:  # what the claims need most comes first
        for seed in seeds:
            for system, changes in systems.items():
                widths = {} if changes.get("system") == "unet" else {"widths": GRID_WIDTHS}
                settings = replace(GRID, seed=seed, **{**widths, **changes})
                rows.append(Row("main", system, seed, partial(_ablation, settings)))
    return rows


Changes = dict[str, dict[str, Any]]  # name of a row -> its settings
WEIGHTED = {"reconstruction_scale": "mean"}  # by W_poi and W_woi, as Eq. 8 and 10 have it
TERMS: Changes = {
    "ci": {"system": "ci"},
    "full": {},
    "no conditions": {"conditions": ("none",)},  # Table IV
    "full, weighted": WEIGHTED,
    "full, detached": {"reconstruction_scale": "detached"},
    "ci_cvr": {"system": "ci_cvr"},  # Table III
    "ci_clr": {"system": "ci_clr"},
    "ci_cvr, weighted": {"system": "ci_cvr", **WEIGHTED},
    "ci_clr, weighted": {"system": "ci_clr", **WEIGHTED},
    "text_blind": {"system": "text_blind"},
}
RIVALS: Changes = {  # a step of lvit takes five times as long as one of ours, one of unet three times
    "ci, 3 times as long": {"system": "ci", "steps": 3 * GRID.steps},
    "lvit": {"system": "lvit", "widths": GRID_WIDTHS[:1]},
    "unet": {"system": "unet"},
    "full, printed": {"condition_order": "printed", "reconstruction_scale": "printed"},
}
SINGLE_CHANGES: Changes = {
    "full, ramp": {"ramp": 0.5},
    "ci, no ccl": {"system": "ci", "ccl": False},
    "no conditions in ccl": {"conditions": ("clr", "cvr")},
    "no conditions in clr": {"conditions": ("ccl", "cvr")},
    "no conditions in cvr": {"conditions": ("ccl", "clr")},
    "self attention in ci": {"interaction": "self"},  # Table V
    "self attention in cvr and clr": {"reconstruction": "self"},
    "self attention in all": {"interaction": "self", "reconstruction": "self"},
    "random masking": {"masking": "random"},  # Fig. 7
    "0.3 of the patches masked": {"mask_ratio_vision": 0.3},  # Fig. 8
    "0.9 of the patches masked": {"mask_ratio_vision": 0.9},
    "0.1 of the words masked": {"mask_ratio_text": 0.1},
    "0.5 of the words masked": {"mask_ratio_text": 0.5},
    "1 layer": {"reconstruction_layers": 1},  # Fig. 11
    "7 layers": {"reconstruction_layers": 7},
    "lambda_1 0.1": {"lambda_v2t": 0.1},  # Fig. 12
    "lambda_1 1.5": {"lambda_v2t": 1.5},
    "lambda_2 0.1": {"lambda_t2v": 0.1},
    "lambda_2 1.5": {"lambda_t2v": 1.5},
    "lambda_3 0.5": {"lambda_ccl": 0.5},
    "lr 0.0003": {"lr": 3e-4},
    "lr 0.003": {"lr": 3e-3},
}


def pareto_table() -> list[Row]:
    """Dice against multiply-accumulates at 224x224, over widths, stems and kinds of convolution."""
    base = SIZES["segue"]
    networks = {
        "w16": replace(base, widths=(16, 32, 64, 128)),
        "w24": replace(base, widths=(24, 48, 96, 192)),
        "segue (w32)": base,
        "w32 separable": replace(base, convolution="separable"),
    }
    rows = [
        Row("pareto", name, seed, partial(_pareto, replace(SHORT, seed=seed), network))
        for seed in SEEDS
        for name, network in networks.items()
    ]
    paper = [replace(SHORT, size="faithful", seed=seed) for seed in SEEDS]
    return rows + [Row("pareto", "faithful", s.seed, partial(_pareto, s, None)) for s in paper]


def real_table() -> list[Row]:
    """Real chest X-rays and nuclei at 224x224: do notes help there? --data holds covid_cxr/ and monuseg/."""
    rows, shuffled = [], []
    for seed in SEEDS:
        for name in REAL_SETS:
            for system in (COMPARED[0], COMPARED[-1]):
                settings = replace(REAL, system=system, seed=seed)
                rows.append(Row(name, system, seed, partial(_real, settings, name), REAL_DATA))
            full = replace(REAL, seed=seed)
            shuffled.append(Row(name, "full_shuffled_notes", seed, partial(_real_shuffled, full, name), REAL_DATA))
    return rows + shuffled


REAL_SETS = ("covid_cxr", "monuseg")
REAL_DATA = RequiredData(f"a folder that holds {' and '.join(REAL_SETS)} in the LViT layout", REAL_SETS)
REAL = RecLMISSettings(out=Path(), data=Path(), image_size=224, steps=60, batch_size=8, evaluations=1, ema=0.9)


def bundled_table() -> list[Row]:
    """The bundled checkpoint on the test phantoms: by their own notes, by others, by none, and by other words."""
    notes: dict[str, Notes] = {
        "own notes": None,
        "shuffled notes": partial(shuffle_notes, seed=0),
        "no notes": lambda notes: [None] * len(notes),
        "synonyms": reword_notes,
        "clauses reversed": reverse_clauses,
        "words in any order": partial(shuffle_words, seed=0),
    }
    return [Row("test", f"bundled, {name}", 0, partial(_bundled, change)) for name, change in notes.items()]


def _chest_data(work: Work) -> Path:
    return create_chest_once(work.shared / "data-chest-a")


def _trained(settings: RecLMISSettings, network: Network) -> Path:
    """The last weights of a short training, which is resumed where it was stopped; validation selects none."""
    return train_once(settings, lambda own: train_network(own, network or network_config(own)))


def _score(model: Path | str, data: Path, split: str, notes: Notes = None) -> dict[str, float]:
    examples = load_examples(read_lvit(data, split, "skip"))  # a picture of covid_cxr has two notes, the first counts
    changed = None if notes is None else notes([e.note for e in examples])
    result = evaluate(load_segmenter(model), examples, empty="one", notes=changed, options=AS_PUBLISHED)
    return {name: result[name] for name in METRICS}


def _ablation(settings: RecLMISSettings, work: Work) -> dict[str, float]:
    data = work.data if work.data is not None else _chest_data(work)
    model = _trained(replace(settings, out=work.row, data=data), None)
    split = "test" if "test" in splits(data) else "val"
    result = _score(model, data, split)
    if load_segmenter(model).members[0].network.reads_notes:
        shuffled = _score(model, data, split, partial(shuffle_notes, seed=settings.seed))
        result["dice_lost_to_shuffled_notes"] = result["dice"] - shuffled["dice"]
        result |= condition_shares(model, load_examples(read_lvit(data, split, "skip")))
    history = read_history(work.row)
    curve = {f"dice_at_{row['step']}": row["evaluate/dice"] for row in history if "evaluate/dice" in row}  # of val
    pulls = {k: v for k, v in history[-1].items() if k.startswith("evaluate/gradient_")}
    return result | curve | {f"{name.removeprefix('evaluate/gradient_')}_pull": v for name, v in pulls.items()}


def _pareto(settings: RecLMISSettings, network: Network, work: Work) -> dict[str, float]:
    data = _chest_data(work)
    model = _trained(replace(settings, out=work.row, data=data), network)
    return _score(model, data, "test") | {
        "gmac": macs(load_segmenter(model, device="cpu").members[0].network, 224) / 1e9
    }


def _bundled(notes: Notes, work: Work) -> dict[str, float]:
    return _score("reclmis-chest", _chest_data(work), "test", notes)


def _real(settings: RecLMISSettings, name: str, work: Work) -> dict[str, float]:
    data = REAL_DATA.folder(work.data) / name
    return _score(_trained(replace(settings, out=work.row, data=data, on_bad="skip"), None), data, "val")


def _real_shuffled(settings: RecLMISSettings, name: str, work: Work) -> dict[str, float]:
    data = REAL_DATA.folder(work.data) / name
    trained = work.table / f"{name}-full-{settings.seed}"  # by the row `full`
    out = trained if (trained / "last" / "config.json").exists() else work.row
    model = _trained(replace(settings, out=out, data=data, on_bad="skip"), None)
    return _score(model, data, "val", partial(shuffle_notes, seed=settings.seed))
