"""Captions as bits: codes, the noise schedule, q(x_t | x_0) and the losses. After Bit Diffusion and SCD-Net.

Where we differ: the bits are scaled by SCALE, that is, the log-SNR is 2 log SCALE less (Chen, "On the Importance of
Noise Scheduling", 2023). At 1, as SCD-Net has it, every word can be read at half of all t, and the graph is ignored.

Shapes: B captions, L words, V word numbers, n bits. Bits are +1 and -1. t in [0, 1]: 0 is clean, 1 is noise.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.methods.sgdiff.lexicon import END

SCALE = 0.2
UNSURE = (0.05, 0.65)  # t between which the words depend on each other: before it all are clear, after it none is
COLDEST = -15.0  # the log-SNR at t = 1, where the schedule itself goes to minus infinity


def bit_codes(size: int) -> Tensor:
    """(V, n) float32: row i is the number i in n = ceil(log2 V) bits, the highest first, as +1 and -1."""
    n = max(1, math.ceil(math.log2(size)))
    shift = torch.arange(n - 1, -1, -1)
    return ((torch.arange(size)[:, None] >> shift) & 1).float() * 2 - 1


def log_snr(t: Tensor, s: float = 0.008) -> Tensor:
    """The scaled cosine schedule: log((SCALE alpha)^2 / sigma^2), alpha = cos(pi/2 (t + s) / (1 + s)); from COLDEST."""
    angle = (t + s) / (1 + s) * (math.pi / 2)
    return (2 * math.log(SCALE) - 2 * torch.log(torch.tan(angle.clamp(max=math.pi / 2 - 1e-5)))).clamp_min(COLDEST)


def training_times(rows: int, device: torch.device) -> Tensor:
    """(rows,) t to train at: nine of ten drawn evenly from UNSURE, the others 1, where sampling begins.

    Where we differ: SCD-Net draws from all of [0, 1], of which 40 % teach nothing at our SCALE.
    """
    low, high = UNSURE
    t = low + (high - low) * torch.rand(rows, device=device)
    return torch.where(torch.rand(rows, device=device) < 0.1, 1.0, t)


def sampling_times(steps: int) -> Tensor:
    """(steps,) t to evaluate the network at: 1, then evenly down through where the words are decided."""
    return torch.cat([torch.ones(1), torch.linspace(0.45, 0.1, steps - 1)])


def scales(snr: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma of a log-SNR; alpha^2 + sigma^2 = 1."""
    return snr.sigmoid().sqrt(), (-snr).sigmoid().sqrt()


def add_noise(x0: Tensor, snr: Tensor, noise: Tensor) -> Tensor:
    """q(x_t | x_0): alpha x_0 + sigma noise. x0, noise: (B, L, n). snr: (B,)."""
    alpha, sigma = (f[:, None, None] for f in scales(snr))
    return alpha * x0 + sigma * noise


def expected_code(logits: Tensor, codes: Tensor) -> Tensor:
    """(B, L, V) logits -> (B, L, n): the mean code under their softmax; what the network says x_0 is."""
    return logits.softmax(-1) @ codes


def told(numbers: Tensor) -> Tensor:
    """(B, L) word numbers -> (B, L) bool: up to and including the first END."""
    ended = (numbers == END).cumsum(1)
    return ended - (numbers == END).long() == 0


def caption_losses(logits: Tensor, numbers: Tensor, codes: Tensor, smoothing: float = 0.1) -> tuple[Tensor, Tensor]:
    """Eq. 7's squared error of the bits, and the label-smoothed cross-entropy; means over what is `told`.

    logits: (B, L, V). numbers: (B, L) int64.
    """
    real = told(numbers)
    bit = (expected_code(logits, codes) - codes[numbers]).square().mean(-1)
    cross = F.cross_entropy(logits.transpose(1, 2), numbers, reduction="none", label_smoothing=smoothing)
    return bit[real].mean(), cross[real].mean()
