"""Pictures or texts embedded by a dual encoder into a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segue.data.embedding_store import EmbeddingStore, Item, StorePlan, fill_store, show_progress
from segue.encoders.dual_encoder import DualEncoder

BATCH_SIZES = {"images": 32, "texts": 4096}


def batch_reader(encoder: DualEncoder, kind: Literal["images", "texts"]) -> Callable[[list[Any]], NDArray[np.float32]]:
    """What embeds a batch of a store's items: images all at once, texts sorted by length and a few at a time."""
    if kind == "images":
        return lambda batch: encoder.embed_images(batch, batch_size=len(batch)).numpy()
    return lambda batch: encoder.embed_texts(batch).numpy()


def embed_items(
    kind: Literal["images", "texts"],
    items: list[Item],
    out: Path,
    encoder: DualEncoder,
    encoder_name: str,
    *,
    on_bad: Literal["stop", "skip"] = "stop",
    batch_size: int | None = None,
    shard_rows: int = 4096,
) -> EmbeddingStore:
    """Fill the store `out` with the embeddings of items, or resume filling it.

    kind: "images" or "texts". encoder_name: for the manifest. batch_size: items read at once; 32 images or 4,096 texts
    unless given. shard_rows: rows of a shard. Raises InputError as `fill_store`.
    """
    size = BATCH_SIZES[kind] if batch_size is None else batch_size
    plan = StorePlan(encoder.fingerprint, kind, encoder.width, shard_rows, size)
    return fill_store(
        out,
        items,
        batch_reader(encoder, kind),
        plan,
        about={"encoder": encoder_name},
        on_bad=on_bad,
        progress=show_progress,
    )
