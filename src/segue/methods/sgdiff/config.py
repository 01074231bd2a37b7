"""Everything that shapes SGDiff and its losses, the paper's ablations as switches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from segue.nn.preprocessing import Preprocessing
from segue.types import InputError

CHOICES = {
    "psga": ("none", "filter", "rank", "both"),
    "tasks": ("both", "mask", "caption"),
    "mecl": ("none", "intra", "inter", "both"),
    "decoder": ("diffusion", "autoregressive"),
}


@dataclass(frozen=True)
class SGDiffConfig:
    """The default is small: it trains on two CPU cores in less than half an hour.

    psga: which parts of the adaptor work (Table 3). cross_attention: whether the two directions read each other
    (Table 5). tasks: Table 6. mecl: Table 7. decoder: "autoregressive" is the rival.
    size: the pictures' side in pixels, a multiple of 16. widths: channels of the backbone at strides 2, 4, 8, 16,
    multiples of 8. channels: of the pixel decoder, a multiple of 16; its finest level has half as many.
    width, heads, feed, blocks: of the transformer.
    length: L, the most words of a caption. places: K, the most nodes that are ordered. max_nodes, max_edges: of a
    coarse subgraph. feature_width: of the features that a detector gives each node, 0 without.
    lambda_adaptor, lambda_mecl: lambda_1 and lambda_2 of Eq. 13; with 0 the part, which nothing would train, is left
    out.
    """

    psga: str = "both"
    cross_attention: bool = True
    tasks: str = "both"
    mecl: str = "both"
    decoder: str = "diffusion"
    size: int = 128
    widths: tuple[int, ...] = (32, 64, 96, 128)
    channels: int = 64
    width: int = 160
    heads: int = 4
    feed: int = 320
    blocks: int = 3
    adaptor_blocks: int = 2
    length: int = 20
    places: int = 8
    max_nodes: int = 24
    max_edges: int = 48
    feature_width: int = 0
    lambda_adaptor: float = 2.0
    lambda_mecl: float = 1.0

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected one of {', '.join(known)}")
        if self.size < 32 or self.size % 16:
            raise InputError(f"size: got {self.size}, expected a multiple of 16, 32 or more")
        if self.width % self.heads or len(self.widths) != 4 or any(c % 8 for c in (*self.widths, self.channels // 2)):
            raise InputError(
                f"widths {self.widths}, channels {self.channels}, width {self.width}, heads {self.heads}: expected "
                "four widths that are multiples of 8, channels of 16, and a width that is a multiple of heads"
            )
        if min(self.length, self.places, self.max_nodes, self.blocks) < 1:
            raise InputError("length, places, max_nodes and blocks: expected 1 or more of each")

    @property
    def tells(self) -> bool:
        """Whether it writes captions."""
        return self.tasks != "mask"

    @property
    def outlines(self) -> bool:
        """Whether it draws masks."""
        return self.tasks != "caption"

    @property
    def filters(self) -> bool:
        """Whether the adaptor chooses nodes."""
        return self.psga in ("filter", "both") and self.lambda_adaptor > 0

    @property
    def ranks(self) -> bool:
        """Whether the adaptor orders nodes."""
        return self.psga in ("rank", "both") and self.lambda_adaptor > 0

    @property
    def contrasts(self) -> bool:
        """Whether MECL has both of its sides."""
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
    """A row of the results by its name; InputError lists the names."""
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
    }
    if system not in switches:
        raise InputError(f"system {system!r}: expected one of {', '.join(switches)}")
    return replace(config, **switches[system])
