"""What the released code trains GroupViT by, beside the paper's Eq. 6 to 8 in `GroupViT.training_step`.

The prompts have a temperature of their own, which no checkpoint keeps: inference uses the captions'. And a picture is
contrasted with its M prompts by cross-entropy with a target of 1 / M for each, so that every prompt must fit, where
Eq. 6 is content with one.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from segue.methods.cocu.groupvit.losses import multi_label_loss
from segue.methods.cocu.groupvit.model import GroupViT


class ReleasedTask(nn.Module):
    """A GroupViT with the temperature of its prompts, for `segue.training.fit`."""

    def __init__(self, model: GroupViT) -> None:
        super().__init__()
        self.model = model
        self.prompt_logit_scale = nn.Parameter(model.logit_scale.detach().clone())

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The losses of a batch, as `GroupViT.training_step` takes it, gathered over all processes.

        Returns scalars: "caption", "prompts" (where there are any) and "loss", their sum.
        """
        _, image, text = self.model.embed_batch(batch)
        terms = {"caption": multi_label_loss(image, text[:, :1], self.model.scale)}
        if text.shape[1] > 1:
            scale = self.prompt_logit_scale.float().clamp(max=math.log(100)).exp()
            terms["prompts"] = multi_label_loss(image, text[:, 1:], scale, soft_targets=True)
        return {"loss": sum(terms.values(), start=image.new_zeros(())), **terms}
