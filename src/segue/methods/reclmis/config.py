"""RecLMIS' configuration, its sizes by name, and its ablations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from annotated_types import Interval, MinLen

from segue.options import Positive, Share
from segue.types import InputError


@dataclass(frozen=True)
class RecLMISConfig:
    """Everything that shapes the network and its losses.

    widths: channels of the encoder's levels; each level after the first halves the grid.
    stem_stride: 1 or 2. convolution: "plain" or "separable" (depthwise + pointwise). pooling: "max" or "stride".
    plam: "full" (LViT's and the paper's), "light" (without its 1x1 convolutions, with a sigmoid) or "none".
    residual: V' = V + attention and E' = E + attention; Eq. 1 has the attention alone.
    zones: whether patches are told which zones of their lung the note names (`segue.methods.reclmis.model.LungZones`).
    interaction: "cross" (the paper's CI), "self" (Table V), "early" (a baseline after LViT: the mean of the words is
    added to the first level of the encoder, and nothing else reads the note) or "none" (text-blind).
    cvr, clr, ccl: whether the conditioned vision / language reconstruction and the contrastive loss are used.
    conditions: which of the three W_poi and W_woi weigh (Table IV).
    condition_order: "renormalised" multiplies attention by the condition after the softmax and divides by the new sum,
    as the released code does. "printed" is Eq. 7 and 9 to the letter: the condition, which sums to 1, multiplies the
    logits inside the softmax; they all become nearly 0, attention is a plain mean, and no gradient reaches W_poi.
    reconstruction_scale: of Eq. 8 and 10, see `segue.losses.reconstruction_loss`. Weights there teach W_poi and W_woi
    to prefer what is rebuilt easily, so that the default has none (results/reclmis.csv).
    masking: "conditioned" draws masked positions in proportion to W_poi / W_woi, "random" uniformly (Fig. 7).
    loss_weights: lambda_1 (V2T), lambda_2 (T2V), lambda_3 (CCL), lambda_4 (Dice + CE) of Eq. 11.
    Raises InputError for heads that don't divide the last width, and for conditions of which W_poi or W_woi learns
    nothing.
    """

    widths: Annotated[tuple[Positive, ...], MinLen(2)] = (32, 64, 128, 256)
    stem_stride: Literal[1, 2] = 2
    convolution: Literal["plain", "separable"] = "plain"
    pooling: Literal["max", "stride"] = "stride"
    plam: Literal["full", "light", "none"] = "light"
    position: bool = True
    residual: bool = True
    zones: bool = False
    interaction: Literal["cross", "self", "early", "none"] = "cross"
    cvr: bool = True
    clr: bool = True
    ccl: bool = True
    conditions: tuple[Literal["ccl", "clr", "cvr"], ...] = ("ccl", "clr", "cvr")
    condition_order: Literal["renormalised", "printed"] = "renormalised"
    masking: Literal["conditioned", "random"] = "conditioned"
    reconstruction: Literal["cross", "self"] = "cross"
    reconstruction_layers: Positive = 3
    reconstruction_scale: Literal["mean", "detached", "printed", "released"] = "released"
    heads: Positive = 4
    mask_ratio_vision: Share = 0.5
    mask_ratio_text: Share = 0.3
    temperature: Annotated[float, Interval(gt=0, le=1000)] = 0.1
    loss_weights: tuple[float, float, float, float] = (1.0, 1.0, 0.2, 5.0)

    def __post_init__(self) -> None:
        if self.interacts and self.widths[-1] % self.heads:
            raise InputError(f"heads: got {self.heads}, expected a divisor of the last of the widths {self.widths}")
        used = {part for part in self.conditions if getattr(self, part)}
        learns = self.reconstruction_scale in ("mean", "printed") or len(used) != 1 or used == {"ccl"}
        if self.has_conditions and not learns:  # CVR attends under W_woi alone, CLR under W_poi
            raise InputError(
                f"conditions: got {used.pop()} alone, where one of W_poi and W_woi learns from nothing; add another, "
                "or --reconstruction-scale mean"
            )

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the loss terms that this configuration trains with."""
        auxiliary = (("v2t", self.clr), ("t2v", self.cvr), ("ccl", self.ccl), ("zones", self.zones))
        return (*(name for name, on in auxiliary if on and self.interacts), "segmentation")

    @property
    def interacts(self) -> bool:
        """Whether patches attend to words."""
        return self.interaction in ("cross", "self")

    @property
    def has_conditions(self) -> bool:
        """Whether some loss uses W_poi and W_woi, and so trains them."""
        return self.interacts and any(getattr(self, part) for part in self.conditions)


SIZES: dict[str, RecLMISConfig] = {
    "segue": RecLMISConfig(),
    "faithful": RecLMISConfig(
        widths=(64, 128, 256, 512, 512),
        stem_stride=1,
        pooling="max",
        plam="full",
        position=False,
        residual=False,
        reconstruction_scale="mean",
    ),
}


def ablate_config(config: RecLMISConfig, system: str) -> RecLMISConfig:
    """The paper's Table III by name, and two baselines: text_blind, early_fusion, ci, ci_cvr, ci_clr, full."""
    switches: dict[str, dict[str, Any]] = {
        "text_blind": {"interaction": "none"},
        "early_fusion": {"interaction": "early"},
        "ci": {"cvr": False, "clr": False},
        "ci_cvr": {"clr": False},
        "ci_clr": {"cvr": False},
        "full": {},
    }
    return replace(config, **switches[system])
