"""Differentiable all-gather over the processes of a distributed run.

torch.distributed.nn.functional does this too, but torch 2.13 deprecates it and its successor is private.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather(x: Tensor) -> Tensor:
    """Join the rows of W processes: (B, ...) on each -> (W * B, ...) on each, in order of rank.

    Every process must pass the same shape. Gradients flow back to the process that a row came from, summed over all
    processes: DDP then averages them, so a loss that every process computes on the joined rows has the gradient that
    one process would compute. Returns `x` itself when there is one process.
    """
    return cast(Tensor, cast(Any, _Gather).apply(x)) if is_distributed() else x


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = x.shape[0]
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[dist.get_rank() * ctx.rows :][: ctx.rows]
