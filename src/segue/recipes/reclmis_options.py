"""What shapes the network and the losses of a note-guided segmenter, as settings of its training."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from annotated_types import Gt

from segue.methods.reclmis.config import SIZES, RecLMISConfig, ablate_config
from segue.methods.unet import UNetConfig
from segue.options import Positive, Share
from segue.recipes.settings import TrainSettings
from segue.types import InputError

System = Literal["full", "ci_clr", "ci_cvr", "ci", "early_fusion", "text_blind", "unet"]
NetworkConfig = RecLMISConfig | UNetConfig


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(TrainSettings):
    """The network and its losses. What is None is the size's own, see `segue.methods.reclmis.config.RecLMISConfig`.

    Attributes:
        system: the method, an ablation of it (Table III) or a baseline; text_blind and unet read no notes.
        size: "segue" (the default, light) or "faithful" (the paper's).
        text: the text encoder: "small" (trained along), "minilm" (extra `offline`), or "clip:ID-OR-FOLDER".
        ramp: share of the steps over which the weights of the auxiliary losses rise from 0 to their own.
        widths: channels of the encoder's levels; each level after the first halves the grid.
        heads: of all attention.
        interaction: "cross" (the paper's CI) or "self" (Table V).
        residual: whether attention is added to the features that attend, or takes their place (Eq. 1).
        ccl: the contrastive loss of Eq. 6.
        lambda_v2t: weight of the language reconstruction, lambda_1 of Eq. 11.
        lambda_t2v: weight of the vision reconstruction, lambda_2.
        lambda_ccl: weight of the contrastive loss, lambda_3.
        lambda_segmentation: weight of Dice and cross-entropy, lambda_4.
        tau: temperature of the contrastive loss, Eq. 6.
        mask_ratio_vision: share of the patches that are masked for reconstruction.
        mask_ratio_text: share of the words that are masked for reconstruction.
        masking: by W_poi and W_woi ("conditioned") or at "random".
        conditions: which of ccl, clr and cvr W_poi and W_woi weigh (Table IV); "none" for none of them.
        condition_order: "renormalised" after the softmax, or "printed": inside it, as Eq. 7 and 9 have it, where they
            make attention a plain mean.
        reconstruction: what the reconstructors attend to: the other modality ("cross") or both ("self", Table V).
        reconstruction_layers: of each reconstructor.
        reconstruction_scale: of Eq. 8 and 10: the weighted "mean" over positions, or as "printed" or "released".
    """

    system: System = "full"
    size: Literal["segue", "faithful"] = "segue"
    text: str = "small"
    ramp: Share = 0.0
    widths: tuple[Positive, ...] | None = None
    heads: Positive | None = None
    interaction: Literal["cross", "self"] | None = None
    residual: bool | None = None
    ccl: bool | None = None
    lambda_v2t: Annotated[float, Gt(0)] | None = None
    lambda_t2v: Annotated[float, Gt(0)] | None = None
    lambda_ccl: Annotated[float, Gt(0)] | None = None
    lambda_segmentation: Annotated[float, Gt(0)] | None = None
    tau: Annotated[float, Gt(0)] | None = None
    mask_ratio_vision: Share | None = None
    mask_ratio_text: Share | None = None
    masking: Literal["conditioned", "random"] | None = None
    conditions: tuple[Literal["ccl", "clr", "cvr", "none"], ...] | None = None
    condition_order: Literal["renormalised", "printed"] | None = None
    reconstruction: Literal["cross", "self"] | None = None
    reconstruction_layers: Positive | None = None
    reconstruction_scale: Literal["mean", "printed", "released"] | None = None


LAMBDAS = ("lambda_v2t", "lambda_t2v", "lambda_ccl", "lambda_segmentation")
NAMED = {"tau": "temperature"}  # settings that the configuration has under another name
BASELINES = {"unet": (), "text_blind": ("widths",), "early_fusion": ("widths",)}  # and what of the above they have


def network_config(settings: NetworkSettings) -> NetworkConfig:
    """The network that the settings name.

    Raises InputError for settings of the network that its system hasn't got.
    """
    given = {f.name: getattr(settings, f.name) for f in fields(NetworkSettings) if f.default is None}
    given = {name: value for name, value in given.items() if value is not None}
    if unused := [name for name in given if name not in BASELINES.get(settings.system, given)]:
        raise InputError(f"{', '.join(unused)}: given, but --system {settings.system} has none; leave it out")
    if settings.system == "unet":
        return UNetConfig()
    config = ablate_config(SIZES[settings.size], settings.system)
    changes: dict[str, Any] = {NAMED.get(name, name): value for name, value in given.items() if name not in LAMBDAS}
    if "conditions" in changes:
        changes["conditions"] = tuple(part for part in changes["conditions"] if part != "none")
    weights = zip(LAMBDAS, config.loss_weights, strict=True)
    config = replace(config, **changes, loss_weights=tuple(given.get(name, own) for name, own in weights))
    if dead := [name for name in LAMBDAS if name in given and name.removeprefix("lambda_") not in config.terms]:
        raise InputError(f"{', '.join(dead)}: given, but --system {settings.system} has no such loss; leave it out")
    return config
