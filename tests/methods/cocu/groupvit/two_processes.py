"""torchrun ... two_processes.py OUT: a training step of GroupViT over two processes, gradients averaged as DDP does."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from methods.cocu.groupvit.tiny_groupvit import TINY, concept_batch, make_model


def step(rows):
    """Loss and gradients of one step on `rows` of a batch of four, in float64; no noise, so that processes agree."""
    model = make_model(TINY, image_size=32, patch=8, drop_path=0.0).double().train()
    for module in model.modules():
        if hasattr(module, "norm_tokens"):
            module.assign.eval()  # no Gumbel noise: its numbers are each process's own
    torch.manual_seed(0)
    whole = concept_batch()
    whole["image"] = whole["image"].double()
    loss = model.training_step({name: value[rows] for name, value in whole.items()})["loss"]
    loss.backward()
    return {"loss": loss.detach(), **{name: p.grad for name, p in model.named_parameters() if p.grad is not None}}


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    found = step(slice(2 * rank, 2 * rank + 2))
    for value in found.values():
        dist.all_reduce(value)
        value /= 2
    save_file(found, Path(sys.argv[1]) / f"{rank}.safetensors")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
