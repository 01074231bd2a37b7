"""SynTIC's configuration: sizes of the decoder by name, the paper's ablations, and the methods it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from annotated_types import Ge, Interval

from segue.nn.prefix_decoder import Activation
from segue.options import MaxTokens, Positive
from segue.types import InputError


@dataclass(frozen=True)
class SynticConfig:
    """The shape of the decoder, and what its prefix is made of.

    Raises InputError for an unknown source, a width that the heads don't divide, or a tau of 0 or less.

    Attributes:
        source: what the training prefix is made of: features of synthetic images ("image"), features of the captions
            themselves ("text"), or nothing, because captions are retrieved and none is generated ("none").
        fo: feature optimisation (Eq. 2): image features are optimised before training; no effect at inference.
        fp: feature projection (Eq. 3): image features are projected onto the support set, in training too when the
            source is "image".
        af: alignment with object features (Eq. 4-5): a second prefix token, made of the names of the objects.
        noise: standard deviation, by coordinate, of Gaussian noise on normalised text features.
        shift: text features are first moved by the mean difference between image and text features.
        neighbours: captions of the support set, the nearest ones to a picture, whose features join the prefix, as does
            the picture's own; 0 for none, as in the paper. In training a caption's own text, and those of the same
            picture, are not among them.
        tau: temperature tau_p of Eq. 3.
        width: channels of the decoder.
        layers: of the decoder.
        heads: of its attention.
        max_tokens: the most tokens of a caption, not counting the end token.
        dropout: in the decoder, in [0, 1).
        label_smoothing: of Eq. 6, in [0, 1).
        activation: of the decoder; DeCap's released one has GPT-2's.
        start_token: the tokenizer's, with which the prefix ends where the decoder was trained so, as DeCap's was.
    """

    source: str = "image"
    fo: bool = True
    fp: bool = True
    af: bool = True
    noise: Annotated[float, Interval(ge=0, le=100)] = 0.0
    shift: bool = False
    neighbours: Annotated[int, Interval(ge=0, le=1000)] = 0
    tau: Annotated[float, Interval(le=1000)] = 0.01
    width: int = 256
    layers: Positive = 4
    heads: int = 4
    max_tokens: MaxTokens = 40
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    activation: Activation = "gelu"
    start_token: Annotated[int, Ge(0)] | None = None

    def __post_init__(self) -> None:
        if self.source not in ("image", "text", "none"):
            raise InputError(f"source: got {self.source!r:.60}, expected image, text or none")
        if self.width < 1 or self.heads < 1 or self.width % self.heads:
            raise InputError(f"width: got {self.width}, expected a multiple of heads = {self.heads}")
        if not self.tau > 0:
            raise InputError(f"tau: got {self.tau}, expected more than 0, for instance 0.01")

    @property
    def prefix_length(self) -> int:
        """P, the vectors of the prefix."""
        return 1 + self.af + (1 + self.neighbours if self.neighbours else 0) + (self.start_token is not None)

    @property
    def trainable(self) -> bool:
        """Whether there is anything to train."""
        return self.source != "none"


SIZES: dict[str, SynticConfig] = {
    "small": SynticConfig(width=128),  # of the results tables, which train it three dozen times
    "compact": SynticConfig(layers=2),  # with its support set it stays below 8 MB
    "segue": SynticConfig(),
    "faithful": SynticConfig(width=768),  # DeCap's decoder, which the paper follows
}

_PLAIN: dict[str, Any] = {
    "source": "image", "fo": False, "fp": False, "af": False, "noise": 0.0, "shift": False, "neighbours": 0,
}  # fmt: skip
_TEXT: dict[str, Any] = {**_PLAIN, "source": "text"}
SYSTEMS: dict[str, dict[str, Any]] = {  # the rows of the paper's Table 4, then the methods it is compared with
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
    "neighbours": {**_TEXT, "fp": True, "noise": 0.016**0.5, "neighbours": 16},  # ours: see `recipes.syntic`
}


def system_config(config: SynticConfig, system: str) -> SynticConfig:
    """`config` with the switches of a system of `SYSTEMS`; the decoder stays the same.

    Raises InputError for an unknown system.
    """
    if system not in SYSTEMS:
        raise InputError(f"system {system!r}: expected one of {', '.join(SYSTEMS)}")
    return replace(config, **SYSTEMS[system])
