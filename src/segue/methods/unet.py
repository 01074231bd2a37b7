"""U-Net, the image-only baseline: MONAI's BasicUNet trained in the same loop with the same loss.

Paper: O. Ronneberger et al., "U-Net: Convolutional networks for biomedical image segmentation". It reads no note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from segue.encoders.text.contract import TextFeatures
from segue.losses import segmentation_loss
from segue.options import Positive
from segue.types import InputError, to_install


@dataclass(frozen=True)
class UNetConfig:
    """features: channels of the five levels, then of the last up-sampling. (64, ..., 64) is the classic size."""

    features: tuple[Positive, Positive, Positive, Positive, Positive, Positive] = (32, 32, 64, 128, 256, 32)


class UNet(nn.Module):
    """The same calls as `segue.methods.reclmis.model.RecLMIS`; the notes are ignored.

    Raises InputError when MONAI isn't installed.
    """

    text_encoder: None = None
    reads_notes = False
    stride = 16

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        try:
            from monai.networks.nets.basic_unet import BasicUNet
        except ImportError as error:
            raise InputError(f"the U-Net is MONAI's, which is missing: {to_install('medical')}") from error
        self.config = config
        self.net = BasicUNet(spatial_dims=2, in_channels=3, out_channels=1, features=config.features)

    def forward(self, image: Tensor, notes: Sequence[str | None], encode: TextFeatures | None = None) -> Tensor:
        """image: (B, 3, H, W), normalised, H and W multiples of `stride`. Returns logits (B, 1, H, W)."""
        logits: Tensor = self.net(image)
        return logits

    def training_step(self, batch: dict[str, Any], encode: TextFeatures | None = None) -> dict[str, Tensor]:
        """batch: image (B, 3, H, W), mask (B, 1, H, W), note [B]. Returns "loss" and "segmentation"."""
        loss = segmentation_loss(self(batch["image"], batch["note"]), batch["mask"])
        return {"loss": loss, "segmentation": loss}
