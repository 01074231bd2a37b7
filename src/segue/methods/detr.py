"""Objects of a picture by a DETR of `transformers` (Carion et al., 2020).

Shapes: N objects, F = width of DETR's decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from segue.data.boxes import box_iou
from segue.data.transforms import resize_image
from segue.types import InputError, check_image

if TYPE_CHECKING:
    from transformers import DetrForObjectDetection

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_detr(source: str) -> DetrForObjectDetection:
    """A DETR by its id on the hub (facebook/detr-resnet-50) or from a local folder.

    Raises InputError when it can't be had.
    """
    from transformers import DetrForObjectDetection

    try:
        return DetrForObjectDetection.from_pretrained(source).eval()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source}: no DETR could be read there ({str(error).partition(chr(10))[0]}); expected an id on the hub "
            "that is reachable, or a folder with config.json and model.safetensors"
        ) from error


def class_names(detr: DetrForObjectDetection) -> dict[int, str]:
    """The names of its classes by number."""
    return {int(number): name for number, name in (detr.config.id2label or {}).items()}


class Objects(NamedTuple):
    """N objects, the surest first. labels: N names. boxes: (N, 4) x, y, width, height in pixels. features: (N, F)."""

    labels: list[str]
    boxes: NDArray[np.float32]
    features: NDArray[np.float32]


@torch.no_grad()
def find_objects(
    image: NDArray[np.uint8],
    detr: DetrForObjectDetection,
    *,
    threshold: float = 0.7,
    most: int = 50,
    shortest: int = 800,
) -> Objects:
    """The objects of a picture (H, W, 3) uint8, their features from DETR's decoder; there may be none.

    threshold: of an object's probability. most: objects; doubles (same class, IoU above .8) are dropped.
    shortest: pixels of the shorter side that DETR sees.
    """
    check_image(image)
    height, width = image.shape[:2]
    scale = min(shortest / min(height, width), 1333 / max(height, width))
    seen = resize_image(image, (max(round(height * scale), 32), max(round(width * scale), 32)))
    pixels = (torch.from_numpy(np.array(seen)).permute(2, 0, 1) / 255 - torch.tensor(MEAN)[:, None, None]) / (
        torch.tensor(STD)[:, None, None]
    )
    found = detr(pixel_values=pixels[None].to(detr.device))
    chance, number = found.logits[0].softmax(-1)[:, :-1].max(-1)
    corners = _corners(found.pred_boxes[0].cpu().numpy()) * np.array([width, height, width, height], np.float32)
    classes = class_names(detr)
    names = [classes[int(i)] for i in number]
    kept: list[int] = []
    for i in chance.argsort(descending=True, stable=True).tolist():
        if chance[i] < threshold or len(kept) == most:
            break
        doubled = any(names[j] == names[i] and box_iou(corners[[i]], corners[[j]])[0, 0] > 0.8 for j in kept)
        if (corners[i, 2:] > 0).all() and not doubled:
            kept.append(i)
    return Objects([names[i] for i in kept], corners[kept], found.last_hidden_state[0, kept].float().cpu().numpy())


def _corners(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) centre x, y, width, height in fractions -> x, y, width, height, cut to the picture."""
    low = (boxes[:, :2] - boxes[:, 2:] / 2).clip(0, 1)
    high = (boxes[:, :2] + boxes[:, 2:] / 2).clip(0, 1)
    return np.concatenate([low, high - low], 1).astype(np.float32)
