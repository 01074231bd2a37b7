"""Pictures or texts embedded by a dual encoder into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from segue.data.embedding_store import EmbeddingStore, Item, Plan, fill_store, show_progress
from segue.encoders.dual_encoder import DualEncoder

BATCH = {"images": 32, "texts": 256}


def embed_items(
    kind: str,
    items: list[Item],
    out: Path,
    embedder: DualEncoder,
    name: str,
    *,
    on_bad: Literal["stop", "skip"] = "stop",
    batch_size: int = 0,
    shard_rows: int = 4096,
) -> EmbeddingStore:
    """Fill the store `out` with the embeddings of "images" or "texts" under `embedder`, known to people by `name`."""
    plan = Plan(embedder.fingerprint, kind, embedder.width, shard_rows, batch_size or BATCH[kind])
    embed = embedder.embed_images if kind == "images" else embedder.embed_texts
    return fill_store(
        out,
        items,
        lambda batch: embed(batch, batch_size=len(batch)).numpy(),
        plan,
        about={"pair": name},
        on_bad=on_bad,
        progress=show_progress,
    )
