import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.data.notes import NUMBERS, ZONES, areas_seen, facts, normalise, sides_seen, swap_sides

QATA = "Bilateral pulmonary infection, two infected areas, all left lung and middle lower right lung."


def test_what_a_note_of_qata_says():
    said = facts(QATA)
    assert said.left == set(ZONES)
    assert said.right == {"middle", "lower"}
    assert (said.count, said.bilateral) == (2, True)


@pytest.mark.parametrize(
    "slip",
    [
        "Bilateral pulmonary infection, two infected areas, all left lung andall right lung.",
        "Bilateral pulmonary infection, two infected areas ,all left lung and all right lung.",
        "bilateral  pulmonary infection,two infected areas,all left lung and upper mmiddle lower right lung",
    ],
)
def test_real_slips_are_understood(slip):
    said = facts(slip)
    assert said.left == said.right == set(ZONES)
    assert said.count == 2


def test_higher_means_upper():
    assert facts("Unilateral pulmonary infection, one infected area, higher left lung.").left == {"upper"}


def test_a_nuclei_note_claims_nothing_of_lungs():
    assert facts("The nuclei density in the lower left is high.") is None


@pytest.mark.parametrize(
    ("note", "mirrored"),
    [
        ("Upper Left lung and RIGHT base", "Upper Right lung and LEFT base"),
        ("The nuclei are evenly distributed.", "The nuclei are evenly distributed."),
        ("all right lung", "all left lung"),
    ],
)
def test_mirrored_notes(note, mirrored):
    assert swap_sides(note) == mirrored


@pytest.mark.parametrize(
    "note",
    [
        "rotated clockwise, left lung",
        "lefthanded patient",
        "a mass to the left of the heart",
        "leftover fluid",
    ],
)
def test_notes_that_can_not_be_mirrored_safely(note):
    assert swap_sides(note) is None


sides = st.lists(st.sampled_from(ZONES), min_size=1, max_size=3, unique=True)


@st.composite
def notes(draw):
    left, right = draw(sides), draw(sides)
    number = draw(st.sampled_from(list(NUMBERS)))
    where = f"{' '.join(left)} left lung and {' '.join(right)} right lung"
    return f"Bilateral pulmonary infection, {number} infected areas, {where}."


@given(notes())
def test_mirroring_twice_is_nothing_and_once_swaps_the_facts(note):
    other = swap_sides(note)
    assert swap_sides(other) == note
    assert (facts(other).left, facts(other).right) == (facts(note).right, facts(note).left)


@given(notes())
def test_facts_survive_normalising(note):
    assert facts(normalise(note)) == facts(note)


def test_left_is_the_patients_left():
    mask = np.zeros((10, 20), bool)
    mask[2:4, 15:18] = True
    assert sides_seen(mask) == {"left"}
    mask[2:4, 2:5] = True
    assert sides_seen(mask) == {"left", "right"}
    assert areas_seen(mask) == 2
    assert sides_seen(np.zeros((4, 4), bool)) == frozenset()
