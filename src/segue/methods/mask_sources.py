"""Masks of what boxes are around from models of others: a SAM or a Mask2Former of `transformers`.

SAM: Kirillov et al., 2023. Mask2Former: Cheng et al., 2022, "Masked-attention Mask Transformer for Universal Image
Segmentation"; it reads no box: of its segments the one whose own box fits best is taken.
Shapes: N boxes on a picture (H, W, 3), Q queries of a Mask2Former.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.data.boxes import box_iou
from segue.encoders.pretrained import load_pretrained, loading
from segue.methods.sam import outline_boxes, with_processor
from segue.types import check_image
from segue.weights import resolve_weights

if TYPE_CHECKING:
    from transformers import Mask2FormerForUniversalSegmentation

LEAST_IOU = 0.5  # of a box with the box of its segment


class MaskSource(Protocol):
    """Masks of the objects in boxes."""

    def __call__(
        self, image: NDArray[np.uint8], boxes: Sequence[tuple[float, float, float, float]]
    ) -> NDArray[np.bool_]:
        """(H, W, 3) uint8 and N boxes (x, y, width, height) in pixels -> (N, H, W) bool; empty where it finds none.

        Raises InputError for an image of another shape or type.
        """
        ...


def load_mask_source(source: str, device: str = "cpu") -> MaskSource:
    """A SAM or a Mask2Former by its id on the hub (with @REVISION if need be) or from a folder.

    Raises InputError when it can't be loaded, or its weights are not all of one of these and nothing else.
    """
    from transformers import Mask2FormerForUniversalSegmentation, SamModel

    kinds = {"sam": SamModel, "mask2former": Mask2FormerForUniversalSegmentation}
    network = load_pretrained(source, kinds, "mask source", unused=("num_batches_tracked",))
    if isinstance(network, SamModel):
        return partial(outline_boxes, sam=with_processor(network, source, device))
    return load_mask2former(network, source, device)


def move_mask_source(source: MaskSource | None, device: str) -> None:
    """Move the network of `load_mask_source` to a device."""
    if isinstance(source, Mask2Former):
        cast(Any, source.network).to(device)
    elif isinstance(source, partial):
        source.keywords["sam"].model.to(device)


class Mask2Former:
    """A Mask2Former with its preprocessing, as a `MaskSource`. processor: of transformers."""

    def __init__(self, network: Mask2FormerForUniversalSegmentation, processor: Any) -> None:
        self.network, self.processor = network.eval(), processor

    @torch.no_grad()
    def __call__(
        self, image: NDArray[np.uint8], boxes: Sequence[tuple[float, float, float, float]]
    ) -> NDArray[np.bool_]:
        """See `MaskSource`; a box whose best segment has an IoU below LEAST_IOU with it has none."""
        check_image(image)
        found = np.zeros((len(boxes), *image.shape[:2]), np.bool_)
        if not len(boxes):
            return found
        pixels = self.processor(image, return_tensors="pt")["pixel_values"].to(self.network.device)
        output = self.network(pixel_values=pixels)
        p = output.class_queries_logits[0].softmax(-1)
        sure = p[:, :-1].max(-1).values > p[:, -1]  # of an object rather than none
        logits = F.interpolate(output.masks_queries_logits[:, sure], pixels.shape[-2:], mode="bilinear")
        masks = F.interpolate(logits, image.shape[:2], mode="bilinear")[0] > 0
        masks = masks[masks.flatten(1).any(1)]
        if not len(masks):
            return found
        overlap = box_iou(np.asarray(boxes, np.float32), _boxes_of(masks))
        for i, best in enumerate(overlap.argmax(1).tolist()):
            if overlap[i, best] >= LEAST_IOU:
                found[i] = masks[best].cpu().numpy()
        return found


def load_mask2former(network: Mask2FormerForUniversalSegmentation, source: str, device: str) -> Mask2Former:
    """The network with the preprocessing that lies beside it."""
    from transformers import AutoImageProcessor

    name, revision = resolve_weights(source, "mask source")
    with loading(source, "mask source", "config.json, preprocessor_config.json, model.safetensors"):
        processor = AutoImageProcessor.from_pretrained(name, revision=revision, trust_remote_code=False)
    network.to(torch.device(device))  # type: ignore[arg-type]
    return Mask2Former(network, processor)


def _boxes_of(masks: Tensor) -> NDArray[np.float32]:
    """(Q, H, W) bool, none of them empty -> (Q, 4) x, y, width, height."""
    boxes = []
    for mask in masks:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        x, y = int(columns[0]), int(rows[0])
        boxes.append([x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y])
    return np.array(boxes, np.float32).reshape(-1, 4)
