"""What a curation reads, checked to fit together, and the fingerprint by which a resumed run recognises it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segue.methods.cocu.curation.arrays import CHUNK_ROWS, Embeddings, to_unit_float32
from segue.methods.cocu.vocabulary import Captions, Vocabulary
from segue.types import InputError


@dataclass(frozen=True, eq=False)
class CurationInputs:
    """N pictures with their captions, and the concepts to look for.

    embeddings: (N, D) float16 of unit length, a memory map will do. captions: N of them; None, "" or () where a picture
    has none. texts: (V, D) float16 of unit length, of "a photo of a {concept}", by the same encoder. names: the
    pictures', their row numbers unless given.
    Raises InputError for parts that don't fit each other. The lengths of the embeddings are checked by `build_index`.
    """

    embeddings: Embeddings
    captions: Captions
    vocabulary: Vocabulary
    texts: Embeddings
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name, array in (("embeddings", self.embeddings), ("texts", self.texts)):
            if array.dtype != np.float16 or array.ndim != 2 or 0 in array.shape:
                raise InputError(
                    f"{name}: got shape {array.shape} and type {array.dtype}, expected (N, D) float16 with N, D >= 1; "
                    "normalise them and convert with .astype(np.float16)"
                )
        count, width = self.embeddings.shape
        if len(self.captions) != count:
            raise InputError(f"captions: got {len(self.captions)} for {count} pictures, expected one entry for each")
        if self.texts.shape != (len(self.vocabulary), width):
            raise InputError(
                f"texts: got shape {self.texts.shape}, expected ({len(self.vocabulary)}, {width}): one for each "
                "concept, by the same model as the pictures"
            )
        for start in range(0, len(self.texts), CHUNK_ROWS):
            to_unit_float32(self.texts[start : start + CHUNK_ROWS], start, "texts")
        if self.names is not None and len(self.names) != count:
            raise InputError(f"names: got {len(self.names)} for {count} pictures, expected one for each")

    def __len__(self) -> int:
        return len(self.embeddings)

    def fingerprint(self) -> dict[str, Any]:
        """Hashes of all parts, JSON-able."""
        embeddings, captions = hashlib.sha256(), hashlib.sha256()
        for first in range(0, len(self), CHUNK_ROWS):
            embeddings.update(np.ascontiguousarray(self.embeddings[first : first + CHUNK_ROWS]).tobytes())
        for caption in self.captions:
            captions.update(json.dumps(caption).encode())
        return {
            "embeddings": [*self.embeddings.shape, embeddings.hexdigest()],
            "captions": captions.hexdigest(),
            "names": _hash_lines(self.names or ()),
            "vocabulary": _hash_lines(self.vocabulary.concepts),
            "texts": hashlib.sha256(np.ascontiguousarray(self.texts).tobytes()).hexdigest(),
        }


def _hash_lines(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
