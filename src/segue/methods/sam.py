"""Masks from boxes by a SAM of `transformers` (Kirillov et al., 2023).

Shapes: N boxes on a picture (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from segue.encoders.pretrained import load_pretrained, loading
from segue.types import check_image
from segue.weights import resolve_weights

if TYPE_CHECKING:
    from transformers import SamModel

BATCH_SIZE = 32  # boxes at a time


class Sam(NamedTuple):
    """A SAM and its preprocessing of pictures and boxes."""

    model: SamModel
    processor: Any


def load_sam(source: str, device: str = "cpu") -> Sam:
    """A SAM by its id on the hub (facebook/sam-vit-base, with @REVISION if need be) or from a local folder.

    Raises InputError when it can't be loaded, or its weights are not all of a SAM and nothing else.
    """
    from transformers import SamModel

    return with_processor(load_pretrained(source, {"sam": SamModel}, "SAM"), source, device)


def with_processor(model: SamModel, source: str, device: str) -> Sam:
    """A SAM with the processor that lies beside it. Raises InputError when that can't be read."""
    from transformers import SamProcessor

    name, revision = resolve_weights(source, "SAM")
    with loading(source, "SAM"):
        processor = SamProcessor.from_pretrained(name, revision=revision)
    model.to(torch.device(device))  # type: ignore[arg-type]
    return Sam(model.eval(), processor)


@torch.no_grad()
def outline_boxes(
    image: NDArray[np.uint8], boxes: Sequence[tuple[float, float, float, float]], sam: Sam
) -> NDArray[np.bool_]:
    """(N, H, W) bool: the mask of the object in each box (x, y, width, height) in pixels; the picture is encoded once.

    image: (H, W, 3) uint8. Raises InputError for an image of another shape or type.
    """
    check_image(image)
    if not boxes:
        return np.zeros((0, *image.shape[:2]), np.bool_)
    corners = [[x, y, x + w, y + h] for x, y, w, h in boxes]
    inputs = sam.processor(image, input_boxes=[corners], return_tensors="pt").to(sam.model.device)
    embeddings, masks = sam.model.get_image_embeddings(inputs["pixel_values"]), []
    for at in range(0, len(boxes), BATCH_SIZE):
        part = inputs["input_boxes"][:, at : at + BATCH_SIZE].float()
        low = sam.model(image_embeddings=embeddings, input_boxes=part, multimask_output=False).pred_masks.cpu()
        sizes = (inputs["original_sizes"].cpu(), inputs["reshaped_input_sizes"].cpu())
        masks += sam.processor.image_processor.post_process_masks(low, *sizes)[0][:, 0]
    return torch.stack(masks).numpy()
