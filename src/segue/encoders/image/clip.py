"""The image encoder of a CLIP or SigLIP, by `transformers`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from segue.encoders.image.contract import _A_CLIP, _INTERPOLATIONS, ImageEncoder, ImageFeatures, Preparation
from segue.encoders.pretrained import Pretrained, complete, fingerprint, loading
from segue.types import InputError


class ClipImage(Pretrained, ImageEncoder):
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
