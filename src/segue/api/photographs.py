"""Reads photographs for the describer: a captioner's dual encoder and captions, its image encoder's feature maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.api.captioner import Captioner, load_captioner
from segue.encoders.dual_encoder import VisionTextDualEncoder
from segue.encoders.image.efficientnet import EfficientNetLite
from segue.methods.sgdiff.photographs.checkpoint import PhotoCheckpoint, restore_photographs
from segue.methods.sgdiff.photographs.generator import PhotoGenerator
from segue.methods.sgdiff.photographs.reading import ReadPhotograph, pixels_of_rgb
from segue.nn.folding import lay_out_columns
from segue.types import InputError, check_image
from segue.weights import beside


class PhotographReader:
    """Reads photographs with the frozen encoders of an image-level captioner that reads the nearest captions.

    Raises InputError for another captioner, and for a dual encoder that isn't over EfficientNet-Lite0.
    """

    def __init__(self, captioner: Captioner) -> None:
        checkpoint, encoder = captioner.checkpoint, captioner.encoder
        if checkpoint.support is None or not checkpoint.model.config.neighbours:
            raise InputError("captioner: expected one that reads the nearest captions, such as captions-photos")
        if not isinstance(encoder, VisionTextDualEncoder) or not isinstance(encoder.image_encoder, EfficientNetLite):
            raise InputError(
                "captioner: expected one over a dual encoder of efficientnet-lite0, such as photos-encoder"
            )
        self.captioner, self.support, self.model = captioner, checkpoint.support, checkpoint.model
        self.encoder, self.image_encoder = encoder, encoder.image_encoder

    @torch.no_grad()
    def read(self, image: NDArray[np.uint8]) -> ReadPhotograph:
        """A photograph's features, (H, W, 3) uint8 RGB. Raises InputError for an array of another shape or type."""
        check_image(image)
        levels = self.levels([image])
        picture = self.picture(self.image_encoder.embed(levels[-1]).pooled)
        pixels = pixels_of_rgb(image).to(picture.device)
        return ReadPhotograph(levels, picture, pixels, (image.shape[1], image.shape[0]))

    @torch.no_grad()
    def levels(self, images: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        """The frozen feature maps of images, finest first."""
        device = next(self.encoder.parameters()).device
        return self.image_encoder.levels(self.image_encoder.preprocess(images, whole=True).to(device))

    @torch.no_grad()
    def picture(self, pooled: Tensor) -> Tensor:
        """(B, C) pooled features -> (B, 2 + M, D): projections on the captions, pictures, their nearest captions."""
        v = F.normalize(self.encoder.project_pooled(pooled.float()), dim=-1)
        nearest = self.support.nearest(v, self.model.config.neighbours)[1]
        return torch.cat([self.support.project(v)[:, None], v[:, None], self.support.features_at(nearest)], 1)


class PhotoPredictor(PhotoGenerator):
    """A photographs' describer with what reads its pictures; what `Describer` generates with.

    feature_width: of a detector's features, which it doesn't read.
    """

    feature_width = 0

    def __init__(self, checkpoint: PhotoCheckpoint, load_reader: Callable[[], PhotographReader]) -> None:
        super().__init__(checkpoint.model, checkpoint.tokenizer, checkpoint.acceptance)
        self._load_reader, self._device = load_reader, ""  # "": that of the reader as it is loaded

    def to(self, device: str) -> object:
        """Move the networks to a device; those of the reader also when they are loaded later."""
        self._device = device
        self.model.to(device)
        if "reader" in vars(self):
            self.reader.captioner.to(device)
        return self

    @cached_property
    def reader(self) -> PhotographReader:
        """Loaded when the first picture is read. Raises InputError when it can't be loaded."""
        reader = self._load_reader()
        if self._device:
            reader.captioner.to(self._device)
        return reader

    def encode(self, image: NDArray[np.uint8]) -> ReadPhotograph:
        """See `PhotographReader.read`."""
        return self.reader.read(image)

    def knows(self, label: str) -> bool:
        """True for any name that has letters: names are read, not looked up."""
        return bool(label.strip())

    def measure_distances(self, images: Sequence[NDArray[np.uint8]]) -> list[float] | list[None]:
        """See `DualEncoder.measure_distances`."""
        return self.reader.encoder.measure_distances(images)


def load_photo_predictor(folder: Path, device: str = "cpu") -> PhotoPredictor:
    """The describer of a checkpoint folder, with the captioner that its config names, or that lies beside it.

    Raises InputError when the describer can't be loaded; the captioner is loaded with the first picture.
    """
    checkpoint = restore_photographs(folder)
    checkpoint.model.to(device)
    lay_out_columns(checkpoint.model.decoder)
    return PhotoPredictor(checkpoint, partial(read_photographs_by, beside(folder, checkpoint.captioner), device))


def read_photographs_by(captioner: str | Path, device: str = "cpu") -> PhotographReader:
    """The reader of a captioner by its bundled name, folder or hub id."""
    return PhotographReader(load_captioner(captioner, device=device))
