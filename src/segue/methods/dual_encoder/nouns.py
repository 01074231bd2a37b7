"""Weakly supervised training of a dual encoder's cells on the nouns of captions; all else stays as it is.

A picture of a boat has "boat" in the vectors of its water, too, since each cell sees far around itself. Here cells
learn to share a picture's nouns out among themselves (multiple-instance learning). With v_i of length 1 the cells'
vectors, t_n the nouns', T the temperature, and A the cells' head, which begins at 0:

    u_i = v_i + A v_i,    loss = `shared_out_loss`(u, t, T) + decay * |A|^2

What is kept is `share` of A (Wortsman et al. 2022, WiSE-FT), so that names which no caption has are still known.

B pictures, M cells of each, N nouns, D width of the joint space.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.encoders.dual_encoder import VisionTextDualEncoder, zero_linear
from segue.losses import shared_out_loss

OFTEN_UNSAID = (
    *(
        "sky",
        "grass",
        "water",
        "tree",
        "road",
        "street",
        "building",
        "wall",
        "floor",
        "ground",
        "sand",
        "snow",
        "field",
    ),
    *("mountain", "rock", "beach", "ocean", "window", "hill", "dirt", "sidewalk", "fence"),
    *("shirt", "hair", "face", "body", "head", "leg", "arm", "hand"),
)


class NounTask(nn.Module):
    """The head of a dual encoder's cells as a task of the training loop; all else in the model is frozen.

    text: (N, D) features of the nouns, of length 1. unsaid: (N,) bool, nouns that may be there without being named.
    outside, room, decay: weights of the loss's terms.
    """

    text: Tensor
    unsaid: Tensor

    def __init__(
        self,
        model: VisionTextDualEncoder,
        text: Tensor,
        unsaid: Tensor,
        *,
        outside: float = 0.5,
        room: float = 0.5,
        decay: float = 1e-3,
    ) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.head = zero_linear(model.width)
        self.outside, self.room, self.decay = outside, room, decay
        self.register_buffer("text", text, persistent=False)
        self.register_buffer("unsaid", unsaid, persistent=False)

    def training_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss and its terms. batch["cells"]: (B, M, D) of length 1. batch["named"]: (B, N) bool, by a caption."""
        cells, named = batch["cells"], batch["named"]
        with torch.autocast(cells.device.type, enabled=False):
            u = F.normalize(cells + self.head(cells), dim=-1)
            terms = shared_out_loss(
                u, self.text, named, self.unsaid, self.model.temperature, outside=self.outside, room=self.room
            )
        return terms | {"loss": terms["loss"] + self.decay * self.head.weight.square().sum()}

    def merged(self, share: float) -> VisionTextDualEncoder:
        """The model with share of the trained head for its cells."""
        merged = copy.deepcopy(self.model)
        merged.config = replace(merged.config, cell_head=True)
        head = zero_linear(merged.width).to(self.head.weight)
        with torch.no_grad():
            head.weight.copy_(share * self.head.weight)
        merged.cell_head = head.requires_grad_(False)
        return merged.eval()
