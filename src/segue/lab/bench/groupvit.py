"""`segue bench groupvit`: GroupViT's train step and forward beside transformers', in one interleaved run.

Both have the same random weights, pictures and tokens; times are medians over rounds in which each takes its turn, so
that a busy machine slows all of them alike. transformers has no multi-label loss, so 1 + 3 texts are ours alone, and
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
    """Seconds of a train step with 1 and 1 + 3 texts, and of a forward at the trained size and at twice that.

    Args:
        size: paper or scenes.
        batch: pictures of a train step.
        tokens: length of every text; transformers' own preprocessing pads to 77.
        rounds: of train steps of which the medians are taken, after one that warms up; of forwards five times as many.
        forward_batch: pictures of a forward.
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
    kinds = [name.removeprefix("transformers_") for name in median if name.startswith("transformers_")]
    return {
        "size": size,
        "seconds": {name: round(value, 4) for name, value in median.items()},
        "ours_over_transformers": {
            kind: round(median[f"ours_{kind}"] / median[f"transformers_{kind}"], 3) for kind in kinds
        },
        "batch": batch,
        "tokens": tokens,
        "rounds": rounds,
        "threads": torch.get_num_threads(),
    }


def _train_steps(config: GroupViTConfig, batch: int, tokens: int) -> dict[str, Callable[[], object]]:
    ours = GroupViT(config).train()
    theirs = _theirs(ours).train()
    image = torch.randn(batch, 3, config.image_size, config.image_size)
    ids = torch.randint(4, config.vocabulary - 2, (batch, 4, tokens))
    ids[..., -1] = config.eos
    return {
        "ours_train_1_text": _step(ours, partial(_our_loss, ours, image, ids[:, :1])),
        "transformers_train_1_text": _step(theirs, partial(_their_loss, theirs, image, ids[:, 0])),
        "ours_train_1_and_3_texts": _step(ours, partial(_our_loss, ours, image, ids)),
    }


def _forwards(config: GroupViTConfig, batch: int) -> dict[str, Callable[[], object]]:
    out: dict[str, Callable[[], object]] = {}
    ours = GroupViT(config).eval()
    for side in (config.image_size, 2 * config.image_size):
        theirs = _theirs(GroupViT(replace(config, image_size=side))).eval()
        image = torch.randn(batch, 3, side, side)
        out[f"ours_forward_{side}"] = _quiet(partial(ours.see, image))
        out[f"transformers_forward_{side}"] = _quiet(partial(theirs.vision_model, image, output_attentions=True))
    return out


def _theirs(model: GroupViT) -> Any:
    from transformers import GroupViTModel

    with tempfile.TemporaryDirectory() as folder:
        save_groupvit(model, Path(folder) / "model")
        return GroupViTModel.from_pretrained(Path(folder) / "model")


def _our_loss(model: GroupViT, image: Tensor, ids: Tensor) -> Tensor:
    """`GroupViT.training_step` after the tokenizer."""
    told = model.embed_tokens(ids.flatten(0, 1)).unflatten(0, ids.shape[:2])
    shown = model.embed_seen(model.see(image))
    loss = multi_label_loss(shown, told[:, :1], model.scale)
    return loss + multi_label_loss(shown, told[:, 1:], model.scale) if ids.shape[1] > 1 else loss


def _their_loss(model: Any, image: Tensor, ids: Tensor) -> Tensor:
    return model(pixel_values=image, input_ids=ids, return_loss=True).loss


def _step(model: torch.nn.Module, loss: Callable[[], Tensor]) -> Callable[[], object]:
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.05)

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()

    return step


def _quiet(run: Callable[[], object]) -> Callable[[], object]:
    def forward() -> None:
        with torch.inference_mode():
            run()

    return forward
