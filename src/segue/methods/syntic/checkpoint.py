"""The checkpoint folder of SynTIC: config.json, model.safetensors and tokenizer.json."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Interval, MaxLen
from numpy.typing import NDArray
from torch import Tensor

from segue.configs import from_json
from segue.data.tokenizer import CaptionTokenizer
from segue.methods.checkpoint import (
    build,
    fill_module,
    from_8_bits,
    in_8_bits,
    read_config,
    read_tensors,
    write_checkpoint,
)
from segue.methods.syntic.config import SynticConfig
from segue.methods.syntic.model import Syntic, build_syntic
from segue.methods.syntic.support import SupportSet
from segue.metrics.acceptance import Acceptance, read_acceptance
from segue.options import Decoding, Positive, check_value
from segue.types import InputError

METHOD = "syntic"
FEATURES = ("log_p", "similarity", "words")  # of a caption, by which `Acceptance` tells how likely people accept it
ShortText = Annotated[str, MaxLen(500)]
TEXTS = tuple[str, ...] | None
PARTS = {
    "model": dict,
    "encoder": dict,
    "object_names": TEXTS,
    "detector": ShortText | None,
    "captions": TEXTS,
    "acceptance": dict | None,
    "consensus": Annotated[float, Interval(ge=0, le=1000)] | None,
}
ENCODER_PARTS = {"width": Positive, "fingerprint": Annotated[str, MaxLen(200)], "name": ShortText | None}
MODEL, SUPPORT = "model.", "support.features"  # names of the tensors begin with MODEL; that of the support set
STEP = "support.step"  # (M,) float16: where the support set's features are 8-bit integers, the value of 1


@dataclass
class SynticCheckpoint:
    """A trained model with its tokenizer, and a description of the dual encoder whose features it reads.

    Attributes:
        model: in eval mode.
        tokenizer: of the captions.
        encoder: {"width": D, "fingerprint": hash of the dual encoder's weights, "name": what loads it, if anything}.
        support: kept with the model when it is small enough to ship; else the caller passes one.
        about: recipe and settings of the training.
        object_names: names of objects that are looked for in a picture (Eq. 4).
        detector: what finds them (a DETR's id or folder, or a YOLOX's file), None for image-text similarity.
        acceptance: how likely people are to accept a caption, by its features (FEATURES); None where it isn't fitted.
        consensus: what a point of a caption's agreement with the nearest captions (`Consensus`) weighs beside its mean
            log-probability, where the best of several captions is taken; 0 takes the likeliest.
    """

    model: Syntic
    tokenizer: CaptionTokenizer
    encoder: dict[str, Any]
    support: SupportSet | None = None
    about: dict[str, Any] | None = None
    object_names: Sequence[str] = ()
    detector: str | None = None
    acceptance: Acceptance | None = None
    consensus: float = 0.0

    def check_encoder(self, width: int, fingerprint: str) -> None:
        """Raise InputError for a dual encoder that is not the one of training."""
        name = self.encoder.get("name", "unnamed")
        if width != self.encoder["width"]:
            raise InputError(
                f"encoder: its features have {width} columns, this captioner reads {self.encoder['width']} "
                f"({name}); use the dual encoder it was trained with"
            )
        if fingerprint != self.encoder["fingerprint"]:
            raise InputError(
                f"encoder: its fingerprint is {fingerprint}, this captioner was trained with "
                f"{self.encoder['fingerprint']} ({name}); use the dual encoder it was trained with"
            )

    def captions(
        self,
        v: Tensor | NDArray[Any],
        objects: Tensor | None = None,
        found: Tensor | None = None,
        *,
        options: Decoding | None = None,
    ) -> list[list[tuple[str, float]]]:
        """`options.num` captions with their scores (`Hypothesis.score`) for each of the features v (B, D), best first.

        Fewer when texts coincide: of equal ones the best score counts. objects, found, options: see `Syntic.generate`.
        """
        device = next(self.model.parameters()).device
        v = torch.as_tensor(np.asarray(v) if not isinstance(v, Tensor) else v).to(device)
        found_tokens = self.model.eval().generate(v, self.support, objects, found, options=options)
        return [_distinct((self.tokenizer.decode(one.tokens), one.score) for one in each) for each in found_tokens]

    def log_probabilities(
        self, v: Tensor, caption: str, objects: Tensor | None = None, found: Tensor | None = None
    ) -> tuple[list[tuple[int, int]], Tensor]:
        """Of each token of a caption its characters (first, one after the last) and ln p after those before it, (B, L).

        v: (B, D). Tokens beyond the longest caption of training are left out. objects, found: see `Syntic.generate`.
        Raises InputError for a blank caption.
        """
        most = self.model.config.max_tokens
        (tokens,), _ = self.tokenizer.encode([caption], most)
        v = v.to(next(self.model.parameters()).device)
        logp = self.model.eval().log_probabilities(v, tokens[:-1], self.support, objects, found)
        return self.tokenizer.spans(caption, most), logp.cpu()


def _distinct(captions: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """The first of each text."""
    best: dict[str, float] = {}
    for text, score in captions:
        best.setdefault(text, score)
    return list(best.items())


def save_syntic(checkpoint: SynticCheckpoint, folder: Path, *, half: bool = False) -> None:
    """Write the folder atomically; the support set is kept as float16.

    half: keep the weights as float16 and the support set in 8 bits, which moves its features by .004 of their largest
    coordinate at most.
    """
    model, support = checkpoint.model, checkpoint.support
    config = {
        "method": METHOD,
        "model": asdict(model.config),
        "encoder": checkpoint.encoder,
        "about": checkpoint.about or {},
        "object_names": list(checkpoint.object_names),
        "detector": checkpoint.detector,
        "captions": list(support.captions or []) if support is not None else [],
        "acceptance": None if checkpoint.acceptance is None else asdict(checkpoint.acceptance),
        "consensus": checkpoint.consensus,
    }
    tensors = {MODEL + name: x for name, x in model.state_dict().items()}
    if support is not None:
        features = torch.from_numpy(np.array(support.features, np.float16))
        tensors |= dict(zip((SUPPORT, STEP), in_8_bits(features), strict=True)) if half else {SUPPORT: features}
    with tempfile.TemporaryDirectory() as extra:
        checkpoint.tokenizer.save(Path(extra))
        write_checkpoint(folder, config, tensors, Path(extra), half=half)


def load_syntic(folder: Path) -> SynticCheckpoint:
    """Read what `save_syntic` wrote; the model in eval mode, its weights in float32.

    Raises InputError when a file is missing, unreadable, of another version, or doesn't fit the others.
    """
    config, tensors = read_config(folder, [METHOD], PARTS), read_tensors(folder)
    tokenizer = CaptionTokenizer.load(folder)
    settings, encoder = from_json(SynticConfig, config["model"], folder), config["encoder"]
    for name, hint in ENCODER_PARTS.items():
        check_value(f"{folder}: config.json: encoder: {name}", encoder.get(name), hint)
    make = partial(
        build_syntic, settings, vocabulary=len(tokenizer), encoder_width=encoder["width"], end=tokenizer.end,
        suppressed_token_ids=tokenizer.suppressed_token_ids,
    )  # fmt: skip
    model = build(make, tensors, folder)
    own = {name.removeprefix(MODEL): x for name, x in tensors.items() if name not in (SUPPORT, STEP)}
    fill_module(model, own, folder)
    support = None
    if SUPPORT in tensors:
        features = tensors[SUPPORT]
        if STEP in tensors:
            features = F.normalize(from_8_bits(features, tensors[STEP]), dim=1).to(torch.float16)
        support = SupportSet(features.numpy(), list(config.get("captions") or ()) or None, tau=settings.tau)
    return SynticCheckpoint(
        model.eval(), tokenizer, encoder, support, config.get("about"), config.get("object_names") or (),
        config.get("detector"), read_acceptance(config.get("acceptance"), len(FEATURES), folder),
        config.get("consensus") or 0.0,
    )  # fmt: skip
