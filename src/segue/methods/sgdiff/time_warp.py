"""Time warping: noise where it teaches (Dieleman et al., "Continuous diffusion for categorical data", 2022).

How much of a caption is unknown at t is learned while training, as the network's cross-entropy at that t. Training
draws t evenly in it, and sampling goes down in equal steps of it, so that neither spends its time where nothing is
known yet or all is known already.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BINS = 20
LAST_TIME = 0.05  # where sampling ends: below it tokens can be read from the bits alone
RATE = 0.02  # of the moving average of a bin, for each step that has a row in it
START_TIMES = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.65, 1.0)
START_NATS = (0.20, 1.64, 2.69, 3.21, 3.50, 3.70, 3.89, 4.05, 4.08)  # a word from its own noisy bits, BIT_SCALE .2


class TimeWarp(nn.Module):
    """The share of a caption that is unknown at each t in [LAST_TIME, 1], from 0 to 1, and its inverse.

    It begins with what a word's own bits tell, and follows the cross-entropies that `update` is given.
    """

    times: Tensor
    nats: Tensor

    def __init__(self) -> None:
        super().__init__()
        times = torch.linspace(LAST_TIME, 1, BINS + 1)
        self.register_buffer("times", times, persistent=False)
        self.register_buffer("nats", interpolate(times, torch.tensor(START_TIMES), torch.tensor(START_NATS)))

    @torch.no_grad()
    def update(self, t: Tensor, nats: Tensor) -> None:
        """Move the curve towards cross-entropies (B,) of rows at t (B,)."""
        bins = ((t - LAST_TIME) / (1 - LAST_TIME) * BINS).round().long().clamp(0, BINS)
        for i in bins.unique().tolist():
            self.nats[i] += RATE * (nats[bins == i].mean() - self.nats[i])

    def curve(self) -> Tensor:
        """(BINS + 1,) the share at `times`: it never falls, and goes from 0 to 1."""
        rising = self.nats.cummax(0).values + torch.arange(BINS + 1, device=self.nats.device) * 1e-4  # strictly
        return (rising - rising[0]) / (rising[-1] - rising[0])

    def unknown(self, t: Tensor) -> Tensor:
        """The share of a caption that is unknown at t (B,)."""
        return interpolate(t, self.times, self.curve())

    def training_times(self, rows: int) -> Tensor:
        """(rows,) t, drawn evenly in what is unknown; one of ten is 1, where sampling begins."""
        device = self.nats.device
        t = interpolate(torch.rand(rows, device=device), self.curve(), self.times)
        return torch.where(torch.rand(rows, device=device) < 0.1, 1.0, t)

    def sampling_times(self, steps: int) -> Tensor:
        """(steps,) t to evaluate the network at: from 1 down to LAST_TIME, in equal steps of what is unknown."""
        if steps == 1:
            return self.times[-1:]
        t = interpolate(torch.linspace(1, 0, steps, device=self.nats.device), self.curve(), self.times)
        t[0] = 1.0
        return t


def interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """The broken line through the points (xs, ys), xs rising, at x (...); its ends go on level."""
    right = torch.searchsorted(xs, x.contiguous()).clamp(1, len(xs) - 1)
    x0, x1, y0, y1 = xs[right - 1], xs[right], ys[right - 1], ys[right]
    return y0 + (y1 - y0) * ((x - x0) / (x1 - x0)).clamp(0, 1)
