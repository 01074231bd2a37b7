"""The checkpoint folder of the joint model, its quantiser, its box decoder and its silhouettes.

It holds config.json, model.safetensors and tokenizer.json.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from segue.configs import from_json
from segue.data.tokenizer import CaptionTokenizer
from segue.methods.checkpoint import build, fill_module, read_config, read_tensors, write_checkpoint
from segue.methods.crossmodal.boxes import BoxConfig, BoxDecoder
from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.model import BINS_PER_CELL, CrossModal, build_crossmodal
from segue.methods.crossmodal.silhouettes import SilhouetteConfig, Silhouettes
from segue.methods.crossmodal.vq import LayoutVQ, VQConfig
from segue.nn.feature_distance import FeatureDistance
from segue.types import InputError

METHOD, QUANTISER, BOXES = "crossmodal", "layout-vq", "layout-boxes"
C = TypeVar("C")
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class CrossModalCheckpoint:
    """A trained model with what is needed to use it.

    Attributes:
        model: of captions and layout tokens.
        quantiser: of layouts.
        tokenizer: of captions.
        classes: names of the layouts' classes, in order.
        about: recipe and settings of the training.
        boxes: the box decoder of captions; None for a model of one level, which draws cells from the caption alone.
        domain: how far pictures lie from those of the training; None where that was not measured.
        silhouettes: of the training's things; None without, or for a model of one level.
    """

    model: CrossModal
    quantiser: LayoutVQ
    tokenizer: CaptionTokenizer
    classes: tuple[str, ...]
    about: dict[str, Any]
    boxes: BoxDecoder | None = None
    domain: FeatureDistance | None = None
    silhouettes: Silhouettes | None = None


def save_crossmodal(checkpoint: CrossModalCheckpoint, folder: Path, *, half: bool = False) -> None:
    """Write a checkpoint folder atomically. half: store the weights as float16, in half the space."""
    parts: dict[str, nn.Module] = {"model": checkpoint.model, "quantiser": checkpoint.quantiser}
    more = {"boxes": checkpoint.boxes, "silhouettes": checkpoint.silhouettes}
    known = {name: part for name, part in more.items() if part is not None}
    parts |= known
    tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    config = {
        "method": METHOD,
        "model": asdict(checkpoint.model.config),
        "quantiser": asdict(checkpoint.quantiser.config),
        "classes": list(checkpoint.classes),
        "about": checkpoint.about,
        **{name: asdict(part.config) for name, part in known.items()},
    }
    with tempfile.TemporaryDirectory() as extra:
        checkpoint.tokenizer.save(Path(extra))
        if checkpoint.domain is not None:
            checkpoint.domain.save(Path(extra))
        write_checkpoint(folder, config, tensors, Path(extra), half=half)


def load_crossmodal(folder: Path) -> CrossModalCheckpoint:
    """Read what `save_crossmodal` wrote; the networks in eval mode, their weights in float32.

    Raises InputError when a file is missing, unreadable, or doesn't fit the others.
    """
    config = read_config(folder, [METHOD], {"model": dict, "quantiser": dict, "classes": tuple[str, ...]})
    tensors, shape = read_tensors(folder), from_json(CrossModalConfig, config["model"], folder)
    cells = from_json(VQConfig, config["quantiser"], folder)
    if len(config["classes"]) != cells.classes or shape.codes != cells.codes:
        raise InputError(
            f"{folder}: config.json: a model of {shape.codes} codes and {len(config['classes'])} classes, a quantiser "
            f"of {cells.codes} and {cells.classes}; they don't belong together"
        )
    model, quantiser = (
        build(lambda: build_crossmodal(shape), tensors, folder),
        build(lambda: LayoutVQ(cells), tensors, folder),
    )
    parts: dict[str, nn.Module] = {"model.": model, "quantiser.": quantiser}
    boxes = silhouettes = None
    if "boxes" in config:
        places = _box_config(config, shape, cells.classes, folder)
        parts["boxes."] = boxes = build(lambda: BoxDecoder(places), tensors, folder)
    if "silhouettes" in config:
        count = from_json(SilhouetteConfig, config["silhouettes"], folder)
        parts["silhouettes."] = silhouettes = build(lambda: Silhouettes(count), tensors, folder)
    for name, part in parts.items():
        fill_module(part, {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}, folder)
        part.eval()
    about, tokenizer = config.get("about") or {}, CaptionTokenizer.load(folder)
    if len(tokenizer) != shape.vocabulary:
        raise InputError(
            f"{folder}: tokenizer.json has {len(tokenizer)} tokens, the model {shape.vocabulary}; they don't belong "
            "together: copy the checkpoint again"
        )
    if silhouettes is not None and not (silhouettes.kinds.min() >= 0 and silhouettes.kinds.max() < cells.classes):
        raise InputError(
            f"{folder}: silhouettes of the classes {silhouettes.kinds.min()} to {silhouettes.kinds.max()}, expected 0 "
            f"to {cells.classes - 1}; copy the checkpoint again"
        )
    domain = FeatureDistance.load(folder, shape.width)
    return CrossModalCheckpoint(model, quantiser, tokenizer, config["classes"], about, boxes, domain, silhouettes)


def _box_config(config: dict[str, Any], shape: CrossModalConfig, classes: int, folder: Path) -> BoxConfig:
    """The box decoder's. Raises InputError when it does not belong to a model of that shape with so many classes."""
    boxes = from_json(BoxConfig, config["boxes"], folder)
    theirs = (classes, BINS_PER_CELL * shape.grid[0], shape.vocabulary, shape.max_words)
    if (boxes.classes, boxes.bins, boxes.vocabulary, boxes.max_words) != theirs:
        raise InputError(f"{folder}: config.json: the boxes are of another model; they don't belong together")
    return boxes


def save_quantiser(quantiser: Any, folder: Path) -> None:
    """Write a quantiser by itself, as its own training does."""
    write_checkpoint(folder, {"method": QUANTISER, "config": asdict(quantiser.config)}, quantiser.state_dict())


def load_quantiser(folder: Path) -> LayoutVQ:
    """Read a quantiser that `save_quantiser` wrote. Raises InputError when there is none."""
    return _load_part(folder, QUANTISER, VQConfig, LayoutVQ)


def save_boxes(boxes: Any, folder: Path) -> None:
    """Write a box decoder by itself, as its own training does."""
    write_checkpoint(folder, {"method": BOXES, "config": asdict(boxes.config)}, boxes.state_dict())


def load_boxes(folder: Path) -> BoxDecoder:
    """Read a box decoder that `save_boxes` wrote. Raises InputError when there is none."""
    return _load_part(folder, BOXES, BoxConfig, BoxDecoder)


def _load_part(folder: Path, method: str, kind: type[C], make: Callable[[C], M]) -> M:
    config, tensors = read_config(folder, [method], {"config": dict}), read_tensors(folder)
    settings = from_json(kind, config["config"], folder)
    part = build(lambda: make(settings), tensors, folder)
    fill_module(part, tensors, folder)
    return part.eval()
