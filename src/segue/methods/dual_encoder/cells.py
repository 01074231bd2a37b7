"""Supervised training of a dual encoder's image head on the cells of label maps; its text side stays as it is.

    loss = - sum_i w_i sum_k s_ik log softmax_k( scale * cos(cell i, name k) ) / sum_i w_i

over the cells i of a batch, with s_ik the share of class k among the labelled pixels of cell i and w_i the share of its
pixels that have a label. What the head was before stays in it: the weights that are kept are a mean of those before and
after (Wortsman et al. 2022, WiSE-FT), so that names which no label map has are still known.

M cells, K names, C width of the frozen image encoder, D width of the joint space.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.encoders.dual_encoder import VisionTextDualEncoder


class CellTask(nn.Module):
    """The image head of a dual encoder as a task of the training loop; all else in the model is frozen.

    text: (K, D) features of the names, of length 1.
    """

    text: Tensor

    def __init__(self, model: VisionTextDualEncoder, text: Tensor) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.head = copy.deepcopy(model.image_projection).requires_grad_(True)
        self.register_buffer("text", text, persistent=False)

    def training_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss. batch["cells"]: (M, C) features. batch["shares"]: (M, K), of which each row sums up to w_i."""
        cells = self.model.refine_cells(F.normalize(self.head(batch["cells"]).float(), dim=-1))
        logits = self.model.logit_scale() * F.normalize(cells, dim=-1) @ self.text.T
        shares = batch["shares"]
        return {"loss": F.cross_entropy(logits, shares, reduction="sum") / shares.sum().clamp(min=1e-6)}

    def merged(self, share: float) -> VisionTextDualEncoder:
        """The model whose image head is (1 - share) of the one before the training and share of the trained one."""
        merged = copy.deepcopy(self.model)
        trained: dict[str, Any] = dict(self.head.named_parameters())
        with torch.no_grad():
            for name, weight in merged.image_projection.named_parameters():
                weight.lerp_(trained[name].to(weight), share)
        return merged.eval()
