"""Dual encoders: pictures and texts as vectors of one space, behind one contract.

`ClipDualEncoder` is a CLIP or a SigLIP by `transformers`; `VisionTextDualEncoder` is Segue's own: an image encoder, a
text encoder and a projection head for each, trained by `segue train dual-encoder`. Either is read by
`segue.methods.dual_encoder.checkpoint.load_dual_encoder`.

Shapes: N pictures or texts, D = width of the joint space, h, w = the grid of the image encoder.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from segue.encoders.image.clip import ClipImage
from segue.encoders.image.contract import ImageEncoder
from segue.encoders.pretrained import Pretrained, complete, fingerprint, loading
from segue.encoders.text.contract import MAX_CHARACTERS, MAX_WORDS, TextEncoder, Tokens
from segue.types import InputError

LOWEST_TEMPERATURE = 0.01
_A_CLIP = "openai/clip-vit-base-patch32"


class DualEncoder(nn.Module):
    """What every image-text pair offers. The logit of a picture and a text is their cosine / temperature.

    width: D, the size of the joint space. image: the image tower.
    """

    width: int
    image: ImageEncoder

    @property
    def temperature(self) -> float:
        """The divisor of the cosines, > 0; CLIP's is .01 (its logit scale is 1 / temperature = 100)."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """The sha256 of all that decides the embeddings: weights, preparation and word pieces.

        A frozen tower counts by the weights that it was read with, whatever was done to them to make it fast.
        """
        digest = hashlib.sha256()
        for part in self.children():
            told = part.fingerprint if isinstance(part, Pretrained) and part.frozen else fingerprint(part, buffers=True)
            digest.update(str(told).encode())
        digest.update(json.dumps(asdict(self.image.preparation)).encode())
        digest.update(self._pieces().to_str().encode())
        return digest.hexdigest()

    def embed_images(self, images: Sequence[NDArray[np.uint8]], *, batch_size: int = 32) -> Tensor:
        """(H, W, 3) uint8 RGB pictures of any size -> (N, D) float32 of length 1, on the CPU."""
        pixels = (self.image.preprocess(part) for part in _parts(images, batch_size))
        return _embedded(self, pixels, lambda x: self.project_image(self.image(x).pooled))

    def embed_dense(self, images: Sequence[NDArray[np.uint8]], *, batch_size: int = 32) -> Tensor:
        """Pictures -> (N, D, h, w) float32, each place's vector of length 1, on the CPU.

        Place (i, j) covers row i and column j of an h x w grid over the whole picture, whatever its shape.
        """
        pixels = (self.image.preprocess(part, whole=True) for part in _parts(images, batch_size))
        places = _embedded(self, pixels, lambda x: self.project_image(self.image(x).dense.permute(0, 2, 3, 1)))
        return places.permute(0, 3, 1, 2).contiguous()

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """Texts -> (N, D) float32 of length 1, on the CPU. A text longer than the tower reads is cut, with a warning.

        Raises InputError for a text that is blank or longer than 2,000 words.
        """
        _check_texts(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # neighbours of one length waste no padding
        sorted_texts = _parts([texts[i] for i in order], batch_size)
        found = _embedded(self, (self._tokenize(part) for part in sorted_texts), lambda t: self.project_text(*t))
        return found[torch.argsort(torch.tensor(order))]

    def project_image(self, features: Tensor) -> Tensor:
        """(..., features of the image tower) -> (..., D), not normalised."""
        raise NotImplementedError

    def project_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, D), not normalised."""
        raise NotImplementedError

    def _tokenize(self, texts: Sequence[str]) -> Tokens:
        raise NotImplementedError

    def _pieces(self) -> Tokenizer:
        raise NotImplementedError


def _embedded(pair: DualEncoder, batches: Iterator[Any], embed: Callable[[Any], Tensor]) -> Tensor:
    """All batches in evaluation mode and float32, normalised along the last axis."""
    device, training = next(pair.parameters()).device, pair.training
    pair.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            return torch.cat([F.normalize(embed(_to(batch, device)).float(), dim=-1).cpu() for batch in batches])
    finally:
        pair.train(training)


def _to(batch: Any, device: torch.device) -> Any:
    return batch.to(device) if isinstance(batch, Tensor) else Tokens(*(part.to(device) for part in batch))


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    if size < 1:
        raise InputError(f"batch_size: got {size}, expected 1 or more")
    return (items[start : start + size] for start in range(0, max(1, len(items)), size))


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str) or not len(texts):
        raise InputError(f"texts: got {texts!r:.60}, expected a list of at least one text; wrap one as [text]")
    for i, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"texts: number {i} is {text!r:.20}, expected words; leave blank texts out")
        if len(text) > MAX_CHARACTERS or len(text.split()) > MAX_WORDS:
            raise InputError(
                f"texts: number {i} has {len(text.split()):,} words in {len(text):,} characters, expected at most "
                f"{MAX_WORDS:,} words and {MAX_CHARACTERS:,} characters; cut it into sentences"
            )


# --- CLIP and SigLIP


class ClipDualEncoder(DualEncoder):
    """A pretrained CLIP (Radford et al. 2021) or SigLIP (Zhai et al. 2023), frozen, by hub id or folder.

    SigLIP's bias is left out: it moves all logits alike.
    """

    def __init__(self, source: str) -> None:
        from transformers import AutoConfig, AutoTokenizer, CLIPModel, SiglipModel

        super().__init__()
        self.source = str(source)
        kinds: dict[str, Any] = {"clip": CLIPModel, "siglip": SiglipModel}
        with loading(self.source, "image-text pair"):
            found = AutoConfig.from_pretrained(self.source).model_type
            if found not in kinds:
                raise InputError(
                    f"{source}: holds a {found!r} model, expected a whole CLIP or SigLIP such as {_A_CLIP}"
                )
            model: Any = complete(
                self.source, kinds[found].from_pretrained(self.source, use_safetensors=True, output_loading_info=True)
            ).float()
            self.tokenizer = Tokenizer.from_str(AutoTokenizer.from_pretrained(self.source).backend_tokenizer.to_str())
        self.image = ClipImage(self.source, parts=(model.vision_model, getattr(model, "visual_projection", None)))
        self.text, self.text_projection = model.text_model, getattr(model, "text_projection", None)
        self.logit_scale = model.logit_scale
        self.requires_grad_(False).eval()
        self.width = self.image.width
        longest = self.text.config.max_position_embeddings
        self.tokenizer.enable_truncation(longest)
        # SigLIP reads the last position whatever it is, so it must be the one of its training.
        padded = {"length": longest} if found == "siglip" else {}
        self.tokenizer.enable_padding(pad_id=self.text.config.pad_token_id or 0, **padded)
        self.masked, self._cut_before = found == "clip", False

    @property
    def temperature(self) -> float:
        """As trained."""
        return math.exp(-float(self.logit_scale.detach()))

    def project_image(self, features: Tensor) -> Tensor:
        """Nothing: the tower's features are in the joint space already."""
        return features

    def project_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, D), not normalised: `get_text_features` of transformers."""
        pooled = self.text(input_ids=ids, attention_mask=mask.long() if self.masked else None).pooler_output
        return pooled if self.text_projection is None else self.text_projection(pooled)

    def _tokenize(self, texts: Sequence[str]) -> Tokens:
        rows = self.tokenizer.encode_batch(list(texts))
        if not self._cut_before and (cut := [text for text, row in zip(texts, rows, strict=True) if row.overflowing]):
            self._cut_before = True
            longest = self.text.config.max_position_embeddings
            warnings.warn(
                f"{cut[0][:50]!r}... is longer than the {longest} tokens that {self.source} reads, "
                "and is cut (said once)",
                stacklevel=3,
            )
        ids, mask = ([getattr(row, name) for row in rows] for name in ("ids", "attention_mask"))
        return Tokens(torch.tensor(ids), torch.tensor(mask, dtype=torch.bool))

    def _pieces(self) -> Tokenizer:
        return self.tokenizer


# --- Segue's own


@dataclass(frozen=True)
class DualEncoderConfig:
    """Sizes of the projection heads.

    width: D of the joint space. hidden: of each head's inner layer, 0 for none (a linear head). dropout: on the
    heads' inputs and inner layers. temperature: at the start; training changes it, down to .01 at the lowest.
    pooling: how a text's tokens become one vector: "mean" of all, or the "last" (CLIP's end of text).
    """

    width: int = 256
    hidden: int = 1024
    dropout: float = 0.0
    temperature: float = 0.05
    pooling: Literal["mean", "last"] = "mean"

    def __post_init__(self) -> None:
        if self.width < 1 or self.hidden < 0 or not 0 <= self.dropout < 1 or self.temperature < LOWEST_TEMPERATURE:
            raise InputError(
                f"dual encoder: got {self}, expected width >= 1, hidden >= 0, 0 <= dropout < 1 and "
                f"temperature >= {LOWEST_TEMPERATURE}"
            )
        if self.pooling not in ("mean", "last"):
            raise InputError(f"dual encoder: got pooling {self.pooling!r}, expected mean or last")


class VisionTextDualEncoder(DualEncoder):
    """An image tower and a text tower with a projection head each; see `segue train align`."""

    def __init__(self, config: DualEncoderConfig, image: ImageEncoder, text: TextEncoder) -> None:
        super().__init__()
        self.config, self.width, self.image, self.text = config, config.width, image, text
        self.image_head = Head(image.width, config)
        self.text_head = Head(text.width, config)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))

    @property
    def temperature(self) -> float:
        """As learned, never below .01."""
        return 1 / float(self.scale().detach())

    def scale(self) -> Tensor:
        """1 / temperature as a scalar tensor, at most 100, through which it is learned."""
        return self.log_scale.exp().clamp(max=1 / LOWEST_TEMPERATURE)

    def project_image(self, features: Tensor) -> Tensor:
        """(..., features of the image tower) -> (..., D), not normalised."""
        return self.image_head(features)

    def project_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, D), not normalised."""
        return self.text_head(self.read_text(ids, mask))

    def read_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, features of the text tower): one vector a text."""
        tokens = self.text(ids, mask)
        if self.config.pooling == "last":
            return tokens[torch.arange(len(tokens), device=tokens.device), mask.sum(1) - 1]
        return tokens.sum(1) / mask.sum(1, keepdim=True)  # padding is zeros

    def _tokenize(self, texts: Sequence[str]) -> Tokens:
        return self.text.tokenize(texts)

    def _pieces(self) -> Tokenizer:
        return self.text.tokenizer


class Head(nn.Module):
    """(..., inside) -> (..., D): normalised, then a linear map and, beside it, one inner layer of GELU."""

    def __init__(self, inside: int, config: DualEncoderConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inside)
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(inside, config.width, bias=False)
        self.inner = _inner(inside, config) if config.hidden else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., inside) -> (..., D)."""
        x = self.dropout(self.norm(x))
        return self.linear(x) if self.inner is None else self.linear(x) + self.inner(x)


def _inner(inside: int, config: DualEncoderConfig) -> nn.Sequential:
    first, second = nn.Linear(inside, config.hidden), nn.Linear(config.hidden, config.width)
    return nn.Sequential(first, nn.GELU(), nn.Dropout(config.dropout), second)
