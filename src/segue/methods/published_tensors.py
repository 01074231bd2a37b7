"""The tensors of an authors' network under our names: what LViT's and RecLMIS's published networks have in common."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class PublishedTensors:
    """Fills `ours`, a state dict, from `theirs`. Each method raises KeyError for a tensor that is missing."""

    def __init__(self, theirs: Mapping[str, Tensor]) -> None:
        self.theirs = {name.removeprefix("module."): tensor for name, tensor in theirs.items()}
        self.ours: dict[str, Tensor] = {}

    def copy(self, to: str, source: str, *names: str) -> None:
        """The tensors of a module by name, weight and bias unless given."""
        self.ours.update({f"{to}.{name}": self.theirs[f"{source}.{name}"] for name in names or ("weight", "bias")})

    def convolution(self, to: str, norm: str, source: str, biased: bool = False) -> None:
        """A convolution and its batch norm, into whose running mean the bias goes, which is exact.

        biased: our convolution has a bias too, which is 0.
        """
        self.copy(norm, f"{source}.norm", "weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        self.ours[f"{to}.weight"] = self.theirs[f"{source}.conv.weight"]
        bias = self.theirs[f"{source}.conv.bias"]
        self.ours[f"{norm}.running_mean"] = self.ours[f"{norm}.running_mean"] - bias
        if biased:
            self.ours[f"{to}.bias"] = torch.zeros_like(bias)

    def plam(self, to: str, source: str) -> None:
        """A pixel-level attention module, whose linear layers are our convolutions of one pixel."""
        for place in ("0", "2"):
            mix = f"{source}.bottleneck.{place}"
            self.ours[f"{to}.mix.{place}.weight"] = self.theirs[f"{mix}.weight"][..., None, None]
            self.ours[f"{to}.mix.{place}.bias"] = self.theirs[f"{mix}.bias"]
        self.copy(f"{to}.mean.0", f"{source}.conv_avg", "weight")
        self.copy(f"{to}.maximum.0", f"{source}.conv_max", "weight")
