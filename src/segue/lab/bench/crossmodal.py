"""`segue lab bench crossmodal`: the cost of drawing and captioning layouts, and how it grows with the layout's side.

The model is untrained, which changes no time: drawing takes all its steps, and captions have a fixed length.
Multiply-accumulates (MACs, attention products counted) are exact; times are medians over rounds in which every size
takes its turn, so that a busy machine slows all alike. The memory of training is the peak of a fresh process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from math import log
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from segue.lab.bench.caption import medians
from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.inference import continue_caption, draw_codes, start_caption
from segue.methods.crossmodal.model import CrossModal, build_crossmodal
from segue.methods.crossmodal.vq import LayoutVQ, VQConfig
from segue.nn.decoding import decode
from segue.options import Decoding
from segue.recipes.crossmodal import SCENES
from segue.types import InputError

VOCABULARY, LENGTH = 700, 24  # about those of the synthetic scenes
PAD, END = 0, 1


def bench_crossmodal(
    *,
    sizes: tuple[int, ...] = (128, 256, 512),
    width: int = SCENES.width,
    depth: int = SCENES.depth,
    factor: int = 16,
    classes: int = 171,
    steps: int = 8,
    guidance: float = 1.0,
    words: int = 12,
    beams: int = 4,
    batch: int = 8,
    rounds: int = 3,
) -> dict[str, Any]:
    """Cost of drawing and captioning a layout, and of training.

    Args:
        sizes: sides of the layouts in pixels, in rising order; growth is between the first and the last.
        width: of the streams.
        depth: layers of the streams.
        factor: pixels that a layout token spans; 16 is the paper's patch.
        classes: of the layouts.
        steps: of parallel drawing.
        guidance: other than 1 makes two passes a step.
        words: of a caption.
        beams: of its search.
        batch: layouts of the training step whose memory is measured, at the last size.
        rounds: that the medians are taken over.

    Raises InputError for a number below 1, and for fewer than two sizes or falling ones.
    """
    if min(batch, rounds, words, steps) < 1 or len(sizes) < 2 or list(sizes) != sorted(set(sizes)):
        raise InputError("expected batch, rounds, words and steps of 1 or more, and two rising sizes or more")
    shape = {"width": width, "depth": depth, "factor": factor, "classes": classes}
    jobs: dict[str, dict[int, Callable[[], object]]] = {"draw": {}, "caption": {}, "train": {}}
    for size in sizes:
        model, vq = untrained(size, **shape)
        jobs["draw"][size] = partial(draw, model, vq, size, steps, guidance)
        jobs["caption"][size] = partial(caption, model, vq, size, words, beams)
        jobs["train"][size] = partial(train, model, size)
    seconds = medians({f"{what} {size}": run for what, by in jobs.items() for size, run in by.items()}, rounds)
    macs = {f"{what} {size}": _macs(run) for what, by in jobs.items() for size, run in by.items()}
    memory = peaks_mb(model, vq, sizes[-1], batch)
    return {
        "sizes": {str(size): _costs(size, seconds, macs) for size in sizes},
        "growth": {what: _growth(what, sizes, seconds, macs) for what in jobs},
        "train_peak_mb": {**memory, "size": sizes[-1], "batch": batch, "classes": classes},
        "params": {"streams": params(model), "quantiser": params(vq)},
        "settings": {**shape, "steps": steps, "guidance": guidance, "words": words, "beams": beams},
        "rounds": rounds,
        "threads": torch.get_num_threads(),
    }


def untrained(size: int, *, width: int, depth: int, factor: int, classes: int) -> tuple[CrossModal, LayoutVQ]:
    """The joint model and the quantiser for layouts of one size."""
    torch.manual_seed(0)
    vq = LayoutVQ(VQConfig(classes, factor)).eval()
    config = CrossModalConfig(
        codes=vq.config.codes, grid=(size // factor,) * 2, patch=factor, vocabulary=VOCABULARY, max_words=LENGTH,
        width=width, heads=max(1, width // 32), depth=depth, pad=PAD, start=END, end=END,
    )  # fmt: skip
    return build_crossmodal(config).eval(), vq


def draw(model: CrossModal, vq: LayoutVQ, size: int, steps: int, guidance: float) -> None:
    """One layout of one caption, to its pixels."""
    with torch.inference_mode():
        codes = draw_codes(model, _ids(1), model.config.grid, seeds=[0], steps=steps, guidance=guidance)
        vq.decode(codes)


def caption(model: CrossModal, vq: LayoutVQ, size: int, words: int, beams: int) -> None:
    """One caption of one layout, of exactly `words` words."""
    with torch.inference_mode():
        layout = torch.zeros(1, size, size, dtype=torch.uint8)
        logits, cache = start_caption(model, model.encode_layouts(vq.encode(layout)))
        options, suppressed = Decoding(max_tokens=words, beams=beams), [PAD, END]
        step = partial(continue_caption, model)
        decode(step, logits, cache, end=END, options=options, suppressed_token_ids=suppressed)


def train(model: CrossModal, size: int) -> None:
    """Forward and backward pass of the joint model, with an image."""
    data = {"codes": torch.zeros(1, *model.config.grid, dtype=torch.int64), "ids": _ids(1)}
    loss = model.training_step({**data, "image": torch.zeros(1, 3, size, size), "seed": [0]})["loss"]
    torch.autograd.backward(loss)
    model.zero_grad()


def peaks_mb(model: CrossModal, vq: LayoutVQ, size: int, batch: int) -> dict[str, float]:
    """Peak resident memory in MB of fresh processes that train on whole layouts, and images, of one size."""
    cells = f"torch.zeros({(batch, *model.config.grid)}, dtype=torch.int64)"
    pictures = f"image=torch.zeros({batch}, 3, {size}, {size}), seed=list(range({batch}))"
    captioned = f"dict(codes={cells}, ids=torch.full(({batch}, {LENGTH}), 2), {pictures})"
    layouts = f"dict(layout=torch.randint(0, {vq.config.classes}, ({batch}, {size}, {size}), dtype=torch.uint8))"
    return {
        "quantiser": round(_peak_mb(f"LayoutVQ({vq.config!r})", layouts), 1),
        "streams": round(_peak_mb(f"build_crossmodal({model.config!r})", captioned), 1),
    }


def _peak_mb(part: str, batch: str) -> float:
    """Peak memory of two steps with AdamW. part, batch: Python expressions."""
    code = f"""
import resource, torch
from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.model import build_crossmodal
from segue.methods.crossmodal.vq import LayoutVQ, VQConfig
part = {part}
optimiser = torch.optim.AdamW(part.parameters())
for _ in range(2):
    optimiser.zero_grad()
    part.training_step({batch})["loss"].backward()
    optimiser.step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _ids(batch: int) -> torch.Tensor:
    ids = torch.full((batch, LENGTH), 2)
    ids[:, 0] = ids[:, -1] = END
    return ids


def _macs(run: Callable[[], object]) -> int:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # fused attention isn't counted
        run()
    return int(counter.get_total_flops()) // 2


def _costs(size: int, seconds: dict[str, float], macs: dict[str, int]) -> dict[str, float]:
    return {
        "layouts_per_s": round(1 / seconds[f"draw {size}"], 3),
        "captions_per_s": round(1 / seconds[f"caption {size}"], 3),
        "train_layouts_per_s": round(1 / seconds[f"train {size}"], 3),
        **{f"macs_{what}": macs[f"{what} {size}"] for what in ("draw", "caption", "train")},
    }


def _growth(what: str, sizes: tuple[int, ...], seconds: dict[str, float], macs: dict[str, int]) -> dict[str, float]:
    """The exponents e of cost ~ pixels^e."""
    pixels = 2 * log(sizes[-1] / sizes[0])
    ends = [f"{what} {size}" for size in (sizes[-1], sizes[0])]
    return {
        name: round(log(cost[ends[0]] / cost[ends[1]]) / pixels, 3)
        for name, cost in (("macs", macs), ("seconds", seconds))
    }


def params(part: torch.nn.Module) -> int:
    """The number of parameters."""
    return sum(p.numel() for p in part.parameters())
