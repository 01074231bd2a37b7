"""Contrastive training of a dual encoder: an image and its caption are drawn together, others pushed apart.

Paper: Radford et al. 2021 (CLIP), Fig. 3. Ours: captions of the same image are not used as negatives, and the
hinge on the hardest negative (Faghri et al. 2018, VSE++) may be added. The batch is that of all processes.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from segue.encoders.dual_encoder import VisionTextDualEncoder
from segue.losses import hardest_negative_loss, info_nce
from segue.nn.gather import gather


class DualEncoderTask(nn.Module):
    """A dual encoder as a task of the training loop.

    hard_negatives: weight of the hinge on the hardest negatives, 0 for none.
    """

    def __init__(self, model: VisionTextDualEncoder, *, hard_negatives: float = 0.0) -> None:
        super().__init__()
        self.model, self.hard_negatives = model, hard_negatives

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The loss and its terms.

        batch["image"]: (B, 3, S, S) pixels, or (B, C) features of a frozen image encoder. batch["text"]: `Tokens`, or
        (B, C) features of a frozen text encoder. batch["image_index"]: (B,) int64, the image of each pair.
        """
        image, text = (gather(F.normalize(x.float(), dim=-1)) for x in self.vectors(batch))
        image_index, scale = gather(batch["image_index"]), self.model.logit_scale()
        contrastive = info_nce(image, text, image_index, scale)
        terms = {"contrastive": contrastive, "temperature": 1 / scale.detach()}
        if self.hard_negatives:
            terms["hard_negatives"] = hardest_negative_loss(image, text, image_index)
        hinge = terms.get("hard_negatives", contrastive.new_zeros(()))
        return {"loss": contrastive + self.hard_negatives * hinge, **terms}

    def vectors(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The batch's images and texts in the joint space, (B, D) each, not normalised."""
        model, x, text = self.model, batch["image"], batch["text"]
        image = model.project_image(model.image_encoder(x).pooled if x.ndim == 4 else x)
        return image, model.project_text(*text) if isinstance(text, tuple) else model.text_projection(text)
