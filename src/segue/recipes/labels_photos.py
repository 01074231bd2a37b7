"""Training of open-vocabulary segmentation on captions alone: `segue train labels-photos --data DIR`.

DIR holds captioned photographs in any format that Segue reads. A dual encoder's cells (the bundled photos-encoder's
unless told otherwise) learn to share the nouns of the captions out among themselves, see
`segue.methods.dual_encoder.nouns`; no mask and no label map is read, and vectors of whole pictures and texts stay as
they are. The result is a dual encoder as before: `segue segment --labels` and `segue eval` take it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor

from segue.data.formats import check_pictures, read_pictures
from segue.encoders.dual_encoder import VisionTextDualEncoder
from segue.evaluation.labels import with_truth
from segue.evaluation.reports.cases import spread_evenly
from segue.methods.cocu.vocabulary import Vocabulary, noun_vocabulary
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, save_dual_encoder
from segue.methods.dual_encoder.dense import DenseProtocol, embed_names, segment_dense
from segue.methods.dual_encoder.nouns import LEAST_PICTURES, OFTEN_UNSAID, SURROUNDINGS, NounShifts, NounTask
from segue.metrics.acceptance import Acceptance, calibrate, fit_acceptance
from segue.recipes.datasets import begin_run
from segue.recipes.labels import CACHE_BYTES, load_headless
from segue.recipes.settings import TrainSettings, dataset_name, fit_options, keep_settings, settings_as_text
from segue.training import fit
from segue.types import InputError, Picture

MEASURED = 100  # pictures of a data set with label maps
SHOWN = 0.005  # part of the picture
READ_AT_ONCE = 16  # pictures
SIZE = 416  # side of the square at which pictures are read, for image encoders that take any


@dataclass(frozen=True, kw_only=True)
class LabelsPhotosSettings(TrainSettings):
    """Training of cells on captions. `batch_size` counts pictures. Nothing is scored: the last weights are kept.

    Attributes:
        data: captioned photographs in any format that Segue reads, with a train split.
        encoder: the dual encoder to begin with: a bundled name, a folder or a hub id, with a frozen image encoder. A
            head that its cells have already is trained anew.
        pictures: how many of train are read, spread evenly; at most all.
        at_least: how many captions name a noun that is learned.
        label_maps: data with label maps or masks. On the train splits it is measured how likely a picture shows a name,
            so that answers tell names that it doesn't; no weight is learned from them.
        names: how far the vectors of SURROUNDINGS then move towards the cells that show them, see `NounShifts`: 1 for
            all of the way, 0 for not. Of a small thing, such as a cup or a face, the cells show its holder as well, so
            these nouns stay.
        pictures_a_noun: how many pictures that name it are looked at for each noun, at most, among all of train.
        share: how much of the trained head is kept. Below 1, names that no caption has are recognised better.
        patience: must be 0, as nothing is evaluated.
    """

    encoder: str = "photos-encoder"
    pictures: Annotated[int, Ge(1)] = 2000
    at_least: Annotated[int, Ge(1)] = 40
    label_maps: tuple[Path, ...] = ()
    names: Annotated[float, Interval(ge=0, le=2)] = 1.25
    pictures_a_noun: Annotated[int, Ge(LEAST_PICTURES)] = 30
    share: Annotated[float, Interval(gt=0, le=1)] = 0.35
    steps: int = 600
    batch_size: int = 48
    lr: float = 3e-4
    weight_decay: float = 0.0
    ema: float = 0.0


LABELS_PHOTOS = LabelsPhotosSettings(out=Path("runs/labels-photos"), data=Path("flickr8k"))


def train_labels_photos(settings: LabelsPhotosSettings = LABELS_PHOTOS) -> Path:
    """Train on captioned photographs; returns the checkpoint's folder.

    Raises InputError for data without captions, and for an encoder that can't be used.
    """
    if settings.patience:
        raise InputError(f"patience: got {settings.patience}, expected 0, as nothing is evaluated")
    begin_run(settings)
    torch.manual_seed(settings.seed)
    model = load_headless(settings.encoder, settings.device)
    found = check_pictures(read_pictures(settings.data, "train", settings.on_bad), settings.on_bad)
    captioned = [picture for picture in found.pictures if any(caption.strip() for caption in picture.captions)]
    if len(captioned) < 2:
        raise InputError(f"{settings.data}: got {len(captioned)} pictures with captions, expected 2 or more")
    nouns = noun_vocabulary([picture.captions for picture in captioned], at_least=settings.at_least)
    unsaid = torch.tensor([noun in OFTEN_UNSAID for noun in nouns.concepts])
    task = NounTask(model, embed_names(model, nouns.concepts), unsaid.to(next(model.parameters()).device))
    fit(
        task,
        NounBatches(spread_evenly(captioned, settings.pictures), nouns, model),
        out=settings.out,
        options=fit_options(settings),
        save=partial(_save, settings=settings),
        about=settings_as_text(settings),
        record=partial(keep_settings, settings),
        resume=settings.resume,
    )
    last = settings.out / "last"
    if settings.names:
        _move_nouns(last, settings, captioned, nouns)
    if settings.label_maps:
        calibrate(last, partial(fit_shown, last, settings), "tells no name that a picture doesn't show")
    return last


def _move_nouns(folder: Path, settings: LabelsPhotosSettings, captioned: Sequence[Picture], nouns: Vocabulary) -> None:
    """Give the checkpoint the shifts of the nouns, measured with its cells."""
    model = load_dual_encoder(folder, device=settings.device)
    assert isinstance(model, VisionTextDualEncoder)  # for mypy: it was trained as one
    found, named = NounShifts(embed_names(model, nouns.concepts), DenseProtocol().presence), _named(captioned, nouns)
    unsaid = torch.tensor([noun in OFTEN_UNSAID for noun in nouns.concepts])
    each = (spread_evenly(column.nonzero()[:, 0].tolist(), settings.pictures_a_noun) for column in named.T)
    chosen = sorted(set(chain(*each)))
    size = side_read(model)
    for start in range(0, len(chosen), READ_AT_ONCE):
        part = chosen[start : start + READ_AT_ONCE]
        images = [captioned[i].load() for i in part]
        whole, shares = model.embed_with_shares(images)
        cells = model.embed_dense(images, size=size, shares=shares).flatten(2).transpose(1, 2)
        for i, own, picture in zip(part, cells, whole, strict=True):
            found.add(own, picture, named[i], unsaid)
    places, shifts = found.shifts(settings.names)
    around = [i for i, place in enumerate(places.tolist()) if nouns.concepts[place] in SURROUNDINGS]
    places, shifts = places[around], shifts[around]
    model.set_noun_shifts(tuple(nouns.concepts[i] for i in places.tolist()), shifts)
    save_dual_encoder(model, folder, _about(settings), half=settings.half)


def side_read(model: VisionTextDualEncoder) -> int:
    """The side in pixels at which pictures are read for their cells: SIZE where the encoder takes any."""
    return SIZE if model.image_encoder.any_size else model.image_encoder.size


def _named(pictures: Sequence[Picture], nouns: Vocabulary) -> Tensor:
    """(pictures, nouns) bool: whether a caption names it."""
    named = torch.zeros(len(pictures), len(nouns.concepts), dtype=torch.bool)
    for i, picture in enumerate(pictures):
        named[i, sorted(set[int]().union(*map(nouns.find, picture.captions)))] = True
    return named


def fit_shown(folder: Path, settings: LabelsPhotosSettings) -> Acceptance:
    """The probability that a picture shows a name, where as many names are shown as not, of the name's margin.

    Names are all of a data set's, pictures up to MEASURED of each set, spread evenly; a name is shown that takes SHOWN
    of the picture. Raises InputError for data without label maps or masks, and where all names are shown, or none.
    """
    encoder, protocol = load_dual_encoder(folder, device=settings.device), DenseProtocol()
    measured, shown = list[float](), list[bool]()
    for data in settings.label_maps:
        pictures, classes, read_truth = with_truth(read_pictures(data, "train", settings.on_bad), protocol)
        text = embed_names(encoder, classes)
        for picture in spread_evenly(pictures, MEASURED):
            margin, truth = segment_dense(encoder, picture.load(), text, protocol).margin, read_truth(picture)
            if margin is None:
                raise InputError(f"{settings.encoder}: knows no names to compare with; give one with class names")
            measured += margin.tolist()
            shown += [bool((truth == number).mean() > SHOWN) for number in range(len(classes))]
    accepted = np.array(shown, np.bool_)
    found = fit_acceptance(np.array(measured)[:, None], accepted)
    odds = accepted.mean() / (1 - accepted.mean())
    return replace(found, bias=found.bias - math.log(odds))


class NounBatches:
    """The vectors of some pictures' cells and the nouns of their captions; a pure function of the keys.

    Vectors are kept up to CACHE_BYTES.
    """

    def __init__(self, pictures: Sequence[Picture], nouns: Vocabulary, model: VisionTextDualEncoder) -> None:
        self.pictures, self.model, self.named = pictures, model, _named(pictures, nouns)
        self.size = side_read(model)
        cells = (self.size // model.image_encoder.stride) ** 2
        self._cells = lru_cache(maxsize=max(1, CACHE_BYTES // (2 * model.width * cells)))(self._read_cells)

    def __len__(self) -> int:
        return len(self.pictures)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """The batch that `NounTask.training_step` takes."""
        indices = [index for _, index in keys]
        return {"cells": torch.stack([self._cells(i) for i in indices]).float(), "named": self.named[indices]}

    def _read_cells(self, index: int) -> Tensor:
        """(M, D) float16: the vectors of a picture's cells."""
        dense = self.model.embed_dense([self.pictures[index].load()], size=self.size)[0]
        return dense.flatten(1).T.half().contiguous()


def _save(task: Any, folder: Path, settings: LabelsPhotosSettings) -> None:
    save_dual_encoder(cast(NounTask, task).merged(settings.share), folder, _about(settings), half=settings.half)


def _about(settings: LabelsPhotosSettings) -> dict[str, Any]:
    recipe = {"recipe": "segue train labels-photos"}
    return recipe | settings_as_text(settings, "label_maps") | dataset_name(settings.data)
