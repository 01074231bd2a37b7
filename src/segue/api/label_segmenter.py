"""Open-vocabulary segmentation by any model: a GroupViT, or the dense features of a dual encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segue.api.models import check_dtype, find, method_of
from segue.api.open_vocabulary import OpenVocabularySegmenter, load_open_vocabulary
from segue.api.pictures import Picture, pixels_of
from segue.configs import read_json
from segue.encoders.dual_encoder import DualEncoder
from segue.methods.cocu.groupvit.cells import on_encoder
from segue.methods.cocu.groupvit.checkpoint import image_encoder_of, load_groupvit
from segue.methods.cocu.inference import check_choice, parse_labels
from segue.methods.dual_encoder.checkpoint import METHOD, load_dual_encoder
from segue.methods.dual_encoder.dense import DenseAnswer, DenseProtocol, embed_names, segment_dense_many
from segue.metrics.acceptance import Acceptance, read_acceptance
from segue.nn.devices import resolve_device
from segue.options import Dtype, LabelOptions
from segue.types import InputError, LabelMap
from segue.weights import CONFIG, beside

BATCH_SIZE = 8  # pictures that the encoder reads at once


class DualEncoderSegmenter:
    """Gives every pixel of a picture one of some names, by a dual encoder alone.

    encoder: its dense features are compared with the names', see `segue.methods.dual_encoder.dense`.
    protocol: how names are given to pixels unless options change it. about: what the checkpoint says of its training.
    acceptance: makes the probability that the picture shows a name of the name's margin; None where it wasn't fitted.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        protocol: DenseProtocol | None = None,
        about: dict[str, Any] | None = None,
        acceptance: Acceptance | None = None,
    ) -> None:
        self.encoder, self.protocol, self.about = encoder.eval(), protocol or DenseProtocol(), about or {}
        self.acceptance = acceptance
        self._embed = lru_cache(maxsize=8)(partial(embed_names, encoder))  # kept for the next pictures

    def to(self, device: str) -> Self:
        """Move the encoder to a device and return the segmenter. Raises InputError when the device is not there."""
        self.encoder.to(resolve_device(device))
        self._embed.cache_clear()
        return self

    def segment(
        self,
        image: Picture,
        labels: str | Sequence[str],
        *,
        options: LabelOptions = LabelOptions(),
    ) -> LabelMap:
        """The likeliest of the labels at every pixel, on the picture's own grid; see `OpenVocabularySegmenter.segment`.

        Raises InputError for a picture that can't be read, labels that can't be used, and options of GroupViTs.
        """
        return next(self.segment_many([image], labels, options=options))

    __call__ = segment

    def segment_many(
        self,
        images: Iterable[Picture],
        labels: str | Sequence[str],
        *,
        options: LabelOptions = LabelOptions(),
    ) -> Iterator[LabelMap]:
        """As `segment` for pictures of any sizes, one after another; the encoder reads BATCH_SIZE of them at once."""
        protocol = self.chosen_protocol(options)
        names = check_choice(parse_labels(labels) if isinstance(labels, str) else labels)
        rest = map(pixels_of, images)
        while pixels := list(islice(rest, BATCH_SIZE)):
            text = self._embed(tuple(names), protocol.prompts)
            answers = segment_dense_many(self.encoder, pixels, text, protocol)
            distances = self.encoder.measure_distances(pixels)
            for answer, distance, one in zip(answers, distances, pixels, strict=True):
                yield replace(_label_map(names, answer, distance, protocol), picture=one, shown=self._shown(answer))

    def _shown(self, answer: DenseAnswer) -> NDArray[np.float32] | None:
        if self.acceptance is None or answer.margin is None:
            return None
        return np.array([self.acceptance.probability([margin]) for margin in answer.margin.tolist()], np.float32)

    def chosen_protocol(self, options: LabelOptions) -> DenseProtocol:
        """The protocol with what the options change. Raises InputError for options that only GroupViTs have."""
        if options.protocol is not None or options.hard:
            wrong = "--protocol" if options.protocol is not None else "--hard"
            raise InputError(f"{wrong}: goes with a GroupViT, such as cocu-scenes; this model is a dual encoder")
        named = self.protocol
        return replace(
            named,
            threshold=named.threshold if options.background is None else options.background or None,
            top_k=named.top_k if options.top_k is None else options.top_k or None,
            prompts=named.prompts if options.prompt is None else (options.prompt,),
        )


def _label_map(names: Sequence[str], answer: DenseAnswer, distance: float | None, protocol: DenseProtocol) -> LabelMap:
    kind: type[np.unsignedinteger] = np.uint8 if len(names) < 256 else np.uint16
    index: NDArray[np.unsignedinteger] = answer.index.astype(kind)
    if protocol.threshold is not None:
        index[answer.probability < protocol.threshold] = np.iinfo(kind).max
    return LabelMap(tuple(names), index, answer.probability, answer.similarity, distance)


LabelSegmenter = OpenVocabularySegmenter | DualEncoderSegmenter


def load_label_segmenter(name_or_path: str | Path, *, device: str = "auto", dtype: Dtype = "auto") -> LabelSegmenter:
    """What names pixels: a bundled name, a folder with a GroupViT or a dual encoder, or "clip:ID-OR-FOLDER".

    dtype: what a dual encoder computes in: bf16 or float32, which "auto" is (`load_dual_encoder`).
    Raises InputError for an unknown name, a checkpoint of another method, broken files, a device that isn't there, and
    bf16 of a GroupViT.
    """
    if str(name_or_path).startswith("clip:"):
        return DualEncoderSegmenter(load_dual_encoder(name_or_path, device=device, dtype=dtype))
    folder = find(name_or_path)
    config = read_json(folder / CONFIG)
    if (method := method_of(folder)) != METHOD:
        check_dtype(method, dtype)
        if image_encoder_of(config) is not None:
            return _load_on_encoder(folder, config, device)
        return load_open_vocabulary(folder, device=device)
    encoder = load_dual_encoder(folder, device=device, dtype=dtype)
    acceptance = read_acceptance(config.get("acceptance"), 1, folder)
    return DualEncoderSegmenter(encoder, about=config.get("about") or {}, acceptance=acceptance)


def _load_on_encoder(folder: Path, config: dict[str, Any], device: str) -> DualEncoderSegmenter:
    """A GroupViT with the dual encoder that it stands on, which lies in its folder or where its config says."""
    model, about = load_groupvit(folder), config["segue"].get("about") or {}
    encoder = load_dual_encoder(beside(folder, str(model.config.image_encoder)), device=device)
    if about.get("fingerprint") not in (None, encoder.fingerprint):
        raise InputError(
            f"{folder}: {model.config.image_encoder} is not the dual encoder of the training any more; put that into "
            f"{folder / str(model.config.image_encoder)}"
        )
    return DualEncoderSegmenter(on_encoder(encoder, model.to(resolve_device(device))), about=about)
