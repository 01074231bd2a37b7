"""`segue export --onnx FOLDER --int8 DATA`: a segmenter's ONNX graph in whole numbers of 8 bits.

Weights are rounded channel by channel; the ranges of what flows between them are those of pictures of the train split
(static quantisation by onnxruntime). What that costs in Dice is measured on the val split, and told in model.json.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.api.segmenter import Segmenter
from segue.api.to_onnx import DESCRIPTION, check_new, export_onnx, run_onnx, session, weights_of
from segue.configs import read_json
from segue.data.medical.lvit import ImageNoteRecord, read_lvit
from segue.files import fresh_folder
from segue.metrics.masks import Counts, dice
from segue.types import Example, InputError

CALIBRATED_ON, MEASURED_ON = 64, 200  # pictures at most, of train and of val
GRAPH = "segmenter.onnx"


class Loss(NamedTuple):
    """calibrated_on, measured_on: pictures. dice, dice_float32: means over those of val, in [0, 1]."""

    calibrated_on: int
    measured_on: int
    dice: float
    dice_float32: float


def export_int8(model: Any, out: Path, data: Path) -> Loss:
    """Write a segmenter's graph in int8 into the folder `out`, whole or not at all, with what it costs.

    data: a data set in the LViT layout, whose train split calibrates and whose val split, with masks, measures; rows
    that can't be read right are left out with a warning.
    Raises InputError for another kind of model or data, and as `export_onnx` does.
    """
    if not isinstance(model, Segmenter):
        raise InputError("int8: only segmenters by notes are exported in int8; leave --int8 out")
    weights = f"{weights_of(model)}-int8"
    if out.exists():
        return Loss(**check_new(out, weights)["int8"])
    train, val = (read_lvit(data, split, "skip") for split in ("train", "val"))
    chosen = _spread(train, CALIBRATED_ON)
    labelled = [record for record in _spread(val, MEASURED_ON) if record.mask is not None]
    if not labelled:
        raise InputError(f"{data}: no picture of val has a mask, by which the loss of int8 is measured; give some")
    with fresh_folder(out.parent) as inside:
        fresh, whole = inside / "fresh", inside / "float32.onnx"
        export_onnx(model, fresh)
        os.replace(fresh / GRAPH, whole)
        _quantise(whole, fresh / GRAPH, [graph_inputs(model, record.load()) for record in chosen])
        ours, before = (_mean_dice(model, path, labelled) for path in (fresh / GRAPH, whole))
        loss = Loss(len(chosen), len(labelled), ours, before)
        description = read_json(fresh / DESCRIPTION) | {"weights": weights, "int8": loss._asdict()}
        (fresh / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        os.replace(fresh, out)
    return loss


def graph_inputs(model: Segmenter, example: Example) -> dict[str, Tensor]:
    """The graph's inputs for a picture and its note."""
    inputs, text = {"pixels": model.preprocessing.to_tensor([example.image])}, model.members[0].network.text_encoder
    if text is not None:
        note = model.read_note(example.note)
        ids, mask = text.tokenize(["a" if note is None else note])
        inputs |= {"ids": ids, "word_mask": mask if note is not None else torch.zeros_like(mask)}
    return inputs


def _spread(records: Sequence[ImageNoteRecord], count: int) -> list[ImageNoteRecord]:
    """So many of the records, evenly spread over them."""
    return [records[i] for i in np.unique(np.linspace(0, len(records) - 1, count).round().astype(int))]


def _quantise(source: Path, target: Path, inputs: Sequence[dict[str, Tensor]]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(inputs)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(({name: x.numpy() for name, x in one.items()} for one in self.rest), None)

    prepared = source.with_suffix(".prepared")
    with _quiet():
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
        )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime's quantiser logs advice, by the root logger, and warns of its own code."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _mean_dice(model: Segmenter, path: Path, records: Sequence[ImageNoteRecord]) -> float:
    """Of a graph's masks; two empty masks have 1."""
    running, masks, truth = session(path), list[NDArray[np.bool_]](), list[NDArray[np.bool_]]()
    for record in records:
        example = record.load()
        logits = torch.from_numpy(run_onnx(running, graph_inputs(model, example))[0])
        size = (example.image.shape[0], example.image.shape[1])
        masks.append(F.interpolate(logits, size=size, mode="bilinear", align_corners=False)[0, 0].numpy() >= 0)
        assert example.mask is not None  # `export_int8` chose such records
        truth.append(example.mask)
    return float(dice(Counts.of(masks, truth), empty="one").mean())
