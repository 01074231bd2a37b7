"""SynTIC: captions learned from text alone.

Paper: Z. Liu et al., "Improving Cross-modal Alignment with Synthetic Pairs for Text-only Image Captioning".
The equation numbers below are the paper's. Its parts: feature optimisation (Eq. 2, `features`), projection onto the
text support set (Eq. 3, `support`), object features (Eq. 4-5, here) and the prefix decoder (Eq. 6,
`segue.nn.prefix_decoder`). B captions, D width of the dual encoder, K object names, L tokens, W width of the decoder.

The dual encoder is frozen, so everything here works on its features, computed once. The paper's ablations and the
methods it is compared with differ only in what the prefix is made of, in training and at inference: see `SYSTEMS`.

Where we differ, and why:
- The system "neighbours" is ours: the prefix also holds the picture's feature and those of the nearest captions.
- A picture without objects is undefined in the paper: a learned vector takes the place of its names (`null_object`).
- The attention of Eq. 5 projects to the decoder's width, which need not be the dual encoder's.
- Features are normalised the same way in training and at inference, noise included.
- CLOSE estimates its shift on pairs of another data set; here it is the mean over the synthetic pairs, because no real
  picture may be used.
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
from segue.methods.syntic.feature_optimisation import check_features
from segue.methods.syntic.support import SupportSet
from segue.nn.decoding import Hypothesis, decode
from segue.nn.prefix_decoder import PrefixDecoder
from segue.options import Decoding
from segue.types import InputError


def build_syntic(
    config: SynticConfig, *, vocabulary: int, encoder_width: int, end: int, suppressed_token_ids: Sequence[int]
) -> Syntic:
    """The whole model.

    vocabulary: number of tokens of the tokenizer. encoder_width: D. end: id of the token that ends a caption.
    suppressed_token_ids: tokens that are never generated (padding, unknown).
    Raises InputError for a system that only retrieves captions, and a start token that the tokenizer lacks.
    """
    if not config.trainable:
        raise InputError("this system retrieves captions and has nothing to train; use SupportSet.retrieve")
    if config.start_token is not None and config.start_token >= vocabulary:
        raise InputError(f"start_token: got {config.start_token}, expected one of the tokenizer's {vocabulary} tokens")
    decoder = PrefixDecoder(
        vocabulary=vocabulary,
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        positions=config.max_tokens + 1 + config.prefix_length,
        dropout=config.dropout,
        activation=config.activation,
    )
    object_attention = ObjectAttention(encoder_width, config.width, config.heads) if config.af else None
    image_projection = nn.Linear(encoder_width, config.width)
    return Syntic(
        config, decoder, image_projection, object_attention, end=end, suppressed_token_ids=suppressed_token_ids
    )


class ObjectAttention(nn.Module):
    """Eq. 5: a = MultiHead(query v, keys O, values O), from the dual encoder's width D to the decoder's W."""

    def __init__(self, encoder_width: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.v = nn.Linear(encoder_width, width), nn.Linear(encoder_width, width)
        self.out = nn.Linear(width, width)
        self.k = nn.Linear(encoder_width, width, bias=False)  # a bias here would cancel in the softmax
        self.null_object = nn.Parameter(F.normalize(torch.randn(encoder_width), dim=0))  # O where nothing was found

    def forward(self, v: Tensor, objects: Tensor, found: Tensor) -> Tensor:
        """v: (B, D). objects: (B, K, D) name features, K may be 0. found: (B, K) bool, False on padding -> (B, W)."""
        names = torch.cat([self.null_object.to(objects).expand(len(v), 1, -1), objects], 1)
        return self.attend(v, names, torch.cat([~found.any(1, keepdim=True), found], 1))

    def attend(self, v: Tensor, names: Tensor, mask: Tensor) -> Tensor:
        """Like `forward`, without `null_object`. names: (B, K, D). mask: (B, K) bool, True once or more in a row."""
        q, k, value = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for f, x in ((self.q, v[:, None]), (self.k, names), (self.v, names))
        )
        attended = F.scaled_dot_product_attention(q, k, value, attn_mask=mask[:, None, None])
        a: Tensor = self.out(attended.transpose(1, 2).flatten(1))
        return a


class Syntic(nn.Module):
    """See `build_syntic`. `training_step` is Eq. 6 with the prefix of training; `generate` uses that of inference."""

    shift: Tensor

    def __init__(
        self,
        config: SynticConfig,
        decoder: PrefixDecoder,
        image_projection: nn.Linear,
        object_attention: ObjectAttention | None,
        *,
        end: int,
        suppressed_token_ids: Sequence[int],
    ) -> None:
        super().__init__()
        self.config, self.decoder = config, decoder
        self.image_projection, self.object_attention = image_projection, object_attention
        self.end, self.suppressed_token_ids = end, tuple(suppressed_token_ids)
        if config.neighbours:
            self.feature_projection = nn.Linear(self.encoder_width, config.width)
            self.neighbour_projection = nn.Linear(self.encoder_width, config.width)
        self.register_buffer("shift", torch.zeros(self.encoder_width))

    @property
    def encoder_width(self) -> int:
        """D, the width of the dual encoder whose features this model reads."""
        return self.image_projection.in_features

    @torch.no_grad()
    def estimate_shift(self, v: Tensor, t: Tensor) -> None:
        """CLOSE's shift: the mean of image features v (N, D) minus that of text features t (N', D), all normalised.

        Raises InputError for features of another width.
        """
        for x, what in ((v, "image features"), (t, "text features")):
            check_features(x, what, self.encoder_width)
        self.shift.copy_(F.normalize(v.float(), dim=-1).mean(0) - F.normalize(t.float(), dim=-1).mean(0))

    def prefix(
        self,
        p: Tensor,
        v: Tensor | None = None,
        objects: Tensor | None = None,
        found: Tensor | None = None,
        neighbours: Tensor | None = None,
    ) -> Tensor:
        """The prefix tokens (B, P, W), P as the configuration says.

        p: (B, D), features of the pictures, or their projections. v: (B, D), features of the pictures (by default p),
        the query of Eq. 5. objects: (B, K, D), features of the names of their objects. found: (B, K) bool, False on
        padding. These two are used when af is on; objects=None means that nothing was found. neighbours: (B, K', D),
        features of the nearest captions, nearest first, of a model that reads them.
        Raises InputError for features of other shapes.
        """
        check_features(p, "features", self.encoder_width)
        tokens = [self.image_projection(F.normalize(p.float(), dim=-1))]
        v = F.normalize((p if v is None else v).float(), dim=-1)
        if self.config.neighbours:
            shape = (len(p), self.config.neighbours, self.encoder_width)
            if neighbours is None or neighbours.shape != shape:
                got = None if neighbours is None else tuple(neighbours.shape)
                raise InputError(f"neighbours: got {got}, expected the features of the nearest captions, {shape}")
            tokens += [self.feature_projection(v), *self.neighbour_projection(neighbours.to(v)).unbind(1)]
        if self.object_attention is not None:
            if objects is None or found is None:
                objects, found = v.new_zeros(len(v), 0, v.shape[1]), v.new_zeros(len(v), 0, dtype=torch.bool)
            self._check_objects(v, objects, found)
            tokens.append(self.object_attention(v, objects.to(v), found.to(v.device)))
        if self.config.start_token is not None:
            tokens.append(self.decoder.embed.weight[self.config.start_token].expand(len(v), -1))
        return torch.stack(tokens, 1)

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Eq. 6. Returns "loss", the mean over the batch's real tokens.

        batch: tokens (B, L) with their end, real (B, L) bool; and what the system's prefix is made of:
        projected (B, D), p_i of Eq. 3 (source "image" with fp); image (B, D), v_i (source "image" without fp);
        text (B, D) (source "text"); query (B, D), of Eq. 5, objects (B, K, D) and found (B, K) (af). With neighbours:
        text (B, D), which stands for a picture's feature with its noise, its projected (B, D), and neighbours
        (B, K', D).
        """
        smoothing = self.config.label_smoothing
        if self.config.neighbours:
            prefix = self.prefix(batch["projected"], batch["text"], neighbours=batch["neighbours"])
        else:
            object_inputs = (batch[name] for name in ("query", "objects", "found")) if self.config.af else ()
            prefix = self.prefix(self._training_feature(batch), *object_inputs)
        return {"loss": self.decoder.loss(prefix, batch["tokens"], batch["real"], label_smoothing=smoothing)}

    def _training_feature(self, batch: dict[str, Any]) -> Tensor:
        c = self.config
        if c.source == "text":
            t = F.normalize(batch["text"].float(), dim=-1) + (self.shift if c.shift else 0)
            return t + c.noise * torch.randn_like(t)
        feature: Tensor = batch["projected" if c.fp else "image"]
        return feature

    @torch.inference_mode()
    def generate(
        self,
        v: Tensor,
        support: SupportSet | None = None,
        objects: Tensor | None = None,
        found: Tensor | None = None,
        *,
        options: Decoding | None = None,
    ) -> list[list[Hypothesis]]:
        """`options.num` distinct token sequences, the best first, for each of the image features v (B, D).

        options: by default greedy search, up to the longest caption that the model was built for.
        support: needed when fp is on; another one than in training is the paper's -TT. objects, found: as in `prefix`.
        Raises InputError when the support set is missing, max_tokens is above that of training, or features don't fit.
        """
        options = Decoding(max_tokens=self.config.max_tokens) if options is None else options
        if options.max_tokens > self.config.max_tokens:
            raise InputError(
                f"max_tokens: got {options.max_tokens}, expected at most {self.config.max_tokens}, the most in training"
            )
        logits, cache = self.decoder.start(self._prefix_of(v, support, objects, found))
        return decode(
            self.decoder.step, logits, cache, end=self.end, options=options,
            suppressed_token_ids=self.suppressed_token_ids,
        )  # fmt: skip

    @torch.inference_mode()
    def log_probabilities(
        self,
        v: Tensor,
        tokens: Tensor,
        support: SupportSet | None = None,
        objects: Tensor | None = None,
        found: Tensor | None = None,
    ) -> Tensor:
        """(B, L): ln p of each of the tokens (L,) after those before it, for each of the image features v (B, D).

        support, objects, found: as in `generate`. Raises InputError as `generate` does.
        """
        rows = tokens.to(v.device).expand(len(v), -1)
        logits = self.decoder(self._prefix_of(v, support, objects, found), rows[:, :-1]).float()
        logp: Tensor = logits.log_softmax(-1).gather(-1, rows[..., None])[..., 0]
        return logp

    def _prefix_of(self, v: Tensor, support: SupportSet | None, objects: Tensor | None, found: Tensor | None) -> Tensor:
        """The prefix of inference for image features v (B, D); see `generate`."""
        if self.config.fp and support is None:
            raise InputError("this captioner projects pictures onto captions: pass support=... (--support FILE)")
        check_features(v, "image features", self.encoder_width)
        p = support.project(v) if self.config.fp and support is not None else v
        neighbours = self._neighbours(v, support) if self.config.neighbours and support is not None else None
        return self.prefix(p, v, objects, found, neighbours)

    def _neighbours(self, v: Tensor, support: SupportSet) -> Tensor:
        """(B, K', D): the features of the nearest captions. Raises InputError for too small a support set."""
        wanted = self.config.neighbours
        if len(support) < wanted:
            raise InputError(f"support: got {len(support)} captions, expected {wanted} or more, which this model reads")
        return support.features_at(support.nearest(v, wanted)[1])

    def _check_objects(self, v: Tensor, objects: Tensor, found: Tensor) -> None:
        if objects.ndim != 3 or objects.shape[::2] != v.shape or found.shape != objects.shape[:2]:
            raise InputError(
                f"objects: got shape {tuple(objects.shape)} with found {tuple(found.shape)}, expected ({len(v)}, K, "
                f"{v.shape[1]}) and ({len(v)}, K): the features of the objects' names, padded, and which are real"
            )
