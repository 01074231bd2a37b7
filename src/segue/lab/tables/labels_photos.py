"""The table of names on photographs: `segue lab run labels_photos --data DIR`.

DIR/msrc/     photographs with label maps of 23 classes, split `val`
DIR/camvid/   street photographs with label maps of 11 classes, split `val`
DIR/flickr8k/ photographs with captions, split `train`: for the rows that train the head of the cells anew, one a seed

The bundled dual encoder learned from captions alone; no label map was used but in the experiments called supervised,
which train it on the set's own. `miou`: over all names of the set; `miou_own`: over those that the picture shows, as if
someone had looked at it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from segue.api.label_segmenter import DualEncoderSegmenter, load_label_segmenter
from segue.commands.segment_labels import UNLIKELY
from segue.data.formats import read_pictures
from segue.encoders.dual_encoder import VisionTextDualEncoder
from segue.evaluation.labels import ReadTruth, score_pictures, with_truth
from segue.evaluation.reports.cases import spread_evenly
from segue.lab.engine import RequiredData, Row, Work
from segue.lab.trained import train_once
from segue.methods.dual_encoder.dense import DenseProtocol, embed_names
from segue.methods.dual_encoder.nouns import NounShifts
from segue.recipes.labels import LABELS, train_labels
from segue.recipes.labels_photos import LABELS_PHOTOS, SHOWN, side_read, train_labels_photos
from segue.types import Picture

ENCODER = "photos-encoder"
TESTS = {"msrc": 1, "camvid": 3}  # every so many pictures of val
DATA = RequiredData(f"a folder with {'/, '.join(TESTS)}/", tuple(TESTS))
CAPTIONED = "flickr8k"
WITH_CAPTIONS = RequiredData(f"{DATA.expected} and {CAPTIONED}/", (*TESTS, CAPTIONED))
SEEDS = (0, 1, 2)
ALIKE = replace(DenseProtocol(), weights=(1.0, 1.0, 1.0))  # as before the sizes had weights
CELLS_ALONE = replace(ALIKE, presence=0.0, prior=0.0)
ONE_SIZE = replace(CELLS_ALONE, sizes=(416,), weights=(1.0,), radius=0.0)
HEADLESS = {  # of cells without a head of their own
    "one size of 224": replace(ONE_SIZE, sizes=(224,)),
    "one size of 416": ONE_SIZE,
    "three sizes": replace(CELLS_ALONE, radius=0.0),
    "three sizes, filtered": replace(CELLS_ALONE, radius=0.05),
    "three sizes, wider filter": CELLS_ALONE,
    "without class names": CELLS_ALONE,
    "and the whole picture": replace(CELLS_ALONE, radius=0.05, presence=0.15),
    "the picture's share taken off": ALIKE,
}
TEXTS_ALONE = HEADLESS | {"cells with a head": CELLS_ALONE, "names as texts": ALIKE}  # no noun is moved
PROTOCOLS = TEXTS_ALONE | {"sizes alike": ALIKE, "bundled": DenseProtocol()}
HALF_WAY, PURE = 0.5, 0.8  # how far names move to a set's own cells; the part of a cell that is of one class
TRAIN_PICTURES = 110  # of which these cells are


def labels_photos_table() -> list[Row]:
    """Dense features of the bundled dual encoder, from one size to three with a filter; and trained on label maps."""
    zero_shot = [Row(test, name, 0, partial(_row, test, name), DATA) for test in TESTS for name in PROTOCOLS]
    zero_shot += [
        Row(test, "head trained anew", seed, partial(_trained_row, test, seed), WITH_CAPTIONS)
        for seed in SEEDS
        for test in TESTS
    ]
    zero_shot += [Row(f"{test} shown", "bundled", 0, partial(_shown_row, test), DATA) for test in TESTS]
    return zero_shot + [
        Row(f"{test}, supervised", name, 0, partial(row, test), DATA)
        for name, row in (("train labels", _supervised_row), ("names moved to its cells", _moved_row))
        for test in TESTS
    ]


def _row(test: str, name: str, work: Work) -> dict[str, float]:
    segmenter = load_label_segmenter(ENCODER)
    assert isinstance(segmenter, DualEncoderSegmenter)  # for mypy: the bundled one is
    segmenter.protocol, encoder = PROTOCOLS[name], segmenter.encoder
    assert isinstance(encoder, VisionTextDualEncoder)  # for mypy, too
    if name in HEADLESS:
        encoder.cell_head = None
    if name in TEXTS_ALONE:
        encoder.set_noun_shifts()
    if name == "without class names":
        encoder.class_names = None
    return scores_on(test, segmenter, work)


def _trained_row(test: str, seed: int, work: Work) -> dict[str, float]:
    """Another head of the cells, by `segue train labels-photos --names 0`; the tests share its training."""
    data = WITH_CAPTIONS.folder(work.data) / CAPTIONED
    settings = replace(LABELS_PHOTOS, data=data, names=0.0, out=work.table / f"head-{seed}", seed=seed)
    segmenter = load_label_segmenter(train_once(settings, train_labels_photos))
    assert isinstance(segmenter, DualEncoderSegmenter)  # for mypy: it was trained as one
    segmenter.protocol = ALIKE
    return scores_on(test, segmenter, work)


def _shown_row(test: str, work: Work) -> dict[str, float]:
    """Whether the probability that a picture shows a name tells those that it shows from all others of the set.

    auc: that a shown name has the larger one. told_absent, told_shown: the shares of the others and of the shown that
    `segue segment` says are hardly there.
    """
    segmenter = load_label_segmenter(ENCODER)
    assert isinstance(segmenter, DualEncoderSegmenter)  # for mypy: the bundled one is
    pictures, classes, read_truth = _scored(test, segmenter, work)
    p, shown = [], []
    for picture, answer in zip(
        pictures, segmenter.segment_many([one.load() for one in pictures], classes), strict=True
    ):
        truth = read_truth(picture)
        assert answer.shown is not None  # for mypy: the bundled one is calibrated
        p.append(answer.shown)
        shown.append([(truth == number).mean() > SHOWN for number in range(len(classes))])
    of_shown, of_others = (np.concatenate(p)[np.concatenate(shown) == there] for there in (True, False))
    return {
        "auc": float((of_shown[:, None] > of_others).mean()),
        "told_absent": float((of_others < UNLIKELY).mean()),
        "told_shown": float((of_shown < UNLIKELY).mean()),
    }


def _supervised_row(test: str, work: Work) -> dict[str, float]:
    """What a training on the set's own label maps brings, by `segue train labels` as it is set."""
    train_once(replace(LABELS, data=DATA.folder(work.data) / test, out=work.row), train_labels)
    segmenter = load_label_segmenter(work.row / "best")
    assert isinstance(segmenter, DualEncoderSegmenter)  # for mypy: it was trained as one
    return scores_on(test, segmenter, work)


def _moved_row(test: str, work: Work) -> dict[str, float]:
    """The bundled one with names half-way to what its cells of a class are in the set's own train split: no cell is
    another, so it tells whether cells or names are at their end.
    """
    segmenter = load_label_segmenter(ENCODER)
    assert isinstance(segmenter, DualEncoderSegmenter)  # for mypy: the bundled one is
    encoder = segmenter.encoder
    assert isinstance(encoder, VisionTextDualEncoder)  # for mypy, too
    encoder.set_noun_shifts()
    train = read_pictures(DATA.folder(work.data) / test, "train")
    pictures, classes, read_truth = with_truth(train, segmenter.protocol)
    moved = NounShifts(embed_names(encoder, classes), segmenter.protocol.presence)
    for picture in spread_evenly(pictures, TRAIN_PICTURES):
        image, truth = picture.load(), torch.from_numpy(read_truth(picture).astype(np.int64))
        _, shares = encoder.embed_with_shares([image])
        cells = encoder.embed_dense([image], size=side_read(encoder), shares=shares)[0]
        parts = (truth == torch.arange(len(classes))[:, None, None]).float()
        pure = (F.adaptive_avg_pool2d(parts, (cells.shape[1], cells.shape[2])) > PURE).float()
        moved.sums += torch.einsum("khw,dhw->kd", pure, cells)
        moved.pictures += pure.sum((1, 2))
    places, shifts = moved.shifts(HALF_WAY)
    encoder.set_noun_shifts(tuple(classes[i] for i in places.tolist()), shifts)
    return scores_on(test, segmenter, work)


def _scored(test: str, segmenter: DualEncoderSegmenter, work: Work) -> tuple[list[Picture], tuple[str, ...], ReadTruth]:
    found = read_pictures(DATA.folder(work.data) / test, "val")
    return with_truth(replace(found, pictures=found.pictures[:: TESTS[test]]), segmenter.protocol)


def scores_on(test: str, segmenter: DualEncoderSegmenter, work: Work) -> dict[str, float]:
    """The four scores of this table on one of its sets."""
    pictures, classes, read_truth = _scored(test, segmenter, work)
    ious, accuracy = score_pictures(segmenter, pictures, classes, read_truth)
    own, own_accuracy = score_pictures(segmenter, pictures, classes, read_truth, oracle=True)
    return {
        "miou": float(np.nanmean(ious)),
        "pixel_accuracy": accuracy,
        "miou_own": float(np.nanmean(own)),
        "pixel_accuracy_own": own_accuracy,
    }
