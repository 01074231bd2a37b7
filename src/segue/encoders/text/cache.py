"""Features of text encoders in evaluation mode, computed once for each text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segue.encoders.text.contract import TextEncoder, Tokens, check_notes


class TextFeatureCache:
    """The features of the texts that an encoder has read; the `size` texts used last are kept.

    An encoder in training is passed through with its gradients, and nothing is kept. The cache empties itself
    when the weights change or move; after writing to `weight.data`, unseen by torch, call `clear()`.
    """

    def __init__(self, encoder: TextEncoder, size: int = 4096) -> None:
        self.encoder = encoder
        self.size = size
        self._features: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()  # (L, D) and mask (L,)
        self._versions: tuple[tuple[int, int], ...] = ()

    def __call__(self, notes: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts -> features (B, L, D) and mask (B, L) on the encoder's device; gradient only in training.

        Raises InputError for texts that `TextEncoder.tokenize` refuses.
        """
        if self.encoder.training:
            self.clear()
            ids, mask = self._on_device(notes)
            return self.encoder(ids, mask), mask
        check_notes(notes)
        self._clear_if_changed()
        rows = [self._row(note) for note in notes]
        while len(self._features) > self.size:
            self._features.popitem(last=False)
        features, mask = (nn.utils.rnn.pad_sequence(list(part), batch_first=True) for part in zip(*rows, strict=True))
        return features, mask

    def clear(self) -> None:
        """Forget all texts."""
        self._features.clear()

    def _row(self, note: str) -> tuple[Tensor, Tensor]:
        if note not in self._features:
            self._features[note] = self._compute(note)
        self._features.move_to_end(note)
        return self._features[note]

    def _compute(self, note: str) -> tuple[Tensor, Tensor]:
        # Each text by itself: in a batch, the last bits of a row depend on its neighbours' lengths, and a
        # resumed run, which starts with an empty cache, would differ from the run that was not interrupted.
        ids, mask = self._on_device([note])
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(ids.device.type, enabled=False):
            return self.encoder(ids, mask)[0], mask[0]

    def _on_device(self, notes: Sequence[str]) -> Tokens:
        device = next(self.encoder.parameters()).device
        return Tokens(*(part.to(device) for part in self.encoder.tokenize(notes)))

    def _clear_if_changed(self) -> None:
        versions = tuple((weight.data_ptr(), weight._version) for weight in self.encoder.parameters())
        if versions != self._versions:
            self.clear()
            self._versions = versions
