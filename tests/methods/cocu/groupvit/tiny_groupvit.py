"""A tiny GroupViT, its batches, and the same model of transformers."""

from dataclasses import replace

import torch

from segue.methods.cocu.groupvit.checkpoint import save_groupvit
from segue.methods.cocu.groupvit.config import GroupViTConfig
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.tokenizer import train_tokenizer, with_tokenizer

CAPTIONS = ["a dog on the grass", "a photo of a dog", "two cats under a red car", "the sky above a man"]
TINY = GroupViTConfig(
    width=32, mlp=64, depths=(2, 1, 1), group_tokens=(6, 3, 0), output_groups=(6, 3, 3), heads=2, image_size=224,
    patch=16, text_width=32, text_mlp=64, text_layers=2, text_heads=2, vocabulary=40, max_tokens=12, bos=1, eos=3,
    pad=0, projection=16, projection_hidden=24,
)  # fmt: skip


def make_model(config=TINY, seed=0, **changes):
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(CAPTIONS)
    model = GroupViT(replace(with_tokenizer(config, tokenizer), **changes), tokenizer)
    for buffer in model.buffers():  # batch norm's, so that parity sees them
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return model


def plain_batch(size=32, prompts=2):
    text = [[CAPTIONS[i % 4], *(f"a {word}" for word in ("dog", "sky", "car")[:prompts])] for i in range(4)]
    return {"image": torch.randn(4, 3, size, size), "text": text}


def concept_batch(prompts=2, **changes):
    """The same with the concept of each prompt."""
    return plain_batch(prompts=prompts, **changes) | {
        "concept_ids": torch.arange(prompts).expand(4, -1),
        "known_ids": torch.full((4, 2), -1),
    }


def reference_of(model, folder):
    from transformers import GroupViTModel

    save_groupvit(model, folder)
    found, info = GroupViTModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return found.eval()
