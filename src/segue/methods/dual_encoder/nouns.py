"""Weakly supervised training of a dual encoder's cells on the nouns of captions; all else stays as it is.

A picture of a boat has "boat" in the vectors of its water, too, since each cell sees far around itself. Here cells
learn to share a picture's nouns out among themselves (multiple-instance learning). With v_i of length 1 the cells'
vectors, t_n the nouns', T the temperature, and A the cells' head, which begins at 0:

    u_i = v_i + A v_i,    loss = `shared_out_loss`(u, t, T) + decay * |A|^2

What is kept is `share` of A (Wortsman et al. 2022, WiSE-FT), so that names which no caption has are still known.

Then the vectors of SURROUNDINGS move towards the cells that show them, see `NounShifts`.

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

SURROUNDINGS = (
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
)
OFTEN_UNSAID = (*SURROUNDINGS, "shirt", "hair", "face", "body", "head", "leg", "arm", "hand")


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


RIVAL_COSINE = 0.8  # nouns whose vectors are nearer than that name the same
MOST_CELLS, LEAST_CELLS, LEAST_MARGIN = 0.3, 3, -0.05  # of a picture that show a noun; how far they lead at least
LEAST_PICTURES = 3


class NounShifts:
    """How far the vectors of nouns move towards cells that show them, after ReCo (Shin et al. 2022) and OVDiff.

    A caption's noun n is shown by the cells where it leads the other nouns that the picture may show:

        margin[i] = cos(u_i, t_n) - max over rivals r of cos(u_i, t_r)     the cells with the largest
        p_n = mean over pictures of the mean of these cells, of length 1
        shift[n] = share ( s_t / s_p (p_n - mean p) - (t_n - mean t) )     s: mean length of the differences

    Cells and texts fill different parts of the space, so that differences from the means are compared. No mask and no
    label map is read. text: (N, D), of length 1. presence: as of `DenseProtocol`.
    """

    def __init__(self, text: Tensor, presence: float) -> None:
        self.text, self.presence = text, presence
        self.apart = text @ text.T < RIVAL_COSINE
        self.sums, self.pictures = torch.zeros_like(text), torch.zeros(len(text))

    def add(self, cells: Tensor, whole: Tensor, named: Tensor, possible: Tensor) -> None:
        """A picture: cells (M, D) and the whole of it (D,), of length 1; (N,) bool, nouns that its captions name, and
        those that it may show.
        """
        scores = (cells + self.presence * whole) @ self.text.T
        for n in named.nonzero()[:, 0].tolist():
            rivals = (possible | named) & self.apart[n]
            best = scores[:, rivals].amax(1) if rivals.any() else torch.full_like(scores[:, n], -1)
            margin = scores[:, n] - best
            count = max(LEAST_CELLS, min(int((margin > 0).sum()), int(MOST_CELLS * len(margin))))
            lead, place = margin.topk(min(count, len(margin)))
            if float(lead.mean()) >= LEAST_MARGIN:
                self.sums[n] += F.normalize(cells[place].mean(0), dim=0)
                self.pictures[n] += 1

    def shifts(self, share: float) -> tuple[Tensor, Tensor]:
        """(nouns that LEAST_PICTURES or more show, as places (K,); their shifts (K, D))."""
        shown = (self.pictures >= LEAST_PICTURES).nonzero()[:, 0]
        if len(shown) < 2:  # nothing to compare with
            return shown[:0], self.sums[:0]
        text, cells = self.text[shown], F.normalize(self.sums[shown], dim=-1)
        text, cells = text - text.mean(0), cells - cells.mean(0)
        return shown, share * (text.norm(dim=1).mean() / cells.norm(dim=1).mean() * cells - text)
