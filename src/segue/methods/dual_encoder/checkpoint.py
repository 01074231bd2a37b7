"""Dual encoders by name, and how Segue's own is written to a checkpoint and built again from it."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segue.configs import from_json
from segue.encoders.dual_encoder import ClipDualEncoder, DualEncoder, DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image import load_image_encoder
from segue.encoders.text import load_text_encoder
from segue.methods.checkpoint import build, checkpoint_in, fill_module, read_config, read_tensors, write_checkpoint
from segue.nn.devices import resolve_device, resolve_dtype
from segue.nn.feature_distance import FeatureDistance
from segue.options import Dtype
from segue.weights import resolve_weights

METHOD = "dual_encoder"


def load_dual_encoder(name_or_path: str | Path, *, device: str = "auto", dtype: Dtype = "auto") -> DualEncoder:
    """A dual encoder in evaluation mode: a bundled name, a checkpoint folder, a hub id, or "clip:ID-OR-FOLDER".

    dtype: what embeddings are computed in: bf16, or float32, which "auto" is on any device: models learned to read
    those in float32, and bf16 moves the features of EfficientNet-Lite0 by 4 %.
    A hub id owner/name[@revision] is that of a checkpoint of Segue; "clip:" takes any CLIP or SigLIP in the format of
    `transformers`. Raises InputError when it can't be had or the device is not there.
    """
    device, name = resolve_device(device), str(name_or_path)
    resolve_dtype(dtype, device)  # refuses another name
    model: DualEncoder
    if name.startswith("clip:"):
        model = ClipDualEncoder(name.removeprefix("clip:"))
    else:
        model = restore_dual_encoder(checkpoint_in(resolve_weights(name_or_path, "dual encoder").folder()))[0]
    model.dtype = "float32" if dtype == "auto" else dtype
    return model.to(device)


def save_dual_encoder(model: VisionTextDualEncoder, folder: Path, about: dict[str, Any], *, half: bool = False) -> None:
    """Write a checkpoint folder, atomically. half: store the weights as float16. about: recipe, data, settings."""
    with tempfile.TemporaryDirectory() as extra:
        config = {
            "method": METHOD,
            "config": asdict(model.config),
            "image": model.image_encoder.config(),
            "text": model.text_encoder.save(Path(extra)),
            "about": about,
        }
        if model.domain is not None:
            model.domain.save(Path(extra))
        write_checkpoint(folder, config, model.state_dict(), Path(extra), half=half)


def restore_dual_encoder(folder: Path) -> tuple[VisionTextDualEncoder, dict[str, Any]]:
    """The dual encoder of a checkpoint folder, in evaluation mode, and its metadata (`about` in config.json).

    Raises InputError when the folder is not whole, or is of another method.
    """
    config = read_config(folder, [METHOD], {"config": dict, "image": dict, "text": dict, "acceptance": dict | None})
    sizes, tensors = from_json(DualEncoderConfig, config["config"], folder), read_tensors(folder)

    def make() -> VisionTextDualEncoder:
        image, text = load_image_encoder(config["image"], folder), load_text_encoder(config["text"], folder)
        return VisionTextDualEncoder(sizes, image, text, folder=folder)

    model = build(make, tensors, folder)
    fill_module(model, tensors, folder)
    model.domain = FeatureDistance.load(folder, model.image_encoder.width)
    return model.eval(), config.get("about") or {}
