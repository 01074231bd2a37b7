"""Parts of U-shaped segmenters: a convolution with its norm, and LViT's attention to pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segue.nn.norm import BatchNorm2d


def conv_norm(c_in: int, c_out: int, stride: int = 1, kind: str = "plain") -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU; "separable" is a depthwise and a pointwise convolution."""
    if kind == "separable" and c_in > 3:
        depthwise = nn.Conv2d(c_in, c_in, 3, stride, 1, groups=c_in, bias=False)
        layers: list[nn.Module] = [depthwise, BatchNorm2d(c_in), nn.Conv2d(c_in, c_out, 1, bias=False)]
    else:
        layers = [nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)]
    return nn.Sequential(*layers, BatchNorm2d(c_out), nn.ReLU(inplace=True))


class PLAM(nn.Module):
    """Pixel-level attention (LViT): a multiplier for each position, from its channels' mean, maximum and their sum.

    full: with LViT's 1x1 convolutions, and any multiplier; else without them, and a multiplier in (0, 1).
    """

    def __init__(self, channels: int, full: bool) -> None:
        super().__init__()
        self.mean, self.maximum = (
            nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.ReLU()) if full else nn.Identity()
            for _ in range(2)
        )
        self.mix = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 1, 1))
        self.gate = nn.Identity() if full else nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        mean, maximum = self.mean(x).mean(1, keepdim=True), self.maximum(x).amax(1, keepdim=True)
        weight: Tensor = self.gate(self.mix(torch.cat([mean, maximum, mean + maximum], 1)))
        return x * weight
