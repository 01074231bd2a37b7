"""GroupViT's checkpoints: ours, those of transformers, broken ones."""

import json
from dataclasses import replace

import pytest
import torch

from methods.cocu.groupvit.tiny_groupvit import CAPTIONS, TINY, make_model, reference_of
from segue.methods.cocu.groupvit.checkpoint import from_hub_config, load_groupvit, save_groupvit, to_hub_config
from segue.methods.cocu.groupvit.config import SIZES, GroupViTConfig
from segue.methods.cocu.groupvit.model import GroupViT
from segue.types import InputError


def test_checkpoint_round_trip_both_ways(tmp_path):
    model = make_model(drop_path=0.3).eval()
    reference_of(model, tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    ours, back = load_groupvit(tmp_path / "ours"), load_groupvit(tmp_path / "theirs")
    assert ours.config == model.config
    assert back.config == model.config  # transformers keeps what it doesn't know
    assert ours.tokenize(CAPTIONS).tolist() == model.tokenize(CAPTIONS).tolist()
    assert back.tokenizer is None
    for loaded in (ours, back):
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in loaded.state_dict().items())
    save_groupvit(model, tmp_path / "half", half=True, about={"recipe": "test"})
    assert json.loads((tmp_path / "half/config.json").read_text())["segue"]["about"] == {"recipe": "test"}
    torch.testing.assert_close(load_groupvit(tmp_path / "half").logit_scale, model.logit_scale, atol=1e-3, rtol=0)


def test_config_defaults_are_the_hubs():
    from transformers import GroupViTConfig as Theirs

    theirs = Theirs().to_dict()
    assert from_hub_config(theirs) == from_hub_config({"model_type": "groupvit"}) == GroupViTConfig()
    assert from_hub_config(to_hub_config(SIZES["scenes"])) == SIZES["scenes"]


def test_old_checkpoints_position_ids_are_ignored(tmp_path):
    from safetensors.torch import load_file, save_file

    save_groupvit(make_model(), tmp_path / "m")
    tensors = load_file(tmp_path / "m/model.safetensors")
    tensors["text_model.embeddings.position_ids"] = torch.arange(12)[None]
    save_file(tensors, tmp_path / "m/model.safetensors")
    load_groupvit(tmp_path / "m")


def test_broken_checkpoints_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "m"
    save_groupvit(make_model(), folder)
    config, tensors = (folder / "config.json").read_text(), load_file(folder / "model.safetensors")

    def refused(match):
        with pytest.raises(InputError, match=match):
            load_groupvit(folder)

    name = "visual_projection.0.bias"
    save_file({k: v for k, v in tensors.items() if k != name}, folder / "model.safetensors")
    refused(f"lack 1 tensors, such as {name}")
    save_file(tensors | {"extra": torch.zeros(1)}, folder / "model.safetensors")
    refused("1 tensors too many, such as extra")
    save_file(tensors | {name: torch.zeros(3)}, folder / "model.safetensors")
    refused(r"has shape \(3,\), config.json describes \(24,\)")
    (folder / "config.json").write_text(config.replace('"groupvit"', '"clip"'))
    refused("a model of type 'clip', expected 'groupvit'")
    (folder / "config.json").write_text("{")
    refused("not readable as JSON")
    (folder / "config.json").write_text(config)
    (folder / "tokenizer.json").write_text("{}")
    refused("not a tokenizer")
    (folder / "config.json").unlink()
    refused(r"no config\.json there")


def test_clips_vocabulary_files_stand_in_for_tokenizer_json(tmp_path):
    save_groupvit(GroupViT(replace(TINY, vocabulary=12, bos=10, eos=11)), tmp_path / "m")
    tokens = [
        "a",
        "d",
        "o",
        "g",
        "a</w>",
        "d</w>",
        "o</w>",
        "g</w>",
        "do",
        "dog</w>",
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    (tmp_path / "m/vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (tmp_path / "m/merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\n")
    assert load_groupvit(tmp_path / "m").tokenize(["A dog"]).tolist() == [[10, 4, 9, 11]]


def test_the_pixels_normalisation_is_the_processors(tmp_path):
    folder = tmp_path / "m"
    save_groupvit(make_model(), folder)
    saved = json.loads((folder / "preprocessor_config.json").read_text())
    assert saved["size"] == {"height": TINY.image_size, "width": TINY.image_size}
    changed = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(json.dumps(saved | changed))
    config = load_groupvit(folder).config
    assert (config.mean, config.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    (folder / "preprocessor_config.json").unlink()
    assert load_groupvit(folder).config.mean == TINY.mean


def test_one_ratio_stands_for_both_mlps():
    ratio = {"model_type": "groupvit", "vision_config": {"assign_mlp_ratio": 2.0}}
    assert (from_hub_config(ratio).token_mlp, from_hub_config(ratio).channel_mlp) == (2.0, 2.0)
