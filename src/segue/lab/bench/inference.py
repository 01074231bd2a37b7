"""`segue lab bench inference`: CPU time a picture of bundled networks, by what they compute in and how many at once.

float32 and bf16 take turns at each batch size in one run, so that a busy machine slows both alike; times are medians of
the process's CPU time on one thread. What is counted beside them, convolutions and batch norms, is exact.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segue.api.label_segmenter import load_label_segmenter
from segue.api.segmenter import Segmenter, load_segmenter
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.options import Dtype
from segue.types import InputError

NETWORKS = ("reclmis-chest", "reclmis-cxr", "photos-encoder")
NOTE = "One infected area, upper left lung."
DTYPES: tuple[Dtype, Dtype] = ("float32", "bf16")
Run = Callable[[list[NDArray[np.uint8]]], object]


def bench_inference(
    *, networks: tuple[str, ...] = NETWORKS, batches: tuple[int, ...] = (1, 4, 16), rounds: int = 7
) -> dict[str, Any]:
    """Cost of the networks, each with pictures of its own size.

    networks: bundled models that segment by notes, or dual encoders. batches: pictures of a call. rounds: of which the
    median counts, after one to warm up. Raises InputError for no batch, fewer rounds than 1, and as the loaders do.
    """
    if not batches or min(*batches, rounds) < 1:
        raise InputError(f"got batches {batches} and {rounds} rounds, expected 1 or more of each")
    with one_thread():
        return {"networks": {name: _measure(name, batches, rounds) for name in networks}, "rounds": rounds}


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes on one thread within it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _measure(name: str, batches: tuple[int, ...], rounds: int) -> dict[str, Any]:
    loaded = {dtype: _load(name, dtype) for dtype in DTYPES}
    network, side, _ = loaded[DTYPES[0]]
    taken: dict[str, dict[int, list[float]]] = {dtype: {count: [] for count in batches} for dtype in DTYPES}
    for turn in range(rounds + 1):
        for count in batches:
            pictures = list(np.random.default_rng(turn).integers(0, 255, (count, side, side, 3), dtype=np.uint8))
            for dtype, (_, _, run) in loaded.items():
                start = time.process_time()
                run(pictures)
                if turn:
                    taken[dtype][count].append(1e3 * (time.process_time() - start) / count)
    kinds = {"convolutions": nn.Conv2d, "batch_norms": nn.BatchNorm2d}
    counts = {what: sum(isinstance(part, kind) for part in network.modules()) for what, kind in kinds.items()}
    cost = {dtype: {n: round(statistics.median(ms), 2) for n, ms in of.items()} for dtype, of in taken.items()}
    return {"side": side, **counts, "cpu_ms_per_picture": cost}


def _load(name: str, dtype: Dtype) -> tuple[nn.Module, int, Run]:
    """The network, the side of its pictures, and what is done to a batch of them."""
    if not name.startswith("reclmis"):
        encoder = load_dual_encoder(name, device="cpu", dtype=dtype)
        return encoder, encoder.image_encoder.size, encoder.embed_images
    model: Segmenter = load_segmenter(name, device="cpu", dtype=dtype)
    run: Run = lambda pictures: list(model.segment_many(pictures, [NOTE] * len(pictures)))  # noqa: E731
    return model.members[0].network, model.preprocessing.size, run


def measure_names(model: str, counts: tuple[int, ...] = (10, 1000), rounds: int = 5) -> dict[str, float]:
    """CPU milliseconds to name a picture of 640 x 480 pixels, by how many names are asked for; texts are embedded once.

    And `ratio`, the last count's over the first's. Raises InputError as the loader does.
    """
    segmenter, names = load_label_segmenter(model, device="cpu"), [f"thing {i}" for i in range(max(counts))]
    coarse = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    picture = coarse.repeat(40, 0).repeat(40, 1)
    taken: dict[int, list[float]] = {count: [] for count in counts}
    for turn in range(rounds + 1):
        for count in counts:
            start = time.process_time()
            segmenter.segment(picture, names[:count])
            if turn:
                taken[count].append(1e3 * (time.process_time() - start))
    found = {f"names_{count}_ms": statistics.median(ms) for count, ms in taken.items()}
    first, *_, last = found.values()
    return found | {"ratio": last / first}
