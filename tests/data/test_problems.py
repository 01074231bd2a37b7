import warnings

import pytest

from segue.data.problems import handle_problems
from segue.types import InputError


def test_five_problems_are_named_and_the_others_counted():
    six = [f"{i}.png: broken" for i in range(6)]
    with pytest.raises(InputError) as error:
        handle_problems(six, "6 of 9 pictures", "stop")
    assert str(error.value).startswith("6 of 9 pictures: 0.png: broken; 1.png")
    assert "4.png: broken; and 1 more. Mend or remove them" in str(error.value)
    with pytest.raises(InputError) as error:
        handle_problems(six[:5], "5 of 9 pictures", "stop")
    assert "4.png: broken. Mend or remove them" in str(error.value)
    assert "more" not in str(error.value)


def test_skipping_warns_with_the_same_words():
    with pytest.warns(UserWarning, match=r"^skipped: 1 of 2: a\.png: broken$"):
        handle_problems(["a.png: broken"], "1 of 2", "skip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        handle_problems([], "0 of 2", "skip")
        handle_problems([], "0 of 2", "stop")


def test_other_answers_are_refused():
    with pytest.raises(InputError, match="on_bad: got 'ask', expected"):
        handle_problems([], "0 of 2", "ask")
