"""Dual encoders: images and texts as vectors of one space, behind one contract.

`ClipDualEncoder` is a CLIP or a SigLIP by `transformers`; `VisionTextDualEncoder` is Segue's own: an image encoder, a
text encoder and a projection head for each, trained by `segue train dual-encoder`. Either is read by
`segue.methods.dual_encoder.checkpoint.load_dual_encoder`.

Shapes: N images or texts, D = width of the joint space, h, w = the grid of the image encoder.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Interval
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from segue.encoders.class_names import ClassNames
from segue.encoders.image.clip import ClipImageEncoder
from segue.encoders.image.contract import ImageEncoder
from segue.encoders.pretrained import (
    PretrainedEncoder,
    fingerprint,
    load_pretrained,
    load_pretrained_tokenizer,
)
from segue.encoders.text.contract import MAX_CHARACTERS, MAX_WORDS, TextEncoder, Tokens
from segue.nn.devices import autocast, pictures_at_once
from segue.nn.feature_distance import FeatureDistance
from segue.nn.preprocessing import reduce_image
from segue.options import Dtype
from segue.types import InputError
from segue.weights import pinned

MIN_TEMPERATURE = 0.01
DOMAIN_SIDE = 160  # pixels of the square that a picture is reduced to before its distance is measured


class DualEncoder(nn.Module):
    """What every dual encoder offers. The logit of an image and a text is their cosine / temperature.

    width: D, the size of the joint space. image_encoder: what reads the images.
    dtype: what embeddings are computed in (`segue.nn.devices`); they are returned in float32.
    folder: the checkpoint that it was loaded from, which `segue.api.save_pretrained` copies; None when there is none.
    domain: how far pictures lie from those that it learned from, by the image encoder's pooled features; None where
    that was not measured. No embedding depends on it.
    nouns: names whose vectors `noun_shifts`, (nouns, D), moves where they are compared with cells.
    """

    width: int
    image_encoder: ImageEncoder
    dtype: Dtype = "float32"
    folder: Path | None = None
    domain: FeatureDistance | None = None
    nouns: tuple[str, ...] = ()
    noun_shifts: Tensor | None

    @property
    def temperature(self) -> float:
        """The divisor of the cosines, > 0; CLIP's is .01 (its logit scale is 1 / temperature = 100)."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """The sha256 of all that decides embeddings of images and texts: weights, preprocessing and tokenizer.

        A frozen encoder counts by the weights that it was read with, also where batch norms were folded since.
        """
        digest = hashlib.sha256()
        for part in self._parts_of_embeddings():
            frozen = isinstance(part, PretrainedEncoder) and part.frozen
            digest.update(str(part.fingerprint if frozen else fingerprint(part, buffers=True)).encode())
        digest.update(json.dumps(asdict(self.image_encoder.preprocessing)).encode())
        digest.update(self._tokenizer().to_str().encode())
        return digest.hexdigest()

    def _parts_of_embeddings(self) -> list[nn.Module]:
        return list(self.children())

    def embed_images(self, images: Sequence[NDArray[np.uint8]], *, batch_size: int = 32) -> Tensor:
        """(H, W, 3) uint8 RGB images of any size -> (N, D) float32 of length 1, on the CPU.

        batch_size: the most that are read in one pass; a CPU takes fewer (`pictures_at_once`).
        Raises InputError for what is no image, and a batch_size below 1.
        """
        pixels = (self.image_encoder.preprocess(part) for part in self._passes(images, batch_size))
        return _embed_batches(self, pixels, lambda x: self.project_pooled(self.image_encoder(x).pooled))

    def measure_distances(self, images: Sequence[NDArray[np.uint8]]) -> list[float] | list[None]:
        """How far (H, W, 3) uint8 RGB images lie from those of the training, above 1 is far; None where not measured.

        Images are reduced to one size first: a sharper picture of the same is not another kind of picture.
        Raises InputError for what is no image.
        """
        if self.domain is None:
            return [None] * len(images)
        domain, reduced = self.domain, [reduce_image(image, DOMAIN_SIDE) for image in images]
        pixels = (self.image_encoder.preprocess(part) for part in self._passes(reduced, len(images)))
        distances = _in_batches(self, pixels, lambda x: domain.measure(self.image_encoder(x).pooled))
        return list(map(float, distances))

    @property
    def known_names(self) -> Tensor | None:
        """(C, D), of length 1: vectors of names that the image encoder's own classifier knows; None without one."""
        return None

    def embed_dense(
        self,
        images: Sequence[NDArray[np.uint8]],
        *,
        batch_size: int = 32,
        size: int | None = None,
        shares: Tensor | None = None,
    ) -> Tensor:
        """Images -> (N, D, h, w) float32, each cell's vector of length 1, on the CPU.

        size: side of the square that each image is resized to, in pixels, for an image encoder that takes any.
        shares: the images' `name_shares` where they are known, for the next of several sizes.

        Cell (i, j) covers row i and column j of an h x w grid over the whole image, whatever its aspect ratio.
        Raises InputError for what is no image, and a batch_size below 1.
        """
        passes = self._passes(images, batch_size, size)
        pixels = (self.image_encoder.preprocess(part, whole=True, size=size) for part in passes)
        known = self.name_shares(images, batch_size=batch_size) if shares is None else shares
        rest = iter(known)
        cells = _embed_batches(
            self,
            pixels,
            lambda x: self.project_cells(
                self.image_encoder(x).dense.permute(0, 2, 3, 1), torch.stack(list(islice(rest, len(x))))
            ),
        )
        return cells.permute(0, 3, 1, 2).contiguous()

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """Texts -> (N, D) float32 of length 1, on the CPU. A longer text than the encoder reads is
        truncated, with a warning.

        Raises InputError for a text that is blank or longer than 2,000 words.
        """
        _check_texts(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # batches of one length need little padding
        sorted_texts = _chunks([texts[i] for i in order], batch_size)
        rows = _embed_batches(self, (self._tokenize(part) for part in sorted_texts), lambda t: self.project_text(*t))
        return rows[torch.argsort(torch.tensor(order))]

    def project_image(self, features: Tensor) -> Tensor:
        """(..., width of the image encoder) -> (..., D), not normalised."""
        raise NotImplementedError

    def project_pooled(self, features: Tensor) -> Tensor:
        """The pooled features (B, width of the image encoder) of whole images -> (B, D), not normalised."""
        return self.project_image(features)

    def project_cells(self, dense: Tensor, share: Tensor) -> Tensor:
        """Cells (B, h, w, width of the image encoder) -> (B, h, w, D), not normalised. share: (B,) `name_shares`."""
        return self.project_image(dense)

    def name_shares(self, images: Sequence[NDArray[np.uint8]], *, batch_size: int = 32) -> Tensor:
        """(N,) from 0 to 1: how much a classifier's names count in the cells of each image; 0 where there is none."""
        return torch.zeros(len(images))

    def embed_with_shares(self, images: Sequence[NDArray[np.uint8]], *, batch_size: int = 32) -> tuple[Tensor, Tensor]:
        """What `embed_images` and `name_shares` return, of one reading of the images where there is a classifier."""
        return self.embed_images(images, batch_size=batch_size), self.name_shares(images, batch_size=batch_size)

    def project_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, D), not normalised."""
        raise NotImplementedError

    def _passes(self, images: Sequence[Any], batch_size: int, size: int | None = None) -> Iterator[Sequence[Any]]:
        """The images of each pass. size: as in `embed_dense`."""
        side, device = size or self.image_encoder.size, next(self.parameters()).device
        return _chunks(images, pictures_at_once(batch_size, side, device, self.dtype))

    def _tokenize(self, texts: Sequence[str]) -> Tokens:
        raise NotImplementedError

    def _tokenizer(self) -> Tokenizer:
        raise NotImplementedError


def _embed_batches(model: DualEncoder, batches: Iterator[Any], embed: Callable[[Any], Tensor]) -> Tensor:
    """All batches in evaluation mode, normalised along the last axis in float32."""
    return _in_batches(model, batches, lambda batch: F.normalize(embed(batch).float(), dim=-1))


def _in_batches(model: DualEncoder, batches: Iterator[Any], compute: Callable[[Any], Tensor]) -> Tensor:
    """What is computed of each batch, in evaluation mode and the model's dtype, joined on the CPU."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        with torch.no_grad(), autocast(device, model.dtype):
            return torch.cat([compute(_to(batch, device)).cpu() for batch in batches])
    finally:
        model.train(training)


def _to(batch: Any, device: torch.device) -> Any:
    return batch.to(device) if isinstance(batch, Tensor) else Tokens(*(part.to(device) for part in batch))


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
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

    SigLIP's bias is left out: it adds the same to all logits.
    Raises InputError when it can't be had, is another kind of model, or lacks weights.
    """

    def __init__(self, source: str) -> None:
        from transformers import CLIPModel, SiglipModel

        super().__init__()
        kinds: dict[str, Any] = {"clip": CLIPModel, "siglip": SiglipModel}
        model = load_pretrained(source, kinds, "dual encoder").float()
        self.source = pinned(str(source))
        self.tokenizer = Tokenizer.from_str(load_pretrained_tokenizer(source).to_str())
        siglip = isinstance(model, SiglipModel)
        vision = model.vision_model, getattr(model, "visual_projection", None)
        self.image_encoder = ClipImageEncoder(self.source, parts=vision)
        self.text_encoder, self.text_projection = model.text_model, getattr(model, "text_projection", None)
        self.logit_scale = model.logit_scale
        self.requires_grad_(False).eval()
        self.width = self.image_encoder.width
        longest = self.text_encoder.config.max_position_embeddings
        self.tokenizer.enable_truncation(longest)
        # SigLIP pools the last position, so texts must have the length that it was trained with.
        padded = {"length": longest} if siglip else {}
        self.tokenizer.enable_padding(pad_id=self.text_encoder.config.pad_token_id or 0, **padded)
        self.uses_mask, self._warned_of_truncation = not siglip, False

    @property
    def temperature(self) -> float:
        """As trained."""
        return math.exp(-float(self.logit_scale.detach()))

    def project_image(self, features: Tensor) -> Tensor:
        """Unchanged: the image encoder's features are in the joint space already."""
        return features

    def project_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, D), not normalised: `get_text_features` of transformers."""
        attention_mask = mask.long() if self.uses_mask else None
        pooled: Tensor = self.text_encoder(input_ids=ids, attention_mask=attention_mask).pooler_output
        return self.text_projection(pooled) if self.text_projection is not None else pooled

    def _tokenize(self, texts: Sequence[str]) -> Tokens:
        rows = self.tokenizer.encode_batch(list(texts))
        cut = [text for text, row in zip(texts, rows, strict=True) if row.overflowing]
        if cut and not self._warned_of_truncation:
            self._warned_of_truncation = True
            longest = self.text_encoder.config.max_position_embeddings
            warnings.warn(
                f"{cut[0][:50]!r}... is longer than the {longest} tokens that {self.source} reads, "
                "and is cut (said once)",
                stacklevel=3,
            )
        ids, mask = ([getattr(row, name) for row in rows] for name in ("ids", "attention_mask"))
        return Tokens(torch.tensor(ids), torch.tensor(mask, dtype=torch.bool))

    def _tokenizer(self) -> Tokenizer:
        return self.tokenizer


# --- Segue's own


@dataclass(frozen=True)
class DualEncoderConfig:
    """Sizes of the projection heads.

    width: D of the joint space. hidden: width of each head's hidden layer, 0 for linear heads. dropout: on the
    heads' inputs and hidden layers. temperature: the initial one; it is learned, and never below .01.
    pooling: how a text's tokens become one vector: "mean" of all, or the "last" (CLIP's end of text).
    class_names: share of the image encoder's own class names in the vectors of an image, see `ClassNames`; 0 for none.
    cell_head: whether cells have a head of their own behind the image's, see `segue train labels-photos`.
    nouns: names whose vectors are moved towards the cells that show them, each once, in lower case.
    Raises InputError for values out of range.
    """

    width: Annotated[int, Interval(le=100_000)] = 256
    hidden: Annotated[int, Interval(le=100_000)] = 1024
    dropout: float = 0.0
    temperature: Annotated[float, Interval(le=1000)] = 0.05
    pooling: Literal["mean", "last"] = "mean"
    class_names: Annotated[float, Interval(ge=0, le=10)] = 0.0
    cell_head: bool = False
    nouns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1 or self.hidden < 0 or not 0 <= self.dropout < 1 or self.temperature < MIN_TEMPERATURE:
            raise InputError(
                f"dual encoder: got width {self.width}, hidden {self.hidden}, dropout {self.dropout} and temperature "
                f"{self.temperature}, expected width >= 1, hidden >= 0, 0 <= dropout < 1 and temperature >= "
                f"{MIN_TEMPERATURE}"
            )
        if self.pooling not in ("mean", "last"):
            raise InputError(f"dual encoder: got pooling {self.pooling!r}, expected mean or last")


class VisionTextDualEncoder(DualEncoder):
    """An image encoder and a text encoder with a projection head each; see `segue train dual-encoder`."""

    def __init__(
        self, config: DualEncoderConfig, image: ImageEncoder, text: TextEncoder, *, folder: Path | None = None
    ) -> None:
        super().__init__()
        self.config, self.width, self.image_encoder, self.text_encoder = config, config.width, image, text
        self.image_projection = ProjectionHead(image.width, config)
        self.text_projection = ProjectionHead(text.width, config)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self.class_names = ClassNames(image, config.width, config.class_names) if config.class_names else None
        self.cell_head: nn.Module | None = zero_linear(config.width) if config.cell_head else None
        self.set_noun_shifts(config.nouns, torch.zeros(len(config.nouns), config.width))
        self.folder = folder

    @property
    def temperature(self) -> float:
        """As learned, never below .01."""
        return 1 / float(self.logit_scale().detach())

    def logit_scale(self) -> Tensor:
        """1 / temperature as a scalar tensor with a gradient, at most 100."""
        return self.log_scale.exp().clamp(max=1 / MIN_TEMPERATURE)

    def project_image(self, features: Tensor) -> Tensor:
        """(..., width of the image encoder) -> (..., D), not normalised."""
        projected: Tensor = self.image_projection(features)
        return projected

    def project_pooled(self, features: Tensor) -> Tensor:
        """As `project_image`, with what the image encoder's own classifier adds to it."""
        projected = self.project_image(features)
        if self.class_names is None:
            return projected
        added: Tensor = self.class_names(features, F.normalize(projected.float(), dim=-1), self.temperature)
        return added

    def project_cells(self, dense: Tensor, share: Tensor) -> Tensor:
        """As `project_pooled`, for the cells."""
        cells = F.normalize(self.project_image(dense).float(), dim=-1)
        if self.class_names is not None:
            named = self.class_names(dense, cells, self.temperature)
            cells = torch.lerp(cells, named, share.to(cells)[:, None, None, None])
        return self.refine_cells(cells)

    @property
    def known_names(self) -> Tensor | None:
        """Those of `ClassNames`."""
        return None if self.class_names is None else F.normalize(self.class_names.texts.float(), dim=-1).cpu()

    def refine_cells(self, cells: Tensor) -> Tensor:
        """Vectors of cells (..., D) -> v + A v, v of length 1 and A the cells' own head; v as it is without one."""
        if self.cell_head is None:
            return cells
        cells = F.normalize(cells, dim=-1)
        refined: Tensor = cells + self.cell_head(cells)
        return refined

    def set_noun_shifts(self, nouns: tuple[str, ...] = (), shifts: Tensor | None = None) -> None:
        """What is added to the vectors of some nouns, (nouns, D), where they are compared with cells; else to none."""
        self.config, self.nouns = replace(self.config, nouns=nouns), nouns
        self.noun_shifts = nn.Parameter(shifts, requires_grad=False) if nouns and shifts is not None else None

    def name_shares(self, images: Sequence[NDArray[np.uint8]], *, batch_size: int = 32) -> Tensor:
        """Of the whole images, at the image encoder's own size."""
        return self.embed_with_shares(images, batch_size=batch_size)[1]

    def embed_with_shares(self, images: Sequence[NDArray[np.uint8]], *, batch_size: int = 32) -> tuple[Tensor, Tensor]:
        """As `DualEncoder.embed_with_shares`."""
        if (names := self.class_names) is None:
            return self.embed_images(images, batch_size=batch_size), torch.zeros(len(images))

        def read(pixels: Tensor) -> Tensor:
            pooled = self.image_encoder(pixels).pooled
            v = F.normalize(self.project_image(pooled).float(), dim=-1)
            share = names.share_of_cells(pooled, v, self.temperature)
            return torch.cat([F.normalize(self.project_pooled(pooled).float(), dim=-1), share[:, None].float()], 1)

        pixels = (self.image_encoder.preprocess(part) for part in self._passes(images, batch_size))
        found = _in_batches(self, pixels, read)
        return found[:, :-1], found[:, -1]

    def project_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, D), not normalised."""
        projected: Tensor = self.text_projection(self.encode_text(ids, mask))
        return projected

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, width of the text encoder): one vector a text."""
        tokens: Tensor = self.text_encoder(ids, mask)
        if self.config.pooling == "last":
            return tokens[torch.arange(len(tokens), device=tokens.device), mask.sum(1) - 1]
        return tokens.sum(1) / mask.sum(1, keepdim=True)  # padding is zeros

    def _parts_of_embeddings(self) -> list[nn.Module]:
        return [part for part in self.children() if part is not self.cell_head]

    def _tokenize(self, texts: Sequence[str]) -> Tokens:
        return self.text_encoder.tokenize(texts)

    def _tokenizer(self) -> Tokenizer:
        return self.text_encoder.tokenizer


def zero_linear(width: int) -> nn.Linear:
    """A linear map of (..., width) without bias, 0 to begin with."""
    linear = nn.Linear(width, width, bias=False)
    nn.init.zeros_(linear.weight)
    return linear


class ProjectionHead(nn.Module):
    """Layer norm, then a linear map to the joint space and, added to it, a two-layer GELU network (`hidden` > 0)."""

    def __init__(self, c_in: int, config: DualEncoderConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(c_in)
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(c_in, config.width, bias=False)
        self.mlp = _mlp(c_in, config) if config.hidden else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., c_in) -> (..., D)."""
        x = self.dropout(self.norm(x))
        projected: Tensor = self.linear(x)
        return projected if self.mlp is None else projected + self.mlp(x)


def _mlp(c_in: int, config: DualEncoderConfig) -> nn.Sequential:
    first, second = nn.Linear(c_in, config.hidden), nn.Linear(config.hidden, config.width)
    return nn.Sequential(first, nn.GELU(), nn.Dropout(config.dropout), second)
