"""Contrastive training of a dual encoder: an image and its caption are drawn together, others pushed apart.

Paper: Radford et al. 2021 (CLIP), Fig. 3. Ours: captions of the same image are not used as negatives, and the
hinge on the hardest negative (Faghri et al. 2018, VSE++) may be added, and what a classifier says of the images (Hinton
et al. 2015, distillation). The batch is that of all processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.encoders.dual_encoder import VisionTextDualEncoder
from segue.losses import hardest_negative_loss, info_nce
from segue.nn.gather import gather


@dataclass(frozen=True)
class ClassDistillation:
    """What a classifier of images knows, taught to a dual encoder: K classes, C and C' widths of the features.

    weight: of the term. classifier: (K, C) and bias (K,), on the image encoder's pooled features. texts: (T, K, C'),
    the text encoder's features of the classes' names in T templates.
    """

    weight: float
    classifier: Tensor
    bias: Tensor
    texts: Tensor


class DualEncoderTask(nn.Module):
    """A dual encoder as a task of the training loop.

    hard_negatives: weight of the hinge on the hardest negatives, 0 for none. label_smoothing: of the contrastive loss.
    distillation: a classifier whose answers are learned too; for frozen encoders, whose features the batches hold.
    """

    def __init__(
        self,
        model: VisionTextDualEncoder,
        *,
        hard_negatives: float = 0.0,
        label_smoothing: float = 0.0,
        distillation: ClassDistillation | None = None,
    ) -> None:
        super().__init__()
        self.model, self.hard_negatives, self.label_smoothing = model, hard_negatives, label_smoothing
        self.distillation = distillation

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The loss and its terms.

        batch["image"]: (B, 3, S, S) pixels, or (B, C) features of a frozen image encoder. batch["text"]: `Tokens`, or
        (B, C) features of a frozen text encoder. batch["image_index"]: (B,) int64, the image of each pair.
        """
        image, text = (gather(F.normalize(x.float(), dim=-1)) for x in self.vectors(batch))
        image_index, scale = gather(batch["image_index"]), self.model.logit_scale()
        contrastive = info_nce(image, text, image_index, scale, label_smoothing=self.label_smoothing)
        terms = {"contrastive": contrastive, "temperature": 1 / scale.detach()}
        if self.hard_negatives:
            terms["hard_negatives"] = hardest_negative_loss(image, text, image_index)
        loss = contrastive + self.hard_negatives * terms.get("hard_negatives", contrastive.new_zeros(()))
        if self.distillation is not None:
            terms["distillation"] = self._distilled(batch["image"], self.distillation)
            loss = loss + self.distillation.weight * terms["distillation"]
        return {"loss": loss, **terms}

    def _distilled(self, features: Tensor, known: ClassDistillation) -> Tensor:
        """The cross-entropy from the classifier's probabilities to those of the names, in a random template."""
        classifier, bias, texts = (x.to(features.device) for x in (known.classifier, known.bias, known.texts))
        taught = F.linear(features.float(), classifier, bias).softmax(-1)
        template = int(torch.randint(len(texts), ()))
        image = F.normalize(self.model.project_image(features).float(), dim=-1)
        names = F.normalize(self.model.text_projection(texts[template]).float(), dim=-1)
        return F.cross_entropy(self.model.logit_scale() * image @ names.T, taught)

    @torch.no_grad()
    def name_classes(self) -> None:
        """Fill the model's class names, where it has them, by the text projection of now."""
        known, names = self.distillation, self.model.class_names
        if known is not None and names is not None:
            projection, training = self.model.text_projection, self.model.training
            projected = F.normalize(projection.eval()(known.texts.to(names.texts.device)).float(), dim=-1)
            names.texts.copy_(F.normalize(projected.mean(0), dim=-1))
            projection.train(training)

    def vectors(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The batch's images and texts in the joint space, (B, D) each, not normalised."""
        model, x, text = self.model, batch["image"], batch["text"]
        image = model.project_image(model.image_encoder(x).pooled if x.ndim == 4 else x)
        return image, model.project_text(*text) if isinstance(text, tuple) else model.text_projection(text)
