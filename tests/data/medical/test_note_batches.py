import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segue.data.medical.note_batches import ImageNoteBatches
from segue.data.transforms import augment, flip, photometric, resize_mask, warp
from segue.nn.preprocessing import Preprocessing
from segue.types import Example, InputError

NOTE = "Unilateral pulmonary infection, one infected area, upper left lung."


def example(seed=0, note=NOTE):
    rng = np.random.default_rng(seed)
    mask = np.zeros((24, 20), bool)
    mask[3:9, 12:18] = True
    image = rng.integers(0, 120, (24, 20, 3), dtype=np.uint8)
    image[mask] = 240
    return Example(image, mask, note, f"x{seed}")


def test_a_flip_swaps_the_sides_in_the_note_too():
    flipped = flip(example())
    assert "right lung" in flipped.note
    assert (flipped.mask == example().mask[:, ::-1]).all()
    assert (flip(flipped).image == example().image).all()
    assert flip(flipped).note == NOTE


def test_no_flip_when_the_note_can_not_be_rewritten():
    stuck = example(note="mass to the left of the heart")
    assert flip(stuck) is stuck


def test_a_warp_moves_picture_and_mask_together():
    moved = warp(example(), 20, 1.1)
    bright = moved.image[..., 0] > 180
    assert moved.mask.any()
    assert (bright == moved.mask).mean() > 0.93


def test_no_warp_is_no_change():
    same = warp(example(), 0, 1)
    assert (same.image == example().image).all()
    assert (same.mask == example().mask).all()


def test_blur_never_mixes_the_channels():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200

    class Blurring:
        def random(self):
            return 0.0

        def uniform(self, low, high, size=None):
            return 1.0 if size is None else np.ones(size)

    seen = photometric(red, Blurring())
    assert (seen[..., 1:] == 0).all()
    assert abs(int(seen[8, 8, 0]) - 200) <= 1


@given(arrays(bool, st.tuples(st.integers(2, 24), st.integers(2, 24))), st.integers(1, 40), st.integers(1, 40))
def test_nearest_resizing_invents_nothing(mask, height, width):
    small = resize_mask(mask, (height, width))
    assert small.dtype == np.bool_
    assert small.shape == (height, width)
    if mask.all() or not mask.any():
        assert (small == mask[0, 0]).all()


def test_doubling_a_mask_doubles_it_exactly():
    mask = np.random.default_rng(0).random((7, 5)) > 0.5
    assert (resize_mask(mask, (14, 10)) == mask.repeat(2, 0).repeat(2, 1)).all()


def test_a_batch_is_a_function_of_its_keys():
    data = ImageNoteBatches([example(i) for i in range(4)], Preprocessing(size=16), 3, augment, text_dropout=0.5)
    keys = [(0, 1), (0, 3), (5, 1)]
    first, again = data.collate(keys), data.collate(keys)
    assert first["note"] == again["note"]
    assert first["seed"] == again["seed"]
    assert torch.equal(first["image"], again["image"])
    other = data.collate([(1, 1)])
    assert not torch.equal(first["image"][:1], other["image"])
    alone = data.collate(keys[2:])
    assert torch.equal(first["image"][2:], alone["image"])


def test_a_batchs_shapes_and_ranges():
    batch = ImageNoteBatches([example()], Preprocessing(size=16)).collate([(0, 0)])
    assert batch["image"].shape == (1, 3, 16, 16)
    assert set(batch["mask"].unique().tolist()) == {0.0, 1.0}
    assert batch["image"].min() >= -2
    assert batch["image"].max() <= 2


def test_text_dropout_is_the_share_of_notes_left_out():
    data = ImageNoteBatches([example(i) for i in range(200)], Preprocessing(size=16), text_dropout=0.3)
    notes = data.collate([(0, i) for i in range(200)])["note"]
    assert 0.2 < sum(n is None for n in notes) / 200 < 0.4


def test_training_needs_masks_and_examples():
    with pytest.raises(InputError, match="1 examples have no mask, such as x9"):
        ImageNoteBatches([Example(example().image, None, NOTE, "x9")], Preprocessing())
    with pytest.raises(InputError, match="the split is empty"):
        ImageNoteBatches([], Preprocessing())
