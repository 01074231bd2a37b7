"""What finds objects in pictures that come without any: a DETR of `transformers`, or a YOLOX as ONNX.

DETR: Carion et al., 2020. YOLOX: Ge et al., 2021, "YOLOX: Exceeding YOLO Series in 2021".
Shapes: N objects, F = width of DETR's decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from segue.data.boxes import box_iou
from segue.data.formats.classes import COCO_THINGS
from segue.data.transforms import resize_image
from segue.types import InputError, check_image, to_install

if TYPE_CHECKING:
    from transformers import DetrForObjectDetection

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DOUBLED = 0.8  # IoU above which DETR said an object twice
STRIDES, GREY = (8, 16, 32), 114  # of YOLOX's grids; what fills the rest of its square


class Objects(NamedTuple):
    """N objects, the surest first. labels: N names. boxes: (N, 4) x, y, width, height in pixels, within the picture.

    features: (N, F) of DETR's decoder; None from a detector that has none.
    """

    labels: list[str]
    boxes: NDArray[np.float32]
    features: NDArray[np.float32] | None


class Detector(Protocol):
    """Finds the objects of a picture (H, W, 3) uint8; there may be none.

    names: what it knows. threshold: the least probability of an object. most: objects in a picture.
    """

    names: tuple[str, ...]
    threshold: float
    most: int

    def __call__(self, image: NDArray[np.uint8]) -> Objects:
        """Raises InputError for what is no picture."""


def load_detector(source: str, device: str = "cpu") -> Detector:
    """A YOLOX from an .onnx file, or a DETR from a folder or by its id on the hub, with @REVISION if need be.

    facebook/detr-resnet-50 itself needs the library timm; its revision facebook/detr-resnet-50@no_timm doesn't.

    Raises InputError when it can't be had.
    """
    if source.lower().endswith(".onnx"):
        return load_yolox(Path(source))
    return Detr(cast(Any, load_detr(source)).to(device))


# -------------------------------------------------------------------------------------------------- DETR


def load_detr(source: str) -> DetrForObjectDetection:
    """The network of a DETR; see `load_detector`."""
    from transformers import DetrForObjectDetection

    name, _, revision = (source, "", "") if Path(source).exists() else source.partition("@")
    at: dict[str, Any] = {"revision": revision} if revision else {}
    try:
        return DetrForObjectDetection.from_pretrained(name, use_safetensors=True, **at).eval()
    except ImportError as error:  # its config asks for a library for the backbone
        raise InputError(
            f"{source}: {' '.join(str(error).split())[:200]}; take weights that need no further library, such as "
            "facebook/detr-resnet-50@no_timm, or the .onnx file of a YOLOX"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source}: no DETR could be read there ({str(error).partition(chr(10))[0]}); expected an id on the hub "
            "that is reachable, a folder with config.json and model.safetensors, or the .onnx file of a YOLOX"
        ) from error


class Detr:
    """A DETR. shortest: pixels of the shorter side that it sees, the longer at most 1333."""

    def __init__(
        self, network: DetrForObjectDetection, *, threshold: float = 0.7, most: int = 50, shortest: int = 800
    ) -> None:
        self.network, self.threshold, self.most, self.shortest = network, threshold, most, shortest
        self._classes = {int(number): name for number, name in (network.config.id2label or {}).items()}
        self.names = tuple(sorted(set(self._classes.values()) - {"N/A"}))

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> Objects:
        """The objects of a picture (H, W, 3) uint8, without doubles: of one class, with an IoU above .8."""
        check_image(image)
        height, width = image.shape[:2]
        scale = min(self.shortest / min(height, width), 1333 / max(height, width))
        seen = resize_image(image, (max(round(height * scale), 32), max(round(width * scale), 32)))
        pixels = (torch.from_numpy(np.array(seen)).permute(2, 0, 1) / 255 - torch.tensor(MEAN)[:, None, None]) / (
            torch.tensor(STD)[:, None, None]
        )
        found = self.network(pixel_values=pixels[None].to(self.network.device))
        chance, number = found.logits[0].softmax(-1)[:, :-1].max(-1)
        boxes = found.pred_boxes[0].float().cpu().numpy()  # centre, width and height, in fractions
        low, high = (boxes[:, :2] + sign * boxes[:, 2:] / 2 for sign in (-1, 1))
        boxes = _boxes(low * [width, height], high * [width, height], image)
        labels = [self._classes[int(i)] for i in number]
        kept = _surest(chance.cpu().numpy(), labels, boxes, self.threshold, self.most, DOUBLED)
        features = found.last_hidden_state[0, kept].float().cpu().numpy()
        return Objects([labels[i] for i in kept], boxes[kept], features)


# ------------------------------------------------------------------------------------------------- YOLOX


def load_yolox(path: Path) -> Yolox:
    """A YOLOX from its ONNX file, as its repository exports it: without the decoding of boxes. COCO's 80 classes."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as wrong
    except ImportError as error:
        raise InputError(
            f"{path}: an .onnx detector needs onnxruntime, which is missing: {to_install('onnx')}"
        ) from error
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a YOLOX exported as ONNX")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (
        wrong.Fail,
        wrong.InvalidArgument,
        wrong.InvalidGraph,
        wrong.InvalidProtobuf,
        wrong.NotImplemented,
    ) as error:
        raise InputError(f"{path}: can't be read as ONNX ({str(error).partition(chr(10))[0]})") from error
    return Yolox(session, str(path))


class Yolox:
    """A YOLOX of COCO's 80 things, run by onnxruntime on the CPU.

    It sees the picture in the top left corner of a grey square. Each cell of its three grids says one box: centre
    (cell + xy) * stride, size exp(wh) * stride, and the chances that there is an object, and of each class.
    """

    def __init__(self, session: Any, name: str, *, threshold: float = 0.3, most: int = 50) -> None:
        self.session, self.threshold, self.most, self.names = session, threshold, most, COCO_THINGS
        shape, out = session.get_inputs()[0].shape, session.get_outputs()[0].shape
        sides = shape[2:]
        if len(shape) != 4 or shape[1] != 3 or not all(isinstance(n, int) and n % STRIDES[-1] == 0 for n in sides):
            raise InputError(f"{name}: takes {shape}, expected a YOLOX of pictures (1, 3, H, W), H and W fixed")
        self.sides: tuple[int, int] = (sides[0], sides[1])
        self.cells, self.strides = _grids(self.sides)
        expected = [len(self.cells), 5 + len(self.names)]
        if list(out[1:]) != expected:  # the first is the batch
            raise InputError(f"{name}: gives {out}, expected [1, {expected[0]}, {expected[1]}] of COCO's 80 classes")

    def __call__(self, image: NDArray[np.uint8]) -> Objects:
        """The objects of a picture (H, W, 3) uint8, of those of one class that overlap (IoU above .45) the surest."""
        check_image(image)
        height, width = image.shape[:2]
        scale = min(self.sides[0] / height, self.sides[1] / width)
        seen = resize_image(image, (max(1, int(height * scale)), max(1, int(width * scale))))
        square = np.full((*self.sides, 3), GREY, np.float32)
        square[: seen.shape[0], : seen.shape[1]] = seen[..., ::-1]  # it was trained on BGR
        fed = {self.session.get_inputs()[0].name: square.transpose(2, 0, 1)[None]}
        raw: NDArray[np.float32] = self.session.run(None, fed)[0][0]
        centre = (raw[:, :2] + self.cells) * self.strides / scale
        half = np.exp(np.minimum(raw[:, 2:4], 20)) * self.strides / scale / 2
        boxes = _boxes(centre - half, centre + half, image)
        kinds = raw[:, 5:].argmax(1)
        chance = raw[:, 4] * raw[np.arange(len(raw)), 5 + kinds]
        labels = [self.names[i] for i in kinds]
        kept = _surest(chance, labels, boxes, self.threshold, self.most, 0.45)
        return Objects([labels[i] for i in kept], boxes[kept], None)


def _grids(sides: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The cells (N, 2) x, y of all grids, the finest first, row-major, and their strides (N, 1)."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: sides[0] // stride, : sides[1] // stride]
        cells.append(np.stack([columns, rows], -1).reshape(-1, 2))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


# ------------------------------------------------------------------------------------------------- both


def _boxes(low: NDArray[Any], high: NDArray[Any], image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Corners (N, 2) in pixels -> (N, 4) x, y, width, height, cut to the picture."""
    edge = np.array([image.shape[1], image.shape[0]])
    low, high = low.clip(0, edge), high.clip(0, edge)
    return np.concatenate([low, high - low], 1).astype(np.float32)


def _surest(
    chance: NDArray[np.float32],
    labels: Sequence[str],
    boxes: NDArray[np.float32],
    threshold: float,
    most: int,
    overlap: float,
) -> list[int]:
    """The positions of up to `most` objects, the surest first, none with a surer one of its class over it."""
    kept: list[int] = []
    for i in np.argsort(-chance, kind="stable").tolist():
        if chance[i] < threshold or len(kept) == most:
            break
        doubled = any(labels[j] == labels[i] and box_iou(boxes[[i]], boxes[[j]])[0, 0] > overlap for j in kept)
        if (boxes[i, 2:] > 0).all() and not doubled:
            kept.append(i)
    return kept
