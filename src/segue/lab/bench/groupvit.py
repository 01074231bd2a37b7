"""`segue lab bench groupvit`: GroupViT's train step and forward beside transformers', in one interleaved run.

Both have the same random weights, pictures and tokens; times are medians over rounds in which each takes its turn, so
that a busy machine slows both equally. transformers has no multi-label loss, so 1 + 3 texts are ours alone, and it
refuses pictures of 448 unless it is built for them, as it is here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segue.lab.bench.caption import medians
from segue.methods.cocu.groupvit.checkpoint import save_groupvit
from segue.methods.cocu.groupvit.config import SIZES, GroupViTConfig
from segue.methods.cocu.groupvit.losses import multi_label_loss
from segue.methods.cocu.groupvit.model import GroupViT
from segue.types import InputError


def bench_groupvit(
    *, size: str = "paper", batch: int = 8, tokens: int = 77, rounds: int = 5, forward_batch: int = 1
) -> dict[str, Any]:
    """Seconds of a train step with 1 and 1 + 3 texts, and of a forward pass at the trained size and at twice that.

    Raises InputError for an unknown size, and for more tokens than it has.

    Args:
        size: paper, small or scenes.
        batch: pictures of a train step.
        tokens: length of every text; transformers' own preprocessing pads to 77.
        rounds: train steps over which medians are taken, after one for warm-up; five times as many forward passes.
        forward_batch: pictures of a forward pass.
    """
    if size not in SIZES:
        raise InputError(f"size {size!r}: expected one of {', '.join(SIZES)}")
    config = SIZES[size]
    if not 2 <= tokens <= config.max_tokens:
        raise InputError(f"tokens: got {tokens}, expected 2 to {config.max_tokens}")
    torch.manual_seed(0)
    median = medians(_train_steps(config, batch, tokens), rounds) | medians(
        _forwards(config, forward_batch), 5 * rounds
    )
    compared = [name.removeprefix("transformers_") for name in median if name.startswith("transformers_")]
    return {
        "size": size,
        "seconds": {name: round(value, 4) for name, value in median.items()},
        "ours_over_transformers": {
            name: round(median[f"ours_{name}"] / median[f"transformers_{name}"], 3) for name in compared
        },
        "batch": batch,
        "tokens": tokens,
        "rounds": rounds,
        "threads": torch.get_num_threads(),
    }


def _train_steps(config: GroupViTConfig, batch: int, tokens: int) -> dict[str, Callable[[], object]]:
    ours = GroupViT(config).train()
    reference = _build_reference(ours).train()
    image = torch.randn(batch, 3, config.image_size, config.image_size)
    ids = torch.randint(4, config.vocabulary - 2, (batch, 4, tokens))
    ids[..., -1] = config.eos
    return {
        "ours_train_1_text": _step(ours, partial(_our_loss, ours, image, ids[:, :1])),
        "transformers_train_1_text": _step(reference, partial(_reference_loss, reference, image, ids[:, 0])),
        "ours_train_1_and_3_texts": _step(ours, partial(_our_loss, ours, image, ids)),
    }


def _forwards(config: GroupViTConfig, batch: int) -> dict[str, Callable[[], object]]:
    out: dict[str, Callable[[], object]] = {}
    ours = GroupViT(config).eval()
    for side in (config.image_size, 2 * config.image_size):
        reference = _build_reference(GroupViT(replace(config, image_size=side))).eval()
        image = torch.randn(batch, 3, side, side)
        forward = partial(reference.vision_model, image, output_attentions=True)
        out[f"ours_forward_{side}"] = _without_gradients(partial(ours.encode_image, image))
        out[f"transformers_forward_{side}"] = _without_gradients(forward)
    return out


def _build_reference(model: GroupViT) -> Any:
    """transformers' GroupViTModel with the same weights."""
    from transformers import GroupViTModel

    with tempfile.TemporaryDirectory() as folder:
        save_groupvit(model, Path(folder) / "model")
        return GroupViTModel.from_pretrained(Path(folder) / "model")


def _our_loss(model: GroupViT, image: Tensor, ids: Tensor) -> Tensor:
    """`GroupViT.training_step` after the tokenizer."""
    texts = torch.unflatten(model.embed_tokens(ids.flatten(0, 1)), 0, ids.shape[:2])
    images = model.embed_image(model.encode_image(image))
    loss = multi_label_loss(images, texts[:, :1], model.scale)
    return loss + multi_label_loss(images, texts[:, 1:], model.scale) if ids.shape[1] > 1 else loss


def _reference_loss(model: Any, image: Tensor, ids: Tensor) -> Tensor:
    loss: Tensor = model(pixel_values=image, input_ids=ids, return_loss=True).loss
    return loss


def _step(model: torch.nn.Module, loss: Callable[[], Tensor]) -> Callable[[], object]:
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.05)

    def step() -> None:
        optimiser.zero_grad()
        torch.autograd.backward(loss())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()

    return step


def _without_gradients(run: Callable[[], object]) -> Callable[[], object]:
    def forward() -> None:
        with torch.inference_mode():
            run()

    return forward
