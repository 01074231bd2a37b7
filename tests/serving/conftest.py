"""Tiny models of all jobs but a note's, with which requests by the hundred are quick: made once a session."""

from pathlib import Path

import pytest
import torch

import segue as package
from api.test_captioner import made as made_captioner
from methods.sgdiff.toys import toy_model
from segue.methods.cocu.groupvit.checkpoint import save_groupvit
from segue.methods.cocu.groupvit.config import GroupViTConfig
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.tokenizer import train_tokenizer, with_tokenizer
from segue.methods.sgdiff.checkpoint import save as save_describer
from tiny_dual_encoder import tiny_dual_encoder
from tiny_illustrator import tiny_illustrator


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory) -> dict[str, Path]:
    """names: a labeller, captions: a captioner, describer: a describer, layouts: an illustrator."""
    home = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    words = train_tokenizer(["a photo of a dog on the grass.", "under the sky"])
    config = GroupViTConfig(
        width=16, mlp=32, depths=(1, 1), group_tokens=(6, 0), output_groups=(6, 6), heads=2, image_size=32, patch=8,
        text_width=16, text_mlp=32, text_layers=1, text_heads=2, max_tokens=16, projection=16, projection_hidden=32,
    )  # fmt: skip
    save_groupvit(GroupViT(with_tokenizer(config, words), words), home / "names", about={"protocol": "scenes"})
    made_captioner(home / "captions", tiny_dual_encoder(home / "encoder"))
    describer = toy_model()
    describer.caption_head.tags.bias.data[1] += 50
    describer.mask_head.mask_embedding[-1].bias.data[-1] += 50
    save_describer(describer, home / "describer")
    return {name: home / name for name in ("names", "captions", "describer")} | {"layouts": tiny_illustrator(home)}


@pytest.fixture(scope="session")
def tiny_models(tiny_folders):
    """The predictors of `tiny_folders`."""
    return {name: package.load(folder) for name, folder in tiny_folders.items()}
