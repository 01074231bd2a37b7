import itertools
import math
from functools import partial
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from segue.methods.sgdiff.analog_bits import add_noise, bit_codes, log_snr, sampling_times, signal_and_noise
from segue.methods.sgdiff.sampler import RENOISE_SHARE, caption_constraint, decode_tokens, sample, step_down
from segue.options import DescribeOptions, Sampler
from segue.types import InputError

SAMPLERS = get_args(Sampler)
SIZE, LENGTH = 11, 6
CODES = bit_codes(SIZE)


def start(rows=2, seed=0):
    return torch.randn(rows, LENGTH, CODES.shape[1], generator=torch.Generator().manual_seed(seed))


def knows(token_ids):
    """The true denoiser of one caption a row: it says x_0 whatever it sees."""
    return lambda x, snr, guess, last: (F.one_hot(token_ids, SIZE).float() * 50, None)


def nearest(x, snr, guess, last):
    """The true denoiser when every word is as likely: the posterior of the codes, position by position."""
    alpha, sigma = (f[:, None, None, None] for f in signal_and_noise(snr))
    return -((x[:, :, None] - alpha * CODES) ** 2).sum(-1) / (2 * sigma[..., 0] ** 2), None


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_true_denoiser_recovers_the_caption(temperature, steps, sampler):
    token_ids = torch.tensor([[3, 4, 9, 2, 0, 0], [10, 2, 2, 5, 6, 7]])
    logits, _ = sample(
        knows(token_ids), CODES, start, options=DescribeOptions(steps=steps, sampler=sampler, temperature=temperature)
    )
    assert (decode_tokens(logits, logits)[0] == token_ids).all()


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_last_bits_are_those_of_the_caption(noise):
    x, x0 = start(), CODES[torch.tensor([[3, 4, 9, 2, 0, 0], [10, 2, 2, 5, 6, 7]])]
    levels = log_snr(torch.linspace(1, 0, 6))
    for here, there in itertools.pairwise(levels):
        x = step_down(x, x0, torch.stack([here, there]), noise, torch.randn_like(x))
    assert torch.allclose(x, x0, atol=0.3)  # the schedule ends with noise of .06


def test_ddim_keeps_the_noise_that_it_found():
    x0, fixed = CODES[torch.tensor([[3, 4, 9, 2, 0, 0]])], start(1)
    here, there = log_snr(torch.tensor(0.7)), log_snr(torch.tensor(0.3))
    x = add_noise(x0, here[None], fixed)
    assert torch.allclose(
        step_down(x, x0, torch.stack([here, there]), 0.0, torch.zeros(())), add_noise(x0, there[None], fixed), atol=1e-5
    )


def test_full_noise_is_the_ancestral_posterior():
    """q(x_s | x_t, x_0) of the DDPM paper, by the rule for products of normal densities."""
    x, x0, fresh = start(1), CODES[torch.tensor([[3, 4, 9, 2, 0, 0]])], start(1, seed=5)
    here, there = log_snr(torch.tensor(0.7)), log_snr(torch.tensor(0.3))
    (a, s), (b, r) = signal_and_noise(here), signal_and_noise(there)
    share = a / b  # x_t = share x_s + rest noise
    rest = s**2 - share**2 * r**2
    variance = 1 / (1 / r**2 + share**2 / rest)
    mean = variance * (b * x0 / r**2 + share * x / rest)
    assert torch.allclose(
        step_down(x, x0, torch.stack([here, there]), 1.0, fresh), mean + variance.sqrt() * fresh, atol=1e-5
    )


def test_half_the_noise_draws_with_half_the_deviation():
    x, x0, fresh = start(1), CODES[torch.tensor([[3, 4, 9, 2, 0, 0]])], start(1, seed=5)
    levels = log_snr(torch.tensor([0.7, 0.3]))
    still = torch.zeros(())
    half = step_down(x, x0, levels, 0.5, fresh) - step_down(x, x0, levels, 0.5, still)
    whole = step_down(x, x0, levels, 1.0, fresh) - step_down(x, x0, levels, 1.0, still)
    torch.testing.assert_close(half, whole / 2)


def test_samples_of_an_even_posterior_are_evenly_spread():
    torch.manual_seed(0)
    draw = partial(torch.randn, 400, LENGTH, CODES.shape[1])
    for sampler, temperature in itertools.product(SAMPLERS, (0.0, 1.0)):
        logits, _ = sample(
            nearest, CODES, draw, options=DescribeOptions(steps=10, sampler=sampler, temperature=temperature)
        )
        shares = torch.bincount(logits.argmax(-1).flatten(), minlength=SIZE) / 2400
        assert 0.03 < float(shares.min()) < float(shares.max()) < 0.2


def test_self_conditioning_hands_on_the_last_guess():
    seen, ends = [], []

    def denoise(x, snr, guess, last):
        seen.append(guess)
        ends.append(last)
        return F.one_hot(torch.full((1, LENGTH), 3), SIZE).float() * 50, None

    sample(denoise, CODES, lambda: start(1), options=DescribeOptions(steps=3))
    assert ends == [False, False, True]
    assert (seen[0] == 0).all()
    assert torch.allclose(seen[1], CODES[3].expand(1, LENGTH, -1))


def test_each_step_goes_on_from_the_code_of_the_likeliest_word():
    """Not from the mean code of two words that may both be, which is no word's."""
    seen = []

    def denoise(x, snr, guess, last):
        seen.append(x)
        logits = torch.full((1, LENGTH, SIZE), -50.0)
        logits[..., 3], logits[..., 4] = 0.1, 0.0
        return logits, None

    sample(denoise, CODES, lambda: start(1), options=DescribeOptions(steps=2, sampler="ddim"))
    levels = log_snr(sampling_times(2))
    assert torch.equal(seen[1], step_down(seen[0], CODES[3].expand(1, LENGTH, -1), levels, 0.0, torch.zeros(())))


def test_renoise_takes_new_noise_for_each_guess():
    seen, noises = [], iter([start(1, seed=k) for k in range(3)])

    def denoise(x, snr, guess, last):
        seen.append(x)
        return F.one_hot(torch.full((1, LENGTH), 3), SIZE).float() * 50, None

    sample(denoise, CODES, lambda: next(noises), options=DescribeOptions(steps=3))
    assert torch.equal(seen[0], start(1, seed=0))
    for k, level in ((1, 1), (2, 2)):
        alpha, sigma = signal_and_noise(log_snr(sampling_times(3))[level])
        assert torch.allclose(seen[k], alpha * CODES[3] + RENOISE_SHARE * sigma * start(1, seed=k))


def test_a_temperature_draws_words_by_their_probabilities_and_falls_to_nothing():
    """Of two words, one twice as likely: the likelier alone at 0; from 1 on two thirds, and more as it falls."""
    seen, loud = [], 1000 * CODES  # that no noise hides
    logits = torch.full((600, LENGTH, SIZE), -torch.inf)
    logits[..., 3], logits[..., 7] = math.log(2), 0.0

    def denoise(x, snr, guess, last):
        seen.append(x)
        return logits, None

    def shares(temperature):
        seen.clear()
        draw = partial(torch.randn, 600, LENGTH, CODES.shape[1])
        sample(denoise, loud, draw, options=DescribeOptions(steps=4, temperature=temperature))
        likelier = [
            ((x - a * loud[3]).norm(dim=-1) < (x - a * loud[7]).norm(dim=-1)) for x, a in zip(seen, alphas, strict=True)
        ]
        return [float(one.double().mean()) for one in likelier[1:]]

    alphas = signal_and_noise(log_snr(sampling_times(4)))[0].tolist()
    torch.manual_seed(0)
    assert shares(0.0) == [1, 1, 1]
    assert shares(1.0) == pytest.approx([2 / 3, 2**1.5 / (1 + 2**1.5), 2**3 / (1 + 2**3)], abs=0.03)


def test_tokens_that_a_constraint_rules_out_are_never_drawn():
    constrain = caption_constraint(3, [4, 5], LENGTH)
    hot = DescribeOptions(steps=3, temperature=5.0)
    captions = [
        decode_tokens(found, found)[0][0].tolist()
        for seed in range(20)
        for found, _ in [sample(nearest, CODES, partial(start, 1, seed), options=hot, constrain=constrain)]
    ]
    assert all({4, 5} <= set(one[:3]) and one[3:] == [0, 0, 0] and 1 not in one for one in captions)


def test_times_go_down_from_pure_noise():
    for steps in (1, 2, 12):
        times = sampling_times(steps)
        assert times[0] == 1
        assert len(times) == steps
        assert (times.diff() < 0).all()


@given(st.integers(1, LENGTH), st.integers(0, 50))
def test_a_length_is_held_exactly(length, seed):
    constrain = caption_constraint(length, [], LENGTH)
    logits, _ = sample(nearest, CODES, lambda: start(seed=seed), options=DescribeOptions(steps=3), constrain=constrain)
    token_ids, _ = decode_tokens(logits, logits)
    assert ((token_ids != 0).sum(1) == length).all()
    assert 1 not in token_ids


@given(st.lists(st.integers(2, SIZE - 1), min_size=1, max_size=4), st.integers(0, 50), st.booleans())
def test_words_are_included(words, seed, at_once):
    length = len(words) if at_once else None
    constrain = caption_constraint(length, words, LENGTH)
    logits, _ = sample(nearest, CODES, lambda: start(seed=seed), options=DescribeOptions(steps=3), constrain=constrain)
    for caption in decode_tokens(logits, logits)[0].tolist():
        for word in words:
            assert caption.count(word) >= words.count(word)
        if at_once:
            assert sorted(caption[: len(words)]) == sorted(words)


def test_tokens_are_scored_by_the_unconstrained_logits():
    unconstrained = torch.zeros(1, LENGTH, SIZE)
    constrain = caption_constraint(2, [4, 5], LENGTH)
    _, likely = decode_tokens(constrain(unconstrained), unconstrained)
    assert torch.allclose(likely.exp(), torch.tensor([1 / SIZE]))


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="length: got 0, expected 1 to 6 words"):
        caption_constraint(0, [], LENGTH)
    with pytest.raises(InputError, match="length: got 7, expected 1 to 6 words"):
        caption_constraint(7, [], LENGTH)
    with pytest.raises(InputError, match="include: got 3 words for a caption of 2"):
        caption_constraint(2, [2, 3, 4], LENGTH)
