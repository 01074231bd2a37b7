"""Telling what a picture shows: the predictor of the method `syntic`, which learned from text alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.api.hub import HubMixin
from segue.api.models import find
from segue.api.pictures import Picture, pixels_of
from segue.data.corpus import read_corpus
from segue.encoders.dual_encoder import DualEncoder
from segue.methods import syntic
from segue.methods.detectors import Detector, load_detector
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.methods.syntic import Support
from segue.methods.syntic.tagging import gathered, labels, tag
from segue.options import Decoding
from segue.types import InputError, Region

Texts = Path | str | Sequence[str] | Support  # a file of captions, captions, or what was made of them
Objects = Sequence[str | Region]


class Caption(NamedTuple):
    """score: the geometric mean of its tokens' probabilities, in (0, 1]; of a retrieved caption the cosine."""

    text: str
    score: float


def load_captioner(
    name_or_path: str | Path,
    *,
    device: str = "cpu",
    pair: str | Path | None = None,
    support: Texts | None = None,
    detector: str | None = None,
) -> Captioner:
    """A captioner from a bundled name or a checkpoint folder, with the image-text pair that its config names.

    pair: where that pair is now, if it has moved. support: captions instead of its own, the paper's -TT: a file in any
    format of `segue.data.corpus`, or a list. detector: what looks for objects, a DETR by its id on the hub or from a
    local folder, or a YOLOX as an .onnx file; by default the one of training, if there was one.
    Raises InputError when the pair or the detector can't be found, or the pair isn't the one of training.
    """
    folder = find(name_or_path, device)
    trained = syntic.load_captioner(folder)
    source = trained.pair.get("name") if pair is None else pair
    if source is None:
        raise InputError(f"{folder}: names no image-text pair; tell where it is: pair=FOLDER (--pair FOLDER)")
    source = folder / source if pair is None and (folder / source / "config.json").is_file() else source  # its own
    try:
        encoders = load_dual_encoder(source, device=device)
    except InputError as error:
        raise InputError(f"{folder}: {error}; if it has moved, tell where: pair=FOLDER (--pair FOLDER)") from error
    trained.model.to(device)
    made = Captioner(trained, encoders, detector=_detector(folder, trained, detector, device))
    made.folder = folder
    return made if support is None else made.with_support(support)


def _detector(folder: Path, trained: syntic.Captioner, detector: str | None, device: str) -> Detector | None:
    """The detector, or None where the model was trained without or reads no objects."""
    source = detector or trained.detector
    if detector is not None and not trained.model.config.af:
        raise InputError(f"{folder}: this captioner reads no objects (af is off); leave the detector out")
    if source is None or not trained.model.config.af:
        return None
    try:
        return load_detector(source, device)
    except InputError as error:
        raise InputError(f"{error}; {folder} finds objects by it: tell where it is: --detector FOLDER") from error


class Captioner(HubMixin):
    """A trained captioner and the image-text pair whose features it reads; pictures are read `batch_size` at a time.

    detector: what looks for objects in pictures; without, they are looked for by image-text similarity.
    Raises InputError when the pair is of another width or fingerprint than that of training.
    """

    def __init__(
        self,
        trained: syntic.Captioner,
        pair: DualEncoder,
        batch_size: int = 32,
        detector: Detector | None = None,
    ) -> None:
        trained.check_pair(pair.width, pair.fingerprint)
        self.trained, self.pair, self.batch_size, self.detector = trained, pair, batch_size, detector
        self.names = pair.embed_texts(list(trained.names)) if trained.names and trained.model.config.af else None

    def with_support(self, texts: Texts) -> Captioner:
        """The same captioner over other captions: its features are projected onto theirs, and they are retrieved."""
        other = copy(self)
        other.folder = None
        other.trained = replace(self.trained, support=texts if isinstance(texts, Support) else self._support(texts))
        return other

    def _support(self, texts: Path | str | Sequence[str]) -> Support:
        captions = read_corpus(Path(texts)).captions if isinstance(texts, str | Path) else list(texts)
        captions = list(dict.fromkeys(captions))
        return Support(self.pair.embed_texts(captions).numpy(), captions, tau=self.trained.model.config.tau)

    def caption(
        self,
        image: Picture,
        num: int = 1,
        *,
        objects: Objects | None = None,
        retrieve: bool = False,
        options: Decoding | None = None,
    ) -> list[Caption]:
        """`num` distinct captions of a picture, the best first; fewer only when no more are found.

        image: a path, or (H, W, 3) uint8 RGB. objects: what is to be seen in it, names or regions; by default looked
        for by the detector, or without one by image-text similarity, and an empty list says that there is nothing.
        retrieve: take the nearest captions of the support set and write none. options: how to search, by default with
        3 beams; `num` is set by this call, and max_tokens is at most that of training.
        """
        given = None if objects is None else [objects]
        return next(self.caption_many([image], num, objects=given, retrieve=retrieve, options=options))

    def caption_many(
        self,
        images: Iterable[Picture],
        num: int = 1,
        *,
        objects: Iterable[Objects] | None = None,
        retrieve: bool = False,
        options: Decoding | None = None,
    ) -> Iterator[list[Caption]]:
        """As `caption` for one picture after another, a batch at a time; objects: of each picture."""
        waiting = iter(images)
        given = None if objects is None else iter(objects)
        while part := [pixels_of(image) for image in islice(waiting, self.batch_size)]:
            told = self._detected(part) if given is None else list(islice(given, len(part)))
            v = self.pair.embed_images(part, batch_size=self.batch_size)
            yield from self.caption_features(v, num, objects=told, retrieve=retrieve, options=options)

    def caption_features(
        self,
        v: Tensor | NDArray[Any],
        num: int = 1,
        *,
        objects: Sequence[Objects] | None = None,
        retrieve: bool = False,
        options: Decoding | None = None,
    ) -> list[list[Caption]]:
        """As `caption` for the pair's image features (B, D), all at once; a detector can't look at features."""
        v = torch.as_tensor(v).float()
        if num < 1:
            raise InputError(f"num: got {num}, expected 1 or more")
        if objects is not None and len(objects) != len(v):
            raise InputError(f"objects: got {len(objects)} lists for {len(v)} pictures, expected one for each")
        if retrieve:
            return self._retrieved(v, num)
        if objects is None and self.detector is not None:
            raise InputError("objects: a detector finds them in pictures, not in features; tell them, or use caption")
        told = self._told(v, num, self._objects(v, objects), options)
        return [[Caption(text, math.exp(score)) for text, score in one] for one in told]

    def _told(
        self, v: Tensor, num: int, objects: tuple[Tensor | None, Tensor | None], options: Decoding | None
    ) -> list[list[tuple[str, float]]]:
        """Tokens that differ may spell the same text, or none: then a wider search follows."""
        longest = self.trained.model.config.max_tokens
        options = Decoding(max_tokens=longest, beams=3) if options is None else options
        options = replace(options, max_tokens=min(options.max_tokens, longest))
        told: list[list[tuple[str, float]]] = []
        for width in (num + 2 * (num > 1), 4 * num + 8):
            scored = self.trained.scored(v, None, *objects, replace(options, num=width))
            told = [([pair for pair in one if pair[0]] or one)[:num] for one in scored]
            if all(len(one) == num and one[0][0] for one in told):
                break
        return told

    def _retrieved(self, v: Tensor, num: int) -> list[list[Caption]]:
        if self.trained.support is None:
            raise InputError("retrieval: this captioner holds no support set; bring one: support=FILE (--support FILE)")
        return [[Caption(*one) for one in found] for found in self.trained.support.retrieve_scored(v, num)]

    def _detected(self, part: Sequence[NDArray[np.uint8]]) -> list[Objects] | None:
        return None if self.detector is None else [self.detector(image).labels for image in part]

    def _objects(self, v: Tensor, given: Sequence[Objects] | None) -> tuple[Tensor | None, Tensor | None]:
        """Objects (B, K, D) and found (B, K) of Eq. 4; nothing for a model that doesn't read them."""
        if not self.trained.model.config.af:
            return None, None
        if given is not None:
            names = [labels(one) for one in given]
            every = list(dict.fromkeys(name for one in names for name in one))
            features = self.pair.embed_texts(every) if every else torch.zeros(1, self.pair.width)
            return gathered(features, [[every.index(name) for name in one] for one in names])
        if self.names is None:
            return None, None
        place, found = tag(v, self.names, self.pair.temperature)
        return self.names[place], found
