"""Object detectors, for pictures that come without objects: a DETR of `transformers`, or a YOLOX as ONNX.

DETR: Carion et al., 2020. YOLOX: Ge et al., 2021, "YOLOX: Exceeding YOLO Series in 2021".
Shapes: N detections, F = width of DETR's decoder.
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
from segue.encoders.pretrained import load_pretrained
from segue.types import InputError, check_image, to_install

if TYPE_CHECKING:
    from transformers import DetrForObjectDetection

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DETR_NMS_IOU, YOLOX_NMS_IOU = 0.8, 0.45  # of two boxes of a class with a higher IoU the less probable is dropped
MAX_DETR_SIDE = 1333  # pixels of the longer side of DETR's input
STRIDES, GREY = (8, 16, 32), 114  # of YOLOX's grids; the grey that pads its input to a square


class Detections(NamedTuple):
    """N detected objects, the most probable first.

    labels: N names. boxes: (N, 4) x, y, width, height in pixels, within the picture. features: (N, F) of DETR's
    decoder; None from a detector that has none.
    """

    labels: list[str]
    boxes: NDArray[np.float32]
    features: NDArray[np.float32] | None


class Detector(Protocol):
    """Finds the objects of a picture (H, W, 3) uint8; there may be none.

    names: of its classes. threshold: the least probability of an object. max_objects: of a picture.
    """

    names: tuple[str, ...]
    threshold: float
    max_objects: int

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Raises InputError for an array of another shape or type."""


def load_detector(source: str, device: str = "cpu") -> Detector:
    """A YOLOX from an .onnx file, or a DETR from a folder or by its id on the hub, with @REVISION if need be.

    facebook/detr-resnet-50 itself needs the library timm; its revision facebook/detr-resnet-50@no_timm doesn't.
    Raises InputError when it can't be loaded, or its weights are not all of a DETR and nothing else.
    """
    if source.lower().endswith(".onnx"):
        return load_yolox(Path(source))
    return Detr(cast(Any, load_detr(source)).to(device))


def move_detector(detector: Detector | None, device: str) -> None:
    """Move a DETR to a device; a YOLOX stays on the CPU."""
    if isinstance(detector, Detr):
        cast(Any, detector.network).to(device)


# -------------------------------------------------------------------------------------------------- DETR


def load_detr(source: str) -> DetrForObjectDetection:
    """The network of a DETR in eval mode; see `load_detector`.

    Raises InputError for what is no DETR, or needs a library that is not installed.
    """
    from transformers import DetrForObjectDetection

    unused = ("num_batches_tracked",)  # of frozen batch norm
    try:
        network = load_pretrained(source, {"detr": DetrForObjectDetection}, "detector", unused=unused)
    except InputError as error:
        if not isinstance(error.__cause__, ImportError):  # its config asks for a library for the backbone
            raise
        raise InputError(
            f"{error}; take weights that need no further library, such as facebook/detr-resnet-50@no_timm, or the "
            ".onnx file of a YOLOX"
        ) from error
    return cast("DetrForObjectDetection", network.eval())


class Detr:
    """A DETR. shortest_side: pixels of the shorter side of its input, the longer has at most MAX_DETR_SIDE."""

    def __init__(
        self,
        network: DetrForObjectDetection,
        *,
        threshold: float = 0.7,
        max_objects: int = 50,
        shortest_side: int = 800,
    ) -> None:
        self.network, self.threshold, self.max_objects = network, threshold, max_objects
        self.shortest_side = shortest_side
        self._classes = {int(number): name for number, name in (network.config.id2label or {}).items()}
        self.names = tuple(sorted(set(self._classes.values()) - {"N/A"}))

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """The objects of a picture (H, W, 3) uint8, after non-maximum suppression with DETR_NMS_IOU."""
        check_image(image)
        height, width = image.shape[:2]
        scale = min(self.shortest_side / min(height, width), MAX_DETR_SIDE / max(height, width))
        resized = resize_image(image, (max(round(height * scale), 32), max(round(width * scale), 32)))
        pixels = (torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255 - torch.tensor(MEAN)[:, None, None]) / (
            torch.tensor(STD)[:, None, None]
        )
        found = self.network(pixel_values=pixels[None].to(self.network.device))
        p, class_ids = found.logits[0].softmax(-1)[:, :-1].max(-1)
        boxes = found.pred_boxes[0].float().cpu().numpy()  # centre, width and height, in fractions
        low, high = (boxes[:, :2] + sign * boxes[:, 2:] / 2 for sign in (-1, 1))
        boxes = _clipped_boxes(low * [width, height], high * [width, height], image)
        labels = [self._classes[int(i)] for i in class_ids]
        kept = _select(p.cpu().numpy(), labels, boxes, self, DETR_NMS_IOU)
        features = found.last_hidden_state[0, kept].float().cpu().numpy()
        return Detections([labels[i] for i in kept], boxes[kept], features)


# ------------------------------------------------------------------------------------------------- YOLOX


def load_yolox(path: Path) -> Yolox:
    """A YOLOX of COCO's 80 classes from its ONNX file, as its repository exports it: without the decoding of boxes.

    Raises InputError when it can't be read, or onnxruntime is not installed.
    """
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

    Its input is a grey square with the picture in the top left corner. Each cell of its three grids predicts one box:
    centre (cell + xy) * stride, size exp(wh) * stride, and the probabilities of an object and of each class.
    Raises InputError when the session's input or output is not a YOLOX's. name: for that message.
    """

    def __init__(self, session: Any, name: str, *, threshold: float = 0.3, max_objects: int = 50) -> None:
        self.session, self.threshold, self.max_objects, self.names = session, threshold, max_objects, COCO_THINGS
        shape, out = session.get_inputs()[0].shape, session.get_outputs()[0].shape
        sides = shape[2:]
        if len(shape) != 4 or shape[1] != 3 or not all(isinstance(n, int) and n % STRIDES[-1] == 0 for n in sides):
            raise InputError(f"{name}: takes {shape}, expected a YOLOX of pictures (1, 3, H, W), H and W fixed")
        self.sides: tuple[int, int] = (sides[0], sides[1])
        self.cells, self.strides = _grids(self.sides)
        expected = [len(self.cells), 5 + len(self.names)]
        if list(out[1:]) != expected:  # the first is the batch
            raise InputError(f"{name}: gives {out}, expected [1, {expected[0]}, {expected[1]}] of COCO's 80 classes")

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """The objects of a picture (H, W, 3) uint8, after non-maximum suppression with YOLOX_NMS_IOU."""
        check_image(image)
        height, width = image.shape[:2]
        scale = min(self.sides[0] / height, self.sides[1] / width)
        resized = resize_image(image, (max(1, int(height * scale)), max(1, int(width * scale))))
        square = np.full((*self.sides, 3), GREY, np.float32)
        square[: resized.shape[0], : resized.shape[1]] = resized[..., ::-1]  # it was trained on BGR
        inputs = {self.session.get_inputs()[0].name: square.transpose(2, 0, 1)[None]}
        raw: NDArray[np.float32] = self.session.run(None, inputs)[0][0]
        centre = (raw[:, :2] + self.cells) * self.strides / scale
        half = np.exp(np.minimum(raw[:, 2:4], 20)) * self.strides / scale / 2
        boxes = _clipped_boxes(centre - half, centre + half, image)
        class_ids = raw[:, 5:].argmax(1)
        p = raw[:, 4] * raw[np.arange(len(raw)), 5 + class_ids]
        labels = [self.names[i] for i in class_ids]
        kept = _select(p, labels, boxes, self, YOLOX_NMS_IOU)
        return Detections([labels[i] for i in kept], boxes[kept], None)


def _grids(sides: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The cells (N, 2) x, y of all grids, the finest first, row-major, and their strides (N, 1)."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: sides[0] // stride, : sides[1] // stride]
        cells.append(np.stack([columns, rows], -1).reshape(-1, 2))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


# ------------------------------------------------------------------------------------------------- both


def _clipped_boxes(low: NDArray[Any], high: NDArray[Any], image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Corners (N, 2) in pixels -> (N, 4) x, y, width, height, cut to the picture."""
    edge = np.array([image.shape[1], image.shape[0]])
    low, high = low.clip(0, edge), high.clip(0, edge)
    return np.concatenate([low, high - low], 1).astype(np.float32)


def _select(
    p: NDArray[np.float32], labels: Sequence[str], boxes: NDArray[np.float32], detector: Detector, iou: float
) -> list[int]:
    """Non-maximum suppression by class: positions of up to max_objects of at least the threshold, best first."""
    kept: list[int] = []
    for i in np.argsort(-p, kind="stable").tolist():
        if p[i] < detector.threshold or len(kept) == detector.max_objects:
            break
        suppressed = any(labels[j] == labels[i] and box_iou(boxes[[i]], boxes[[j]])[0, 0] > iou for j in kept)
        if (boxes[i, 2:] > 0).all() and not suppressed:
            kept.append(i)
    return kept
