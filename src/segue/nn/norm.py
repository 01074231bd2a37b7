"""Batch normalisation whose statistics are those of the global batch, on a CPU too.

torch.nn.SyncBatchNorm refuses CPU tensors; this one works wherever `gather` does. In every other respect it is
torch.nn.BatchNorm2d: same parameters and buffers, same checkpoint, folded by the same torch.nn.utils.fusion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segue.nn.gather import gather, is_distributed


class BatchNorm2d(nn.BatchNorm2d):
    """torch.nn.BatchNorm2d whose mean and variance are, while training, those over all processes.

    Input and output: (B, C, H, W). Every process must call it the same number of times per step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) per channel; statistics in float32, or in the type of `x` if that is wider."""
        if not (self.training and is_distributed()):
            return super().forward(x)
        self._check_input_dim(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean, variance, count = _global_statistics(wide)
        self._update_running_statistics(mean.detach(), variance.detach() * (count / (count - 1)))
        y = (wide - mean[:, None, None]) * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(x.dtype)

    def _update_running_statistics(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        weight = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(unbiased_variance, weight)


def _global_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, C, H, W) -> mean (C), biased variance (C) and count () over all processes.

    Combines each process's own mean and variance: a sum of squares would cancel where |mean| >> deviation.
    """
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    count = x.new_full((1,), x.numel() / x.shape[1])
    joined = gather(torch.cat([mean, variance, count])[None])
    means, variances, counts = torch.split(joined, [len(mean), len(mean), 1], dim=1)
    share = counts / counts.sum()
    mean = (share * means).sum(0)
    variance = (share * (variances + (means - mean).square())).sum(0)
    return mean, variance, counts.detach().sum()
