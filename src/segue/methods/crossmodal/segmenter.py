"""A plain segmenter with the encoder of `model` and the decoder of `vq`: what a picture alone is worth.

It is no part of the method. The condition caption+image is measured against it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.model import Cells
from segue.methods.crossmodal.streams import Stream
from segue.methods.crossmodal.vq import (
    VQConfig,
    balanced_loss,
    banded_classes,
    decoder_widths,
    pixel_decoder,
)


class PictureSegmenter(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> (B, H, W) classes, by the cells' stream with no code known."""

    def __init__(self, config: CrossModalConfig, vq: VQConfig) -> None:
        super().__init__()
        self.config, widths = config, decoder_widths(vq)
        self.cells = Cells(config)
        self.stream = Stream(config.width, config.heads, config.depth, epsilon=config.epsilon)
        self.decoder = pixel_decoder(config.width, widths)
        self.head = nn.Conv2d(widths[-1], vq.classes, 1)

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: image (B, 3, H, W), layout (B, H, W). The quantiser's own loss."""
        layout = batch["layout"].long()
        return {"loss": balanced_loss(self._features(batch["image"]), self.head, layout, self.head.out_channels)}

    @torch.inference_mode()
    def segment(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H, W) uint8."""
        return banded_classes(self._features(image), self.head)

    def _features(self, image: Tensor) -> Tensor:
        h, w = (side // self.config.patch for side in image.shape[-2:])
        blank = torch.full((len(image), h, w), self.cells.blank, device=image.device)
        x = self.cells(blank, image)
        states = self.stream.give(x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)).states[-1]
        return self.decoder(states.transpose(1, 2).unflatten(2, (h, w)))
