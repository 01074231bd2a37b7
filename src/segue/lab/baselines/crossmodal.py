"""Baselines of drawing and captioning layouts: without learning, and a segmenter that has the image alone."""

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
from torch import Tensor

from segue.api.illustrator import Illustrator
from segue.data.layouts import to_pixels
from segue.evaluation.layouts import ONE_TRY, Describe, Draw, Image, Labels
from segue.lab.baselines.layout_segmenter import LayoutSegmenter
from segue.methods.checkpoint import read_tensors, write_checkpoint
from segue.methods.crossmodal.boxes import layout_boxes
from segue.methods.crossmodal.vq import UNKNOWN, VQConfig
from segue.metrics.panoptic import Confusion
from segue.recipes.crossmodal import CaptionedLayouts, CrossModalSettings, model_config
from segue.recipes.settings import fit_options
from segue.training import fit
from segue.training.state import has_state
from segue.types import LayoutBox

MOST_BOXES = 14  # of a layout
GRID = 32  # cells a side on which layouts are compared


def class_prior(train: CaptionedLayouts) -> Draw:
    """Always the same layout: every pixel's commonest class in training."""
    counts = np.zeros((*train.layouts.shape[1:], UNKNOWN + 1), np.uint32)
    rows, columns = np.indices(train.layouts.shape[1:])
    for layout in train.layouts:
        counts[rows, columns, layout] += 1
    commonest = counts[..., :UNKNOWN].argmax(-1).astype(np.uint8)
    return lambda captions, images, seed: [commonest] * len(captions)


def nearest_caption(train: CaptionedLayouts) -> Draw:
    """The layout of the most similar training caption, by the cosine of tf-idf of words.

    Its unknown pixels get the class of the nearest known pixel.
    """
    captions_of_train = [(caption, i) for i, captions in enumerate(train.captions) for caption in captions]
    documents = Counter(word for caption, _ in captions_of_train for word in set(_words(caption)))
    total = len(captions_of_train)
    weights = {word: (i, float(np.log(total / count) + 1)) for i, (word, count) in enumerate(documents.items())}
    index = _tfidf([caption for caption, _ in captions_of_train], weights)

    def draw(captions: Sequence[str], images: Sequence[Image], seed: int) -> list[Labels]:
        best = (_tfidf(captions, weights) @ index.T).toarray().argmax(1)
        return [_filled(train.layouts[captions_of_train[i][1]]) for i in best]

    return draw


def in_boxes_of(first: Draw, illustrator: Illustrator) -> Draw:
    """The illustrator's cells, one try without a check, in the boxes of another drawing of each caption."""

    def draw(captions: Sequence[str], images: Sequence[Image], seed: int) -> list[Labels]:
        drawn: list[Labels] = []
        for i, labels in enumerate(first(captions, images, seed)):
            found = [
                LayoutBox(illustrator.classes[kind], (left, top, right - left, bottom - top))
                for kind, left, top, right, bottom in layout_boxes(labels, len(labels), MOST_BOXES).tolist()
            ]
            drawn.append(
                illustrator.draw_many([captions[i]], boxes=[found], seeds=[seed + i], options=ONE_TRY)[0].labels
            )
        return drawn

    return draw


def _filled(layout: Labels) -> Labels:
    if not (layout != UNKNOWN).any():
        return np.zeros_like(layout)
    rows, columns = ndimage.distance_transform_edt(layout == UNKNOWN, return_distances=False, return_indices=True)
    filled: Labels = layout[rows, columns]
    return filled


def nearest_layout(train: CaptionedLayouts) -> Describe:
    """The first caption of the training layout that has the same class in the most places."""

    def small(layouts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        step = max(1, layouts.shape[1] // GRID)
        return layouts[:, step // 2 :: step, step // 2 :: step].reshape(len(layouts), -1)

    known = small(train.layouts)

    def describe(layouts: Sequence[Labels], images: Sequence[Image]) -> list[str]:
        return [train.captions[(known == one).sum(1).argmax()][0] for one in small(np.stack(layouts))]

    return describe


def _words(caption: str) -> list[str]:
    return re.findall(r"[a-z]+", caption.lower())


def _tfidf(captions: Sequence[str], weights: dict[str, tuple[int, float]]) -> sparse.csr_matrix:
    """(captions, words) rows of unit length. weights: the column of each word, and its inverse document frequency."""
    rows, columns, values = [], [], []
    for number, caption in enumerate(captions):
        found = Counter(word for word in _words(caption) if word in weights)
        norm = np.sqrt(sum((count * weights[word][1]) ** 2 for word, count in found.items()))
        for word, count in found.items():
            rows.append(number)
            columns.append(weights[word][0])
            values.append(count * weights[word][1] / norm)
    return sparse.csr_matrix((values, (rows, columns)), shape=(len(captions), len(weights)))


# --- the segmenter


@dataclass(frozen=True)
class _ImageBatches:
    """Batches of images with their layouts."""

    split: CaptionedLayouts

    def __len__(self) -> int:
        return len(self.split)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        chosen = [index for _, index in keys]
        return {"image": to_pixels(self.split.images[chosen]), "layout": torch.from_numpy(self.split.layouts[chosen])}


def train_segmenter(settings: CrossModalSettings, train: CaptionedLayouts, val: CaptionedLayouts) -> LayoutSegmenter:
    """A segmenter with the image encoder of `settings`, trained or resumed, as long as the joint model."""
    vq = VQConfig(len(train.classes), settings.factor)
    torch.manual_seed(settings.seed)
    model = LayoutSegmenter(model_config(settings, vq.codes, classes=0), vq)
    out = settings.out
    fit(model, _ImageBatches(train), out=out, options=fit_options(settings), save=_save,
        evaluate=partial(_scores, split=val), monitor="miou", resume=has_state(out / "state"))  # fmt: skip
    model.load_state_dict(read_tensors(out / "best"))
    return model.eval()


def _save(model: Any, folder: Path) -> None:
    write_checkpoint(folder, {"method": "layout-segmenter"}, model.state_dict())


def segment_all(model: LayoutSegmenter, images: NDArray[np.uint8]) -> list[Labels]:
    """Layouts (S, S) uint8 of images (N, S, S, 3) uint8."""
    device, found = next(model.parameters()).device, []
    for part in np.array_split(images, -(-len(images) // 32)):
        found += list(model.segment(to_pixels(part).to(device)).cpu().numpy())
    return found


def _scores(model: Any, split: CaptionedLayouts) -> dict[str, float]:
    classes = len(split.classes)
    total = Confusion(np.zeros((classes, classes), np.int64))
    for a, b in zip(segment_all(model, split.images), split.layouts, strict=True):
        total += Confusion.of(a, b, classes)
    return {"miou": total.scores(empty="skip")["miou"]}
