"""DeCap's released decoders made into Segue's folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import decoders
from torch import Tensor

from segue.api.importing import read_clip_tokenizer
from segue.data.tokenizer import CaptionTokenizer
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.methods.syntic.checkpoint import SynticCheckpoint, save_syntic
from segue.methods.syntic.released import from_released
from segue.types import InputError


def import_decap(tensors: Mapping[str, Tensor], source: Path, out: Path, *, clip: str) -> dict[str, Any]:
    """Write a folder that `segue.load` reads; returns what the command prints.

    tensors: of a .pt of the released training, by name. source: where they stood. clip: the CLIP whose features the
    decoder reads, a hub id or a folder. The folder holds no captions to project pictures onto: those of `--support` are
    used.
    Raises InputError for an `out` that is there, tensors that don't fit, and another CLIP than that of the training.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; name a new folder")
    theirs = read_clip_tokenizer(clip, 0)
    theirs.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("</w>", " ")])
    tokenizer = CaptionTokenizer(theirs)
    model = from_released(tensors, tokenizer, source)
    encoder = load_dual_encoder(f"clip:{clip}")
    if encoder.width != model.encoder_width:
        raise InputError(
            f"{source}: reads features of width {model.encoder_width}, those of {clip} have {encoder.width}; pass the "
            "CLIP that it was trained with as --tokenizer"
        )
    about = {"recipe": "segue import", "source": source.name}
    reads = {"width": encoder.width, "fingerprint": encoder.fingerprint, "name": f"clip:{clip}"}
    save_syntic(SynticCheckpoint(model, tokenizer, reads, about=about), out)
    return {"model": str(out), "parameters": sum(p.numel() for p in model.parameters()), "encoder": f"clip:{clip}"}
