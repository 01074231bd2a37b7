"""Training of open-vocabulary segmentation on label maps: `segue train labels --data DIR`.

DIR holds pictures with label maps or masks in any format that Segue reads, and the names of their classes. The image
head of a dual encoder (the bundled photos-encoder unless told otherwise) learns to bring each cell of its dense
features to the name of what the cell shows; image encoder, text encoder and text head stay as they are, so any other
name can still be given. The result is a dual encoder as before: `segue segment --labels` and `segue eval` take it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
from annotated_types import Interval
from numpy.typing import NDArray
from torch import Tensor

from segue.api.label_segmenter import DualEncoderSegmenter
from segue.data.formats import check_pictures, detect_format, read_pictures
from segue.encoders.dual_encoder import VisionTextDualEncoder
from segue.evaluation.labels import Labels, ReadTruth, score_pictures, with_truth
from segue.evaluation.reports.labels import label_examples
from segue.methods.dual_encoder.cells import CellTask
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, save_dual_encoder
from segue.methods.dual_encoder.dense import DenseProtocol, embed_names
from segue.recipes.datasets import begin_run
from segue.recipes.settings import TrainSettings, dataset_name, fit_options, keep_settings, settings_as_text
from segue.training import fit
from segue.types import InputError, Picture

CACHE_BYTES = 2**30  # of the dense features that are kept, for each process that makes batches
PROTOCOL = DenseProtocol()


@dataclass(frozen=True, kw_only=True)
class LabelsSettings(TrainSettings):
    """Training on label maps. `batch_size` counts pictures, each of which is read at one size.

    Attributes:
        data: folder with pictures and their label maps or masks, with a train and perhaps a val split.
        encoder: the dual encoder to begin with: a bundled name, a folder or a hub id, with a frozen image encoder.
        share: how much of what was learned is kept: the image head is (1 - share) of the one before and share of the
            trained one. Below 1, names that the label maps don't have are recognised better.
        val_pictures: how many pictures of val are scored, spread evenly; 0 for all.
    """

    encoder: str = "photos-encoder"
    share: Annotated[float, Interval(gt=0, le=1)] = 0.7
    val_pictures: Annotated[int, Interval(ge=0)] = 50
    steps: int = 400
    batch_size: int = 8
    lr: float = 1e-3
    weight_decay: float = 0.05
    clip_norm: float = 5.0
    evaluations: int = 4
    half: bool = True


LABELS = LabelsSettings(out=Path("runs/labels"), data=Path("data"))


def train_labels(settings: LabelsSettings = LABELS) -> Path:
    """Train on label maps in any format; returns the checkpoint's folder.

    Raises InputError for data without label maps or with fewer than two names, and for an encoder that can't be used.
    """
    begin_run(settings)
    torch.manual_seed(settings.seed)
    model = load_trainable(settings.encoder, settings.device)
    pictures, classes, read_truth = read_split(settings, "train")
    if len(classes) < 2:
        raise InputError(
            f"{settings.data}: got {len(classes)} names, expected two or more, between which pixels choose"
        )
    task = CellTask(model, embed_names(model, classes))
    val = read_split(settings, "val") if "val" in detect_format(settings.data)[1] else None
    fit(
        task,
        CellBatches(pictures, read_truth, len(classes), model),
        out=settings.out,
        options=fit_options(settings),
        save=partial(_save, settings=settings, classes=classes),
        evaluate=partial(_validate, settings=settings, val=val) if val else None,
        monitor="miou",
        about=settings_as_text(settings),
        illustrate=partial(_illustrate, val=val, device=settings.device) if val else None,
        record=partial(keep_settings, settings),
        resume=settings.resume,
    )
    return settings.out / ("best" if val else "last")


def load_trainable(name: str, device: str = "auto") -> VisionTextDualEncoder:
    """A dual encoder of Segue's own with a frozen image encoder. Raises InputError for any other."""
    model = load_dual_encoder(name, device=device)
    if not isinstance(model, VisionTextDualEncoder) or not model.image_encoder.frozen:
        raise InputError(
            f"{name}: expected a dual encoder of `segue train dual-encoder` with a frozen image encoder, such as "
            "photos-encoder; train heads on a CLIP by `segue train dual-encoder --image clip:ID --text clip:ID` first"
        )
    return model


def load_headless(name: str, device: str = "auto") -> VisionTextDualEncoder:
    """The same without a head of its cells and shifts of nouns. Raises InputError as `load_trainable`."""
    model = load_trainable(name, device)
    model.config, model.cell_head = replace(model.config, cell_head=False), None
    model.set_noun_shifts()
    return model


def read_split(settings: LabelsSettings, split: str) -> tuple[list[Picture], tuple[str, ...], ReadTruth]:
    """The pictures of a split with their names and ground truth. Raises InputError for those that can't be read."""
    found = read_pictures(settings.data, split, settings.on_bad)
    return with_truth(check_pictures(found, settings.on_bad), PROTOCOL)


class CellBatches:
    """The cells of some pictures' dense features and what they show; a pure function of the keys.

    classes: K, how many the label maps have. Each epoch reads a picture at another size, mirrored every other time;
    the features are kept up to CACHE_BYTES.
    """

    def __init__(
        self, pictures: Sequence[Picture], read_truth: ReadTruth, classes: int, model: VisionTextDualEncoder
    ) -> None:
        self.pictures, self.read_truth, self.classes, self.model = pictures, read_truth, classes, model
        encoder = model.image_encoder
        self.sizes = PROTOCOL.sizes if encoder.any_size else (encoder.size,)
        cells = (max(self.sizes) // encoder.stride) ** 2
        self._cells = lru_cache(maxsize=max(1, CACHE_BYTES // (2 * encoder.width * cells)))(self._read_cells)

    def __len__(self) -> int:
        return len(self.pictures)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """The batch that `CellTask.training_step` takes."""
        views = 2 * len(self.sizes)
        found = [self._cells(index, (epoch + index) % views) for epoch, index in keys]
        cells, shares = (torch.cat([one[i] for one in found]).float() for i in (0, 1))
        return {"cells": cells, "shares": shares}

    @torch.no_grad()
    def _read_cells(self, index: int, view: int) -> tuple[Tensor, Tensor]:
        """(M, C) float16 features of a picture's cells and (M, K) float16 shares of the classes in them."""
        picture, encoder = self.pictures[index], self.model.image_encoder
        image, truth = picture.load(), self.read_truth(picture)
        if view % 2:
            image, truth = np.ascontiguousarray(image[:, ::-1]), truth[:, ::-1]
        device = next(self.model.parameters()).device
        pixels = encoder.preprocess([image], whole=True, size=self.sizes[view // 2]).to(device)
        dense = encoder(pixels).dense[0].half().cpu()
        shares = class_shares(truth, self.classes, (dense.shape[1], dense.shape[2])).half()
        return dense.flatten(1).T.contiguous(), shares


def class_shares(truth: Labels, classes: int, grid: tuple[int, int]) -> Tensor:
    """(h * w, K) float32: the share of each class among all pixels of each cell of an (h, w) grid over a label map."""
    labels: NDArray[np.int64] = truth.astype(np.int64)
    rows, columns = (np.arange(n) * cells // n for n, cells in zip(labels.shape, grid, strict=True))
    cell = rows[:, None] * grid[1] + columns
    there = labels < classes
    count = np.bincount((cell * classes + labels)[there], minlength=grid[0] * grid[1] * classes)
    pixels = np.bincount(cell.ravel(), minlength=grid[0] * grid[1])
    shares = count.reshape(-1, classes) / np.maximum(pixels, 1)[:, None]
    return torch.from_numpy(shares).float()


def _validate(
    task: Any, settings: LabelsSettings, val: tuple[list[Picture], tuple[str, ...], ReadTruth]
) -> dict[str, float]:
    pictures, classes, read_truth = val
    rows = np.linspace(0, len(pictures) - 1, min(settings.val_pictures or len(pictures), len(pictures))).astype(int)
    segmenter = DualEncoderSegmenter(cast(CellTask, task).merged(settings.share), PROTOCOL)
    ious, accuracy = score_pictures(segmenter, [pictures[i] for i in np.unique(rows)], classes, read_truth)
    return {"miou": float(np.nanmean(ious)), "pixel_accuracy": accuracy}


def _illustrate(folder: Path, val: tuple[list[Picture], tuple[str, ...], ReadTruth], device: str) -> str:
    return label_examples(DualEncoderSegmenter(load_dual_encoder(folder, device=device), PROTOCOL), *val)


def _save(task: Any, folder: Path, settings: LabelsSettings, classes: Sequence[str]) -> None:
    about: dict[str, Any] = {
        "recipe": "segue train labels",
        **settings_as_text(settings),
        **dataset_name(settings.data),
    }
    about["classes"] = list(classes)
    save_dual_encoder(cast(CellTask, task).merged(settings.share), folder, about, half=settings.half)
