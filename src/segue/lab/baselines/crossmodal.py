"""What drawing and telling are measured against: no learning at all, and a segmenter that has the picture alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from torch import Tensor, nn

from segue.data.layouts import to_pixels
from segue.evaluation.layouts import Draw, Image, Labels, Tell
from segue.methods.checkpoint import read_tensors, write_checkpoint
from segue.methods.crossmodal.segmenter import PictureSegmenter
from segue.methods.crossmodal.vq import UNKNOWN, VQConfig
from segue.metrics.panoptic import Confusion
from segue.recipes.crossmodal import Settings, Told, config_of, fit_options
from segue.training import fit
from segue.training.state import has_state

GRID = 32  # cells a side on which layouts are compared


def class_prior(train: Told) -> Draw:
    """Always the same layout: every pixel's commonest class in training."""
    counts = np.zeros((*train.layouts.shape[1:], UNKNOWN + 1), np.uint32)
    rows, columns = np.indices(train.layouts.shape[1:])
    for layout in train.layouts:
        counts[rows, columns, layout] += 1
    common = counts[..., :UNKNOWN].argmax(-1).astype(np.uint8)
    return lambda captions, images, seed: [common] * len(captions)


def nearest_caption(train: Told) -> Draw:
    """The layout of the training caption that shares most with the one asked for: cosine of tf-idf of words.

    What is unknown in it gets the class of the nearest pixel that is known.
    """
    said = [(caption, i) for i, captions in enumerate(train.captions) for caption in captions]
    seen = Counter(word for caption, _ in said for word in set(_words(caption)))
    weights = {word: (i, float(np.log(len(said) / count) + 1)) for i, (word, count) in enumerate(seen.items())}
    known = _tfidf([caption for caption, _ in said], weights)

    def draw(captions: Sequence[str], images: Sequence[Image], seed: int) -> list[Labels]:
        best = (_tfidf(captions, weights) @ known.T).toarray().argmax(1)
        return [_filled(train.layouts[said[i][1]]) for i in best]

    return draw


def _filled(layout: Labels) -> Labels:
    if not (layout != UNKNOWN).any():
        return np.zeros_like(layout)
    rows, columns = ndimage.distance_transform_edt(layout == UNKNOWN, return_distances=False, return_indices=True)
    return layout[rows, columns]


def nearest_layout(train: Told) -> Tell:
    """The first caption of the training layout that agrees with the one to be told in the most places."""

    def small(layouts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        step = max(1, layouts.shape[1] // GRID)
        return layouts[:, step // 2 :: step, step // 2 :: step].reshape(len(layouts), -1)

    known = small(train.layouts)

    def tell(layouts: Sequence[Labels], images: Sequence[Image]) -> list[str]:
        return [train.captions[(known == one).sum(1).argmax()][0] for one in small(np.stack(layouts))]

    return tell


def _words(caption: str) -> list[str]:
    return re.findall(r"[a-z]+", caption.lower())


def _tfidf(captions: Sequence[str], weights: dict[str, tuple[int, float]]) -> sparse.csr_matrix:
    """(captions, words) rows of unit length."""
    rows, columns, values = [], [], []
    for number, caption in enumerate(captions):
        found = Counter(word for word in _words(caption) if word in weights)
        norm = np.sqrt(sum((count * weights[word][1]) ** 2 for word, count in found.items()))
        for word, count in found.items():
            rows.append(number)
            columns.append(weights[word][0])
            values.append(count * weights[word][1] / norm)
    return sparse.csr_matrix((values, (rows, columns)), shape=(len(captions), len(weights)))


# -------------------------------------------------------------------------------------------- the segmenter


@dataclass(frozen=True)
class _Seen:
    """Batches of pictures with their layouts."""

    told: Told

    def __len__(self) -> int:
        return len(self.told.layouts)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        chosen = [index for _, index in keys]
        return {"image": to_pixels(self.told.images[chosen]), "layout": torch.from_numpy(self.told.layouts[chosen])}


def train_segmenter(settings: Settings, train: Told, val: Told) -> PictureSegmenter:
    """A segmenter with the encoder of `settings`, trained as long as the streams; a finished run is read again."""
    vq = VQConfig(len(train.classes), settings.factor)
    torch.manual_seed(settings.seed)
    model = PictureSegmenter(config_of(settings, vq.codes, vocabulary=1, longest=0, ends=(0, 0, 0)), vq)
    out = settings.out
    if not (out / "last" / "config.json").exists():
        fit(model, _Seen(train), out=out, options=fit_options(settings, settings.steps), save=_save,
            evaluate=partial(_scores, told=val), monitor="miou", resume=has_state(out / "state"))  # fmt: skip
    model.load_state_dict(read_tensors(out / "best"))
    return model.eval()


def _save(model: Any, folder: Path) -> None:
    write_checkpoint(folder, {"method": "picture-segmenter"}, model.state_dict())


def segment_all(model: nn.Module, images: NDArray[np.uint8]) -> list[Labels]:
    """Layouts of pictures (N, S, S, 3)."""
    device, found = next(model.parameters()).device, []
    for part in np.array_split(images, -(-len(images) // 32)):
        found += list(model.segment(to_pixels(part).to(device)).cpu().numpy())  # type: ignore[operator]
    return found


def _scores(model: Any, told: Told) -> dict[str, float]:
    table = Confusion(np.zeros((len(told.classes),) * 2, np.int64))
    for a, b in zip(segment_all(model, told.images), told.layouts, strict=True):
        table += Confusion.of(a, b, len(told.classes))
    return {"miou": table.scores(empty="skip")["miou"]}
