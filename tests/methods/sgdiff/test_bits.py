import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segue.methods.sgdiff.bits import SCALE, add_noise, bit_codes, caption_losses, expected_code, log_snr, scales, told


@given(st.integers(2, 3000))
def test_every_number_has_its_own_code_of_as_few_bits_as_do(size):
    codes = bit_codes(size)
    assert codes.shape == (size, math.ceil(math.log2(size)))
    assert set(codes.unique().tolist()) <= {-1.0, 1.0}
    back = ((codes > 0).long() << torch.arange(codes.shape[1] - 1, -1, -1)).sum(1)
    assert (back == torch.arange(size)).all()


def test_a_sure_softmax_is_its_code():
    codes = bit_codes(9)
    numbers = torch.tensor([[3, 8, 0]])
    logits = torch.nn.functional.one_hot(numbers, 9).float() * 100
    assert torch.allclose(expected_code(logits, codes), codes[numbers])


def test_schedule_falls_from_clean_to_noise_and_follows_the_cosine():
    t = torch.linspace(0, 1, 101)
    snr = log_snr(t)
    assert (snr.diff() < 0).all()
    assert snr[-1] == -15
    alpha, sigma = scales(snr)
    assert torch.allclose(alpha**2 + sigma**2, torch.ones(101))
    angle = math.pi / 2 * (0.5 + 0.008) / 1.008
    assert float(log_snr(torch.tensor(0.5))) == pytest.approx(2 * math.log(SCALE / math.tan(angle)), abs=1e-5)
    assert float(alpha[0]) > 0.99


def test_noisy_bits_have_the_mean_and_deviation_of_q():
    torch.manual_seed(0)
    x0, snr = torch.ones(1, 1, 20_000), log_snr(torch.tensor([0.4]))
    x = add_noise(x0, snr, torch.randn_like(x0))
    alpha, sigma = scales(snr)
    assert float(x.mean()) == pytest.approx(float(alpha), abs=0.02)
    assert float(x.std()) == pytest.approx(float(sigma), abs=0.02)


def test_told_ends_with_the_first_end():
    numbers = torch.tensor([[4, 0, 0, 5], [4, 5, 6, 7], [0, 3, 3, 0]])
    assert told(numbers).tolist() == [[True, True, False, False], [True] * 4, [True, False, False, False]]


def test_losses_do_not_see_what_follows_the_end():
    torch.manual_seed(0)
    codes, numbers = bit_codes(12), torch.tensor([[4, 7, 0, 0, 0]])
    logits = torch.randn(1, 5, 12)
    changed = logits.clone()
    changed[:, 3:] = torch.randn(1, 2, 12) * 9
    assert caption_losses(logits, numbers, codes) == caption_losses(changed, numbers, codes)
    changed[:, 2] += torch.randn(12)
    assert caption_losses(logits, numbers, codes)[1] != caption_losses(changed, numbers, codes)[1]


def test_losses_against_their_definitions():
    torch.manual_seed(1)
    codes, numbers, logits = bit_codes(6), torch.tensor([[2, 3, 0]]), torch.randn(1, 3, 6)
    bit, cross = caption_losses(logits, numbers, codes)
    p = logits[0].softmax(-1)
    assert torch.allclose(bit, ((p @ codes - codes[numbers[0]]) ** 2).mean())
    goal = torch.full((3, 6), 0.1 / 6)
    goal[range(3), numbers[0]] += 0.9
    assert torch.allclose(cross, -(goal * p.log()).sum(-1).mean())
