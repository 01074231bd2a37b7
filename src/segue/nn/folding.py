"""Networks made ready to infer: batch norms folded into their convolutions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


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
                    part._modules[name] = fuse_conv_bn_eval(convolution, norm)
                    part._modules[after] = nn.Identity()
    cast(Any, network).to(memory_format=torch.channels_last)
