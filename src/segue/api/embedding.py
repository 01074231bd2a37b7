"""Pictures or texts embedded by a dual encoder into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from segue.data.embedding_store import EmbeddingStore, Item, StorePlan, fill_store, show_progress
from segue.encoders.dual_encoder import DualEncoder

BATCH_SIZES = {"images": 32, "texts": 256}


def embed_items(
    kind: str,
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

    kind: "images" or "texts". encoder_name: for the manifest. batch_size: items at once; 32 images or 256 texts unless
    given. shard_rows: rows of a shard. Raises InputError as `fill_store`.
    """
    size = BATCH_SIZES[kind] if batch_size is None else batch_size
    plan = StorePlan(encoder.fingerprint, kind, encoder.width, shard_rows, size)
    embed = encoder.embed_images if kind == "images" else encoder.embed_texts
    return fill_store(
        out,
        items,
        lambda batch: embed(batch, batch_size=len(batch)).numpy(),
        plan,
        about={"encoder": encoder_name},
        on_bad=on_bad,
        progress=show_progress,
    )
