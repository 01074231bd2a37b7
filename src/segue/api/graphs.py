"""What `segue export --onnx` writes of each kind of model: modules with tensors as inputs, each one ONNX graph.

B images or rows, S side in pixels, L tokens, V vocabulary, D width of the dual encoder, W of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.api.open_vocabulary import OpenVocabularySegmenter
from segue.api.segmenter import Member, Segmenter
from segue.encoders.text.contract import TextEncoder
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.inference import group_maps
from segue.methods.reclmis.model import RecLMIS
from segue.methods.syntic import SynticCheckpoint
from segue.methods.syntic.model import Syntic
from segue.nn.prefix_decoder import Block, PrefixDecoder
from segue.types import InputError

EXPORTED = "what has: segmenters (reclmis, unet), captioners (syntic) and GroupViTs (cocu)"
Sample = Callable[[int, int], dict[str, Tensor]]


@dataclass(frozen=True)
class Graph:
    """One graph. sample(rows, length) gives random inputs by name, in the module's order; they follow torch's seed.

    axes: the names of each input's axes that may have any length. lengths: of the second argument of `sample`, those
    at which the graph is checked.
    """

    module: nn.Module
    sample: Sample
    outputs: tuple[str, ...]
    axes: dict[str, dict[int, str]]
    lengths: tuple[int, ...] = (1,)


# ------------------------------------------------------------------------------------------- segmenters


class SegmenterGraph(nn.Module):
    """Pixels and a note's tokens -> logits; a row whose mask is all False has no note."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.network, self.temperature = member.network, member.temperature

    def forward(self, pixels: Tensor, ids: Tensor | None = None, word_mask: Tensor | None = None) -> Tensor:
        """pixels: (B, 3, S, S). ids: (B, L) int64. word_mask: (B, L) bool. Returns calibrated logits (B, 1, S, S)."""
        if ids is None or word_mask is None or not isinstance(self.network, RecLMIS):
            logits: Tensor = self.network(pixels, [None] * len(pixels))
        else:
            logits = self.network.segment_encoded(pixels, *self._encode(self.network, ids, word_mask))
        return logits / self.temperature

    @staticmethod
    def _encode(network: RecLMIS, ids: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        """As `RecLMIS.encode_notes`, for token ids."""
        assert network.text_encoder is not None  # as this graph has tokens
        assert network.word_projection is not None
        first = torch.arange(ids.shape[1], device=ids.device) == 0
        missing = ~word_mask.any(1, keepdim=True)  # (B, 1), no note
        mask = word_mask | (missing & first)
        e = network.text_encoder(ids, mask)
        null_text = network.word_projection.null_text * first[:, None]  # (L, width): the learned vector, then zeros
        return network.word_projection(torch.where(missing[..., None], null_text, e), mask), mask


def segmenter_graphs(model: Segmenter) -> dict[str, Graph]:
    """RecLMIS, or a network that reads no notes.

    Raises InputError for an ensemble.
    """
    if len(model.members) != 1:
        raise InputError(f"this model is {len(model.members)} folds, whose answers are averaged; export one of them")
    network, side = model.members[0].network, model.preprocessing.size
    text = network.text_encoder
    return {
        "segmenter": Graph(
            SegmenterGraph(model.members[0]),
            lambda rows, length: {"pixels": torch.randn(rows, 3, side, side)} | _note(text, rows, length),
            ("logits",),
            {"pixels": {0: "batch"}}
            | ({"ids": {0: "batch", 1: "tokens"}, "word_mask": {0: "batch", 1: "tokens"}} if text else {}),
            (1, text.max_tokens) if text else (1,),
        )
    }


def _note(text: TextEncoder | None, rows: int, length: int) -> dict[str, Tensor]:
    """Notes of `length` tokens at most; the last of several rows has none."""
    if text is None:
        return {}
    word_mask = torch.arange(length) < torch.randint(1, length + 1, (rows, 1))
    word_mask[1:][-1:] = False
    ids = torch.randint(0, text.tokenizer.get_vocab_size(), (rows, length))
    return {"ids": ids * word_mask, "word_mask": word_mask}


# ------------------------------------------------------------------------------------------- captioners


class StartGraph(nn.Module):
    """A picture's features -> the first token's logits, and the keys and values to go on with."""

    def __init__(self, model: Syntic) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        projected: Tensor,
        picture: Tensor | None = None,
        objects: Tensor | None = None,
        found: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """projected, picture: (B, D). objects: (B, K, D). found: (B, K) bool. See `Syntic.prefix`.

        Returns logits (B, V), keys and values (layers, B, heads, P, W / heads), P the length of the prefix.
        """
        prefix, decoder = [self.model.image_projection(F.normalize(projected, dim=-1))], self.model.decoder
        if picture is not None and objects is not None and found is not None:
            prefix.append(self._attend_objects(F.normalize(picture, dim=-1), objects, found))
        x = torch.stack(prefix, 1)
        return decode_with_cache(decoder, x + decoder.position.weight[: x.shape[1]])

    def _attend_objects(self, v: Tensor, objects: Tensor, found: Tensor) -> Tensor:
        """As `ObjectAttention`, but the null object replaces the first row where nothing was found."""
        attention = self.model.object_attention
        assert attention is not None  # as this graph has objects
        nothing = ~found.any(1, keepdim=True) & (torch.arange(found.shape[1], device=found.device) == 0)
        return attention.attend(v, torch.where(nothing[..., None], attention.null_object, objects), found | nothing)


class StepGraph(nn.Module):
    """One more token of each row."""

    def __init__(self, decoder: PrefixDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """tokens: (B,) int64. keys, values: (layers, B, heads, T, W / heads). Returns logits (B, V), both of T + 1."""
        decoder, past = self.decoder, keys.shape[3]
        x = decoder.embed(tokens)[:, None] + decoder.position.weight[past]
        return decode_with_cache(decoder, x, keys, values)


def decode_with_cache(
    decoder: PrefixDecoder, x: Tensor, keys: Tensor | None = None, values: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """`PrefixDecoder` over inputs x (B, L, W) with positions, with a cache that grows (its own is of fixed size)."""
    all_keys, all_values = [], []
    for layer, block in enumerate(cast(Iterable[Block], decoder.blocks)):
        q, k, v = block.queries_keys_values(x)
        if keys is not None and values is not None:
            k, v = torch.cat([keys[layer], k], 2), torch.cat([values[layer], v], 2)
        x = block.attend(x, q, k, v)
        all_keys.append(k)
        all_values.append(v)
    return decoder.logits(x[:, -1]), torch.stack(all_keys), torch.stack(all_values)


def captioner_graphs(model: SynticCheckpoint) -> dict[str, Graph]:
    """SynTIC's decoder: `start` and `step`. Raises InputError for one that reads the nearest captions."""
    net, decoder = model.model, model.model.decoder
    if net.config.neighbours:
        raise InputError("export: there is no graph yet of a captioner that reads the nearest captions; export another")
    width, longest = net.encoder_width, decoder.position.num_embeddings
    per_object = {0: "batch", 1: "objects"}
    objects = {"picture": {0: "batch"}, "objects": per_object, "found": per_object} if net.config.af else {}
    cache = {1: "batch", 3: "past"}

    def start(rows: int, length: int) -> dict[str, Tensor]:
        inputs = {"projected": F.normalize(torch.randn(rows, width), dim=1)}
        if net.config.af:
            inputs |= {"picture": F.normalize(torch.randn(rows, width), dim=1)}
            inputs |= {"objects": F.normalize(torch.randn(rows, length, width), dim=2)}
            inputs |= {"found": torch.rand(rows, length) < 0.5}
        return inputs

    def step(rows: int, length: int) -> dict[str, Tensor]:
        shape = (len(decoder.blocks), rows, decoder.heads, length, net.config.width // decoder.heads)
        tokens = torch.randint(0, decoder.embed.num_embeddings, (rows,))
        return {"tokens": tokens, "keys": torch.randn(shape), "values": torch.randn(shape)}

    outputs = ("logits", "keys_out", "values_out")
    return {
        "start": Graph(StartGraph(net), start, outputs, {"projected": {0: "batch"}, **objects}, (1, 3)),
        "step": Graph(
            StepGraph(decoder),
            step,
            outputs,
            {"tokens": {0: "batch"}, "keys": cache, "values": cache},
            (1, 2, longest - 1),
        ),
    }


# ------------------------------------------------------------------------------------------- GroupViT


class ImagesGraph(nn.Module):
    """Pixels -> the embeddings of the image and of its groups in the joint space, and the groups' maps."""

    def __init__(self, model: GroupViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, S, S) -> picture (B, P), groups (B, G, P), both of unit length, and maps (B, G, rows, columns)."""
        vision = self.model.encode_image(pixels)
        return self.model.embed_image(vision), self.model.embed_groups(vision), group_maps(vision)


class TextsGraph(nn.Module):
    """Tokens -> the texts' embeddings in the joint space."""

    def __init__(self, model: GroupViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """(T, L) int64, each row with its end -> (T, P) of unit length."""
        return self.model.embed_tokens(ids)


def open_vocabulary_graphs(model: OpenVocabularySegmenter) -> dict[str, Graph]:
    """GroupViT: `pictures` at the size of the model's protocol, and `texts`."""
    net, side, c = model.model, model.protocol.crop, model.model.config

    def ids(rows: int, length: int) -> dict[str, Tensor]:
        sampled = torch.randint(0, max(min(c.bos, c.eos, c.vocabulary), 1), (rows, length))
        sampled[:, -1] = c.vocabulary - 1 if c.eos == 2 else c.eos
        return {"ids": sampled}

    def pixels(rows: int, _: int) -> dict[str, Tensor]:
        return {"pixels": torch.randn(rows, 3, side, side)}

    return {
        "pictures": Graph(ImagesGraph(net), pixels, ("picture", "groups", "maps"), {"pixels": {0: "batch"}}),
        "texts": Graph(TextsGraph(net), ids, ("texts",), {"ids": {0: "texts", 1: "tokens"}}, (2, c.max_tokens)),
    }


def graphs_of(model: Any) -> dict[str, Graph]:
    """The graphs of a model by name. Raises InputError for a kind that has none."""
    if isinstance(model, Segmenter):
        return segmenter_graphs(model)
    if isinstance(model, SynticCheckpoint):
        return captioner_graphs(model)
    if isinstance(model, OpenVocabularySegmenter):
        return open_vocabulary_graphs(model)
    raise InputError(f"{type(model).__name__}: has no ONNX export; {EXPORTED}")
