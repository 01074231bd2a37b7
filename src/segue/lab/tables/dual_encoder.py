"""The tables of dual encoders: what `segue lab run dual_encoder_flickr8k --data DIR` and `dual_encoder_scenes` run.

On Flickr8k the encoders are EfficientNet-Lite0 and MiniLM, both frozen; a row trains the projection heads and is scored
on val with its last weights. The rows share the encoders' features, which the first one computes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from segue.encoders.dual_encoder import VisionTextDualEncoder
from segue.lab.engine import RequiredData, Row, Work
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, restore_dual_encoder
from segue.recipes.datasets import create_scenes_once
from segue.recipes.dual_encoder import (
    DUAL_ENCODER,
    CaptionedImages,
    DualEncoderSettings,
    FeatureCache,
    recalls,
    train_dual_encoder,
)
from segue.training.state import has_state

SEEDS = (0, 1, 2)
PHOTO_TESTS = {"flickr8k": "val", "coco_tiny": None}  # the split; None: its only one
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
    if not (work.row / "last" / "config.json").exists():
        train_dual_encoder(replace(settings, resume=has_state(work.row / "state")))
    return score(work.row / "last", settings)


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
    """The bundled dual encoder of photographs on others than it learned from; --data: flickr8k/ and coco_tiny/."""
    return [Row(test, "photos-encoder", 0, partial(_bundled_photos, test), PHOTOS) for test in PHOTO_TESTS]


def _bundled_photos(test: str, work: Work) -> dict[str, float]:
    from segue.data.formats import detect_format, read_pictures

    data = PHOTOS.folder(work.data)
    pictures = read_pictures(data / test, PHOTO_TESTS[test] or detect_format(data / test)[1][0])
    model = load_dual_encoder("photos-encoder")
    assert isinstance(model, VisionTextDualEncoder)  # for mypy: the bundled one is
    return recalls(model, CaptionedImages.of(pictures, "stop", test), None, None)
