"""Options check themselves, and say what was got and what was expected."""

from dataclasses import dataclass

import numpy as np
import pytest

from segue.options import (
    Decoding,
    DescribeOptions,
    DrawOptions,
    LabelOptions,
    SegmentOptions,
    deferred_checks,
    option_text,
)
from segue.types import InputError


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (SegmentOptions, {"threshold": 0}, "threshold: got 0, expected more than 0, less than 1"),
        (SegmentOptions, {"threshold": 1.0}, "threshold: got 1.0, expected more than 0, less than 1"),
        (SegmentOptions, {"window": 31}, "window: got 31, expected 32 or more"),
        (SegmentOptions, {"window": 0}, "window: got 0, expected 32 or more"),
        (LabelOptions, {"background": 1}, "background: got 1, expected 0 or more, less than 1"),
        (LabelOptions, {"top_k": -1}, "top_k: got -1, expected 0 or more"),
        (Decoding, {"top_p": 1.1}, "top_p: got 1.1, expected 0 or more, at most 1"),
        (Decoding, {"temperature": 0}, "temperature: got 0, expected 0.001 or more, at most 1000"),
        (Decoding, {"temperature": 2e-308}, "temperature: got 2e-308, expected 0.001 or more, at most 1000"),
        (Decoding, {"length_penalty": 5e16}, r"length_penalty: got 5e\+16, expected -10 or more, at most 10"),
        (Decoding, {"length_penalty": float("nan")}, "length_penalty: got nan, expected a number"),
        (DescribeOptions, {"num": 0}, "num: got 0, expected 1 or more"),
        (DescribeOptions, {"num": True}, "num: got True, expected a whole number"),
        (DescribeOptions, {"steps": 2.5}, "steps: got 2.5, expected a whole number"),
        (DescribeOptions, {"steps": None}, "steps: got None, expected a whole number"),
        (DescribeOptions, {"sampler": "euler"}, "sampler: got 'euler', expected one of 'renoise', 'ddim', 'ddpm'"),
        (DescribeOptions, {"include": "dog"}, "include: got 'dog', expected a list, such as \\['dog'\\]"),
        (DescribeOptions, {"temperature": "hot"}, "temperature: got 'hot', expected a number"),
        (DrawOptions, {"guidance": float("inf")}, "guidance: got inf, expected a number"),
    ],
)
def test_values_outside_the_bounds_are_refused(kind, values, message):
    with pytest.raises(InputError, match=f"^{message}"):
        kind(**values)


def test_the_bounds_themselves_and_numbers_of_numpy_are_taken():
    assert DescribeOptions(temperature=10, num=np.int64(3), length=1).num == 3
    assert SegmentOptions(window=32, threshold=np.float32(0.25)).window == 32
    assert LabelOptions(background=0, top_k=0).background == 0


@pytest.mark.parametrize("kind", [SegmentOptions, LabelOptions, Decoding, DescribeOptions, DrawOptions])
def test_every_option_is_described(kind):
    for name in kind.__dataclass_fields__:
        assert option_text(kind, name)


def test_deferred_options_are_checked_later():
    with deferred_checks():
        options = DescribeOptions(num=0)
    with pytest.raises(InputError, match="num: got 0"):
        options.check()
    with pytest.raises(InputError, match="num: got 0"):
        DescribeOptions(num=0)


def test_a_subclass_with_another_default_keeps_the_bounds():
    @dataclass(frozen=True)
    class Slow(DescribeOptions):
        steps: int = 50

    assert Slow().steps == 50
    with pytest.raises(InputError, match="steps: got 0, expected 1 or more"):
        Slow(steps=0)
