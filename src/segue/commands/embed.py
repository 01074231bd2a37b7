"""`segue embed`: a folder of pictures, or a file of texts, into a store of a dual encoder's embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from segue.options import Dtype
from segue.types import InputError

if TYPE_CHECKING:
    from segue.data.embedding_store import Item


def embed(
    source: Positional[Path],
    /,
    out: Annotated[Path, arg(aliases=["-o"])],
    encoder: str = "scenes-encoder",
    on_bad: Literal["stop", "skip"] = "stop",
    batch_size: int | None = None,
    shard_rows: int = 4096,
    json: bool = False,
    device: str = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Write the embeddings of pictures or texts to a store.

    The same command resumes a run that was stopped.

    Args:
        source: a folder of pictures, or a .txt or .txt.gz with one text a line.
        out: the store, a folder: float16 shards (.npy) and manifest.json.
        encoder: a dual encoder: a bundled name, a checkpoint folder, or clip:ID-OR-FOLDER (CLIP or SigLIP).
        on_bad: what to do with what can't be read: stop before computing, or skip it and name it in the manifest.
        batch_size: how many are read at once; 32 pictures or 4,096 texts unless given.
        shard_rows: rows of a shard; a kill loses one at most.
        json: print one JSON object.
        device: auto (a GPU where there is one), cpu, cuda, cuda:1, ...
        dtype: what embeddings are computed in: bf16, or float32, which auto is.
    """
    from segue.api.embedding import embed_items
    from segue.commands.parsing import print_result
    from segue.methods.dual_encoder.checkpoint import load_dual_encoder

    kind, items = find_items(source)
    model = load_dual_encoder(encoder, device=device, dtype=dtype)
    store = embed_items(kind, items, out, model, encoder, on_bad=on_bad, batch_size=batch_size, shard_rows=shard_rows)
    found = {
        "store": str(out),
        "kind": kind,
        "rows": len(store),
        "width": store.width,
        "shards": len(store.shards),
        "bad": len(store.bad),
        "bad_names": list(store.bad)[:100],
    }
    print_result(found, json)


def find_items(source: Path) -> tuple[Literal["images", "texts"], list[Item]]:
    """("images", the pictures below a folder, by path) or ("texts", the lines of a .txt or .txt.gz, by number).

    Raises InputError for another kind of file.
    """
    from segue.data.embedding_store import picture_items, text_items
    from segue.data.lines import read_lines
    from segue.data.picture_files import PICTURE_SUFFIXES, pictures_in

    if source.is_dir():
        found = pictures_in(source, deep=True)
        return "images", picture_items((p.relative_to(source).as_posix(), p) for p in found)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; give a folder of pictures or a .txt with one text a line")
    if source.suffix.lower() in PICTURE_SUFFIXES:
        return "images", picture_items([(source.name, source)])
    if not source.name.lower().endswith((".txt", ".txt.gz")):
        raise InputError(
            f"{source}: expected a folder of pictures, a picture, or a .txt or .txt.gz with one text a line"
        )
    return "texts", text_items((f"line {i}", line) for i, line in read_lines(source))
