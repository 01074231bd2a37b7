"""Computations that nobody waits for any more: each long loop ends within a step."""

import pytest
import torch

from segue.nn.decoding import decode
from segue.nn.stopping import Stopped, portion, steps, stop_point, stop_when
from segue.options import Decoding, DescribeOptions


def after(calls):
    """Unwanted from the given call on."""
    left = iter([False] * calls)
    return lambda: next(left, True)


def test_outside_nothing_is_stopped():
    stop_point()
    with pytest.raises(Stopped), stop_when(lambda: True):
        stop_point()
    stop_point()


def test_the_search_over_words_ends_within_a_step():
    steps = []

    class Nothing:
        def select(self, rows):
            return self

    def step(tokens, cache):
        steps.append(1)
        return torch.zeros(len(tokens), 5), cache

    with pytest.raises(Stopped), stop_when(after(3)):
        decode(step, torch.zeros(2, 5), Nothing(), end=1, options=Decoding(max_tokens=20), suppressed_token_ids=[1])
    assert len(steps) == 3


def test_diffusion_ends_within_a_step():
    from segue.methods.sgdiff.sampler import sample

    steps = []

    def denoise(x, snr, guess, last):
        steps.append(1)
        return torch.zeros(len(x), 2, 4), None

    with pytest.raises(Stopped), stop_when(after(2)):
        sample(denoise, torch.ones(4, 3), lambda: torch.randn(1, 2, 3), options=DescribeOptions(steps=9))
    assert len(steps) == 2


def test_windows_over_a_large_picture_end_within_a_step():
    from segue.methods.cocu import inference, published_rule
    from segue.methods.cocu.protocols import PROTOCOLS

    looked = []
    model = type("Model", (), {"encode_image": lambda self, x: looked.append(1)})()
    with pytest.raises(Stopped), stop_when(lambda: True):
        inference._encode_windows(model, torch.zeros(3, 8, 8), [(0, 0)], PROTOCOLS["small"])
    with pytest.raises(Stopped), stop_when(lambda: True):
        published_rule.published_scores(model, torch.zeros(3, 8, 8), torch.zeros(2, 4), PROTOCOLS["voc"])
    assert not looked


def test_loops_tell_how_much_is_done_a_loop_within_as_a_part():
    told = []
    with stop_when(lambda: False, told.append):
        for i in steps(2):
            for _ in steps(4):
                if i:
                    break  # of what is left out nothing is told
    assert told == [0.125, 0.25, 0.375, 0.5, 1.0]
    assert list(steps(3)) == [0, 1, 2]  # nobody listens


def test_what_is_told_never_falls():
    told = []
    with stop_when(lambda: False, told.append):
        for _ in range(2):
            list(steps(2))
    assert told == [0.5, 1.0]


def test_a_drawing_and_its_plan_are_halves():
    told = []
    with stop_when(lambda: False, told.append):
        with portion(0, 2):
            list(steps(1))
        with portion(1, 2):
            list(steps(2))
    assert told == [0.5, 0.75, 1.0]
