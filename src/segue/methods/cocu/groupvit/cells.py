"""A GroupViT on a dual encoder: its training, and its use as the head of that encoder's cells: what segments is a dual
encoder as before.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.encoders.dual_encoder import DualEncoder, VisionTextDualEncoder
from segue.losses import shared_out_loss
from segue.methods.cocu.groupvit.layers import Stage
from segue.methods.cocu.groupvit.model import GroupViT
from segue.types import InputError

OUTSIDE, ROOM_WEIGHT = 0.5, 0.5  # of the terms, as in the training of a linear head (segue.methods.dual_encoder.nouns)


class CellGroupsTask(nn.Module):
    """A GroupViT on cells as a task of the training loop: pictures' concepts are shared out among their cells.

    text: (N, P) the concepts' vectors, of length 1. unsaid: (N,) bool, concepts that may be there without being named.
    """

    text: Tensor
    unsaid: Tensor

    def __init__(self, model: GroupViT, text: Tensor, unsaid: Tensor) -> None:
        super().__init__()
        self.model, self.temperature = model, 1 / float(model.scale.detach())
        self.register_buffer("text", text, persistent=False)
        self.register_buffer("unsaid", unsaid, persistent=False)
        for part in _parts_without_use(model):
            part.requires_grad_(False)

    def training_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`shared_out_loss` and its terms. batch["image"]: (B, P, rows, columns), cells. batch["named"]: (B, N), the
        probability that a picture shows each concept, 0 for what is not told."""
        cells = self.model.refine_cells(self.model.encode_image(batch["image"]))
        with torch.autocast(cells.device.type, enabled=False):
            u = F.normalize(cells.float(), dim=-1)
            return shared_out_loss(
                u, self.text, batch["named"], self.unsaid, self.temperature, outside=OUTSIDE, room=ROOM_WEIGHT
            )


def _parts_without_use(model: GroupViT) -> list[nn.Module | nn.Parameter]:
    """What makes vectors of groups, which take those of their cells here."""
    stages = cast(list[Stage], list(cast(nn.ModuleList, model.vision_model.encoder["stages"])))
    last = [stage.downsample for stage in stages if stage.downsample is not None][-1]
    values: list[nn.Module | nn.Parameter] = [last.assign.v_proj, last.assign.proj, last.norm_new_x, last.mlp_channels]
    return [*values, model.vision_model.layernorm, model.logit_scale]


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
        for parameter in kept.cell_moves.parameters():
            parameter.mul_(share)
    return kept
