"""Training of a dual encoder: pictures and their captions drawn together, all others pushed apart.

Paper: Radford et al. 2021 (CLIP), Eq. of Fig. 3. Ours: captions of one picture are no rivals of each other, and the
hinge on the hardest rival (Faghri et al. 2018, VSE++) may be added. The batch is that of all processes.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from segue.encoders.dual_encoder import VisionTextDualEncoder
from segue.losses import hardest_negative_loss, info_nce
from segue.nn.gather import gather


class DualEncoderTask(nn.Module):
    """A dual encoder as a task of the training loop. hard: weight of the hardest-negative hinge, 0 for none."""

    def __init__(self, pair: VisionTextDualEncoder, *, hard: float = 0.0) -> None:
        super().__init__()
        self.pair, self.hard = pair, hard

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The loss and its terms.

        batch["image"]: (B, 3, S, S) pixels, or (B, C) features of a frozen image tower. batch["text"]: `Tokens`, or
        (B, C) features of a frozen text tower. batch["owner"]: (B,) int64, the picture of each pair.
        """
        image, text = (gather(F.normalize(x.float(), dim=-1)) for x in self.vectors(batch))
        owner, scale = gather(batch["owner"]), self.pair.scale()
        contrast = info_nce(image, text, owner, scale)
        terms = {"contrast": contrast, "temperature": 1 / scale.detach()}
        if self.hard:
            terms["hard"] = hardest_negative_loss(image, text, owner)
        return {"loss": contrast + self.hard * terms.get("hard", contrast.new_zeros(())), **terms}

    def vectors(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The batch's pictures and texts in the joint space, (B, D) each, not normalised."""
        pair, x, text = self.pair, batch["image"], batch["text"]
        image = pair.project_image(pair.image(x).pooled if x.ndim == 4 else x)
        return image, pair.project_text(*text) if isinstance(text, tuple) else pair.text_head(text)
