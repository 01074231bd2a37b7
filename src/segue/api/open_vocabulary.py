"""Open-vocabulary segmentation: every pixel gets the likeliest of any names. The predictor of the method `cocu`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Self

from segue.api.hub import HubMixin
from segue.api.models import find, method_of
from segue.api.pictures import Picture, pixels_of
from segue.configs import read_json
from segue.methods.cocu.groupvit.checkpoint import image_encoder_of, load_groupvit
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.inference import check_names, embed_names, parse_labels, segment, unreadable
from segue.methods.cocu.protocols import EvalProtocol, find_protocol
from segue.nn.devices import resolve_device
from segue.options import LabelOptions, check_value
from segue.types import InputError, LabelMap
from segue.weights import CONFIG

METHOD = "cocu"
DEFAULT_PROTOCOL = EvalProtocol(448, 448, 224)  # the published protocols' sizes, our softer rule, without background


class OpenVocabularySegmenter(HubMixin):
    """Gives every pixel of a picture one of some names.

    protocol: the evaluation protocol that is used unless another is asked for. about: what the checkpoint says of its
    training. folder: the checkpoint that it was loaded from, which `save_pretrained` copies.
    """

    def __init__(
        self,
        model: GroupViT,
        protocol: EvalProtocol = DEFAULT_PROTOCOL,
        about: dict[str, Any] | None = None,
        *,
        folder: Path | None = None,
    ) -> None:
        self.model, self.protocol, self.about, self.folder = model.eval(), protocol, about or {}, folder
        self._embed = lru_cache(maxsize=1)(partial(embed_names, model))  # kept for the next picture

    def to(self, device: str) -> Self:
        """Move the network to a device and return the segmenter. Raises InputError when the device is not there."""
        self.model.to(resolve_device(device))
        self._embed.cache_clear()
        return self

    def segment(
        self,
        image: Picture,
        labels: str | Sequence[str],
        *,
        options: LabelOptions = LabelOptions(),
    ) -> LabelMap:
        """The likeliest of the labels at every pixel, on the picture's own grid.

        image: a path or pixels (`pixels_of`). labels: two or more names, as a list or as "dog, grass, sky". options:
        the protocol and what differs from it, see `chosen_protocol`.
        Raises InputError for a picture that can't be read, labels that can't be used, and an unknown protocol.
        """
        pixels = pixels_of(image)
        protocol = self.chosen_protocol(options)
        names = parse_labels(labels) if isinstance(labels, str) else check_names(labels)
        text = self._embed(tuple(names), protocol.prompt) if len(names) > 1 else None
        return replace(segment(self.model, pixels, names, protocol, text), picture=pixels)

    __call__ = segment

    def segment_many(
        self,
        images: Iterable[Picture],
        labels: str | Sequence[str],
        *,
        options: LabelOptions = LabelOptions(),
    ) -> Iterator[LabelMap]:
        """As `segment` for pictures of any sizes, one after another; the windows of each are read in batches."""
        return (self.segment(image, labels, options=options) for image in images)

    def chosen_protocol(self, options: LabelOptions) -> EvalProtocol:
        """The protocol that the options name, or else the model's own, with what the options change.

        Raises InputError for an unknown protocol, for a prompt without one {}, and for `hard` with the published rule.
        """
        named = self.protocol if options.protocol is None else find_protocol(options.protocol)
        if options.hard and named.rule == "published":
            raise InputError(
                "--hard: by the published rule each pixel belongs to one group anyway; leave it out, or take our "
                "softer rule, for instance --protocol voc-soft"
            )
        return replace(
            named,
            threshold=named.threshold if options.background is None else options.background or None,
            top_k=named.top_k if options.top_k is None else options.top_k or None,
            rule="hard" if options.hard else named.rule,
            prompt=named.prompt if options.prompt is None else options.prompt,
        )

    def unreadable(self, names: Sequence[str], protocol: EvalProtocol) -> dict[str, str]:
        """Those of the names that the model can't read in the protocol's prompt, with the reason."""
        reasons = {name: unreadable(self.model, name, protocol.prompt) for name in names}
        return {name: reason for name, reason in reasons.items() if reason is not None}


def load_open_vocabulary(name_or_path: str | Path, *, device: str = "auto") -> OpenVocabularySegmenter:
    """A predictor from a bundled name or a folder with a GroupViT, ours or the hub's (`transformers`' GroupViTModel).

    Raises InputError for an unknown name, a checkpoint of another method, broken files, and a device that isn't there.
    """
    device, folder = resolve_device(device), find(name_or_path)
    if (method := method_of(folder)) not in (METHOD, None):
        raise InputError(
            f"{folder.name}: a checkpoint of the method {method!r}, which doesn't take labels; "
            "expected a GroupViT, from `segue train cocu-scenes` or in the format of transformers"
        )
    if (encoder := image_encoder_of(read_json(folder / CONFIG))) is not None:
        raise InputError(
            f"{folder.name}: its groups stand on {encoder}, so it segments as a dual encoder does; load it by "
            "load_label_segmenter, as `segue segment --labels` does"
        )
    model = load_groupvit(folder).to(device)
    about = read_json(folder / CONFIG).get("segue", {}).get("about") or {}
    check_value(f"{folder / CONFIG}: about", about, dict)
    check_value(f"{folder / CONFIG}: protocol", about.get("protocol"), str | None)
    protocol = find_protocol(about["protocol"]) if "protocol" in about else DEFAULT_PROTOCOL
    return OpenVocabularySegmenter(model, protocol, about, folder=folder)
