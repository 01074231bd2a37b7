"""Initialisation from pretrained weights of `transformers`: the cell stream from a ViT, the word stream from a BERT."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from segue.data.tokenizer import CaptionTokenizer
from segue.encoders.pretrained import load_pretrained, load_pretrained_tokenizer
from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.layers import Layer
from segue.methods.crossmodal.model import CrossModal
from segue.types import InputError

UNUSED_OF_VIT = ("pooler.", "vit.pooler.", "classifier.", "decoder.", "vit.embeddings.mask_token")
UNUSED_OF_BERT = ("pooler.", "bert.pooler.", "cls.", "embeddings.position_ids", "bert.embeddings.position_ids")


def load_vit_and_bert(vit: str, bert: str) -> tuple[Any, Any, CaptionTokenizer]:
    """A ViTModel, a BertModel and the BERT's tokenizer, each by its id on the hub or from a local folder.

    Their poolers and the heads of their pretraining are left out.
    Raises InputError when one can't be loaded, lacks weights or has foreign ones.
    """
    from transformers import BertModel, ViTModel

    vit_model = load_pretrained(vit, {"vit": ViTModel}, "image encoder", unused=UNUSED_OF_VIT, pooling=False)
    bert_model = load_pretrained(bert, {"bert": BertModel}, "text encoder", unused=UNUSED_OF_BERT, pooling=False)
    tokenizer = load_pretrained_tokenizer(bert)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return vit_model, bert_model, CaptionTokenizer(tokenizer)


def pretrained_config(vit: Any, bert: Any, **others: Any) -> CrossModalConfig:
    """The configuration that fits the weights of a ViTModel and a BertModel. others: the rest of the fields.

    Raises InputError when the two have different shapes.
    """
    v, b = vit.config, bert.config
    shapes = [(c.hidden_size, c.num_attention_heads, c.num_hidden_layers, c.intermediate_size) for c in (v, b)]
    if shapes[0] != shapes[1] or shapes[0][3] != 4 * shapes[0][0]:
        raise InputError(
            f"pretrained weights: the ViT has (width, heads, depth, inner width) {shapes[0]}, the BERT {shapes[1]}; "
            "expected equal ones with an inner width of 4 widths, such as ViT-B/16 and BERT base"
        )
    width, heads, depth, _ = shapes[0]
    return CrossModalConfig(
        width=width,
        heads=heads,
        depth=depth,
        patch=v.patch_size,
        vocabulary=b.vocab_size,
        norms="post",
        epsilon=b.layer_norm_eps,
        **others,
    )


@torch.no_grad()
def load_pretrained_weights(model: CrossModal, vit: Any, bert: Any) -> None:
    """Copy the weights of a ViTModel and a BertModel into a model of `pretrained_config`.

    The word stream by itself then computes what the BERT does, to the last bit of rounding. The cell stream is the
    ViT's layers over its patches, without its class token. Cross-attention and heads keep their random weights; the
    embeddings of the codes start at zero, so that at first the cell stream gets the ViT's own input.
    """
    theirs, words = bert.embeddings, model.word_embedding
    positions = theirs.position_embeddings.weight + theirs.token_type_embeddings.weight[0]
    words.embed.weight.copy_(theirs.word_embeddings.weight)
    words.position.copy_(positions[: len(words.position)])
    _copy(model.word_stream.norm, theirs.LayerNorm)
    for layer, source in zip(model.word_stream.layers, bert.encoder.layer, strict=True):
        _copy_layer(layer, source, BERT)
    patches, cells = vit.embeddings, model.cell_embedding
    _copy(cells.patch_embedding, patches.patch_embeddings.projection)
    cells.embed.weight.zero_()
    cells.position.copy_(_resized_positions(patches.position_embeddings[0, 1:], model.config.grid))
    _copy(model.cell_stream.norm, vit.layernorm)
    for layer in (*model.word_stream.layers, *model.cell_stream.layers):
        layer.cross_gate.fill_(0.1)  # so that random cross-attention disturbs the pretrained layers little
    layers = vit.layers if hasattr(vit, "layers") else vit.encoder.layer
    for layer, source in zip(model.cell_stream.layers, layers, strict=True):
        _copy_layer(layer, source, VIT if hasattr(vit, "layers") else VIT_4)


# The names of q, k, v, out, norm_self, mlp[0], mlp[2] and norm_mlp in a layer of `transformers`.
BERT = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm",
)  # fmt: skip
VIT = (
    "attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj",
    "layernorm_before", "mlp.fc1", "mlp.fc2", "layernorm_after",
)  # fmt: skip
VIT_4 = (  # transformers 4
    "attention.attention.query", "attention.attention.key", "attention.attention.value", "attention.output.dense",
    "layernorm_before", "intermediate.dense", "output.dense", "layernorm_after",
)  # fmt: skip


def _copy_layer(layer: Layer, source: nn.Module, names: tuple[str, ...]) -> None:
    a = layer.attention
    parts = (a.q, a.k, a.v, a.out, layer.norm_self, layer.mlp[0], layer.mlp[2], layer.norm_mlp)
    for part, name in zip(parts, names, strict=True):
        _copy(part, source.get_submodule(name))


def _copy(target: Any, source: Any) -> None:
    target.weight.copy_(source.weight)
    target.bias.copy_(source.bias)


def _resized_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """(n * n, C) of a square ViT -> (C, h, w) on another grid."""
    side = round(len(positions) ** 0.5)
    square = torch.unflatten(positions.T, 1, (side, side))[None]
    return nn.functional.interpolate(square, size=grid, mode="bicubic", align_corners=False)[0]
