"""Naming every pixel of a picture with the likeliest of any names: the predictor of the method `cocu`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segue.api.hub import HubMixin
from segue.api.models import find, method_of
from segue.data.images import read_image
from segue.methods.cocu.groupvit.checkpoint import load_groupvit
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.inference import (
    PROTOCOLS,
    EvalProtocol,
    NamedMap,
    check_names,
    embed_names,
    parse_labels,
    segment,
)
from segue.types import InputError, check_image

METHOD = "cocu"
GENERAL = EvalProtocol(448, 448, 224)  # the published protocols' sizes, without background


class Labeller(HubMixin):
    """Gives every pixel of a picture one of some names.

    card: the protocol that is used unless another is asked for. about: what the checkpoint tells of its making.
    """

    def __init__(self, model: GroupViT, card: EvalProtocol = GENERAL, about: dict[str, Any] | None = None) -> None:
        self.model, self.card, self.about = model.eval(), card, about or {}
        self._embedded: tuple[tuple[tuple[str, ...], str], Tensor] | None = None

    def segment(
        self,
        image: str | Path | NDArray[np.uint8],
        labels: str | Sequence[str],
        *,
        card: str | EvalProtocol | None = None,
        background: float | None = None,
    ) -> NamedMap:
        """The likeliest of the labels at every pixel, on the picture's own grid.

        image: a path, or (H, W, 3) uint8 RGB. labels: two or more names, as a list or as "dog, grass, sky". card: a
        protocol or the name of a published one (see `methods.cocu.inference.PROTOCOLS`); the model's own by default.
        background: the score in [0, 1] below which a pixel is background; None for the card's, 0 for no background.
        Raises InputError for labels that can't be used, and an unknown card.
        """
        pixels = read_image(Path(image)) if isinstance(image, str | Path) else image
        check_image(pixels)
        chosen = self.card if card is None else find_protocol(card)
        if background is not None:
            if not 0 <= background < 1:
                raise InputError(
                    f"background: got {background}, expected a score of 0 (no background) or more, below 1"
                )
            chosen = replace(chosen, threshold=background or None)
        names = parse_labels(labels) if isinstance(labels, str) else check_names(labels)
        return segment(self.model, pixels, names, chosen, self._text(names, chosen) if len(names) > 1 else None)

    def _text(self, names: Sequence[str], card: EvalProtocol) -> Tensor:
        """The names' embeddings, kept for the next picture."""
        key = (tuple(names), card.prompt)
        if self._embedded is None or self._embedded[0] != key:
            self._embedded = key, embed_names(self.model, names, card.prompt)
        return self._embedded[1]


def load_labeller(name_or_path: str | Path, *, device: str = "cpu") -> Labeller:
    """A labeller from a bundled name or a folder with a GroupViT, ours or the hub's (`transformers`' GroupViTModel)."""
    folder = find(name_or_path, device)
    if (method := method_of(folder)) not in (METHOD, None):
        raise InputError(
            f"{folder.name}: a checkpoint of the method {method!r}, which doesn't take labels; "
            "expected a GroupViT, from `segue train cocu-scenes` or in the format of transformers"
        )
    model = load_groupvit(folder)
    about = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("segue", {}).get("about", {})
    card = find_protocol(about["card"]) if "card" in about else GENERAL
    labeller = Labeller(model.to(device), card, about)
    labeller.folder = folder
    return labeller


def changed_card(
    card: EvalProtocol, *, hard: bool = False, prompt: str | None = None, top_k: int | None = None
) -> EvalProtocol:
    """The card with other values, as the command line asks for them: None for its own, top_k 0 for all names."""
    top_k = card.top_k if top_k is None else top_k or None
    return replace(card, soft=card.soft and not hard, prompt=card.prompt if prompt is None else prompt, top_k=top_k)


def find_protocol(card: str | EvalProtocol) -> EvalProtocol:
    """A protocol by its name."""
    if isinstance(card, EvalProtocol):
        return card
    if card not in PROTOCOLS:
        raise InputError(f"protocol {card!r}: expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[card]
