"""Notes in other words than a model's own."""

import pytest

from segue.data.medical.wording import SAME, read_wording

NOTE = "Bilateral pulmonary infection, two infected areas, all left lung and upper right lung."
KNOWN = set(NOTE.lower().replace(",", "").replace(".", "").split())


@pytest.mark.parametrize(
    ("note", "text", "unknown"),
    [
        (NOTE, NOTE, ()),
        ("  odd   words, a left  lung ", "odd words, left lung", ("odd", "words")),
        (
            "Two-sided opacities: 2 affected regions, the whole left lung and top right lung.",
            "bilateral infection: two infected areas, all left lung and upper right lung.",
            (),
        ),
        ("There is a shadow on the left-sided lung", "shadow on left lung", ("shadow", "on")),
        ("RUL opacity", "upper right lung infection", ()),
        ("Opacity of the right base", "infection right base", ("base",)),  # no note says "lower"
        ("", "", ()),
    ],
)
def test_unknown_words_become_known_ones_of_the_same_meaning(note, text, unknown):
    assert read_wording(note, KNOWN.__contains__) == (text, unknown)


def test_a_note_of_known_words_stays_as_it_is():
    assert read_wording(" left  LUNG ,right", KNOWN.__contains__).text == " left  LUNG ,right"


def test_each_model_has_its_own_usual_word():
    knows = {"opacities", "base", "basal"}.__contains__
    assert read_wording("infection, lower", knows).text == "opacities, basal"


def test_a_word_has_one_meaning():
    words = [word for group in SAME for word in group]
    assert len(words) == len(set(words))
