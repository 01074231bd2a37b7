"""`segue lab bench inference`: CPU time a picture of bundled networks, by what they compute in and how many at once.

float32 and bf16 take turns at each batch size in one run, so that a busy machine slows both alike; times are medians of
the process's CPU time on one thread. What is counted beside them, convolutions and batch norms, is exact.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from shutil import which
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch._inductor import config as inductor_config

from segue.api.label_segmenter import load_label_segmenter
from segue.api.segmenter import Segmenter, load_segmenter
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.options import Dtype
from segue.types import InputError

NETWORKS = ("reclmis-chest", "reclmis-cxr", "photos-encoder")
NOTE = "One infected area, upper left lung."
COMPILED = {  # by the network's class: its parts (by their names in it) and the method that is compiled
    "RecLMIS": (("encoder", "maps"), ("", "_segment_encoded")),
    "VisionTextDualEncoder": (("image_encoder", "forward"),),
}
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
            pictures = _noise(turn, count, side)
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


def measure_compiled(name: str, counts: tuple[int, ...] = (1, 4), rounds: int = 9) -> dict[str, float]:
    """What `torch.compile` (inductor, C++) of a bundled network's layers brings on a CPU, in what auto computes in.

    start_up_ms: CPU milliseconds of compiling for the counts, with those of the C++ compiler, where nothing is kept of
    an earlier time. batch_N_ms and compiled_batch_N_ms: a picture's, by turns; batch_N_speedup: their ratio.
    Raises InputError as the loaders do, and without a C++ compiler.
    """
    if which("g++") is None and which("clang++") is None:
        raise InputError("torch.compile for a CPU needs a C++ compiler, and there is no g++ nor clang++; install one")
    (_, side, plain), (network, _, compiled) = _load(name, "auto"), _load(name, "auto")
    for part, method in COMPILED[type(network).__name__]:
        owner = network.get_submodule(part)
        setattr(owner, method, torch.compile(getattr(owner, method)))
    taken: dict[tuple[str, int], list[float]] = {}
    with one_thread(), tempfile.TemporaryDirectory() as cache, inductor_config.patch(compile_threads=1):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        start = _cpu_seconds()
        for count in counts:
            compiled(_noise(0, count, side))
        start_up = 1e3 * (_cpu_seconds() - start)
        for turn in range(rounds + 1):
            for count, (kind, run) in product(counts, (("", plain), ("compiled_", compiled))):
                pictures, start = _noise(turn, count, side), time.process_time()
                run(pictures)
                if turn:
                    taken.setdefault((kind, count), []).append(1e3 * (time.process_time() - start) / count)
    ms = {key: statistics.median(values) for key, values in taken.items()}
    found = {f"{kind}batch_{count}_ms": value for (kind, count), value in ms.items()}
    ratios = {f"batch_{count}_speedup": ms["", count] / ms["compiled_", count] for count in counts}
    return {"start_up_ms": start_up, **found, **ratios}


def _cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    return sum(sum(getrusage(who)[:2]) for who in (RUSAGE_SELF, RUSAGE_CHILDREN))


def _noise(seed: int, count: int, side: int) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(seed).integers(0, 255, (count, side, side, 3), dtype=np.uint8))


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
