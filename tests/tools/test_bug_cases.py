import pytest

import bug_cases
from bug_cases import CASES, Case, outcome, refused
from segue.types import InputError


def test_the_table_has_every_situation_of_the_reports():
    assert len(CASES) == 62
    assert len({one.situation for one in CASES}) == 62


@pytest.mark.parametrize("number", [1, 2, 29, 32, 47])
def test_a_situation_is_right_or_refused(number):
    assert not outcome(CASES[number - 1]).startswith("WRONG")


def test_what_is_neither_right_nor_refused_is_wrong(monkeypatch):
    assert outcome(Case("", lambda _: str(1 / 0))).startswith("WRONG: ZeroDivisionError")
    assert outcome(Case("", lambda _: refused(lambda: 3))) == "WRONG: was not refused: 3"

    def sentence():
        raise InputError("a.png: broken")

    assert outcome(Case("", lambda _: refused(sentence, "b.png"))).startswith("WRONG: 'b.png' is not in")
    assert outcome(Case("", lambda folder: refused(sentence, "a.png"))) == "a.png: broken"
    monkeypatch.setattr(bug_cases, "CASES", [])
    assert bug_cases.table([]).count("\n") == 1
