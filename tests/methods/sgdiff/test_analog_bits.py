import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segue.methods.sgdiff.analog_bits import (
    BIT_SCALE,
    INFORMATIVE_TIMES,
    add_noise,
    bit_codes,
    expected_code,
    log_snr,
    mask_until_end,
    signal_and_noise,
    training_times,
)


@given(st.integers(2, 3000))
def test_every_number_has_its_own_code_of_as_few_bits_as_do(size):
    codes = bit_codes(size)
    assert codes.shape == (size, math.ceil(math.log2(size)))
    assert set(codes.unique().tolist()) <= {-1.0, 1.0}
    back = ((codes > 0).long() << torch.arange(codes.shape[1] - 1, -1, -1)).sum(1)
    assert (back == torch.arange(size)).all()


def test_a_sure_softmax_is_its_code():
    codes = bit_codes(9)
    token_ids = torch.tensor([[3, 8, 0]])
    logits = torch.nn.functional.one_hot(token_ids, 9).float() * 100
    assert torch.allclose(expected_code(logits, codes), codes[token_ids])


def test_schedule_falls_from_clean_to_noise_and_follows_the_cosine():
    t = torch.linspace(0, 1, 101)
    snr = log_snr(t)
    assert (snr.diff() < 0).all()
    assert snr[-1] == -15
    alpha, sigma = signal_and_noise(snr)
    assert torch.allclose(alpha**2 + sigma**2, torch.ones(101))
    angle = math.pi / 2 * (0.5 + 0.008) / 1.008
    assert float(log_snr(torch.tensor(0.5))) == pytest.approx(2 * math.log(BIT_SCALE / math.tan(angle)), abs=1e-5)
    assert float(alpha[0]) > 0.99


def test_noisy_bits_have_the_mean_and_deviation_of_q():
    torch.manual_seed(0)
    x0, snr = torch.ones(1, 1, 20_000), log_snr(torch.tensor([0.4]))
    x = add_noise(x0, snr, torch.randn_like(x0))
    alpha, sigma = signal_and_noise(snr)
    assert float(x.mean()) == pytest.approx(float(alpha), abs=0.02)
    assert float(x.std()) == pytest.approx(float(sigma), abs=0.02)


def test_the_mask_ends_with_the_first_end():
    token_ids = torch.tensor([[4, 0, 0, 5], [4, 5, 6, 7], [0, 3, 3, 0]])
    assert mask_until_end(token_ids).tolist() == [[True, True, False, False], [True] * 4, [True, False, False, False]]


def test_a_tenth_of_the_times_is_1_and_the_others_are_spread_over_the_informative_ones():
    torch.manual_seed(0)
    t = training_times(20_000, torch.device("cpu"))
    low, high = INFORMATIVE_TIMES
    inner = t[t < 1]
    assert 1 - len(inner) / len(t) == pytest.approx(0.1, abs=0.01)
    assert low <= inner.min() < low + 0.01
    assert high - 0.01 < inner.max() <= high
    assert float(inner.mean()) == pytest.approx((low + high) / 2, abs=0.01)
