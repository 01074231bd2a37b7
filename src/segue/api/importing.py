"""GroupViTs of others made into Segue's folders: those of the hub, and the authors' own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor

from segue.methods.cocu.groupvit.checkpoint import load_groupvit, save_groupvit, tokenizer_in
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.released import BPE_FILES, read_released, released_tensors, tokenizer_of_merges
from segue.types import InputError
from segue.weights import CONFIG, WEIGHTS, resolve_weights

HUB_PICKLE = "pytorch_model.bin"
RELEASED = (".pth", ".pt")
EXAMPLE_TOKENIZER = "openai/clip-vit-base-patch16"


def import_groupvit(
    source: str | Path,
    out: Path,
    *,
    tokenizer: str | Path | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> dict[str, Any]:
    """Write a folder that `segue.load` reads; returns what the command prints.

    source: a .pth of GroupViT's or CoCu's released code, a folder, or a hub id owner/name[@revision]; a folder holds a
    GroupViT of transformers, or one .pth. Of a pickle the tensors alone are read, and no code in it is run.
    tokenizer: of the texts where none lies beside the weights: a folder or a hub id of a CLIP, or CLIP's file
    bpe_simple_vocab_16e6.txt.gz.
    tensors: of a .pth by their names, where it is read already.
    Raises InputError for an `out` that is there, what can't be read, tensors that are missing, and no tokenizer.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; name a new folder")
    model = _read(source, tokenizer, tensors)
    if model.tokenizer is None:
        raise InputError(
            f"{source}: no tokenizer lies beside the weights, and without one no name can be read; pass --tokenizer, "
            f"CLIP's {BPE_FILES[0]} or a folder or hub id of a CLIP, such as {EXAMPLE_TOKENIZER}"
        )
    save_groupvit(model, out, about={"recipe": "segue import", "source": Path(source).name})
    c = model.config
    return {
        "model": str(out),
        "parameters": sum(p.numel() for p in model.parameters()),
        "image_size": c.image_size,
        "groups": c.output_groups[-1],
        "tokens": c.vocabulary,
    }


def is_released_file(path: Path) -> bool:
    """Whether a path is that of a file of a released training, by its ending."""
    return path.suffix in RELEASED and path.is_file()


def _read(source: str | Path, tokenizer: str | Path | None, tensors: Mapping[str, Tensor] | None) -> GroupViT:
    path = Path(source)
    if path.suffix in RELEASED and not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path}: no such file; check the path and its spelling")
        return _released(path, tokenizer, tensors)
    folder = resolve_weights(source).folder(HUB_PICKLE)
    if (folder / CONFIG).exists():
        pickled = not (folder / WEIGHTS).exists() and (folder / HUB_PICKLE).exists()
        model = load_groupvit(folder, released_tensors(folder / HUB_PICKLE) if pickled else None)
        return model if tokenizer is None else _with_tokenizer(model, _tokenizer(tokenizer))
    found = sorted(file for file in folder.iterdir() if file.suffix in RELEASED)
    if len(found) != 1:
        raise InputError(
            f"{folder}: neither {CONFIG} nor one .pth there ({len(found)} found); name the file to be imported"
        )
    return _released(found[0], tokenizer)


def _released(path: Path, tokenizer: str | Path | None, tensors: Mapping[str, Tensor] | None = None) -> GroupViT:
    if tokenizer is not None and Path(tokenizer).is_file():
        return read_released(path, Path(tokenizer), tensors)
    return read_released(path, tokenizer_in(path.parent) if tokenizer is None else _tokenizer(tokenizer), tensors)


def read_clip_tokenizer(source: str | Path, vocabulary: int) -> Tokenizer:
    """CLIP's tokenizer: from a folder or hub id of a CLIP, or its file bpe_simple_vocab_16e6.txt.gz.

    vocabulary: how many tokens are made of a file. Raises InputError for what can't be read.
    """
    return tokenizer_of_merges(Path(source), vocabulary) if Path(source).is_file() else _tokenizer(source)


def _tokenizer(source: str | Path) -> Tokenizer:
    found = tokenizer_in(resolve_weights(source, "tokenizer").folder())
    if found is None:
        raise InputError(f"{source}: no tokenizer.json or vocab.json there; name a folder or hub id of a CLIP")
    return found


def _with_tokenizer(model: GroupViT, tokenizer: Tokenizer) -> GroupViT:
    other = GroupViT(model.config, tokenizer)
    other.load_state_dict(model.state_dict())
    return other.eval()
