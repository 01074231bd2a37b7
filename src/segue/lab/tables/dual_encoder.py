"""The tables of dual encoders: what `segue lab run dual_encoder_flickr8k --data DIR` and `dual_encoder_scenes` run.

On Flickr8k the encoders are EfficientNet-Lite0 and MiniLM, both frozen; a row trains the projection heads and is scored
on val with its last weights. The rows share the encoders' features, which the first one computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from segue.encoders.dual_encoder import VisionTextDualEncoder
from segue.lab.engine import RequiredData, Row, Work
from segue.lab.trained import train_once
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, restore_dual_encoder
from segue.metrics.retrieval import recall_at_k
from segue.recipes.datasets import create_scenes_once
from segue.recipes.dual_encoder import (
    DUAL_ENCODER,
    CaptionedImages,
    DualEncoderSettings,
    FeatureCache,
    embed_pictures,
    recalls,
    train_dual_encoder,
    train_dual_encoder_photos,
)
from segue.recipes.dual_encoder import PHOTOS as PHOTO_HEADS

SEEDS = (0, 1, 2)
PHOTO_TESTS = {"flickr8k": "val", "coco_tiny": None}  # the split; None: its only one
LEARNED = "flickr8k, learned from"  # as many photographs of `train` as `val` has
PHOTOS = RequiredData(f"a folder with {'/, '.join(PHOTO_TESTS)}/", tuple(PHOTO_TESTS))
HEADS = replace(DUAL_ENCODER, image="efficientnet-lite0", text="minilm", evaluations=1)
DATA = RequiredData("a folder of captioned pictures, such as Flickr8k's")
OF_SCENES = RequiredData("a folder with scenes-encoder/, see docs/caption.md", ("scenes-encoder",))
SYSTEMS: dict[str, DualEncoderSettings] = {
    "full": HEADS,
    "linear heads": replace(HEADS, hidden=0),
    "with hard negatives": replace(HEADS, hard_negatives=1.0),
}


def flickr8k_table() -> list[Row]:
    """Projection heads on frozen encoders, and one setting changed at a time, on images with captions."""
    return [
        Row("val", system, seed, partial(_row, replace(settings, seed=seed)), DATA)
        for system, settings in SYSTEMS.items()
        for seed in SEEDS
    ]


def _row(settings: DualEncoderSettings, work: Work) -> dict[str, float]:
    data = DATA.folder(work.data)
    settings = replace(settings, data=data, out=work.row, cache=work.shared / "features")
    return score(train_once(settings, train_dual_encoder), settings)


def score(folder: Path, settings: DualEncoderSettings) -> dict[str, float]:
    """Recalls of a checkpoint on the val split of its data."""
    from segue.data.formats import read_pictures

    model, _ = restore_dual_encoder(folder)
    val = CaptionedImages.of(read_pictures(settings.data, "val"), settings.on_bad, "val")
    cache = FeatureCache(model, settings.cache)
    return recalls(model, val, cache.images(val), cache.texts(val))


def scenes_table() -> list[Row]:
    """Dual encoders on the scenes' test split, which they were not trained on: 1,000 images, 5,000 captions.

    The bundled one, and that of the table syntic_scenes.
    """
    return [
        Row("test", "scenes-encoder", 0, partial(_of_scenes, None)),
        Row("test", "EfficientNet-Lite0 and MiniLM", 0, partial(_of_scenes, OF_SCENES), OF_SCENES),
    ]


def _of_scenes(needed: RequiredData | None, work: Work) -> dict[str, float]:
    from segue.data.formats import read_pictures

    pictures = read_pictures(create_scenes_once(work.shared / "data-scenes"), "test")
    model = load_dual_encoder(str(needed.folder(work.data) / "scenes-encoder") if needed else "scenes-encoder")
    assert isinstance(model, VisionTextDualEncoder)  # for mypy: what Segue trains is
    return recalls(model, CaptionedImages.of(pictures, "stop", "test"), None, None)


def photos_table() -> list[Row]:
    """The bundled dual encoder on photographs that it didn't learn from, and on some that it did; --data: flickr8k/
    and coco_tiny/. Beside it heads trained by the same recipe, and the mean similarity of three such heads.
    """
    rows = [Row(test, "photos-encoder", 0, partial(_bundled_photos, test), PHOTOS) for test in (*PHOTO_TESTS, LEARNED)]
    for test in PHOTO_TESTS:
        rows += [Row(test, "heads", seed, partial(_trained_heads, test, (seed,)), PHOTOS) for seed in SEEDS]
        rows.append(Row(test, f"ensemble of {len(SEEDS)}", 0, partial(_trained_heads, test, SEEDS), PHOTOS))
    return rows


def _bundled_photos(test: str, work: Work) -> dict[str, float]:
    model = load_dual_encoder("photos-encoder")
    assert isinstance(model, VisionTextDualEncoder)  # for mypy: the bundled one is
    return recalls(model, _photographs(test, work), None, None)


def _trained_heads(test: str, seeds: Sequence[int], work: Work) -> dict[str, float]:
    """Recalls by the mean similarity of the heads of the seeds; they are trained by the first row that needs them."""
    photographs, embedded = _photographs(test, work), []
    for seed in seeds:
        out, data = work.table / f"heads-{seed}", PHOTOS.folder(work.data) / "flickr8k"
        settings = replace(PHOTO_HEADS, seed=seed, out=out, data=data, cache=work.shared / "features", evaluations=1)
        model = load_dual_encoder(train_once(settings, train_dual_encoder_photos))
        embedded.append((embed_pictures(model, photographs.pictures), model.embed_texts(photographs.captions)))
    v, t = (torch.cat(parts, 1).numpy() / len(seeds) ** 0.5 for parts in zip(*embedded, strict=True))
    recall = recall_at_k(v, t, photographs.image_index)
    return recall | {"mean_recall": sum(recall.values()) / len(recall)}


def _photographs(test: str, work: Work) -> CaptionedImages:
    from segue.data.formats import detect_format, read_pictures

    data = PHOTOS.folder(work.data)
    if test == LEARNED:
        count = len(read_pictures(data / "flickr8k", "val").pictures)
        pictures = read_pictures(data / "flickr8k", "train")
        pictures = replace(pictures, pictures=pictures.pictures[:count])
    else:
        pictures = read_pictures(data / test, PHOTO_TESTS[test] or detect_format(data / test)[1][0])
    return CaptionedImages.of(pictures, "stop", test)
