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

from segue.configs import from_json, read_json, read_tokenizer
from segue.encoders.pretrained import load_pretrained_tokenizer
from segue.methods.checkpoint import build, fill_module, read_tensors, write_checkpoint
from segue.methods.cocu.groupvit.config import GroupViTConfig
from segue.methods.cocu.groupvit.model import GroupViT
from segue.nn.preprocessing import NORMALISATION
from segue.options import check_value
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
_OWN_FIELDS = ("drop_path", "mean", "std", "image_encoder")  # fields that the hub's format has no place for


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


def from_hub_config(saved: dict[str, Any], where: str | Path = CONFIG) -> GroupViTConfig:
    """The config of a hub's config.json; what that leaves out has the hub's default, which is ours.

    where: the folder, to begin the message with.
    Raises InputError for a model of another type, and values of another type or out of their bounds.
    """
    if saved.get("model_type") != "groupvit":
        raise InputError(f"{where}: a model of type {saved.get('model_type')!r:.60}, expected 'groupvit'")
    for name in ("vision_config", "text_config", "segue"):
        check_value(f"{where}: {name}", saved.get(name, {}), dict)
    values: dict[str, Any] = {"token_mlp": 0.5, "channel_mlp": 4.0}
    ratio = saved.get("vision_config", {}).get("assign_mlp_ratio")
    if ratio is not None:
        ratio = ratio if isinstance(ratio, list | tuple) else (ratio, ratio)
        check_value(f"{where}: assign_mlp_ratio", ratio, tuple[float, float])
        values["token_mlp"], values["channel_mlp"] = ratio
    for name, (section, hub_name) in _HUB_NAMES.items():
        part = saved.get(section, {}) if section else saved
        if hub_name in part:
            values[name] = part[hub_name]
    values |= {name: value for name, value in saved.get("segue", {}).items() if name in _OWN_FIELDS}
    return from_json(GroupViTConfig, values, where)


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


def image_encoder_of(saved: dict[str, Any]) -> str | None:
    """The dual encoder on which the model of a config.json stands; None for one on pixels, or of another kind."""
    own = saved.get("segue")
    name = own.get("image_encoder") if isinstance(own, dict) else None
    return name if isinstance(name, str) else None


def load_groupvit(folder: Path, tensors: Mapping[str, Tensor] | None = None) -> GroupViT:
    """A GroupViT in evaluation mode from a folder of ours or of the hub (config.json, model.safetensors, tokenizer).

    tensors: take the place of model.safetensors.
    Raises InputError when a file is missing, broken, of another model, or doesn't fit the others.
    """
    config = _with_normalisation(from_hub_config(read_json(folder / CONFIG), folder), folder / PROCESSOR)
    tokenizer, tensors = tokenizer_in(folder), read_tensors(folder) if tensors is None else tensors
    model = build(lambda: GroupViT(config, tokenizer), tensors, folder)
    # older versions of transformers stored the position ids
    tensors = {k: v for k, v in tensors.items() if not k.endswith("embeddings.position_ids")}
    fill_module(model, tensors, folder)
    return model.eval()


def _with_normalisation(c: GroupViTConfig, path: Path) -> GroupViTConfig:
    if not path.exists():
        return c
    saved = read_json(path)
    found = {name: saved.get(f"image_{name}", getattr(c, name)) for name in ("mean", "std")}
    for name, value in found.items():
        check_value(f"{path}: image_{name}", value, NORMALISATION[name])
    return replace(c, mean=tuple(found["mean"]), std=tuple(found["std"]))


def tokenizer_in(folder: Path) -> Tokenizer | None:
    """The tokenizer of tokenizer.json, or that of transformers for vocab.json and merges.txt, or None."""
    if (folder / TOKENIZER).exists():
        return read_tokenizer(folder / TOKENIZER)
    if not (folder / "vocab.json").exists():
        return None
    return load_pretrained_tokenizer(str(folder))
