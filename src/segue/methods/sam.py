"""Masks from boxes by a SAM of `transformers` (Kirillov et al., 2023).

Shapes: N boxes on a picture (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from segue.encoders.pretrained import complete, loading
from segue.types import check_image

if TYPE_CHECKING:
    from transformers import SamModel

TOGETHER = 32  # boxes that are outlined at a time


class Sam(NamedTuple):
    """A SAM and what prepares its pictures and boxes."""

    model: SamModel
    processor: Any


def load_sam(source: str, device: str = "cpu") -> Sam:
    """A SAM by its id on the hub (facebook/sam-vit-base) or from a local folder.

    Raises InputError when it can't be had.
    """
    from transformers import SamModel, SamProcessor

    with loading(source, "image tower"):
        model: Any = complete(source, SamModel.from_pretrained(source, use_safetensors=True, output_loading_info=True))
        processor = SamProcessor.from_pretrained(source)
    return Sam(model.to(device).eval(), processor)


@torch.no_grad()
def outline_boxes(
    image: NDArray[np.uint8], boxes: Sequence[tuple[float, float, float, float]], sam: Sam
) -> NDArray[np.bool_]:
    """(N, H, W): the mask of what each box (x, y, width, height, in pixels) is around; the picture is read once."""
    check_image(image)
    if not boxes:
        return np.zeros((0, *image.shape[:2]), np.bool_)
    corners = [[x, y, x + w, y + h] for x, y, w, h in boxes]
    given = sam.processor(image, input_boxes=[corners], return_tensors="pt").to(sam.model.device)
    seen, found = sam.model.get_image_embeddings(given["pixel_values"]), []
    for at in range(0, len(boxes), TOGETHER):
        asked = given["input_boxes"][:, at : at + TOGETHER].float()
        low = sam.model(image_embeddings=seen, input_boxes=asked, multimask_output=False).pred_masks.cpu()
        sizes = (given["original_sizes"].cpu(), given["reshaped_input_sizes"].cpu())
        found += sam.processor.image_processor.post_process_masks(low, *sizes)[0][:, 0]
    return torch.stack(found).numpy()
