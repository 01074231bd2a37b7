"""Embeddings on disk: memory-mapped float16 shards and a manifest; written shard by shard, resumed after a kill.

    STORE/manifest.json        names of the rows in order, width, rows of each shard, fingerprints, unreadable inputs
    STORE/shard-00000.npy      (rows, width) float16, NumPy's own format

The manifest is written first and never changes; a shard is there whole or not at all. A shard is a function of its own
inputs (its batches start with it), so that a store filled in ten runs equals one filled in one, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segue.files import locked, replacing, write_text
from segue.types import InputError

MANIFEST = "manifest.json"
_FORMAT = "segue-store-1"


@dataclass(frozen=True)
class Item:
    """One picture or text to embed.

    name: unique in its store. content_key: the same for the same content only: a hash of it, or a short text itself.
    load: reads it; raises InputError when it can't be read.
    """

    name: str
    content_key: str
    load: Callable[[], Any]


@dataclass(frozen=True)
class StorePlan:
    """How a store is filled. All of it decides the bytes, so a store is resumed under the same plan only.

    embedder: fingerprint of the encoder. kind: "images" or "texts". width: of a row. shard_rows: rows of a shard.
    batch_size: items embedded at once (the last bits of a float may depend on it).
    Raises InputError for a width, shard_rows or batch_size below 1.
    """

    embedder: str
    kind: str
    width: int
    shard_rows: int = 4096
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name in ("width", "shard_rows", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected 1 or more")


class EmbeddingStore:
    """A finished store: len(store) rows and their `names`; rows are memory-mapped, never read as a whole.

    bad: inputs that were skipped, by name, with the reason.
    Raises InputError for a folder that is no store, and for one that is not completely filled.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.manifest = _read_manifest(self.path)
        self.names: list[str] = self.manifest["names"]
        self.width: int = self.manifest["plan"]["width"]
        self.bad: dict[str, str] = self.manifest["bad"]
        if missing := _missing(self.path, self.manifest):
            raise InputError(
                f"{self.path}: {len(missing)} of {len(self.manifest['shards'])} shards are not filled yet; "
                "run the same `segue embed` again to go on"
            )

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def shards(self) -> list[NDArray[np.float16]]:
        """The (rows, width) float16 memory maps, one for each shard. Raises InputError for a broken one."""
        return [_open_shard(self.path, self.manifest, number) for number in range(len(self.manifest["shards"]))]

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float16]:
        """Rows start..stop (stop excluded, the end by default), (n, width) float16; no copy within one shard."""
        first, last, _ = slice(start, stop).indices(len(self))
        size = self.manifest["plan"]["shard_rows"]
        parts = [
            self.shards[n][max(first - n * size, 0) : last - n * size]
            for n in range(first // size, (max(last, first + 1) - 1) // size + 1)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def take(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float16]:
        """The rows at these positions, (n, width) float16, copied, in the order of the positions."""
        rows = np.asarray(indices, dtype=np.int64)
        out = np.empty((len(rows), self.width), np.float16)
        shard = rows // self.manifest["plan"]["shard_rows"]
        for number in np.unique(shard):
            inside = shard == number
            out[inside] = self.shards[number][rows[inside] - number * self.manifest["plan"]["shard_rows"]]
        return out

    def chunks(self, size: int = 65536) -> Iterator[tuple[int, NDArray[np.float16]]]:
        """The rows in order, at most `size` at a time: (number of the first one, (n, width) float16)."""
        for start in range(0, len(self), size):
            yield start, self.rows(start, min(start + size, len(self)))


def fill_store(
    path: Path,
    items: Sequence[Item],
    embed: Callable[[list[Any]], NDArray[np.float32]],
    plan: StorePlan,
    *,
    about: dict[str, Any] | None = None,
    on_bad: Literal["stop", "skip"] = "stop",
    progress: Callable[[int, int], None] | None = None,
    wait: bool = False,
) -> EmbeddingStore:
    """Embed what is missing in `path` and return the finished store.

    embed: loaded items -> (n, width) numbers. about: facts for the manifest of a new store. on_bad: "stop" before
    computing when an item can't be read, or "skip" it; the manifest names each with its reason. progress: called
    with (rows done, all rows) after each shard. wait: for another process that is filling it, instead of refusing.
    Raises InputError when `path` holds a store of another encoder, of other inputs or under another plan, or other
    files; for items of the same name; for items that can't be read (see on_bad); for rows that float16 can't hold.
    """
    path.mkdir(parents=True, exist_ok=True)
    with _locked_store(path, wait):
        manifest = _open_manifest(path, items, plan, about or {}, on_bad)
        readable = [item for item in items if item.name not in manifest["bad"]]
        for number in _missing(path, manifest):
            start = number * plan.shard_rows
            rows = _embed_shard(readable[start : start + plan.shard_rows], embed, plan)
            with replacing(path / _shard_name(number)) as fresh, fresh.open("wb") as file:
                np.save(file, rows)
                os.fsync(file.fileno())  # hours of work: not even a power failure leaves a part of it
            if progress:
                progress(start + len(rows), len(readable))
    return EmbeddingStore(path)


def _embed_shard(
    items: Sequence[Item], embed: Callable[[list[Any]], NDArray[np.float32]], plan: StorePlan
) -> NDArray[np.float16]:
    out = np.empty((len(items), plan.width), np.float16)
    for start in range(0, len(items), plan.batch_size):
        batch = [item.load() for item in items[start : start + plan.batch_size]]
        rows = np.asarray(embed(batch))
        if rows.shape != (len(batch), plan.width):
            raise InputError(f"embedder: gave {rows.shape} for {len(batch)} items, expected {len(batch), plan.width}")
        if not np.isfinite(rows).all() or np.abs(rows).max(initial=0) > np.finfo(np.float16).max:
            names = [item.name for item in items[start : start + plan.batch_size]]
            raise InputError(f"embedder: gave numbers that float16 can't hold, between {names[0]} and {names[-1]}")
        out[start : start + len(batch)] = rows
    return out


def _open_manifest(
    path: Path, items: Sequence[Item], plan: StorePlan, about: dict[str, Any], on_bad: str
) -> dict[str, Any]:
    """The manifest in `path` if it is of these inputs and this plan, a new one if there is none."""
    inputs = _hash_items(items)
    if not (path / MANIFEST).exists():
        if others := sorted(p.name for p in path.iterdir() if not p.name.startswith(".")):
            raise InputError(f"{path}: holds {others[0]} and no {MANIFEST}, so it is no store; name a new folder")
        return _create_manifest(path, items, inputs, plan, about, on_bad)
    manifest = _read_manifest(path)
    for name, now in asdict(plan).items():
        if manifest["plan"].get(name) != now:
            raise InputError(
                f"{path}: a store with {name} {_short(manifest['plan'].get(name))}, got {_short(now)}; "
                "go on with its own, or name a new folder"
            )
    if manifest["inputs"] != inputs:
        raise InputError(
            f"{path}: a store of {len(manifest['names']) + len(manifest['bad'])} other inputs than these "
            f"{len(items)}, by name, content or order; name a new folder"
        )
    if manifest["bad"] and on_bad == "stop":
        raise _unreadable_error(manifest["bad"], len(items))
    return manifest


def _create_manifest(
    path: Path, items: Sequence[Item], inputs: str, plan: StorePlan, about: dict[str, Any], on_bad: str
) -> dict[str, Any]:
    bad = _find_unreadable(items)
    if bad and on_bad == "stop":
        raise _unreadable_error(bad, len(items))
    names = [item.name for item in items if item.name not in bad]
    if not names:
        raise InputError(f"{path}: nothing to embed: none of {len(items)} inputs can be read")
    starts = range(0, len(names), plan.shard_rows)
    manifest = {
        "format": _FORMAT,
        "plan": asdict(plan),
        "about": about,
        "inputs": inputs,
        "shards": [min(plan.shard_rows, len(names) - start) for start in starts],
        "bad_count": len(bad),
        "bad": bad,
        "names": names,
    }
    write_text(path / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return manifest


def _find_unreadable(items: Sequence[Item]) -> dict[str, str]:
    """The items that can't be read, by name, each with its reason; reads all of them.

    Raises InputError for no item, and for two of the same name.
    """
    if not items:
        raise InputError("nothing to embed: got no input; check the folder or the file")
    seen: set[str] = set()
    bad = {}
    for item in items:
        if item.name in seen:
            raise InputError(f"{item.name}: two inputs have this name; names must differ")
        seen.add(item.name)
        try:
            item.load()
        except InputError as error:
            bad[item.name] = str(error)
    return bad


def _unreadable_error(bad: dict[str, str], count: int) -> InputError:
    some = "; ".join(list(bad.values())[:3]) + ("; ..." if len(bad) > 3 else "")
    return InputError(f"{len(bad)} of {count} inputs can't be read: {some}. Mend them, or pass --on-bad skip")


def _hash_items(items: Sequence[Item]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps([item.name, item.content_key]).encode())
    return digest.hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no {MANIFEST} there; a store is a folder that `segue embed` wrote") from error
    except ValueError as error:
        raise InputError(f"{file}: not readable as JSON ({error}); copy the store again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise InputError(f"{file}: not the manifest of a store ({_FORMAT}); name a folder that `segue embed` wrote")
    return manifest


def _missing(path: Path, manifest: dict[str, Any]) -> list[int]:
    return [number for number in range(len(manifest["shards"])) if not (path / _shard_name(number)).exists()]


def _open_shard(path: Path, manifest: dict[str, Any], number: int) -> NDArray[np.float16]:
    file, expected = path / _shard_name(number), (manifest["shards"][number], manifest["plan"]["width"])
    try:
        rows: NDArray[np.float16] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file}: can't be read ({error}); delete it and run the same `segue embed` again") from error
    if rows.shape != expected or rows.dtype != np.float16:
        raise InputError(
            f"{file}: holds {rows.shape} {rows.dtype}, expected {expected} float16; "
            "delete it and run the same `segue embed` again"
        )
    return rows


def _shard_name(number: int) -> str:
    return f"shard-{number:05d}.npy"


def _short(value: Any) -> Any:
    return value[:12] if isinstance(value, str) else value


@contextmanager
def _locked_store(path: Path, wait: bool) -> Iterator[None]:
    """Lock a store while it is filled: two runs at once would do all work twice."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, wait=wait))
        except TimeoutError as error:
            raise InputError(f"{path}: another process is filling this store; wait for it or stop it") from error
        yield


def text_items(texts: Iterable[tuple[str, str]]) -> list[Item]:
    """Items of (name, text); a blank text counts as one that can't be read."""
    return [Item(name, text, partial(_checked_text, name, text)) for name, text in texts]


def picture_items(pictures: Iterable[tuple[str, Path]]) -> list[Item]:
    """Items of (name, file); the content key is the sha256 of the file."""
    from segue.data.images import read_image

    return [Item(name, _hash_file(path), partial(read_image, path)) for name, path in pictures]


def _checked_text(name: str, text: str) -> str:
    if not text.strip():
        raise InputError(f"{name}: a blank text, expected words")
    return text


def _hash_file(path: Path) -> str:
    if not path.is_file():  # a pipe would be waited for
        return "unreadable"
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"  # reading it says why


def show_progress(done: int, total: int) -> None:
    """Write the progress over the same line of the terminal; nothing when standard error is no terminal."""
    if sys.stderr.isatty():
        print(f"\r{done:,} of {total:,} rows", end="\n" if done == total else "", file=sys.stderr, flush=True)
