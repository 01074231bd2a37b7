import pytest

from segue.data.formats.files import expecting
from segue.types import InputError


def test_what_goes_wrong_inside_becomes_one_sentence():
    with (
        pytest.raises(InputError, match=r"^a\.json: not laid out as expected \(no 'id'\); expected a list$"),
        expecting("a.json", "a list"),
    ):
        {}["id"]


def test_a_sentence_from_inside_is_not_wrapped_in_another():
    with pytest.raises(InputError, match=r"^b\.png: broken$"), expecting("a.json", "a list"):
        raise InputError("b.png: broken")
