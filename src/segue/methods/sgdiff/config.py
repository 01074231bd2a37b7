"""Everything that shapes SGDiff and its losses, with the paper's ablations as switches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from annotated_types import Interval

from segue.nn.preprocessing import Preprocessing
from segue.options import MaxTokens, NonNegative, Positive, check_value
from segue.types import InputError

Weight = Annotated[float, Interval(ge=0)]
CHOICES = {
    "psga": Literal["none", "filter", "rank", "both"],
    "tasks": Literal["both", "mask", "caption"],
    "mecl": Literal["none", "intra", "inter", "both"],
    "decoder": Literal["diffusion", "masked", "autoregressive"],
    "mecl_masks": Literal["graph", "query"],
    "mecl_words": Literal["joint", "detached"],
}


@dataclass(frozen=True)
class SGDiffConfig:
    """The default is small: it trains on two CPU cores in less than half an hour.

    Attributes:
        psga: which parts of the adaptor are built (Table 3): "none", "filter", "rank" or "both".
        cross_attention: whether the caption's and the graph's stream attend to each other (Table 5).
        tasks: what it generates (Table 6): "mask", "caption" or "both".
        mecl: the levels of the contrastive loss (Table 7): "none", "intra", "inter" or "both".
        decoder: of captions: "diffusion" of analog bits, the paper's, "masked" diffusion of tokens, or
            "autoregressive", word by word.
        time_warp: whether analog bits are noised where it teaches, see `time_warp`.
        mecl_masks: what stands for a mask in MECL: the "graph" state of its node, or the mask head's last "query".
        mecl_words: whether MECL trains the caption's stream ("joint") or reads it only ("detached").
        mecl_by_noise: whether a row counts in MECL by the share of its caption that its noise leaves known.
        size: the pictures' side in pixels, a multiple of 16.
        widths: channels of the backbone at strides 2, 4, 8, 16, multiples of 8.
        channels: of the pixel decoder, a multiple of 16; its finest level has half as many.
        width: of the transformer.
        heads: of the transformer, a divisor of its width.
        feed_forward: hidden width of the transformer's feed-forward networks.
        blocks: of the transformer.
        adaptor_blocks: of the adaptor.
        max_words: L, the most words of a caption.
        max_ranked: K, the most nodes that get a rank.
        max_nodes: of a coarse subgraph.
        max_edges: of a coarse subgraph.
        feature_width: of the features that a detector gives each node, 0 without.
        picture: whether captions read the whole picture as well: none of its objects tells its light.
        lambda_adaptor: lambda_1 of Eq. 13; with 0 the adaptor's heads, which nothing would train, are not built.
        lambda_mecl: lambda_2 of Eq. 13; with 0 MECL is not built.

    Raises InputError for values that don't go together.
    """

    psga: str = "both"
    cross_attention: bool = True
    tasks: str = "both"
    mecl: str = "both"
    decoder: str = "diffusion"
    time_warp: bool = False
    mecl_masks: str = "graph"
    mecl_words: str = "joint"
    mecl_by_noise: bool = False
    size: Annotated[int, Interval(le=4096)] = 128
    widths: tuple[Positive, ...] = (32, 64, 96, 128)
    channels: Positive = 64
    width: Positive = 160
    heads: Positive = 4
    feed_forward: Positive = 320
    blocks: Positive = 3
    adaptor_blocks: NonNegative = 2
    max_words: MaxTokens = 20
    max_ranked: MaxTokens = 8
    max_nodes: MaxTokens = 24
    max_edges: MaxTokens = 48
    feature_width: NonNegative = 0
    picture: bool = False
    lambda_adaptor: Weight = 2.0
    lambda_mecl: Weight = 1.0

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            check_value(name, getattr(self, name), known)
        if self.size < 32 or self.size % 16:
            raise InputError(f"size: got {self.size}, expected a multiple of 16, 32 or more")
        if self.width % self.heads or len(self.widths) != 4 or any(c % 8 for c in (*self.widths, self.channels // 2)):
            raise InputError(
                f"widths {self.widths}, channels {self.channels}, width {self.width}, heads {self.heads}: expected "
                "four widths that are multiples of 8, channels of 16, and a width that is a multiple of heads"
            )
        if min(self.max_words, self.max_ranked, self.max_nodes, self.blocks) < 1:
            raise InputError("max_words, max_ranked, max_nodes and blocks: expected 1 or more of each")
        if self.time_warp and self.decoder != "diffusion":
            raise InputError(f"time_warp: it is of analog bits, and the decoder is {self.decoder}; leave one out")
        if self.picture and not self.generates_captions:
            raise InputError("picture: captions read it, and this system makes none; leave it out")

    @property
    def generates_captions(self) -> bool:
        """Whether it generates captions."""
        return self.tasks != "mask"

    @property
    def generates_masks(self) -> bool:
        """Whether it generates masks."""
        return self.tasks != "caption"

    @property
    def filters_nodes(self) -> bool:
        """Whether the adaptor selects nodes."""
        return self.psga in ("filter", "both") and self.lambda_adaptor > 0

    @property
    def ranks_nodes(self) -> bool:
        """Whether the adaptor orders nodes."""
        return self.psga in ("rank", "both") and self.lambda_adaptor > 0

    @property
    def uses_mecl(self) -> bool:
        """Whether the contrastive loss has both of its sides, masks and captions."""
        return self.mecl != "none" and self.tasks == "both" and self.lambda_mecl > 0

    @property
    def mask_side(self) -> int:
        """The side of the masks' grid, at stride 2."""
        return self.size // 2

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes the network's input: a square of `size` pixels."""
        return Preprocessing(size=self.size)


def ablate_config(config: SGDiffConfig, system: str) -> SGDiffConfig:
    """The configuration of a system of the results: "full" or the name of an ablation; InputError lists the names."""
    switches: dict[str, dict[str, Any]] = {
        "full": {},
        "no_psga": {"psga": "none"},
        "filter": {"psga": "filter"},
        "rank": {"psga": "rank"},
        "no_cross_attention": {"cross_attention": False},
        "mask_only": {"tasks": "mask"},
        "caption_only": {"tasks": "caption"},
        "mecl_none": {"mecl": "none"},
        "mecl_intra": {"mecl": "intra"},
        "mecl_inter": {"mecl": "inter"},
        "autoregressive": {"decoder": "autoregressive"},
        "masked": {"decoder": "masked"},
        "time_warp": {"time_warp": True},
        "mecl_known": {"mecl_masks": "query", "mecl_words": "detached", "mecl_by_noise": True},
    }
    if system not in switches:
        raise InputError(f"system {system!r}: expected one of {', '.join(switches)}")
    return replace(config, **switches[system])
