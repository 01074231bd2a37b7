"""Batches of images, masks and notes for training a segmenter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from segue.data.medical.lvit import ImageNoteRecord
from segue.data.medical.views import part_of_infection
from segue.data.problems import handle_problems
from segue.data.transforms import Augment, resize_image, resize_mask
from segue.nn.preprocessing import Preprocessing
from segue.types import Example, InputError


def load_examples(
    records: Iterable[ImageNoteRecord], size: int | None = None, on_bad: str = "stop", *, labelled: bool = False
) -> list[Example]:
    """Read every record before anything is computed; shrunk to (size, size) when size is given.

    on_bad: "stop" raises one InputError that counts and names all bad files, "skip" warns with the same words.
    labelled: whether a record without a mask is bad.
    """
    examples, bad = [], []
    for record in records:
        if labelled and record.mask is None:
            bad.append(f"{record.image}: no mask of that name in labelcol/")
            continue
        try:
            example = record.load()
        except InputError as error:
            bad.append(str(error))
            continue
        examples.append(example if size is None else shrink(example, size))
    handle_problems(bad, f"{len(bad)} of {len(bad) + len(examples)} examples can't be used", on_bad)
    return examples


def shrink(example: Example, size: int) -> Example:
    """The example on a (size, size) grid."""
    mask = None if example.mask is None else resize_mask(example.mask, (size, size))
    return replace(example, image=resize_image(example.image, (size, size)), mask=mask)


@dataclass(frozen=True)
class ImageNoteBatches:
    """Batches for the training loop; each is a pure function of its keys (epoch, index) and the seed.

    examples: in memory, of any size (give `load_examples` the size to save memory). augment: None for none.
    text_dropout: the share of notes left out, so that the model also learns to work without one.
    parts: the share of pictures that are shown with a part of their infection, see `part_of_infection`.
    A batch: image (B, 3, S, S) float32, mask (B, 1, S, S) float32 in {0, 1}, note [B] str or None, seed [B] int.
    Raises InputError without examples, and for one without a mask.
    """

    examples: Sequence[Example]
    preprocessing: Preprocessing
    seed: int = 0
    augment: Augment | None = None
    text_dropout: float = 0.0
    parts: float = 0.0

    def __post_init__(self) -> None:
        if unlabelled := [e.name for e in self.examples if e.mask is None]:
            raise InputError(
                f"{len(unlabelled)} examples have no mask, such as {unlabelled[0]}: training needs one for each picture"
            )
        if not self.examples:
            raise InputError("there is no example to train on: the split is empty")

    def __len__(self) -> int:
        return len(self.examples)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """keys: (epoch, index) for each picture."""
        examples, seeds = [], []
        for epoch, index in keys:
            rng = np.random.default_rng([self.seed, epoch, index])
            example = self.examples[index]
            if self.parts and rng.random() < self.parts:
                example = part_of_infection(example, rng)
            if self.augment is not None:
                example = self.augment(example, rng)
            if rng.random() < self.text_dropout:
                example = replace(example, note=None)
            examples.append(example)
            seeds.append(int(rng.integers(2**31)))
        size = (self.preprocessing.size, self.preprocessing.size)
        masks = [resize_mask(e.mask, size) for e in examples if e.mask is not None]
        return {
            "image": self.preprocessing.to_tensor([e.image for e in examples]),
            "mask": torch.from_numpy(np.stack(masks))[:, None].float(),
            "note": [e.note for e in examples],
            "seed": seeds,
        }
