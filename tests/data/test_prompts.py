"""Text prompts: one place for the name, and braces that are only text."""

import pytest

from segue.data.prompts import check_prompt, fill_prompt
from segue.types import InputError


def test_the_name_stands_where_the_braces_were():
    assert fill_prompt("a photo of a {}.", "dog") == "a photo of a dog."


@pytest.mark.parametrize(
    ("prompt", "name", "text"),
    [
        ("{x} {}", "dog", "{x} dog"),
        ("{{}}", "dog", "{dog}"),
        ("a { {}", "dog", "a { dog"),
        ("{}", "{0}", "{0}"),
    ],
)
def test_other_braces_are_text(prompt, name, text):
    check_prompt(prompt)
    assert fill_prompt(prompt, name) == text


@pytest.mark.parametrize("prompt", ["a photo", "", "{} and {}", "{0}"])
def test_a_prompt_without_one_place_is_refused(prompt):
    with pytest.raises(InputError, match=r"prompt: got .*, expected one \{\} where the name goes"):
        check_prompt(prompt)
