import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from segue.data import rle
from segue.data.geometry import AnnotatedImage, crop, flip, load_annotated, resize
from segue.types import InputError, Picture, Region

masks = arrays(np.bool_, st.tuples(st.integers(1, 16), st.integers(1, 16)))


def seen(mask):
    """A picture that is white where its region is, with the same label map."""
    region = Region("thing", rle.box(rle.encode(mask)), rle.encode(mask), attributes=("red",))
    return AnnotatedImage(np.repeat(mask[..., None] * np.uint8(255), 3, 2), (region,), mask.astype(np.uint8))


def parts(made):
    """(H, W) bool of the picture, the mask, the label map, and the box."""
    return made.image[..., 0] > 127, rle.decode(made.regions[0].mask), made.labels > 0, made.regions[0].box


@given(masks)
def test_a_mirrored_picture_mask_labels_and_box_stay_together(mask):
    image, region, labels, box = parts(flip(seen(mask)))
    assert (image == region).all()
    assert (labels == region).all()
    assert (region == mask[:, ::-1]).all()
    if mask.any():
        assert box == rle.box(rle.encode(region))
    again = flip(flip(seen(mask)))
    assert all((a == b).all() for a, b in zip(parts(again)[:3], parts(seen(mask))[:3], strict=True))
    assert again.regions[0].box == pytest.approx(seen(mask).regions[0].box)


@given(masks, st.data())
def test_a_cropped_picture_mask_labels_and_box_stay_together(mask, data):
    height, width = mask.shape
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    w, h = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    made = crop(seen(mask), (x, y, w, h))
    image, region, labels, box = parts(made)
    assert (image == region).all()
    assert (labels == region).all()
    assert (region == mask[y : y + h, x : x + w]).all()
    assert made.regions[0].attributes == ("red",)
    tight = rle.box(rle.encode(region))  # the box of what is left lies in what is left of the box
    assert tight[2] == 0 or (box[0] <= tight[0] and box[0] + box[2] >= tight[0] + tight[2])
    assert tight[3] == 0 or (box[1] <= tight[1] and box[1] + box[3] >= tight[1] + tight[3])
    assert 0 <= box[0] <= box[0] + box[2] <= w
    assert 0 <= box[1] <= box[1] + box[3] <= h


@given(masks, st.integers(1, 40), st.integers(1, 40))
def test_a_resized_picture_mask_labels_and_box_stay_together(mask, height, width):
    image, region, labels, box = parts(resize(seen(mask), (height, width)))
    assert image.shape == region.shape == (height, width)
    assert (labels == region).all()
    if region.any():  # the mask lies in the box, to a pixel
        x, y, w, h = rle.box(rle.encode(region))
        assert box[0] - 1 <= x <= x + w <= box[0] + box[2] + 1
        assert box[1] - 1 <= y <= y + h <= box[1] + box[3] + 1
    if height >= mask.shape[0] and width >= mask.shape[1]:  # picture and mask differ at the mask's rim only
        reach = int(np.ceil(max(height / mask.shape[0], width / mask.shape[1])))
        rim = ndimage.binary_dilation(region, iterations=reach) & ~ndimage.binary_erosion(region, iterations=reach)
        assert not ((image != region) & ~rim).any()


@given(masks)
def test_the_same_size_and_the_whole_picture_change_nothing(mask):
    for made in (resize(seen(mask), mask.shape), crop(seen(mask), (0, 0, mask.shape[1], mask.shape[0]))):
        assert all((a == b).all() for a, b in zip(parts(made)[:3], parts(seen(mask))[:3], strict=True))
        if mask.any():
            assert made.regions[0].box == seen(mask).regions[0].box


@given(masks, st.integers(1, 4))
def test_whole_magnification_is_exact_for_masks_and_boxes(mask, times):
    made = resize(seen(mask), (mask.shape[0] * times, mask.shape[1] * times))
    _, region, _, box = parts(made)
    assert (region == np.kron(mask, np.ones((times, times), bool))).all()
    assert not mask.any() or box == rle.box(rle.encode(region))


def test_a_region_out_of_the_crop_keeps_its_place():
    mask = np.zeros((6, 6), bool)
    mask[0, 0] = True
    made = crop(seen(mask), (3, 3, 2, 2))
    assert made.regions[0].box == (0, 0, 0, 0)
    assert rle.area(made.regions[0].mask) == 0
    with pytest.raises(InputError, match=r"got the box \(3, 3, 4, 2\).*inside the 6x6 picture"):
        crop(seen(mask), (3, 3, 4, 2))


def test_boxes_without_masks_and_pictures_without_labels():
    picture = Picture("a", lambda: np.zeros((4, 8, 3), np.uint8), regions=(Region("dog", (1, 0, 2, 4)),))
    assert flip(load_annotated(picture)).regions == (Region("dog", (5, 0, 2, 4)),)
    assert resize(load_annotated(picture), (8, 8)).regions == (Region("dog", (1, 0, 2, 8)),)
    assert crop(load_annotated(picture), (2, 1, 4, 2)).regions == (Region("dog", (0, 0, 1, 2)),)
    assert flip(load_annotated(picture)).labels is None
