"""GroupViT's checkpoints: `transformers` reads what we write, and we read those of the hub.

A folder of config.json (the hub's, with our own settings under "segue"), model.safetensors, tokenizer.json and
preprocessor_config.json.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor

from segue.methods.checkpoint import fill_module, read_tensors, write_checkpoint
from segue.methods.cocu.groupvit.config import GroupViTConfig
from segue.methods.cocu.groupvit.model import GroupViT
from segue.types import InputError
from segue.weights import CONFIG

TOKENIZER, PROCESSOR = "tokenizer.json", "preprocessor_config.json"

_HUB_NAMES: dict[str, tuple[str, str]] = {  # field -> section and name in the hub's config.json
    "width": ("vision_config", "hidden_size"),
    "mlp": ("vision_config", "intermediate_size"),
    "depths": ("vision_config", "depths"),
    "group_tokens": ("vision_config", "num_group_tokens"),
    "output_groups": ("vision_config", "num_output_groups"),
    "heads": ("vision_config", "num_attention_heads"),
    "image_size": ("vision_config", "image_size"),
    "patch": ("vision_config", "patch_size"),
    "activation": ("vision_config", "hidden_act"),
    "assign_eps": ("vision_config", "assign_eps"),
    "norm_eps": ("vision_config", "layer_norm_eps"),
    "text_width": ("text_config", "hidden_size"),
    "text_mlp": ("text_config", "intermediate_size"),
    "text_layers": ("text_config", "num_hidden_layers"),
    "text_heads": ("text_config", "num_attention_heads"),
    "text_activation": ("text_config", "hidden_act"),
    "vocabulary": ("text_config", "vocab_size"),
    "max_tokens": ("text_config", "max_position_embeddings"),
    "bos": ("text_config", "bos_token_id"),
    "eos": ("text_config", "eos_token_id"),
    "pad": ("text_config", "pad_token_id"),
    "projection": ("", "projection_dim"),
    "projection_hidden": ("", "projection_intermediate_dim"),
    "logit_scale": ("", "logit_scale_init_value"),
}
_OWN_FIELDS = ("drop_path", "mean", "std")  # fields that the hub's format has no place for


def to_hub_config(c: GroupViTConfig) -> dict[str, Any]:
    """The content of the hub's config.json for this config."""
    out: dict[str, Any] = {"model_type": "groupvit", "architectures": ["GroupViTModel"]}
    out |= {
        "text_config": {"model_type": "groupvit_text_model", "layer_norm_eps": c.norm_eps},
        "vision_config": {
            "model_type": "groupvit_vision_model",
            "num_hidden_layers": sum(c.depths),
            "assign_mlp_ratio": [c.token_mlp, c.channel_mlp],
        },
    }
    for name, (section, hub_name) in _HUB_NAMES.items():
        value = getattr(c, name)
        (out[section] if section else out)[hub_name] = list(value) if isinstance(value, tuple) else value
    return out


def from_hub_config(saved: dict[str, Any]) -> GroupViTConfig:
    """The config of a hub's config.json; what that leaves out has the hub's default, which is ours.

    Raises InputError for a model of another type.
    """
    if saved.get("model_type") != "groupvit":
        raise InputError(f"config.json: a model of type {saved.get('model_type')!r}, expected 'groupvit'")
    values: dict[str, Any] = {"token_mlp": 0.5, "channel_mlp": 4.0}
    ratio = saved.get("vision_config", {}).get("assign_mlp_ratio")
    if ratio is not None:
        values["token_mlp"], values["channel_mlp"] = ratio if isinstance(ratio, list | tuple) else (ratio, ratio)
    for name, (section, hub_name) in _HUB_NAMES.items():
        part = saved.get(section, {}) if section else saved
        if hub_name in part:
            values[name] = part[hub_name]
    values |= {name: value for name, value in saved.get("segue", {}).items() if name in _OWN_FIELDS}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return GroupViTConfig(**values)


def save_groupvit(model: GroupViT, folder: Path, *, about: dict[str, Any] | None = None, half: bool = False) -> None:
    """Write a folder that `load_groupvit` and `transformers.GroupViTModel.from_pretrained` read, whole or not at all.

    about: how it was trained, JSON-able, kept in config.json. half: store the weights as float16.
    """
    c = model.config
    config = to_hub_config(c) | {
        "method": "cocu",
        "segue": {n: getattr(c, n) for n in _OWN_FIELDS} | {"about": about or {}},
    }
    with tempfile.TemporaryDirectory() as extra:
        processor: dict[str, Any] = {
            "image_processor_type": "CLIPImageProcessor",
            "image_mean": c.mean,
            "image_std": c.std,
        }
        processor |= {"size": {"height": c.image_size, "width": c.image_size}, "do_center_crop": False}
        (Path(extra) / PROCESSOR).write_text(json.dumps(processor, indent=2) + "\n")
        if model.tokenizer is not None:
            (Path(extra) / TOKENIZER).write_text(model.tokenizer.to_str(pretty=True), encoding="utf-8")
        write_checkpoint(folder, config, model.state_dict(), Path(extra), half=half)


def load_groupvit(folder: Path, tensors: Mapping[str, Tensor] | None = None) -> GroupViT:
    """A GroupViT in evaluation mode from a folder of ours or of the hub (config.json, model.safetensors, tokenizer).

    tensors: take the place of model.safetensors.
    Raises InputError when a file is missing, broken, of another model, or doesn't fit the others.
    """
    config = _with_normalisation(from_hub_config(_read_json(folder / CONFIG)), folder / PROCESSOR)
    model = GroupViT(config, read_tokenizer(folder))
    tensors = read_tensors(folder) if tensors is None else tensors
    # older versions of transformers stored the position ids
    tensors = {k: v for k, v in tensors.items() if not k.endswith("embeddings.position_ids")}
    fill_module(model, tensors, folder)
    return model.eval()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; a checkpoint is a folder with config.json and weights") from error
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error}); copy the checkpoint again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: got a {type(found).__name__}, expected an object; copy the checkpoint again")
    return found


def _with_normalisation(c: GroupViTConfig, path: Path) -> GroupViTConfig:
    if not path.exists():
        return c
    saved = _read_json(path)
    return replace(c, mean=tuple(saved.get("image_mean", c.mean)), std=tuple(saved.get("image_std", c.std)))


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer of tokenizer.json, or that of transformers for vocab.json and merges.txt, or None."""
    if (folder / TOKENIZER).exists():
        try:
            return Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # tokenizers raises nothing narrower
            raise InputError(f"{folder / TOKENIZER}: not a tokenizer ({error}); copy the checkpoint again") from error
    if not (folder / "vocab.json").exists():
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder).backend_tokenizer
