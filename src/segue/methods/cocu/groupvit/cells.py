"""A GroupViT on a dual encoder, as the head of that encoder's cells: what segments is a dual encoder as before."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from segue.encoders.dual_encoder import DualEncoder, VisionTextDualEncoder
from segue.methods.cocu.groupvit.model import GroupViT
from segue.types import InputError


class GroupHead(nn.Module):
    """What the groups add to the cells of their dual encoder: (B, h, w, P) of length 1 -> the same shape."""

    def __init__(self, model: GroupViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, cells: Tensor) -> Tensor:
        """(B, h, w, P) of length 1 -> (B, h, w, P); 0 for a network that has learned nothing."""
        vision = self.model.encode_image(cells.permute(0, 3, 1, 2))
        return torch.unflatten(self.model.refine_cells(vision), 1, vision.grid) - cells


def on_encoder(encoder: DualEncoder, model: GroupViT) -> VisionTextDualEncoder:
    """The dual encoder with the model's groups in the place of its cells' head, in evaluation mode; a copy.

    Raises InputError for a model on pixels, and for another dual encoder than its own.
    """
    if model.config.image_encoder is None:
        raise InputError("this GroupViT reads pixels and stands on no dual encoder; use it by itself")
    if not isinstance(encoder, VisionTextDualEncoder) or encoder.width != model.config.projection:
        raise InputError(
            f"image_encoder: expected {model.config.image_encoder}, a dual encoder of Segue of width "
            f"{model.config.projection}, got one of width {encoder.width}"
        )
    grouped = copy.copy(encoder)
    grouped._modules = dict(encoder._modules)  # of its own, so that the encoder keeps its head
    grouped.cell_head = GroupHead(model)
    return grouped.eval()


def keep_share(model: GroupViT, share: float) -> GroupViT:
    """A copy whose groups move the cells by `share` of what they learned (Wortsman et al. 2022, WiSE-FT)."""
    kept = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in kept.visual_projection[3].parameters():
            parameter.mul_(share)
    return kept
