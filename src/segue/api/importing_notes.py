"""Checkpoints of RecLMIS' authors made into Segue's folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segue.encoders.text.clip import ClipTextEncoder
from segue.methods.pickles import read_pickled
from segue.methods.reclmis.released import ReleasedConfig, ReleasedRecLMIS, from_released
from segue.methods.segmenters import SavedSegmenter, save_segmenter
from segue.nn.preprocessing import Preprocessing
from segue.types import InputError

TOKEN_EMBEDDING = "clip.token_embedding.weight"


def import_reclmis(source: Path, out: Path, *, clip: str) -> dict[str, Any]:
    """Write a folder that `segue.load` reads; returns what the command prints.

    source: a .pth.tar of the released code, of which the tensors alone are read. clip: the CLIP that it was trained
    with, a hub id or a folder, whose text encoder reads the notes.
    Raises InputError for an `out` that is there, what can't be read, tensors that are missing, and another CLIP.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; name a new folder")
    theirs = _tensors(source)
    text = ClipTextEncoder(clip, max_tokens=ReleasedConfig.tokens, projected=True)
    network = ReleasedRecLMIS(_config(theirs, source), text)
    try:
        found = network.load_state_dict(from_released(theirs), strict=False)
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{source}: not RecLMIS' released network ({str(error).strip():.200})") from error
    if missing := [name for name in found.missing_keys if not name.startswith("text_encoder.")]:
        raise InputError(f"{source}: {len(missing)} tensors are missing, such as {missing[0]}; download it again")
    own, read = theirs.get(TOKEN_EMBEDDING), text.model.text_model.embeddings.token_embedding.weight
    if own is not None and (own.shape != read.shape or not torch.allclose(own.float(), read, atol=1e-3)):
        raise InputError(f"{source}: was trained with another CLIP than {clip}; pass its own as --tokenizer")
    size = network.config.grid * network.stride
    preprocessing = Preprocessing(size=size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    about = {"recipe": "segue import", "source": source.name}
    save_segmenter(SavedSegmenter(network.eval(), preprocessing, 1.0, about), out)
    parameters = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("text_encoder."))
    return {"model": str(out), "parameters": parameters, "image_size": size, "text": clip}


def _tensors(source: Path) -> dict[str, Tensor]:
    if not source.is_file():
        raise InputError(f"{source}: no such file; check the path and its spelling")
    read = read_pickled(source)
    state = read.get("state_dict", read) if isinstance(read, dict) else {}
    tensors = {str(name).removeprefix("module."): x for name, x in state.items() if isinstance(x, Tensor)}
    if "interact.attn_img.in_proj_weight" not in tensors:
        raise InputError(f"{source}: holds no tensors of RecLMIS' released network; expected its best_model-*.pth.tar")
    return tensors


def _config(theirs: dict[str, Tensor], source: Path) -> ReleasedConfig:
    """The sizes, read off the tensors."""
    names = [f"down{i}.nConvs.0.conv.weight" for i in range(1, 5)]
    positions = theirs.get("interact.embeddings.position_embeddings")
    if positions is None or "inc.conv.weight" not in theirs or not all(name in theirs for name in names):
        raise InputError(f"{source}: tensors of RecLMIS' released network are missing; download it again")
    widths = (len(theirs["inc.conv.weight"]), *(len(theirs[name]) for name in names))
    start = "rec_img_trans1.decoder1.decoder_layers."
    layers = len({name.removeprefix(start).split(".")[0] for name in theirs if name.startswith(start)})
    grid = round(positions.shape[1] ** 0.5)
    return replace(ReleasedConfig(), widths=widths, grid=grid, reconstruction_layers=layers)
