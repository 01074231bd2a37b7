"""Computations that nobody waits for any more: each long loop ends within a step."""

import pytest
import torch

from segue.nn.decoding import decode
from segue.nn.stopping import Stopped, stop_point, stop_when
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
