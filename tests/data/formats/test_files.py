import pytest

from segue.data.formats.files import expecting, read_json
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


@pytest.mark.parametrize(("text", "key"), [('{"a": [1], "a": []}', "a"), ('[{"b": {"id": 1, "x": 2, "id": 3}}]', "id")])
def test_a_key_that_stands_twice_is_refused(tmp_path, text, key):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=rf'a\.json: can\'t be read as JSON \(an object has the key "{key}" twice\)'):
        read_json(tmp_path / "a.json")
