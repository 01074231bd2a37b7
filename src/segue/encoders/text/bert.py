"""BERT (Devlin et al. 2019) as MiniLM has it, without transformers, whose import takes longer than a caption.

The modules' names are those of the published weights. B texts of L tokens, W width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from segue.configs import read_json
from segue.nn.building import read_shapes, sized_by
from segue.types import InputError
from segue.weights import CONFIG, WEIGHTS

UNUSED = ("pooler.", "embeddings.position_ids")  # of the published weights


@dataclass(frozen=True)
class BertConfig:
    """Sizes, under the names of transformers' config.json."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float


def load_bert(folder: Path) -> Bert:
    """The network in a folder of config.json and model.safetensors. Raises InputError when they can't be read."""
    saved, path = read_json(folder / CONFIG), folder / WEIGHTS
    try:
        config = BertConfig(**{field.name: saved[field.name] for field in fields(BertConfig)})
        tensors = {name: x for name, x in load_file(path).items() if not name.startswith(UNUSED)}
        with sized_by(read_shapes(path), folder), torch.device("meta"):  # no weights drawn only to be replaced
            model = Bert(config)
        model.load_state_dict(tensors, assign=True)
    except (KeyError, TypeError, OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{folder}: its weights can't be read ({error}); install the package again") from error
    return model


class Bert(nn.Module):
    """See `load_bert`."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))})

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, L, W), the last states."""
        x: Tensor = self.embeddings(ids)
        layers: Any = self.encoder["layer"]
        for layer in layers:
            x = layer(x, mask[:, None, None, :])
        return x


def _embedding(count: int, width: int) -> nn.Embedding:
    """Without initial weights: drawing those of no device would import torch's compiler."""
    embedding: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(count, width), freeze=False)
    return embedding


class _Embeddings(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = _embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = _embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = _embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        """All tokens are of the first type."""
        x = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        normed: Tensor = self.LayerNorm(x + self.position_embeddings.weight[: ids.shape[1]])
        return normed


class _Output(nn.Module):
    """A linear map, added to what the block read, and a layer norm."""

    def __init__(self, c_in: int, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(c_in, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, read: Tensor) -> Tensor:
        normed: Tensor = self.LayerNorm(self.dense(x) + read)
        return normed


class _Layer(nn.Module):
    """Self-attention and a feed-forward network, each with its norm behind it."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, self.heads = config.hidden_size, config.num_attention_heads
        maps = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": maps, "output": _Output(width, config)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, config.intermediate_size)})
        self.output = _Output(config.intermediate_size, config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """mask: (B, 1, 1, L) bool, True on the tokens that count."""
        maps: Any = self.attention["self"]
        query, key, value = (
            maps[name](x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for name in ("query", "key", "value")
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
        x = self.attention["output"](attended, x)
        update: Tensor = self.output(F.gelu(self.intermediate["dense"](x)), x)
        return update
