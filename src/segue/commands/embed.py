"""`segue embed`: a folder of pictures, or a file of texts, into a store of a pair's embeddings."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, Literal

from segue.api.embedding import embed_items
from segue.data.embedding_store import Item, picture_items, text_items
from segue.data.images import PICTURES, pictures_in
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.types import InputError


def embed_files(
    source: Path,
    out: Path,
    pair: str,
    *,
    on_bad: Literal["stop", "skip"] = "stop",
    batch_size: int = 0,
    shard_rows: int = 4096,
    device: str = "cpu",
) -> dict[str, Any]:
    """Fill the store `out`, or go on filling it; what came of it. Arguments as in `segue.cli.embed`."""
    kind, items = find_items(source)
    embedder = load_dual_encoder(pair, device=device)
    store = embed_items(kind, items, out, embedder, pair, on_bad=on_bad, batch_size=batch_size, shard_rows=shard_rows)
    return {
        "store": str(out),
        "kind": kind,
        "rows": len(store),
        "width": store.width,
        "shards": len(store.shards),
        "bad": len(store.bad),
        "bad_names": list(store.bad)[:100],
    }


def find_items(source: Path) -> tuple[str, list[Item]]:
    """("images", the pictures below a folder, by path) or ("texts", the lines of a .txt or .txt.gz, by number)."""
    if source.is_dir():
        found = pictures_in(source, deep=True)
        return "images", picture_items((p.relative_to(source).as_posix(), p) for p in found)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; give a folder of pictures or a .txt with one text a line")
    if source.suffix.lower() in PICTURES:
        return "images", picture_items([(source.name, source)])
    if not source.name.lower().endswith((".txt", ".txt.gz")):
        raise InputError(
            f"{source}: expected a folder of pictures, a picture, or a .txt or .txt.gz with one text a line"
        )
    return "texts", text_items((f"line {i}", line) for i, line in enumerate(_lines(source), start=1))


def _lines(path: Path) -> list[str]:
    """The lines of a text file, which newlines alone divide: a caption may hold U+2028 and the like."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.name.lower().endswith(".gz") else path.read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read as UTF-8 text ({error}); save it as UTF-8") from error
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
