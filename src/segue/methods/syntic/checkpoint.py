"""A captioner on disk: config.json, model.safetensors and tokenizer.json in one folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.data.tokenizer import CaptionTokenizer
from segue.methods.checkpoint import read_config, read_tensors, write_checkpoint
from segue.methods.syntic.config import SynticConfig
from segue.methods.syntic.model import Syntic, build_syntic
from segue.methods.syntic.support import Support
from segue.options import Decoding
from segue.types import InputError

METHOD = "syntic"
MODEL, SUPPORT = "model.", "support.features"


@dataclass
class Captioner:
    """A trained model with its words and the pair of encoders whose features it reads.

    pair: what tells the pair ({"width": D, "fingerprint": ..., and whatever loads it}). support: kept with the model
    when it is small enough to ship; else the caller brings one. recipe: how it was trained. names: of the objects that
    it may be told of (Eq. 4), which are looked for in a picture. detector: what finds them (a DETR's
    id or folder, or a YOLOX's file), None for image-text similarity.
    """

    model: Syntic
    words: CaptionTokenizer
    pair: dict[str, Any]
    support: Support | None = None
    recipe: dict[str, Any] | None = None
    names: Sequence[str] = ()
    detector: str | None = None

    def check_pair(self, width: int, fingerprint: str) -> None:
        """Refuse a pair of encoders that is not the one of training."""
        if width != self.pair["width"]:
            raise InputError(
                f"pair: its features have {width} columns, this captioner reads {self.pair['width']} "
                f"({self.pair.get('name', 'unnamed pair')}); use the pair it was trained with"
            )
        if fingerprint != self.pair["fingerprint"]:
            raise InputError(
                f"pair: its fingerprint is {fingerprint}, this captioner was trained with {self.pair['fingerprint']} "
                f"({self.pair.get('name', 'unnamed pair')}); use the pair it was trained with"
            )

    def captions(
        self,
        v: Tensor | NDArray[Any],
        support: Support | None = None,
        objects: Tensor | None = None,
        found: Tensor | None = None,
        options: Decoding | None = None,
    ) -> list[list[str]]:
        """The texts of `scored`, whose arguments these are."""
        return [[text for text, _ in one] for one in self.scored(v, support, objects, found, options)]

    def scored(
        self,
        v: Tensor | NDArray[Any],
        support: Support | None = None,
        objects: Tensor | None = None,
        found: Tensor | None = None,
        options: Decoding | None = None,
    ) -> list[list[tuple[str, float]]]:
        """`options.num` captions and their scores for each of the image features v (B, D), the best first.

        Fewer when texts coincide: of these the best score counts. A score is `Answer`'s. support: instead of the
        captioner's own (the paper's -TT). The others are those of `Syntic.answers`.
        """
        device = next(self.model.parameters()).device
        v = torch.as_tensor(np.asarray(v) if not isinstance(v, Tensor) else v).to(device)
        answers = self.model.eval().answers(v, support or self.support, objects, found, options)
        return [_distinct((self.words.decode(answer.tokens), answer.score) for answer in one) for one in answers]


def _distinct(scored: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """The first of each text."""
    best: dict[str, float] = {}
    for text, score in scored:
        best.setdefault(text, score)
    return list(best.items())


def save_captioner(captioner: Captioner, folder: Path, *, half: bool = False) -> None:
    """Write the folder whole or not at all; the support set is kept as float16, and with `half` the weights too."""
    model, support = captioner.model, captioner.support
    config = {
        "method": METHOD,
        "model": asdict(model.config),
        "pair": captioner.pair,
        "recipe": captioner.recipe or {},
        "names": list(captioner.names),
        "detector": captioner.detector,
        "captions": list(support.captions or []) if support is not None else [],
    }
    tensors = {MODEL + name: x for name, x in model.state_dict().items()}
    if support is not None:
        tensors[SUPPORT] = torch.from_numpy(np.array(support.features, np.float16))
    with tempfile.TemporaryDirectory() as extra:
        captioner.words.save(Path(extra))
        write_checkpoint(folder, config, tensors, Path(extra), half=half)


def load_captioner(folder: Path) -> Captioner:
    """Read what `save_captioner` wrote; the model in eval mode."""
    config, tensors = read_config(folder, [METHOD]), read_tensors(folder)
    words = CaptionTokenizer.load(folder)
    try:
        settings = SynticConfig(**config["model"])
        pair, width = config["pair"], int(config["pair"]["width"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder}: its config.json is not a captioner's of this version ({error}); write it again with "
            "save_captioner"
        ) from error
    model = build_syntic(settings, vocabulary=len(words), pair_width=width, end=words.end, silent=words.silent)
    weights = {k.removeprefix(MODEL): v.float() for k, v in tensors.items() if k.startswith(MODEL)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"{folder}: its weights do not fit its config.json and tokenizer.json "
            f"({str(error).splitlines()[1].strip()}); copy the checkpoint again"
        ) from error
    support = None
    if SUPPORT in tensors:
        support = Support(tensors[SUPPORT].numpy(), config.get("captions") or None, tau=settings.tau)
    seen = config.get("names", []), config.get("detector")
    return Captioner(model.eval(), words, pair, support, config.get("recipe"), *seen)
