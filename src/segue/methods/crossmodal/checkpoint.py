"""The checkpoint folder of the joint model and its quantiser: config.json, model.safetensors and tokenizer.json."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segue.data.tokenizer import CaptionTokenizer
from segue.methods.checkpoint import dataclass_from_json, fill_module, read_config, read_tensors, write_checkpoint
from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.model import CrossModal, build_crossmodal
from segue.methods.crossmodal.vq import LayoutVQ, VQConfig

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
    config = read_config(folder, [METHOD], ["model", "quantiser", "classes"])
    tensors = read_tensors(folder)
    model = build_crossmodal(dataclass_from_json(CrossModalConfig, config["model"], folder))
    quantiser = LayoutVQ(dataclass_from_json(VQConfig, config["quantiser"], folder))
    for name, part in (("model.", model), ("quantiser.", quantiser)):
        fill_module(part, {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}, folder)
    tokenizer, classes = CaptionTokenizer.load(folder), tuple(config["classes"])
    return CrossModalCheckpoint(model.eval(), quantiser.eval(), tokenizer, classes, config.get("about", {}))


def save_quantiser(quantiser: Any, folder: Path) -> None:
    """Write a quantiser by itself, as its own training does."""
    write_checkpoint(folder, {"method": QUANTISER, "config": asdict(quantiser.config)}, quantiser.state_dict())


def load_quantiser(folder: Path) -> LayoutVQ:
    """Read a quantiser that `save_quantiser` wrote. Raises InputError when there is none."""
    config = read_config(folder, [QUANTISER], ["config"])
    quantiser = LayoutVQ(dataclass_from_json(VQConfig, config["config"], folder))
    fill_module(quantiser, read_tensors(folder), folder)
    return quantiser.eval()
