"""A task of 200 weights for the tests of the loop; as a script it trains in a process of its own.

python tiny_task.py OUT killed            slowly, to be killed half way
torchrun ... tiny_task.py OUT together    with batch statistics and a contrast over all processes
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from segue.nn.gather import gather
from segue.nn.norm import BatchNorm2d
from segue.training import FitOptions, FitResult, fit

KILLED = FitOptions(
    steps=12,
    batch_size=6,
    accumulate=2,
    lr=1e-2,
    weight_decay=0.01,
    warmup=2,
    ema=0.9,
    evaluate_every=4,
    seed=3,
    precision="float32",
)
TOGETHER = FitOptions(
    steps=12, batch_size=8, accumulate=2, lr=1e-2, evaluate_every=5, clip_norm=1.0, precision="float32"
)


class TinyTask(nn.Module):
    def __init__(self, dropout: float = 0.0, contrast: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = BatchNorm2d(4)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4, 4)
        self.contrast = contrast

    def forward(self, x):
        return self.head(self.dropout(self.norm(self.convolution(x)).relu()).mean((2, 3)))

    def training_step(self, batch):
        z = self(batch["image"])
        regression = F.mse_loss(z[:, 0], batch["target"])
        if not self.contrast:
            return {"loss": regression, "regression": regression}
        z, w = F.normalize(gather(z)), F.normalize(gather(batch["image"].mean((2, 3)) @ self.head.weight[:3]))
        contrast = F.cross_entropy(z @ w.T * 5, torch.arange(len(z)))
        return {"loss": regression + contrast, "regression": regression, "contrast": contrast}


class TinyBatches:
    def __init__(self, examples: int = 10, delay: float = 0.0):
        self.examples, self.delay = examples, delay

    def __len__(self):
        return self.examples

    def collate(self, keys):
        time.sleep(self.delay)
        images = torch.stack([self._image(*key) for key in keys])
        return {"image": images, "target": images[:, 0].amax((1, 2))}

    def _image(self, epoch, index):
        still = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(index))
        return still + 0.1 * torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(1000 * epoch + index))


def save(module, path):
    save_file(module.state_dict(), path / "model.safetensors")


def evaluate(module):
    assert not module.training
    batch = TinyBatches().collate([(99, i) for i in range(4)])
    return {"dice": -F.mse_loss(module(batch["image"])[:, 0], batch["target"]).item()}


def train_killed(out: Path, delay: float = 0.0, **changes) -> FitResult:
    task, batches = TinyTask(dropout=0.3), TinyBatches(delay=delay)
    return fit(task, batches, out=out, options=KILLED, save=save, evaluate=evaluate, **changes)


def train_together(out: Path) -> FitResult:
    return fit(TinyTask(contrast=True), TinyBatches(), out=out, options=TOGETHER, save=save, evaluate=evaluate)


def norm_and_gather(x, rows):
    """Outputs, input gradient and running statistics of our layers on `rows` of the batch `x`."""
    norm = BatchNorm2d(x.shape[1], momentum=0.3)
    nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(1))
    x = x[rows].clone().requires_grad_()
    y = norm(x)
    gather(y).square().mul(torch.arange(y.numel() * world()).view(-1, *y.shape[1:])).sum().backward()
    # Each process computes the same joined loss, and DDP averages: hence the division.
    return {"y": y.detach(), "gradient": x.grad / world(), **norm.state_dict()}


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def main() -> None:
    torch.set_num_threads(1)
    out, kind = Path(sys.argv[1]), sys.argv[2]
    if kind == "killed":
        train_killed(out, delay=0.1)
        return
    result = train_together(out)
    rank = dist.get_rank()
    (out / f"result-{rank}.json").write_text(json.dumps([result.steps, result.best, result.best_step]))
    save_file(norm_and_gather(offset_batch(), slice(2 * rank, 2 * rank + 2)), out / f"norm-{rank}.safetensors")
    dist.barrier()  # a process that is still connecting aborts when the other leaves
    dist.destroy_process_group()
    os._exit(0)  # all is written; in torch's own farewell a thread of gloo's aborts the process now and then


def offset_batch():
    """(4, 3, 5, 5) of mean 100 and deviation 1: a sum of squares in float32 would lose the variance."""
    return 100 + torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))


if __name__ == "__main__":
    main()
