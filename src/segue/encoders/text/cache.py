"""Features of frozen text encoders, computed once for each text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segue.encoders.text.contract import TextEncoder, Tokens, _check_notes


class NoteCache:
    """The features of the notes a tower has seen, computed once; the `size` notes used last are kept.

    A tower in training is passed through with its gradients, and nothing is kept. The cache empties itself
    when the weights change or move; after writing to `weight.data`, unseen by torch, call `clear()`.
    """

    def __init__(self, tower: TextEncoder, size: int = 4096) -> None:
        self.tower = tower
        self.size = size
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._stamp: tuple[tuple[int, int], ...] = ()

    def __call__(self, notes: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Notes -> features (B, L, D) and mask (B, L) on the tower's device; gradient only in training."""
        if self.tower.training:
            self.clear()
            ids, mask = self._on_device(notes)
            return self.tower(ids, mask), mask
        _check_notes(notes)
        self._drop_stale()
        rows = [self._row(note) for note in notes]
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)
        features = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows], device=features.device)
        return features, torch.arange(features.shape[1], device=features.device) < lengths[:, None]

    def clear(self) -> None:
        """Forget all notes."""
        self._kept.clear()

    def _row(self, note: str) -> Tensor:
        if note not in self._kept:
            self._kept[note] = self._compute(note)
        self._kept.move_to_end(note)
        return self._kept[note]

    def _compute(self, note: str) -> Tensor:
        # Each note by itself: in a batch, the last bits of a row depend on its neighbours' lengths, and a
        # resumed run, which starts with an empty cache, would differ from the run that was not interrupted.
        ids, mask = self._on_device([note])
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(ids.device.type, enabled=False):
            return self.tower(ids, mask)[0]

    def _on_device(self, notes: Sequence[str]) -> Tokens:
        device = next(self.tower.parameters()).device
        return Tokens(*(part.to(device) for part in self.tower.tokenize(notes)))

    def _drop_stale(self) -> None:
        stamp = tuple((weight.data_ptr(), weight._version) for weight in self.tower.parameters())
        if stamp != self._stamp:
            self.clear()
            self._stamp = stamp
