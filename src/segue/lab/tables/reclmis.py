"""The tables of note-guided segmentation: what `segue lab run reclmis_chest` and its like run.

Every row of a table uses the same short recipe. It is short so that all rows fit into an evening on 2 CPU cores:
the rows compare systems with each other, not with the best that a system reaches after a long training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from segue.api import load_segmenter
from segue.data.medical.lvit import read_lvit
from segue.data.medical.note_batches import load_examples
from segue.evaluation.notes import evaluate, shuffle_notes
from segue.lab.bench.reclmis import macs
from segue.lab.engine import RequiredData, Row, Work
from segue.methods.reclmis.config import SIZES, RecLMISConfig
from segue.recipes.reclmis import (
    NetworkConfig,
    RecLMISSettings,
    System,
    create_chest_once,
    network_config,
    train_network,
)
from segue.training.state import has_state

SEEDS = (0, 1, 2)
MAIN: tuple[System, ...] = ("unet", "text_blind", "early_fusion", "ci", "ci_cvr", "ci_clr", "full")
COMPARED: tuple[System, ...] = ("unet", "text_blind", "full")
METRICS = ("dice", "iou", "miou", "class_miou")
SHORT = RecLMISSettings(out=Path(), data=Path(), image_size=64, steps=240, batch_size=16, evaluations=1, ema=0.98)
Network = NetworkConfig | None
Notes = Callable[[list[str | None]], list[str | None]] | None  # makes other notes of the examples' own


def chest_table() -> list[Row]:
    """The paper's Table III and more on chest phantoms, then experiments of their own, the cheapest rows first."""
    rows = []
    for seed in SEEDS:
        for system in MAIN:
            rows.append(Row("main", system, seed, partial(_chest, replace(SHORT, system=system, seed=seed))))
        rows.append(Row("main", "full_shuffled_notes", seed, partial(_shuffled, replace(SHORT, seed=seed))))
    for seed in SEEDS:
        for system in COMPARED:
            rows.append(
                Row(
                    "cross_domain",
                    system,
                    seed,
                    partial(_cross_domain, replace(SHORT, system=system, seed=seed)),
                )
            )
    rows += [Row("main", "faithful", s, partial(_chest, replace(SHORT, size="faithful", seed=s))) for s in SEEDS]
    return rows + _single_changes()


def _single_changes() -> list[Row]:
    """Fig. 7, 8 and 11 and Tables IV and V: one setting changed at a time."""
    base, rows = SIZES["segue"], []
    changes: dict[str, dict[str, RecLMISConfig]] = {
        "masking": {m: replace(base, masking=m) for m in ("conditioned", "random")},
        "mask_ratio_vision": {f"{r}": replace(base, mask_ratio_vision=r) for r in (0.3, 0.5, 0.9)},
        "mask_ratio_text": {f"{r}": replace(base, mask_ratio_text=r) for r in (0.1, 0.3, 0.5)},
        "reconstruction_layers": {f"{n}": replace(base, reconstruction_layers=n) for n in (1, 3, 7)},
        "conditions": {"with": base, "without": replace(base, conditions=())},
        "attention": {
            "ci_cross_rec_cross": base,
            "ci_cross_rec_self": replace(base, reconstruction="self"),
            "ci_self_rec_cross": replace(base, interaction="self"),
        },
    }
    for seed in SEEDS:
        for experiment, systems in changes.items():
            for system, network in systems.items():
                rows.append(Row(experiment, system, seed, partial(_chest, replace(SHORT, seed=seed), network=network)))
    return rows


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
        Row("pareto", name, seed, partial(_chest, replace(SHORT, seed=seed), network=network, cost=True))
        for seed in SEEDS
        for name, network in networks.items()
    ]
    paper = [replace(SHORT, size="faithful", seed=seed) for seed in SEEDS]
    return rows + [Row("pareto", "faithful", s.seed, partial(_chest, s, cost=True)) for s in paper]


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
    """The bundled checkpoint on the test phantoms: by their own notes, by shuffled ones, and by none."""
    notes: dict[str, Notes] = {
        "own notes": None,
        "shuffled notes": partial(shuffle_notes, seed=0),
        "no notes": lambda notes: [None] * len(notes),
    }
    return [Row("test", f"bundled, {name}", 0, partial(_bundled, change)) for name, change in notes.items()]


def _chest_data(work: Work, style: str = "a") -> Path:
    return create_chest_once(work.shared / f"data-chest-{style}", style)


def _same_network(work: Work, name: str) -> Path:
    """The folder of a row of `reclmis_chest` that trains the same network, if it is done; else this row's."""
    other = work.shared / "reclmis_chest" / name
    return other if (other / "last" / "config.json").exists() else work.row


def _trained(settings: RecLMISSettings, network: Network) -> Path:
    """The last weights of a short training, which is resumed where it was stopped; validation selects none."""
    if not (settings.out / "last" / "config.json").exists():
        train_network(replace(settings, resume=has_state(settings.out / "state")), network or network_config(settings))
    return settings.out / "last"


def _score(model: Path | str, data: Path, split: str, notes: Notes = None) -> dict[str, float]:
    examples = load_examples(read_lvit(data, split, "skip"))  # a picture of covid_cxr has two notes, the first counts
    changed = None if notes is None else notes([e.note for e in examples])
    result = evaluate(load_segmenter(model), examples, empty="one", notes=changed)
    return {name: result[name] for name in METRICS}


def _chest(settings: RecLMISSettings, work: Work, network: Network = None, cost: bool = False) -> dict[str, float]:
    data = _chest_data(work)
    system = "faithful" if settings.size == "faithful" else settings.system
    same = network is None or network == SIZES["segue"]  # then `main` may have trained it already
    out = _same_network(work, f"main-{system}-{settings.seed}") if same else work.row
    model = _trained(replace(settings, out=out, data=data), network)
    result = _score(model, data, "test")
    if cost:
        result["gmac"] = macs(load_segmenter(model).members[0].network, 224) / 1e9
    return result


def _bundled(notes: Notes, work: Work) -> dict[str, float]:
    return _score("reclmis-chest", _chest_data(work), "test", notes)


def _shuffled(settings: RecLMISSettings, work: Work) -> dict[str, float]:
    data = _chest_data(work)
    model = _trained(replace(settings, out=_same_network(work, f"main-full-{settings.seed}"), data=data), None)
    return _score(model, data, "test", partial(shuffle_notes, seed=settings.seed))


def _cross_domain(settings: RecLMISSettings, work: Work) -> dict[str, float]:
    out = _same_network(work, f"main-{settings.system}-{settings.seed}")
    model = _trained(replace(settings, out=out, data=_chest_data(work, "a")), None)
    return _score(model, _chest_data(work, "b"), "test")


def _real(settings: RecLMISSettings, name: str, work: Work) -> dict[str, float]:
    data = REAL_DATA.folder(work.data) / name
    return _score(_trained(replace(settings, out=work.row, data=data, on_bad="skip"), None), data, "val")


def _real_shuffled(settings: RecLMISSettings, name: str, work: Work) -> dict[str, float]:
    data = REAL_DATA.folder(work.data) / name
    trained = work.table / f"{name}-full-{settings.seed}"  # by the row `full`
    out = trained if (trained / "last" / "config.json").exists() else work.row
    model = _trained(replace(settings, out=out, data=data, on_bad="skip"), None)
    return _score(model, data, "val", partial(shuffle_notes, seed=settings.seed))
