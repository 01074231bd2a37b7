"""The segmenters by name, and how one is written to a checkpoint and built again from it."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from segue.data.transforms import Preprocessing
from segue.encoders.text.contract import TextEncoder
from segue.encoders.text.registry import load_text_encoder
from segue.methods.checkpoint import read_config, read_tensors, write_checkpoint
from segue.methods.reclmis.config import RecLMISConfig
from segue.methods.reclmis.model import Parts, RecLMIS, build_reclmis
from segue.methods.unet import UNet, UNetConfig
from segue.types import InputError

METHODS: dict[str, type] = {"reclmis": RecLMISConfig, "unet": UNetConfig}
Network = RecLMIS | UNet


@dataclass(frozen=True)
class Saved:
    """A segmenter with what is needed to use it. temperature divides the logits; about: recipe, data, scores."""

    network: Network
    preprocessing: Preprocessing
    temperature: float
    about: dict[str, Any]


def build(config: RecLMISConfig | UNetConfig, text: TextEncoder | None, parts: Parts = "training") -> Network:
    """A fresh network of either method."""
    return UNet(config) if isinstance(config, UNetConfig) else build_reclmis(config, text, parts)


def save(saved: Saved, folder: Path, *, half: bool = False) -> None:
    """Write a checkpoint folder, atomically. half: store the weights as float16, in half the space."""
    network = saved.network
    text = getattr(network, "text", None)
    with tempfile.TemporaryDirectory() as extra:
        config = {
            "method": "unet" if isinstance(network, UNet) else "reclmis",
            "config": asdict(network.config),
            "preprocessing": asdict(saved.preprocessing),
            "text": text.save(Path(extra)) if text is not None else None,
            "temperature": saved.temperature,
            "about": saved.about,
        }
        tensors = network.state_dict()
        if half:
            tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
        write_checkpoint(folder, config, tensors, Path(extra))


def restore(folder: Path, parts: Parts = "inference") -> Saved:
    """Build a segmenter from its checkpoint, with no more parts than asked for."""
    config = read_config(folder, list(METHODS), ("config", "preprocessing", "temperature"))
    made = _config(METHODS[config["method"]], config["config"], folder)
    text = load_text_encoder(config["text"], folder) if config.get("text") else None
    network = build(made, text, parts)
    _fill(network, read_tensors(folder), folder)
    network.eval()
    preprocessing = _config(Preprocessing, config["preprocessing"], folder)
    return Saved(network, preprocessing, config["temperature"], config.get("about", {}))


def _config(kind: type, values: dict[str, Any], folder: Path) -> Any:
    known = {f.name for f in fields(kind)}
    if odd := sorted(set(values) - known):
        raise InputError(
            f"{folder}: config.json has {', '.join(odd)}, which this version of Segue doesn't know; update it"
        )
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _fill(network: Network, tensors: dict[str, Tensor], folder: Path) -> None:
    wanted = network.state_dict()
    if missing := sorted(set(wanted) - set(tensors)):
        raise InputError(
            f"{folder}: the weights lack {len(missing)} tensors, such as {missing[0]}; copy the checkpoint again"
        )
    if odd := [k for k, v in wanted.items() if v.shape != tensors[k].shape]:
        got, expected = tuple(tensors[odd[0]].shape), tuple(wanted[odd[0]].shape)
        raise InputError(
            f"{folder}: {odd[0]} has shape {got}, config.json describes {expected}; the two files don't belong together"
        )
    network.load_state_dict({k: tensors[k] for k in wanted})
