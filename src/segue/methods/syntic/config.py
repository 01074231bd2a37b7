"""SynTIC's settings, its sizes by name, and its ablations and rivals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from segue.types import InputError


@dataclass(frozen=True)
class SynticConfig:
    """Everything that shapes the decoder and its prefix.

    source: what the training prefix is made of: features of synthetic pictures ("image"), of the captions themselves
    ("text"), or nothing, as captions are retrieved and none is generated ("none").
    fo: the image features were optimised (Eq. 2) before training; of no effect at inference.
    fp: image features are projected onto the support set (Eq. 3), in training too when the source is "image".
    af: a second prefix token from the names of the objects (Eq. 4-5).
    noise: standard deviation, by coordinate, of Gaussian noise on normalised text features. shift: text features are
    first moved by the mean difference between image and text features.
    tau: tau_p of Eq. 3. max_tokens: the most tokens of a caption, its end not counted.
    """

    source: str = "image"
    fo: bool = True
    fp: bool = True
    af: bool = True
    noise: float = 0.0
    shift: bool = False
    tau: float = 0.01
    width: int = 256
    layers: int = 4
    heads: int = 4
    max_tokens: int = 40
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.source not in ("image", "text", "none"):
            raise InputError(f"source: got {self.source!r}, expected image, text or none")
        if self.width < 1 or self.heads < 1 or self.width % self.heads:
            raise InputError(f"width: got {self.width}, expected a multiple of heads = {self.heads}")
        if not self.tau > 0:
            raise InputError(f"tau: got {self.tau}, expected more than 0, for instance 0.01")

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return self.source != "none"


SIZES: dict[str, SynticConfig] = {
    "small": SynticConfig(width=128),  # of the tables, which train it three dozen times
    "segue": SynticConfig(),
    "faithful": SynticConfig(width=768),  # DeCap's decoder, which the paper follows
}

_PLAIN: dict[str, Any] = {"source": "image", "fo": False, "fp": False, "af": False, "noise": 0.0, "shift": False}
_TEXT: dict[str, Any] = {**_PLAIN, "source": "text"}
SYSTEMS: dict[str, dict[str, Any]] = {  # the rows of the paper's Table 4, then its rivals
    "baseline": _PLAIN,
    "fo": {**_PLAIN, "fo": True},
    "fp": {**_PLAIN, "fp": True},
    "af": {**_PLAIN, "af": True},
    "fo_af": {**_PLAIN, "fo": True, "af": True},
    "fp_fo": {**_PLAIN, "fp": True, "fo": True},
    "fp_af": {**_PLAIN, "fp": True, "af": True},
    "full": {**_PLAIN, "fo": True, "fp": True, "af": True},
    "clipre": {**_PLAIN, "source": "none"},
    "capdec": {**_TEXT, "noise": 0.016**0.5},
    "close": {**_TEXT, "noise": 0.08, "shift": True},
    "decap": {**_TEXT, "fp": True},
}


def system_config(config: SynticConfig, system: str) -> SynticConfig:
    """`config` with the switches of a system by its name in `SYSTEMS`; the decoder stays the same."""
    if system not in SYSTEMS:
        raise InputError(f"system {system!r}: expected one of {', '.join(SYSTEMS)}")
    return replace(config, **SYSTEMS[system])
