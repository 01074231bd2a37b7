"""The image encoder of a CLIP or SigLIP, by `transformers`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from annotated_types import Interval
from torch import Tensor

from segue.configs import from_json
from segue.encoders.image.contract import ImageEncoder, ImageFeatures
from segue.encoders.pretrained import (
    PretrainedEncoder,
    fingerprint,
    load_pretrained,
    loading,
    read_preprocessor,
)
from segue.nn.preprocessing import INTERPOLATIONS, Preprocessing
from segue.types import InputError
from segue.weights import pinned

Size = Annotated[int, Interval(ge=1, le=4096)]


class ClipImageEncoder(PretrainedEncoder, ImageEncoder):
    """The image encoder of a CLIP (Radford et al. 2021) or a SigLIP (Zhai et al. 2023), with its projection.

    source: a hub id such as "openai/clip-vit-base-patch32" (with @REVISION if need be), or a folder in the same format.
    size: the model's own unless given; its position embeddings are then interpolated.
    frozen: False trains it along, with its weights in the checkpoint.
    parts: its vision model and projection, where they are loaded already.
    Raises InputError when it can't be had, is no CLIP or SigLIP, or for a size that isn't a multiple of its patch.

    pooled is `get_image_features` of transformers, before normalisation. For dense, every patch attends to itself alone
    in the last layer (Zhou et al. 2022, MaskCLIP, who also drop the last feed-forward and residual, which we keep):
    otherwise the summary of the whole image, which CLIP gathers in every patch, outweighs what the patch shows.
    """

    kind = "clip"

    def __init__(self, source: str, *, size: Size | None = None, frozen: bool = True, parts: Any = None) -> None:
        super().__init__()
        self.vision, self.projection = parts or _clip_vision(source)
        self.source = pinned(str(source))
        self.preprocessing = _clip_preprocessing(self.source, self.vision.config.image_size, size)
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
        patches = self._patches(out.hidden_states[-2])
        pooled = self._project(out.pooler_output)
        return ImageFeatures(pooled, patches.transpose(1, 2).unflatten(2, (self.size // self.stride, -1)))

    def config(self) -> dict[str, Any]:
        """Kind, source, size, whether it is frozen, and the fingerprint of frozen weights."""
        config = {"kind": self.kind, "source": self.source, "size": self.size, "frozen": self.frozen}
        config |= {"preprocessing": asdict(self.preprocessing)}
        return config | ({"sha256": self.fingerprint} if self.frozen else {})

    def _patches(self, states: Tensor) -> Tensor:
        """(B, 1 + N or N, C) states before the last layer -> (B, N, D)."""
        last = self.vision.encoder.layers[-1]
        states = states + last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(states)))
        states = self.vision.post_layernorm(states + last.mlp(last.layer_norm2(states)))
        if self.projection is not None:
            return self._project(states[:, 1:])  # without the class token
        pooled: Tensor = self.vision.head(states.flatten(0, 1)[:, None])
        return pooled.reshape(*states.shape[:2], -1)

    def _project(self, x: Tensor) -> Tensor:
        projected: Tensor = x if self.projection is None else self.projection(x)
        return projected


def _clip_vision(source: str) -> tuple[Any, Any]:
    """The vision model and its projection (None for SigLIP, whose pooling head is inside)."""
    from transformers import CLIPModel, CLIPVisionModelWithProjection, SiglipVisionModel

    # Of a whole CLIP the whole is read: its vision part alone does not know the width of the projection.
    kinds: dict[str, Any] = {"clip": CLIPModel, "clip_vision_model": CLIPVisionModelWithProjection}
    kinds |= dict.fromkeys(("siglip", "siglip_vision_model"), SiglipVisionModel)
    model = load_pretrained(source, kinds, "image encoder", unused=("text_model.", "logit_scale", "logit_bias"))
    return (model, None) if isinstance(model, SiglipVisionModel) else (model.vision_model, model.visual_projection)


def _clip_preprocessing(source: str, model_size: int, size: int | None) -> Preprocessing:
    """What the model's preprocessor_config.json says, at another size if asked for."""
    with loading(source, "image encoder"):
        saved = read_preprocessor(source)
        target = saved.get("size", model_size)
        target = {"shortest_edge": target} if isinstance(target, int) else target
        shorter = int(target.get("shortest_edge", 0)) if saved.get("do_center_crop", "shortest_edge" in target) else 0
        crop = saved.get("crop_size", shorter or model_size)
        saved_size = int(target["height"] if "height" in target else crop["height"] if isinstance(crop, dict) else crop)
        final = size or saved_size
        values = {
            "size": final,
            "mean": saved["image_mean"],
            "std": saved["image_std"],
            "interpolation": INTERPOLATIONS[saved.get("resample", 3)],
            "shorter": shorter * final // saved_size if shorter else 0,
        }
    return from_json(Preprocessing, values, source)
