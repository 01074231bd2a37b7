"""`segue bench embed`: pictures and texts a second of every pair, and the store's speed, in one interleaved run."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segue.data.embedding_store import EmbeddingStore, Item, Plan, fill_store
from segue.encoders.dual_encoder import DualEncoder, DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.efficientnet import EfficientNetLite
from segue.encoders.image.small import SmallImageEncoder
from segue.encoders.text.minilm import MiniLM
from segue.encoders.text.small import SmallTextEncoder
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.types import InputError

TEXTS = ("A small red ball lies left of a tall tree.", "Two dogs run over the grass.", "A man flies a kite at dusk.")


def _small() -> DualEncoder:
    text = SmallTextEncoder(SmallTextEncoder.train_tokenizer(TEXTS), max_tokens=48)
    return VisionTextDualEncoder(DualEncoderConfig(), SmallImageEncoder(), text)


def _packaged() -> DualEncoder:
    return VisionTextDualEncoder(DualEncoderConfig(), EfficientNetLite(), MiniLM())


UNTRAINED: dict[str, Callable[[], DualEncoder]] = {"small": _small, "efficientnet-lite0+minilm": _packaged}


def bench_embed(
    *,
    pairs: tuple[str, ...] = ("small", "efficientnet-lite0+minilm"),
    batch_sizes: tuple[int, ...] = (1, 32),
    rounds: int = 3,
    size: int = 224,
    rows: int = 100_000,
) -> dict[str, Any]:
    """Speed of embedding, medians over rounds in which every pair takes its turn.

    Args:
        pairs: small, efficientnet-lite0+minilm (extra towers), both with untrained heads, or any that --pair takes.
        batch_sizes: how many at once.
        rounds: after one that warms up.
        size: side of the pictures that are given, in pixels.
        rows: of the store that is written and read, 256 wide.
    """
    torch.manual_seed(0)
    if rounds < 1 or not pairs or min(batch_sizes, default=0) < 1:
        raise InputError("bench embed: expected at least one pair, one batch size and one round, each 1 or more")
    loaded = {name: UNTRAINED[name]() if name in UNTRAINED else load_dual_encoder(name) for name in pairs}
    times: dict[tuple[str, str, int], list[float]] = {}
    for turn in range(rounds + 1):  # the first round warms up
        for name, pair in loaded.items():
            for batch in batch_sizes:
                for kind, run in _jobs(pair, batch, size).items():
                    seconds = _seconds(run)
                    if turn:
                        times.setdefault((name, kind, batch), []).append(batch / seconds)
    speeds: dict[str, Any] = {name: {"images_per_s": {}, "texts_per_s": {}} for name in pairs}
    for (name, kind, batch), values in times.items():
        speeds[name][f"{kind}_per_s"][str(batch)] = round(statistics.median(values), 2)
    return {"pairs": speeds, "store": bench_store(rows), "size": size, "threads": torch.get_num_threads()}


def bench_store(rows: int, width: int = 256) -> dict[str, float]:
    """Megabytes a second written to and read from a store of random rows; the reading finds it in memory."""
    vectors = np.random.default_rng(0).standard_normal((rows, width), dtype=np.float32)
    items = [Item(str(i), "", partial(int, i)) for i in range(rows)]
    megabytes = rows * width * 2 / 1e6
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan("random", "texts", width, 16384, 1024)
        fill = partial(fill_store, Path(folder), items, lambda batch: vectors[batch], plan)
        written = _seconds(fill)
        read = _seconds(
            lambda: [float(part.sum(dtype=np.float32)) for _, part in EmbeddingStore(Path(folder)).chunks()]
        )
    return {"write_mb_per_s": round(megabytes / written, 1), "read_mb_per_s": round(megabytes / read, 1)}


def _jobs(pair: DualEncoder, batch: int, size: int) -> dict[str, Callable[[], object]]:
    images = list(np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8))
    texts = [f"{TEXTS[i % len(TEXTS)]} {i}" for i in range(batch)]
    return {
        "images": partial(pair.embed_images, images, batch_size=batch),
        "texts": partial(pair.embed_texts, texts, batch_size=batch),
    }


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
