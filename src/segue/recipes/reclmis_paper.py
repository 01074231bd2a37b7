"""RecLMIS' own experiments, with the paper's settings; the data are the user's, in the LViT layout.

segue train reclmis-qata --data QATA        QaTa-COV19: 200 epochs of 5,716 X-rays
segue train reclmis-mosmed --data MOSMED    MosMedData+: 500 epochs of 2,183 slices
`segue data plan DATA --recipe reclmis-qata` tells the hours that they will take on this machine.

224 pixels, batches of 32, 3e-4 at most, Adam, the paper's network and CLIP's text encoder; no averaged weights, and
every note is read. Ours: the learning rate rises in the first hundredth of the steps, pictures are flipped with the
sides of their notes, and the losses are those of `segue.methods.reclmis.config.RecLMISConfig`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from segue.data.medical.lvit import read_lvit
from segue.data.medical.note_batches import ImageNoteBatches, load_examples
from segue.data.transforms import augment
from segue.methods.segmenters import SegmenterTask, build_segmenter
from segue.nn.preprocessing import Preprocessing
from segue.recipes.plan import Workload
from segue.recipes.reclmis import RecLMISSettings, train_reclmis
from segue.recipes.reclmis_options import network_config, text_encoder
from segue.types import InputError

SPLITS = {  # pictures of train, val and test in the papers' splits
    "reclmis-qata": (5716, 1429, 2113),
    "reclmis-mosmed": (2183, 273, 273),
}
EPOCHS = {"reclmis-qata": 200, "reclmis-mosmed": 500}
BATCH = 32


def _settings(name: str) -> RecLMISSettings:
    return RecLMISSettings(
        out=Path("runs") / name,
        data=Path("data") / name.removeprefix("reclmis-"),
        size="faithful",
        text="clip:openai/clip-vit-base-patch32",
        steps=round(EPOCHS[name] * SPLITS[name][0] / BATCH),
        batch_size=BATCH,
        lr=3e-4,
        warmup=0.01,
        weight_decay=0.0,
        ema=0.0,
        text_dropout=0.0,
        evaluations=50,
        workers=8,
        augmentation="light",
    )


QATA, MOSMED = _settings("reclmis-qata"), _settings("reclmis-mosmed")


def train_reclmis_qata(settings: RecLMISSettings = QATA) -> Path:
    """Train on QaTa-COV19. Raises InputError for other splits than the papers'."""
    check_splits(settings.data, "reclmis-qata")
    return train_reclmis(settings)


def train_reclmis_mosmed(settings: RecLMISSettings = MOSMED) -> Path:
    """Train on MosMedData+. Raises InputError for other splits than the papers'."""
    check_splits(settings.data, "reclmis-mosmed")
    return train_reclmis(settings)


def check_splits(data: Path, name: str) -> None:
    """Raise InputError unless a data set has as many pictures in each split as the paper's experiment."""
    found = tuple(len(read_lvit(data, split, "skip")) for split in ("train", "val", "test"))
    if found != SPLITS[name]:
        expected, got = (", ".join(f"{count:,}" for count in counts) for counts in (SPLITS[name], found))
        raise InputError(
            f"{data}: got {got} pictures in train, val and test, expected {expected}, which the papers report; "
            "`segue train reclmis` takes any split, with the same options"
        )


def plan_qata(settings: RecLMISSettings) -> Workload:
    """What `segue data plan` measures. Raises InputError for other splits than the papers'."""
    check_splits(settings.data, "reclmis-qata")
    return plan_paper(settings)


def plan_mosmed(settings: RecLMISSettings) -> Workload:
    """What `segue data plan` measures. Raises InputError for other splits than the papers'."""
    check_splits(settings.data, "reclmis-mosmed")
    return plan_paper(settings)


def plan_paper(settings: RecLMISSettings) -> Workload:
    """The workload of a training. A frozen text encoder reads each note once, so a small one stands for it."""
    records = read_lvit(settings.data, "train", "skip")
    first = load_examples(records[:BATCH], settings.image_size, "skip", labelled=True)
    settings = replace(settings, text="small")
    config = network_config(settings)
    network = build_segmenter(config, text_encoder(settings, config, [e.note for e in first if e.note]))
    batches = ImageNoteBatches(first, Preprocessing(size=settings.image_size), settings.seed, augment)

    def batch(count: int) -> Any:
        return batches.collate([(0, i % len(first)) for i in range(count)])

    return Workload(len(records), settings.steps, settings.batch_size, settings.ema > 0, SegmenterTask(network), batch)
