"""A trained pair of quantiser and streams, with what is needed to use it, as one checkpoint folder."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segue.data.tokenizer import CaptionTokenizer
from segue.methods.checkpoint import dataclass_from_json, read_config, read_tensors, write_checkpoint
from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.model import CrossModal, build_crossmodal
from segue.methods.crossmodal.vq import LayoutVQ, VQConfig
from segue.types import InputError

METHOD = "crossmodal"


@dataclass(frozen=True)
class Saved:
    """classes: names of the layouts' classes, in order. about: recipe, data, scores."""

    model: CrossModal
    vq: LayoutVQ
    words: CaptionTokenizer
    classes: tuple[str, ...]
    about: dict[str, Any]


def save(saved: Saved, folder: Path, *, half: bool = False) -> None:
    """Write a checkpoint folder, atomically. half: store the weights as float16, in half the space."""
    parts = {"model": saved.model, "vq": saved.vq}
    tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    config = {
        "method": METHOD,
        "config": asdict(saved.model.config),
        "vq": asdict(saved.vq.config),
        "classes": list(saved.classes),
        "about": saved.about,
    }
    with tempfile.TemporaryDirectory() as extra:
        saved.words.save(Path(extra))
        write_checkpoint(folder, config, tensors, Path(extra), half=half)


def restore(folder: Path) -> Saved:
    """Build the model of a checkpoint folder again, ready to use."""
    config = read_config(folder, [METHOD])
    tensors = read_tensors(folder)
    try:
        model = build_crossmodal(dataclass_from_json(CrossModalConfig, config["config"], folder))
        vq = LayoutVQ(dataclass_from_json(VQConfig, config["vq"], folder))
        for name, part in (("model", model), ("vq", vq)):
            part.load_state_dict(
                {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
            )
    except (TypeError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{folder}: config.json and the weights don't belong together ({reason}); copy the checkpoint again"
        ) from error
    return Saved(
        model.eval(), vq.eval(), CaptionTokenizer.load(folder), tuple(config["classes"]), config.get("about", {})
    )


def save_vq(vq: Any, folder: Path) -> None:
    """Write a quantiser by itself, as its own training does."""
    write_checkpoint(folder, {"method": "layout-vq", "config": asdict(vq.config)}, vq.state_dict())


def restore_vq(folder: Path) -> LayoutVQ:
    """Read a quantiser that `save_vq` wrote."""
    vq = LayoutVQ(dataclass_from_json(VQConfig, read_config(folder, ["layout-vq"])["config"], folder))
    vq.load_state_dict(read_tensors(folder))
    return vq.eval()
