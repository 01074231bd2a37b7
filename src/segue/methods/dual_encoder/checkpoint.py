"""Image-text pairs by name, and how Segue's own is written to a checkpoint and built again from it."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from segue.encoders.dual_encoder import ClipDualEncoder, DualEncoder, DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.registry import load_image_encoder
from segue.encoders.text.registry import load_text_encoder
from segue.methods.checkpoint import bundled, kept_in, read_config, read_tensors, write_checkpoint
from segue.nn.devices import check_device
from segue.types import InputError

METHOD = "pair"


def load_dual_encoder(name_or_folder: str | Path, *, device: str = "cpu") -> DualEncoder:
    """An image-text pair in evaluation mode: a bundled name, a checkpoint folder, or "clip:ID-OR-FOLDER".

    "clip:" takes any CLIP or SigLIP in the format of `transformers`.
    """
    check_device(device)
    name, here = str(name_or_folder), bundled()
    if name.startswith("clip:"):
        return ClipDualEncoder(name.removeprefix("clip:")).to(device)
    folder = here.get(name, Path(name))
    if not folder.is_dir():
        raise InputError(
            f"pair {name!r}: neither a folder, a bundled model nor clip:ID; bundled are: {', '.join(here) or 'none'}; "
            "a folder of yours comes from `segue train align`"
        )
    return restore_dual_encoder(kept_in(folder))[0].to(device)


def save_dual_encoder(pair: VisionTextDualEncoder, folder: Path, about: dict[str, Any], *, half: bool = False) -> None:
    """Write a checkpoint folder, atomically. half: store the weights as float16, in half the space."""
    with tempfile.TemporaryDirectory() as extra:
        config = {
            "method": METHOD,
            "config": asdict(pair.config),
            "image": pair.image.config(),
            "text": pair.text.save(Path(extra)),
            "about": about,
        }
        tensors = pair.state_dict()
        if half:
            tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
        write_checkpoint(folder, config, tensors, Path(extra))


def restore_dual_encoder(folder: Path) -> tuple[VisionTextDualEncoder, dict[str, Any]]:
    """The dual encoder of a checkpoint folder, in evaluation mode, and what is told about it."""
    config = read_config(folder, [METHOD], ("config", "image", "text"))
    known = {f.name for f in fields(DualEncoderConfig)}
    if odd := sorted(set(config["config"]) - known):
        raise InputError(
            f"{folder}: config.json has {', '.join(odd)}, which this version of Segue doesn't know; update it"
        )
    towers = load_image_encoder(config["image"]), load_text_encoder(config["text"], folder)
    pair = VisionTextDualEncoder(DualEncoderConfig(**config["config"]), *towers)
    _fill(pair, folder)
    return pair.eval(), config.get("about", {})


def _fill(pair: VisionTextDualEncoder, folder: Path) -> None:
    tensors = read_tensors(folder)
    wanted = pair.state_dict()
    if wrong := sorted(set(wanted) ^ set(tensors)):
        lack = "lack" if wrong[0] in wanted else "have beside what config.json describes"
        raise InputError(f"{folder}: the weights {lack} {wrong[0]} ({len(wrong)} in all); copy the checkpoint again")
    if odd := [name for name, weight in wanted.items() if weight.shape != tensors[name].shape]:
        got, expected = tuple(tensors[odd[0]].shape), tuple(wanted[odd[0]].shape)
        raise InputError(
            f"{folder}: {odd[0]} has shape {got}, config.json describes {expected}; the two files don't belong together"
        )
    pair.load_state_dict(tensors)
