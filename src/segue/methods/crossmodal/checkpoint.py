"""The checkpoint folder of the joint model and its quantiser: config.json, model.safetensors and tokenizer.json."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segue.configs import from_json
from segue.data.tokenizer import CaptionTokenizer
from segue.methods.checkpoint import build, fill_module, read_config, read_tensors, write_checkpoint
from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.model import CrossModal, build_crossmodal
from segue.methods.crossmodal.vq import LayoutVQ, VQConfig
from segue.types import InputError

METHOD, QUANTISER = "crossmodal", "layout-vq"


@dataclass(frozen=True)
class CrossModalCheckpoint:
    """A trained model with what is needed to use it.

    Attributes:
        model: of captions and layout tokens.
        quantiser: of layouts.
        tokenizer: of captions.
        classes: names of the layouts' classes, in order.
        about: recipe and settings of the training.
    """

    model: CrossModal
    quantiser: LayoutVQ
    tokenizer: CaptionTokenizer
    classes: tuple[str, ...]
    about: dict[str, Any]


def save_crossmodal(checkpoint: CrossModalCheckpoint, folder: Path, *, half: bool = False) -> None:
    """Write a checkpoint folder atomically. half: store the weights as float16, in half the space."""
    parts = {"model": checkpoint.model, "quantiser": checkpoint.quantiser}
    tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    config = {
        "method": METHOD,
        "model": asdict(checkpoint.model.config),
        "quantiser": asdict(checkpoint.quantiser.config),
        "classes": list(checkpoint.classes),
        "about": checkpoint.about,
    }
    with tempfile.TemporaryDirectory() as extra:
        checkpoint.tokenizer.save(Path(extra))
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
    for name, part in (("model.", model), ("quantiser.", quantiser)):
        fill_module(part, {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}, folder)
    about = config.get("about") or {}
    return CrossModalCheckpoint(model.eval(), quantiser.eval(), CaptionTokenizer.load(folder), config["classes"], about)


def save_quantiser(quantiser: Any, folder: Path) -> None:
    """Write a quantiser by itself, as its own training does."""
    write_checkpoint(folder, {"method": QUANTISER, "config": asdict(quantiser.config)}, quantiser.state_dict())


def load_quantiser(folder: Path) -> LayoutVQ:
    """Read a quantiser that `save_quantiser` wrote. Raises InputError when there is none."""
    config, tensors = read_config(folder, [QUANTISER], {"config": dict}), read_tensors(folder)
    cells = from_json(VQConfig, config["config"], folder)
    quantiser = build(lambda: LayoutVQ(cells), tensors, folder)
    fill_module(quantiser, tensors, folder)
    return quantiser.eval()
