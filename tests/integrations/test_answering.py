import numpy as np
import pytest

from segue.integrations.answering import find_masks, load_annotator
from segue.types import InputError

IMAGE = np.random.default_rng(0).integers(0, 255, (64, 48, 3), np.uint8)


@pytest.fixture(scope="module")
def naming():
    return load_annotator("scenes-encoder")


def test_a_model_of_names_gives_a_mask_of_each_label_that_has_pixels(naming):
    answer = naming(IMAGE, ["dog", "grass", "sky"])
    found = find_masks(naming, IMAGE, ["dog", "grass", "sky"])
    assert [one.label for one in found] == [n for i, n in enumerate(answer.names) if (answer.index == i).any()]
    assert sum(one.mask.sum() for one in found) == 64 * 48
    assert all(0 < one.score <= 1 for one in found)
    half = find_masks(naming, IMAGE, ["dog", "grass", "sky"], background=0.99)
    assert sum(one.mask.sum() for one in half) < 64 * 48


def test_a_model_of_notes_gives_its_mask_under_the_only_label(tiny_model):
    model = load_annotator(tiny_model)
    (found,) = find_masks(model, IMAGE, ["lesion"], "left lung")
    np.testing.assert_array_equal(found.mask, model(IMAGE, "left lung").mask)
    assert found.label == "lesion"
    with pytest.raises(InputError, match="got dog, cat; a model of notes outlines one thing: give one label"):
        find_masks(model, IMAGE, ["dog", "cat"])


def test_other_jobs_and_a_note_that_nobody_reads_are_refused(naming):
    with pytest.raises(InputError, match="note: got 'left lung', and this model reads none"):
        find_masks(naming, IMAGE, ["dog", "sky"], "left lung")
    with pytest.raises(InputError, match="doesn't take labels"):
        load_annotator("syntic-scenes")
