"""The frozen dual encoder under a GroupViT (`segue train cocu --image-encoder`): cells are read once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.api.curation import picture_item
from segue.data.embedding_store import EmbeddingStore, StorePlan, fill_store, show_progress
from segue.encoders.dual_encoder import VisionTextDualEncoder
from segue.recipes.labels_photos import SIZE
from segue.types import Picture


class CellReader:
    """The cells of some pictures, by a dual encoder without a head of its cells.

    folder: where the cells are kept as float16, filled before the first is read; None: they are computed when asked
    for.
    """

    def __init__(self, encoder: VisionTextDualEncoder, pictures: Sequence[Picture], folder: Path | None = None) -> None:
        self.encoder, self.pictures = encoder, pictures
        side = SIZE if encoder.image_encoder.any_size else encoder.image_encoder.size
        self.size, self.grid = side, side // encoder.image_encoder.stride
        self.store = None if folder is None else self._filled(folder)

    def cells(self, row: int) -> Tensor:
        """(D, h, w) float32 of length 1, of the picture of this row."""
        if self.store is None:
            return self.encoder.embed_dense([self.pictures[row].load()], size=self.size)[0]
        flat = torch.from_numpy(self.store.take([row])[0]).float()
        return flat.view(self.encoder.width, self.grid, self.grid)

    def _filled(self, folder: Path) -> EmbeddingStore:
        items = [picture_item(picture) for picture in self.pictures]
        width = self.encoder.width * self.grid**2
        plan = StorePlan(f"{self.encoder.fingerprint}-cells-{self.size}", "images", width, shard_rows=512)
        content = str([plan, [(item.name, item.content_key) for item in items]])
        place = folder / f"cells-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        if not place.exists():
            print(f"reading the cells of {len(items):,} pictures, once, to {place}", flush=True)
        return fill_store(place, items, self._embed, plan, progress=show_progress, wait=True)

    def _embed(self, images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.encoder.embed_dense(images, size=self.size).flatten(1).numpy()
        return found
