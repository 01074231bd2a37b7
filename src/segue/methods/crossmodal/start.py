"""Starting weights: the cells' stream from a ViT, the words' stream from a BERT, both as `transformers` has them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from segue.data.tokenizer import CaptionTokenizer
from segue.encoders.pretrained import complete, loading
from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.model import CrossModal
from segue.methods.crossmodal.streams import Layer
from segue.types import InputError


def read_start(vit: str, bert: str) -> tuple[Any, Any, CaptionTokenizer]:
    """A ViTModel, a BertModel and the BERT's tokenizer, each by its id on the hub or from a local folder.

    Raises InputError when one can't be had.
    """
    from transformers import AutoTokenizer, BertModel, ViTModel

    bare: dict[str, Any] = {"add_pooling_layer": False, "output_loading_info": True}
    with loading(vit, "image tower"):
        sees = complete(vit, ViTModel.from_pretrained(vit, use_safetensors=True, **bare))
    with loading(bert):
        reads = complete(bert, BertModel.from_pretrained(bert, use_safetensors=True, **bare))
        tokenizer = AutoTokenizer.from_pretrained(bert).backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return sees, reads, CaptionTokenizer(tokenizer)


def config_for(vit: Any, bert: Any, **others: Any) -> CrossModalConfig:
    """The configuration that takes the weights of a ViTModel and a BertModel; others: the rest of the fields."""
    v, b = vit.config, bert.config
    shapes = [(c.hidden_size, c.num_attention_heads, c.num_hidden_layers, c.intermediate_size) for c in (v, b)]
    if shapes[0] != shapes[1] or shapes[0][3] != 4 * shapes[0][0]:
        raise InputError(
            f"starting weights: the ViT has (width, heads, depth, inner width) {shapes[0]}, the BERT {shapes[1]}; "
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
def load_starting_weights(model: CrossModal, vit: Any, bert: Any) -> None:
    """Copy the weights of a ViTModel and a BertModel into a model of `config_for`.

    The words' stream by itself is then the BERT, to the last bit of rounding. The cells' stream is the ViT's layers
    over its patches, without its class token. Codes, cross attention and heads stay fresh; the codes start at zero, so
    that the first pictures look as they did to the ViT.
    """
    table, words = bert.embeddings, model.words
    positions = table.position_embeddings.weight + table.token_type_embeddings.weight[0]
    words.embed.weight.copy_(table.word_embeddings.weight)
    words.position.copy_(positions[: len(words.position)])
    _copy(model.word_stream.norm, table.LayerNorm)
    for ours, theirs in zip(model.word_stream.layers, bert.encoder.layer, strict=True):
        _layer(ours, theirs, BERT)
    patches, cells = vit.embeddings, model.cells
    _copy(cells.see, patches.patch_embeddings.projection)
    cells.embed.weight.zero_()
    cells.position.copy_(_grid_of(patches.position_embeddings[0, 1:], model.config.grid))
    _copy(model.cell_stream.norm, vit.layernorm)
    for layer in (*model.word_stream.layers, *model.cell_stream.layers):
        layer.gate.fill_(0.1)  # fresh attention to the other stream disturbs the loaded weights little
    layers = vit.layers if hasattr(vit, "layers") else vit.encoder.layer
    for ours, theirs in zip(model.cell_stream.layers, layers, strict=True):
        _layer(ours, theirs, VIT if hasattr(vit, "layers") else VIT_4)


# Where q, k, v, out, norm1, feed[0], feed[2] and norm2 lie in a layer of `transformers`.
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


def _layer(ours: Layer, theirs: nn.Module, names: tuple[str, ...]) -> None:
    a = ours.attend
    parts = (a.q, a.k, a.v, a.out, ours.norm1, ours.feed[0], ours.feed[2], ours.norm2)
    for part, name in zip(parts, names, strict=True):
        _copy(part, theirs.get_submodule(name))


def _copy(ours: Any, theirs: Any) -> None:
    ours.weight.copy_(theirs.weight)
    ours.bias.copy_(theirs.bias)


def _grid_of(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """(n * n, C) of a square ViT -> (C, h, w) on another grid."""
    side = round(len(positions) ** 0.5)
    square = positions.T.unflatten(1, (side, side))[None]
    return nn.functional.interpolate(square, size=grid, mode="bicubic", align_corners=False)[0]
