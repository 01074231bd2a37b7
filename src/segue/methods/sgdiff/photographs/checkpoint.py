"""A photographs' describer as a checkpoint folder, and back. See `segue.methods.checkpoint`."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MaxLen

from segue.configs import from_json, read_json
from segue.data.tokenizer import CaptionTokenizer
from segue.methods.checkpoint import (
    build,
    fill_module,
    pack_checkpoint,
    read_config,
    read_tensors,
    write_checkpoint,
)
from segue.methods.sgdiff.photographs.network import PhotoDescriber, PhotoDescriberConfig
from segue.metrics.acceptance import Acceptance, read_acceptance
from segue.weights import CONFIG

METHOD = "sgdiff"  # of the task, whose checkpoints these are too; `is_of_photographs` tells them apart


@dataclass
class PhotoCheckpoint:
    """A describer with the tokenizer of its captions.

    captioner: the image-level captioner by whose frozen encoders pictures are read. about: recipe and settings.
    acceptance: how likely people are to accept a caption, by the logarithm of its `generator.judged`, once fitted.
    """

    model: PhotoDescriber
    tokenizer: CaptionTokenizer
    captioner: str
    about: dict[str, Any] | None = None
    acceptance: Acceptance | None = None


def save_photographs(checkpoint: PhotoCheckpoint, folder: Path, *, small: bool = False) -> None:
    """Write the folder atomically. small: matrices as 8-bit integers with a step for each row, the rest as float16."""
    config = {
        "method": METHOD,
        "config": asdict(checkpoint.model.config),
        "captioner": checkpoint.captioner,
        "about": checkpoint.about or {},
        "acceptance": None if checkpoint.acceptance is None else asdict(checkpoint.acceptance),
    }
    with tempfile.TemporaryDirectory() as extra:
        checkpoint.tokenizer.save(Path(extra))
        state = checkpoint.model.state_dict()
        write_checkpoint(folder, config, state, Path(extra), half=small)
    if small:
        pack_checkpoint(folder)


def is_of_photographs(folder: Path) -> bool:
    """Whether a checkpoint of SGDiff's task is one of photographs. Raises InputError when its config can't be read."""
    return "captioner" in read_json(folder / CONFIG)


def restore_photographs(folder: Path) -> PhotoCheckpoint:
    """What `save_photographs` wrote, the model in eval mode. Raises InputError where files are missing or differ."""
    saved = read_config(
        folder, [METHOD], {"config": dict, "captioner": Annotated[str, MaxLen(500)], "acceptance": dict | None}
    )
    tokenizer, tensors = CaptionTokenizer.load(folder), read_tensors(folder)
    settings = from_json(PhotoDescriberConfig, saved["config"], folder)
    model = build(lambda: PhotoDescriber(settings, len(tokenizer)), tensors, folder)
    fill_module(model, tensors, folder)
    return PhotoCheckpoint(
        model.eval(),
        tokenizer,
        saved["captioner"],
        saved.get("about") or {},
        read_acceptance(saved.get("acceptance"), 1, folder),
    )
