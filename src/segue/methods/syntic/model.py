"""SynTIC: captions learned from text alone.

Paper: Z. Liu et al., "Improving Cross-modal Alignment with Synthetic Pairs for Text-only Image Captioning".
The equation numbers below are the paper's. Its parts: feature optimisation (Eq. 2, `features`), projection onto the
text support set (Eq. 3, `support`), object features (Eq. 4-5, here) and the prefix decoder (Eq. 6, `decoder`).
B captions, D width of the image-text pair, K object names, L tokens, W width of the decoder.

The encoders are frozen, so that everything here works on their features, computed once. What the prefix is made of, in
training and at inference, is all that tells the paper's ablations and its rivals apart: see `SYSTEMS`.

Where we differ, and why:
- A picture without objects is undefined in the paper: a learned row stands for its names (`nothing`).
- The attention of Eq. 5 projects to the decoder's width, which need not be the pair's.
- Features are normalised the same way in training and at inference, noise included.
- CLOSE estimates its shift on pairs of another data set; here it is the mean over the synthetic pairs, as no real
  picture may be seen.
- No weight of a pre-trained language model is used, also not for CapDec and CLOSE: all systems share one decoder.
Not verified: the paper's figures on COCO, Flickr30k and SS1M, which need Stable Diffusion and days of GPU time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.methods.syntic.config import SynticConfig
from segue.methods.syntic.decoder import PrefixDecoder
from segue.methods.syntic.features import check_features
from segue.methods.syntic.support import Support
from segue.nn.decoding import Answer, decode
from segue.options import Decoding
from segue.types import InputError


def build_syntic(config: SynticConfig, *, vocabulary: int, pair_width: int, end: int, silent: Sequence[int]) -> Syntic:
    """The whole model, put together here.

    vocabulary: the tokenizer's true size. pair_width: D. end: the token that ends a caption. silent: tokens that are
    never said (padding, unknown).
    """
    if not config.learns:
        raise InputError("this system retrieves captions and has nothing to train; use Support.retrieve")
    decoder = PrefixDecoder(
        vocabulary=vocabulary,
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        positions=config.max_tokens + 2 + config.af,
        dropout=config.dropout,
    )
    objects = ObjectAttention(pair_width, config.width, config.heads) if config.af else None
    return Syntic(config, decoder, nn.Linear(pair_width, config.width), objects, end, silent)


class ObjectAttention(nn.Module):
    """Eq. 5: a = MultiHead(query v, keys O, values O), from the pair's width D to the decoder's W."""

    def __init__(self, pair_width: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.v, self.out = nn.Linear(pair_width, width), nn.Linear(pair_width, width), nn.Linear(width, width)
        self.k = nn.Linear(pair_width, width, bias=False)  # a bias here would cancel in the softmax
        self.nothing = nn.Parameter(F.normalize(torch.randn(pair_width), dim=0))  # O where no object was found

    def forward(self, v: Tensor, objects: Tensor, found: Tensor) -> Tensor:
        """v: (B, D). objects: (B, K, D) name features, K may be 0. found: (B, K) bool, False on padding -> (B, W)."""
        names = torch.cat([self.nothing.to(objects).expand(len(v), 1, -1), objects], 1)
        return self.look(v, names, torch.cat([~found.any(1, keepdim=True), found], 1))

    def look(self, v: Tensor, names: Tensor, real: Tensor) -> Tensor:
        """As `forward`; names: (B, K, D) of which each row has one that is real, by real: (B, K)."""
        q, k, value = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for f, x in ((self.q, v[:, None]), (self.k, names), (self.v, names))
        )
        a = F.scaled_dot_product_attention(q, k, value, attn_mask=real[:, None, None])
        return self.out(a.transpose(1, 2).flatten(1))


class Syntic(nn.Module):
    """See `build_syntic`. `training_step` is Eq. 6 on the training prefix; `caption` decodes on that of inference."""

    shift: Tensor

    def __init__(
        self,
        config: SynticConfig,
        decoder: PrefixDecoder,
        image: nn.Linear,
        objects: ObjectAttention | None,
        end: int,
        silent: Sequence[int],
    ) -> None:
        super().__init__()
        self.config, self.decoder, self.image, self.objects = config, decoder, image, objects
        self.end, self.silent = end, tuple(silent)
        self.register_buffer("shift", torch.zeros(image.in_features))

    @property
    def pair_width(self) -> int:
        """D, the width of the image-text pair whose features this model reads."""
        return self.image.in_features

    @torch.no_grad()
    def learn_shift(self, v: Tensor, t: Tensor) -> None:
        """CLOSE's shift: the mean of image features v (N, D) minus that of text features t (N', D), all normalised."""
        for x, what in ((v, "image features"), (t, "text features")):
            check_features(x, what, self.pair_width)
        self.shift.copy_(F.normalize(v.float(), dim=-1).mean(0) - F.normalize(t.float(), dim=-1).mean(0))

    def prefix(
        self, p: Tensor, v: Tensor | None = None, objects: Tensor | None = None, found: Tensor | None = None
    ) -> Tensor:
        """The prefix tokens (B, 1 or 2, W).

        p: (B, D), what stands for the picture: its feature, or the projection of it. v: (B, D), its feature, the query
        of Eq. 5. objects: (B, K, D), features of the names of its objects. found: (B, K) bool, False on padding. The
        last three are used when af is on; objects=None means that nothing was found.
        """
        check_features(p, "features", self.pair_width)
        tokens = [self.image(F.normalize(p.float(), dim=-1))]
        if self.objects is not None:
            v = F.normalize((p if v is None else v).float(), dim=-1)
            if objects is None or found is None:
                objects, found = v.new_zeros(len(v), 0, v.shape[1]), v.new_zeros(len(v), 0, dtype=torch.bool)
            self._check_objects(v, objects, found)
            tokens.append(self.objects(v, objects.to(v), found.to(v.device)))
        return torch.stack(tokens, 1)

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Eq. 6. Returns "loss", the mean over the batch's real tokens.

        batch: tokens (B, L) with their end, real (B, L) bool; and what the system's prefix is made of:
        projected (B, D), p_i of Eq. 3 (source "image" with fp); image (B, D), v_i (source "image" without fp, or af);
        text (B, D) (source "text"); objects (B, K, D) and found (B, K) (af).
        """
        about_objects = (batch[name] for name in ("image", "objects", "found")) if self.config.af else ()
        prefix = self.prefix(self._training_feature(batch), *about_objects)
        return {"loss": self.decoder.loss(prefix, batch["tokens"], batch["real"])}

    def _training_feature(self, batch: dict[str, Any]) -> Tensor:
        c = self.config
        if c.source == "text":
            t = F.normalize(batch["text"].float(), dim=-1) + (self.shift if c.shift else 0)
            return t + c.noise * torch.randn_like(t)
        return batch["projected" if c.fp else "image"]

    def caption(
        self,
        v: Tensor,
        support: Support | None = None,
        objects: Tensor | None = None,
        found: Tensor | None = None,
        options: Decoding | None = None,
    ) -> list[list[list[int]]]:
        """The tokens of `answers`, whose arguments these are."""
        return [[answer.tokens for answer in one] for one in self.answers(v, support, objects, found, options)]

    @torch.inference_mode()
    def answers(
        self,
        v: Tensor,
        support: Support | None = None,
        objects: Tensor | None = None,
        found: Tensor | None = None,
        options: Decoding | None = None,
    ) -> list[list[Answer]]:
        """`options.num` distinct captions and their scores, the best first, for each of the image features v (B, D).

        options: by default greedy search for captions of any length that the model was built for.
        support: needed when fp is on; another one than in training is the paper's -TT. objects, found: as in `prefix`.
        """
        options = Decoding(max_tokens=self.config.max_tokens) if options is None else options
        if self.config.fp and support is None:
            raise InputError("this captioner projects pictures onto a text support set: pass support=Support(...)")
        if options.max_tokens > self.config.max_tokens:
            raise InputError(
                f"max_tokens: got {options.max_tokens}, expected at most {self.config.max_tokens}, the most in training"
            )
        check_features(v, "image features", self.pair_width)
        p = support.project(v) if self.config.fp and support is not None else v
        logits, cache = self.decoder.start(self.prefix(p, v, objects, found))
        return decode(self.decoder.step, logits, cache, end=self.end, options=options, banned=self.silent)

    def _check_objects(self, v: Tensor, objects: Tensor, found: Tensor) -> None:
        if objects.ndim != 3 or objects.shape[::2] != v.shape or found.shape != objects.shape[:2]:
            raise InputError(
                f"objects: got shape {tuple(objects.shape)} with found {tuple(found.shape)}, expected ({len(v)}, K, "
                f"{v.shape[1]}) and ({len(v)}, K): the features of the objects' names, padded, and which are real"
            )
