"""Captions as analog bits: codes of tokens, the noise schedule and q(x_t | x_0). After Bit Diffusion and SCD-Net.

Where we differ: the bits are scaled by BIT_SCALE, that is, the log-SNR is lower by -2 log BIT_SCALE (Chen, "On the
Importance of Noise Scheduling", 2023). At scale 1, as in SCD-Net, every token can be read at half of all t, so that the
network learns to ignore the graph.

Shapes: B captions, L tokens, V vocabulary size, n bits. Bits are +1 and -1. t in [0, 1]: 0 is clean, 1 is noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segue.methods.sgdiff.lexicon import END

BIT_SCALE = 0.2
INFORMATIVE_TIMES = (0.05, 0.65)  # below them all tokens can be read from the bits alone, above them none can
MIN_LOG_SNR = -15.0  # at t = 1, where the schedule itself goes to minus infinity


def bit_codes(size: int) -> Tensor:
    """(V, n) float32: row i is the number i in n = ceil(log2 V) bits, the highest first, as +1 and -1."""
    n = max(1, math.ceil(math.log2(size)))
    shift = torch.arange(n - 1, -1, -1)
    return ((torch.arange(size)[:, None] >> shift) & 1).float() * 2 - 1


def log_snr(t: Tensor, s: float = 0.008) -> Tensor:
    """The scaled cosine schedule: log((BIT_SCALE alpha)^2 / sigma^2), alpha = cos(pi/2 (t + s) / (1 + s)).

    Never below MIN_LOG_SNR.
    """
    angle = (t + s) / (1 + s) * (math.pi / 2)
    snr = 2 * math.log(BIT_SCALE) - 2 * torch.log(torch.tan(angle.clamp(max=math.pi / 2 - 1e-5)))
    return snr.clamp_min(MIN_LOG_SNR)


def training_times(rows: int, device: torch.device) -> Tensor:
    """(rows,) t to train at: nine of ten drawn uniformly from INFORMATIVE_TIMES, the others 1, where sampling begins.

    Where we differ: SCD-Net draws from all of [0, 1], of which 40 % teach nothing at our BIT_SCALE.
    """
    low, high = INFORMATIVE_TIMES
    t = low + (high - low) * torch.rand(rows, device=device)
    return torch.where(torch.rand(rows, device=device) < 0.1, 1.0, t)


def sampling_times(steps: int) -> Tensor:
    """(steps,) t to evaluate the network at: 1, then in equal steps from 0.45 to 0.1, where tokens are decided."""
    return torch.cat([torch.ones(1), torch.linspace(0.45, 0.1, steps - 1)])


def signal_and_noise(snr: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma of a log-SNR; alpha^2 + sigma^2 = 1."""
    return snr.sigmoid().sqrt(), (-snr).sigmoid().sqrt()


def add_noise(x0: Tensor, snr: Tensor, noise: Tensor) -> Tensor:
    """q(x_t | x_0): alpha x_0 + sigma noise. x0, noise: (B, L, n). snr: (B,)."""
    alpha, sigma = (f[:, None, None] for f in signal_and_noise(snr))
    return alpha * x0 + sigma * noise


def expected_code(logits: Tensor, codes: Tensor) -> Tensor:
    """(B, L, V) logits -> (B, L, n): the mean code under their softmax, the network's estimate of x_0."""
    return logits.softmax(-1) @ codes


def mask_until_end(token_ids: Tensor) -> Tensor:
    """(B, L) token ids -> (B, L) bool: True up to and including the first END."""
    ended = (token_ids == END).cumsum(1)
    return ended - (token_ids == END).long() == 0
