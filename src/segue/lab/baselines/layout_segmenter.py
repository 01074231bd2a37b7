"""A plain segmenter with the image encoder of the joint model and the decoder of its quantiser: image to layout.

It is a baseline: the condition caption+image is compared with it, to see what the caption adds to the image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.layers import Stream
from segue.methods.crossmodal.model import CellEmbedding
from segue.methods.crossmodal.vq import VQConfig, balanced_loss, banded_classes, decoder_widths, pixel_decoder


class LayoutSegmenter(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> (B, H, W) classes, by the cell stream with all codes masked."""

    def __init__(self, config: CrossModalConfig, vq: VQConfig) -> None:
        super().__init__()
        self.config, widths = config, decoder_widths(vq)
        self.cell_embedding = CellEmbedding(config)
        self.stream = Stream(config.width, config.heads, config.depth, epsilon=config.epsilon)
        self.decoder = pixel_decoder(config.width, widths)
        self.head = nn.Conv2d(widths[-1], vq.classes, 1)

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: image (B, 3, H, W), layout (B, H, W) integer. Returns the quantiser's own loss, `balanced_loss`."""
        layout = batch["layout"].long()
        return {"loss": balanced_loss(self._features(batch["image"]), self.head, layout, self.head.out_channels)}

    @torch.inference_mode()
    def segment(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, H, W) uint8."""
        return banded_classes(self._features(image), self.head)

    def _features(self, image: Tensor) -> Tensor:
        h, w = (side // self.config.patch for side in image.shape[-2:])
        masked = torch.full((len(image), h, w), self.cell_embedding.mask_code, device=image.device)
        x = self.cell_embedding(masked, image)
        states = self.stream.encode(x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)).states[-1]
        features: Tensor = self.decoder(torch.unflatten(states.transpose(1, 2), 2, (h, w)))
        return features
