"""Random views of pictures with masks and notes."""

from dataclasses import replace

import numpy as np
import pytest

from segue.data.medical.views import RandomViews, part_of_infection
from segue.types import Example


def example(height: int = 60, width: int = 48, note: str | None = "one infected area, left lung") -> Example:
    """A bright square on the picture's right, which the mask outlines."""
    image, mask = np.full((height, width, 3), 40, np.uint8), np.zeros((height, width), bool)
    mask[20:40, 30:42] = True
    image[mask] = 220
    return Example(image, mask, note, "x", "x")


def views(view: RandomViews, of: Example, count: int = 40) -> list[Example]:
    return [view(of, np.random.default_rng(seed)) for seed in range(count)]


def test_a_view_is_a_function_of_the_generator() -> None:
    a, b = (RandomViews(32)(example(), np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.mask, b.mask)
    assert (a.image.shape, a.image.dtype) == ((32, 32, 3), np.uint8)
    assert a.mask is not None
    assert a.mask.dtype == bool


def test_the_mask_goes_with_the_picture_and_the_note_with_the_mirror() -> None:
    notes = set()
    for one in views(RandomViews(64, strength=0), example()):
        assert one.mask is not None
        inside = (one.image[..., 0] > 130) == one.mask
        assert inside.mean() > 0.97
        on_the_right = one.mask[:, 32:].sum() > one.mask[:, :32].sum()
        assert one.note == f"one infected area, {'left' if on_the_right else 'right'} lung"
        notes.add(one.note)
    assert len(notes) == 2


def test_a_note_that_cant_be_mirrored_keeps_the_picture_as_it_is() -> None:
    for one in views(RandomViews(64, strength=0), example(note="RLL infiltrate")):
        assert one.mask is not None
        assert one.mask[:, 32:].sum() > one.mask[:, :32].sum()


def test_strong_views_keep_mask_and_picture_together() -> None:
    overlaps = []
    for one in views(RandomViews(64), example()):
        assert one.mask is not None
        assert one.mask.any()
        overlaps.append(one.image[one.mask].mean() - one.image[~one.mask].mean())
    assert np.mean(np.array(overlaps) > 30) > 0.9


def test_patches_have_the_pictures_own_resolution() -> None:
    checks = np.indices((96, 128)).sum(0) // 4 % 2 == 0  # cells of 4 pixels
    board = Example(np.repeat((checks * 255).astype(np.uint8)[..., None], 3, 2), checks, None, "x", "x")
    shares, places = [], set()
    for one in views(RandomViews(32, patches=True, strength=0), board):
        assert one.mask is not None
        shares.append(np.abs(np.diff(one.mask.astype(int), axis=0)).mean())
        places.add(one.mask.tobytes())
    expected = np.abs(np.diff(checks.astype(int), axis=0)).mean()
    assert np.mean(shares) == pytest.approx(expected, rel=0.25)
    assert len(places) > 10


def test_pictures_smaller_than_the_patch_are_reflected() -> None:
    one = RandomViews(96, patches=True, strength=0)(example(), np.random.default_rng(0))
    assert one.mask is not None
    assert one.mask.shape == (96, 96)
    assert one.image.min() >= 35


def test_an_example_without_a_mask() -> None:
    bare = Example(example().image, None, None, "x", "x")
    assert RandomViews(32)(bare, np.random.default_rng(0)).mask is None


def both_sides() -> Example:
    mask = np.zeros((40, 40), bool)
    mask[5:10, 4:12] = mask[20:30, 25:36] = True
    note = "Bilateral pulmonary infection, two infected areas, middle lower left lung and upper right lung."
    return Example(np.zeros((40, 40, 3), np.uint8), mask, note, "x", "x")


def test_a_part_of_an_infection_has_the_zones_that_its_note_names() -> None:
    said = {}
    for seed in range(200):
        one = part_of_infection(both_sides(), np.random.default_rng(seed))
        assert one.note is not None
        assert one.mask is not None
        rows = [
            np.flatnonzero(half.any(1)) for half in (one.mask[:, 20:], one.mask[:, :20])
        ]  # the patient's left first
        extents = tuple((int(r[0]), int(r[-1]) + 1) if len(r) else None for r in rows)
        said.setdefault(one.note, extents)
        assert said[one.note] == extents
    one, two = (
        "Unilateral pulmonary infection, one infected area,",
        "Bilateral pulmonary infection, two infected areas,",
    )
    assert said == {
        f"{one} middle lower left lung.": ((20, 30), None),
        f"{one} middle left lung.": ((20, 25), None),
        f"{one} lower left lung.": ((25, 30), None),
        f"{one} upper right lung.": (None, (5, 10)),
        f"{two} middle lower left lung and upper right lung.": ((20, 30), (5, 10)),
        f"{two} middle left lung and upper right lung.": ((20, 25), (5, 10)),
        f"{two} lower left lung and upper right lung.": ((25, 30), (5, 10)),
    }


def test_zones_apart_are_two_areas_and_stay_together() -> None:
    note = "Unilateral pulmonary infection, two infected areas, upper lower left lung."
    for seed in range(20):
        one = part_of_infection(replace(both_sides(), note=note), np.random.default_rng(seed))
        assert one.note == note


@pytest.mark.parametrize(
    "note", [None, "RLL infiltrate", "Unilateral pulmonary infection, one infected area, left lung."]
)
def test_examples_whose_note_names_no_zone_stay(note: str | None) -> None:
    given = replace(both_sides(), note=note)
    assert part_of_infection(given, np.random.default_rng(0)) is given


def test_the_colours_of_a_view_are_moved_apart_and_greys_stay_grey() -> None:
    assert all((one.image == one.image[..., :1]).all() for one in views(RandomViews(32), example(), 10))
    almost = replace(example(), image=np.full((60, 48, 3), (120, 121, 122), np.uint8))
    apart = [np.ptp(one.image.mean((0, 1))) for one in views(RandomViews(32), almost)]
    assert np.median(apart) > 8
