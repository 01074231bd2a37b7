"""`segue lab bench embed`: pictures and texts per second of dual encoders, and the speed of the store, in one run."""

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

from segue.data.embedding_store import EmbeddingStore, Item, StorePlan, fill_store
from segue.encoders.dual_encoder import DualEncoder, DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.efficientnet import EfficientNetLite
from segue.encoders.image.small import SmallImageEncoder
from segue.encoders.text.minilm import MiniLM
from segue.encoders.text.small import SmallTextEncoder
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.types import InputError

TEXTS = ("A small red ball lies left of a tall tree.", "Two dogs run over the grass.", "A man flies a kite at dusk.")


def _small_encoder() -> DualEncoder:
    text = SmallTextEncoder(SmallTextEncoder.train_tokenizer(TEXTS), max_tokens=48)
    return VisionTextDualEncoder(DualEncoderConfig(), SmallImageEncoder(), text)


def _packaged_encoder() -> DualEncoder:
    return VisionTextDualEncoder(DualEncoderConfig(), EfficientNetLite(), MiniLM())


UNTRAINED: dict[str, Callable[[], DualEncoder]] = {
    "small": _small_encoder,
    "efficientnet-lite0+minilm": _packaged_encoder,
}


def bench_embed(
    *,
    encoders: tuple[str, ...] = ("small", "efficientnet-lite0+minilm"),
    batch_sizes: tuple[int, ...] = (1, 32),
    rounds: int = 3,
    size: int = 224,
    rows: int = 100_000,
) -> dict[str, Any]:
    """Speed of embedding, medians over rounds in which every dual encoder takes its turn.

    Raises InputError for no dual encoder, batch size or round.

    Args:
        encoders: small, efficientnet-lite0+minilm (extra offline), both with untrained heads, or any that --encoder
            takes.
        batch_sizes: how many at once.
        rounds: after one for warm-up.
        size: side of the pictures in pixels.
        rows: of the store that is written and read, 256 wide.
    """
    torch.manual_seed(0)
    if rounds < 1 or not encoders or min(batch_sizes, default=0) < 1:
        raise InputError("bench embed: expected at least one encoder, one batch size and one round, each 1 or more")
    loaded = {
        name: UNTRAINED[name]() if name in UNTRAINED else load_dual_encoder(name, device="cpu") for name in encoders
    }
    jobs = [
        (name, kind, batch, run)
        for name, encoder in loaded.items()
        for batch in batch_sizes
        for kind, run in _jobs(encoder, batch, size).items()
    ]
    rates: dict[tuple[str, str, int], list[float]] = {}
    for turn in range(rounds + 1):  # the first round is the warm-up
        for name, kind, batch, run in jobs:
            seconds = _seconds(run)
            if turn:
                rates.setdefault((name, kind, batch), []).append(batch / seconds)
    speeds: dict[str, Any] = {name: {"images_per_s": {}, "texts_per_s": {}} for name in encoders}
    for (name, kind, batch), values in rates.items():
        speeds[name][f"{kind}_per_s"][str(batch)] = round(statistics.median(values), 2)
    return {"encoders": speeds, "store": bench_store(rows), "size": size, "threads": torch.get_num_threads()}


def bench_store(rows: int, width: int = 256) -> dict[str, float]:
    """Megabytes per second written to and read from a store of random rows; the reads come from the file cache."""
    vectors = np.random.default_rng(0).standard_normal((rows, width), dtype=np.float32)
    items = [Item(str(i), "", partial(int, i)) for i in range(rows)]
    megabytes = rows * width * 2 / 1e6
    with tempfile.TemporaryDirectory() as folder:
        plan = StorePlan("random", "texts", width, 16384, 1024)
        fill = partial(fill_store, Path(folder), items, lambda batch: vectors[batch], plan)
        written = _seconds(fill)
        read = _seconds(
            lambda: [float(part.sum(dtype=np.float32)) for _, part in EmbeddingStore(Path(folder)).chunks()]
        )
    return {"write_mb_per_s": round(megabytes / written, 1), "read_mb_per_s": round(megabytes / read, 1)}


def _jobs(encoder: DualEncoder, batch: int, size: int) -> dict[str, Callable[[], object]]:
    images = list(np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8))
    texts = [f"{TEXTS[i % len(TEXTS)]} {i}" for i in range(batch)]
    return {
        "images": partial(encoder.embed_images, images, batch_size=batch),
        "texts": partial(encoder.embed_texts, texts, batch_size=batch),
    }


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
