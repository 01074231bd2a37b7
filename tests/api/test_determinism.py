"""An answer is the same alone and among others, with one thread and with two, for every job of the bundled models."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import segue
from segue.api import load_dual_encoder
from segue.api.label_segmenter import load_label_segmenter
from segue.options import Decoding, DescribeOptions, DrawOptions, SegmentOptions
from segue.synthetic.chest import draw_chest
from segue.types import Region

TOLERANCE = 1e-5  # in float32
load = cache(segue.load)
TEXTS = [
    "A dog.",
    "Two red birds fly over a large tree on the grass while a small boat lies on the water near the house.",
    "the sky",
    "A man in a blue shirt holds a kite.",
]
NAMES = [["dog", "grass", "sky"], ["tree", "a small red car", "water"]]


def pictures() -> list[Any]:
    """Of three sizes, none of them square."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (h, w, 3), dtype=np.uint8) for h, w in ((96, 64), (40, 130), (151, 149), (96, 70))]


def numbers(found: Any) -> list[Any]:
    """Arrays, numbers and texts of an answer, in order."""
    if isinstance(found, torch.Tensor):
        return [found.numpy()]
    if isinstance(found, list | tuple):
        return [value for part in found for value in numbers(part)]
    return (
        [value for part in vars(found).values() for value in numbers(part)] if hasattr(found, "__dict__") else [found]
    )


def assert_equal(found: Any, expected: Any) -> None:
    pairs = list(zip(numbers(found), numbers(expected), strict=True))
    assert pairs
    for one, other in pairs:
        if isinstance(one, str | None | bool):
            assert one == other
        else:
            np.testing.assert_allclose(
                np.asarray(one, np.float64), np.asarray(other, np.float64), rtol=0, atol=TOLERANCE
            )


def segment(rows: list[int]) -> list[Any]:
    notes = [draw_chest(7).note, None, "left lung", f"{draw_chest(8).note} {draw_chest(9).note}"]
    images = [draw_chest(7).image, *pictures()[1:]]
    model, options = load("reclmis-chest"), SegmentOptions(tta=True)
    found = model.segment_many([images[i] for i in rows], [notes[i] for i in rows], options=options)
    return [answer.probability for answer in found]


def name_pixels(rows: list[int]) -> list[Any]:
    found = [load("cocu-scenes").segment(pictures()[i], NAMES[i % 2]) for i in rows]
    return [[answer.index, answer.scores, answer.image_similarity] for answer in found]


def photographs(rows: list[int]) -> list[Any]:
    """What the default models make of a picture, and how far it lies from those that they learned from."""
    given = pictures()
    images = [given[i] for i in rows]
    captions = list(load("captions-photos").caption_many(images, options=Decoding(beams=2)))
    cuts = list(load_label_segmenter("photos-encoder").segment_many(images, ["dog", "grass", "sky"]))
    notes = ["left lung", None, "two infected areas", None]
    masks = list(load("reclmis-cxr").segment_many(images, [notes[i] for i in rows]))
    distances = load("describe-photos").measure_distances(images), load("crossmodal-scenes").measure_distances(images)
    said = [[(c.text, c.likelihood, c.score, c.distance) for c in one] for one in captions]
    maps = [(cut.index, cut.scores, cut.distance) for cut in cuts]
    return list(zip(said, maps, [(mask.probability, mask.distance) for mask in masks], *distances, strict=True))


def caption(rows: list[int], options: Decoding) -> list[Any]:
    return list(load("syntic-scenes").caption_many([pictures()[i] for i in rows], options=options))


def describe(rows: list[int]) -> list[Any]:
    regions = [
        Region("dog", (5, 5, 20, 20)),
        Region("tree", (60, 40, 50, 80)),
        Region("boat", (20, 90, 60, 30)),
        Region("cloud", (0, 0, 149, 30)),
    ]
    model, options = load("sgdiff-scenes"), DescribeOptions(num=2, steps=4, best_of=2, temperature=0.5)
    if len(rows) == 1:
        return [model.describe(pictures()[2], box=regions[rows[0]].box, regions=regions, options=options)]
    found = list(model.describe_objects(pictures()[2], regions=regions, options=options))
    return [next(said for box, said in found if np.allclose(box, regions[i].box)) for i in rows]


def draw(rows: list[int]) -> list[Any]:
    model, options = load("crossmodal-scenes"), DrawOptions(best_of=2, steps=4, guidance=1.5)
    drawn = model.draw_many([TEXTS[i] for i in rows], seeds=rows, options=options)
    return [one.labels for one in drawn]


def caption_layout(rows: list[int], options: Decoding) -> list[Any]:
    model, rng = load("crossmodal-scenes"), np.random.default_rng(0)
    sizes = ((64, 64), (90, 128), (33, 200), (128, 128))
    layouts = [np.kron(rng.integers(0, 20, (3, 4), dtype=np.uint8), np.ones(size, np.uint8)) for size in sizes]
    return model.caption_layouts([layouts[i] for i in rows], options=options)


def embed(rows: list[int]) -> list[Any]:
    encoder = load_dual_encoder("scenes-encoder")
    images = encoder.embed_images([pictures()[i] for i in rows])
    texts = encoder.embed_texts([TEXTS[i] for i in rows])
    return list(zip(images, texts, strict=True))


SAMPLED = Decoding(num=2, top_p=0.9, temperature=2.0, seed=3)
JOBS: dict[str, Callable[[list[int]], list[Any]]] = {
    "segment by notes": segment,
    "segment by names": name_pixels,
    "default models": photographs,
    "caption": lambda rows: caption(rows, Decoding(beams=3, num=2)),
    "caption, sampled": lambda rows: caption(rows, SAMPLED),
    "describe": describe,
    "draw": draw,
    "caption a layout": lambda rows: caption_layout(rows, Decoding(beams=4)),
    "caption a layout, sampled": lambda rows: caption_layout(rows, SAMPLED),
    "embed": embed,
}


@pytest.mark.parametrize("job", JOBS)
def test_an_answer_does_not_depend_on_the_others_of_its_batch(job):
    together, turned = JOBS[job]([0, 1, 2, 3]), JOBS[job]([3, 1, 0, 2])
    for i in range(4):
        alone = JOBS[job]([i])[0]
        assert_equal(together[i], alone)
        assert_equal(turned[[3, 1, 0, 2].index(i)], alone)


@pytest.mark.parametrize("job", JOBS)
def test_an_answer_does_not_depend_on_the_number_of_threads(job):
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(JOBS[job]([0, 1, 2, 3]))
    finally:
        torch.set_num_threads(threads)
    assert_equal(*found)
