"""A tiny GroupViT on disk, for the tests of open-vocabulary segmentation."""

import torch

from segue.methods.cocu.groupvit.checkpoint import save_groupvit
from segue.methods.cocu.groupvit.config import GroupViTConfig
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.tokenizer import train_tokenizer, with_tokenizer

WORDS = ["a photo of a dog on the grass.", "a folding chair, under the sky", "café 犬"]


def write_groupvit(folder, words=WORDS, seed=0, **about):
    """A tiny GroupViT in a folder, which is returned; its protocol is that of the scenes unless `about` has another."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(words)
    config = GroupViTConfig(
        width=16, mlp=32, depths=(1, 1), group_tokens=(6, 0), output_groups=(6, 6), heads=2, image_size=32, patch=8,
        text_width=16, text_mlp=32, text_layers=1, text_heads=2, max_tokens=16, projection=16, projection_hidden=32,
    )  # fmt: skip
    about = {"protocol": "scenes"} | about
    save_groupvit(GroupViT(with_tokenizer(config, tokenizer), tokenizer), folder, about=about)
    return folder
