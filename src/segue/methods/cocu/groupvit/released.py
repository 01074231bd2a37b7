"""GroupViT's and CoCu's own checkpoints: a .pth of the released trainings, with other names of tensors than the hub's.

`released_name` says where a tensor of ours stands in such a file; the sizes of the network are read off the shapes. The
released configs are followed where shapes don't tell: heads of 64 channels, and CLIP's two special tokens at the end of
the vocabulary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from tokenizers import Tokenizer, pre_tokenizers
from torch import Tensor

from segue.data.lines import read_lines
from segue.methods.cocu.groupvit.config import GroupViTConfig
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.pickles import read_pickled
from segue.types import InputError

HEAD = 64  # channels of an attention head in the released models
BPE_FILES = ("bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt")
UNUSED = ("multi_label_logit_scale",)  # of the training alone

_RENAMED = [  # regular expression of our name -> theirs, one after another
    (r"^vision_model\.embeddings\.position_embeddings$", "img_encoder.pos_embed"),
    (r"^vision_model\.embeddings\.patch_embeddings\.projection\.", "img_encoder.patch_embed.proj."),
    (r"^vision_model\.embeddings\.layernorm\.", "img_encoder.patch_embed.norm."),
    (r"^vision_model\.layernorm\.", "img_encoder.norm."),
    (r"^vision_model\.encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"img_encoder.layers.\1.blocks.\2."),
    (r"^vision_model\.encoder\.stages\.", "img_encoder.layers."),
    (r"(blocks\.\d+)\.layer_norm", r"\1.norm"),
    (r"(blocks\.\d+)\.self_attn\.out_proj\.", r"\1.attn.proj."),
    (r"(blocks\.\d+)\.self_attn\.[qkv]_proj\.", r"\1.attn.qkv."),
    (r"pre_assign_attn\.attn\.out_proj\.", "pre_assign_attn.attn.proj."),
    (r"^text_model\.embeddings\.token_embedding\.", "text_encoder.token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "text_encoder.positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "text_encoder.ln_final."),
    (r"^text_model\.encoder\.layers\.", "text_encoder.transformer.resblocks."),
    (r"(resblocks\.\d+)\.layer_norm", r"\1.ln_"),
    (r"(resblocks\.\d+)\.mlp\.fc1\.", r"\1.mlp.c_fc."),
    (r"(resblocks\.\d+)\.mlp\.fc2\.", r"\1.mlp.c_proj."),
    (r"(resblocks\.\d+)\.self_attn\.out_proj\.", r"\1.attn.out_proj."),
    (r"(resblocks\.\d+)\.self_attn\.[qkv]_proj\.", r"\1.attn.in_proj_"),
    (r"^(visual|text)_projection\.([01])\.", r"\1_projector.linear_hidden.\2."),
    (r"^(visual|text)_projection\.3\.", r"\1_projector.linear_out."),
    (r"^visual_projector", "img_projector"),
]


class Place(NamedTuple):
    """Where a tensor stands in a released file. third: 0, 1, 2 for query, key, value, which one tensor holds."""

    name: str
    third: int | None


def released_name(name: str) -> Place:
    """The place of a tensor of our model."""
    part = re.search(r"self_attn\.([qkv])_proj\.", name)
    for expression, new in _RENAMED:
        name = re.sub(expression, new, name)
    return Place(name, "qkv".index(part[1]) if part else None)


def read_released(
    path: Path, tokenizer: Tokenizer | Path | None = None, tensors: Mapping[str, Tensor] | None = None
) -> GroupViT:
    """A GroupViT in evaluation mode from a .pth of the released code, which is never run: see `methods.pickles`.

    tokenizer: CLIP's, or its file bpe_simple_vocab_16e6.txt.gz; what lies beside the .pth unless given.
    tensors: those of `released_tensors`, where the file is read already.
    Raises InputError for a file that holds code, one that lacks tensors or has others, and a missing tokenizer.
    """
    tensors = released_tensors(path) if tensors is None else tensors
    config = config_of(tensors, path)
    if tokenizer is None:
        tokenizer = next((beside for name in BPE_FILES if (beside := path.with_name(name)).is_file()), None)
    if isinstance(tokenizer, Path):
        tokenizer = tokenizer_of_merges(tokenizer, config.vocabulary)
    model = GroupViT(config, tokenizer)
    fill_released(model, tensors, path)
    return model.eval()


def released_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth by their names, whether it holds them alone or a whole training.

    Raises InputError for a file that holds anything else.
    """
    found = read_pickled(path)
    for key in ("model", "state_dict"):
        found = found[key] if isinstance(found, Mapping) and isinstance(found.get(key), Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()) or not found:
        raise InputError(f'{path}: no tensors of a model; expected them by name, or under "model" or "state_dict"')
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def config_of(tensors: Mapping[str, Tensor], where: Path) -> GroupViTConfig:
    """The config that the shapes of a released model's tensors tell. Raises InputError that names a missing tensor."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors:
            raise InputError(f"{where}: lacks the tensor {name} of a released GroupViT; download it again")
        return tuple(tensors[name].shape)

    (_, patches, width), patch = shape("img_encoder.pos_embed"), shape("img_encoder.patch_embed.proj.weight")[-1]
    stages = 1 + max(_numbers(tensors, r"img_encoder\.layers\.(\d+)\."), default=-1)
    tokens = [len(tensors.get(f"img_encoder.layers.{i}.group_token", [[]])[0]) for i in range(stages)]
    groups = [shape(f"img_encoder.layers.{i}.downsample.mlp_inter.fc2.weight")[0] for i in range(stages) if tokens[i]]
    first = "img_encoder.layers.0."
    vocabulary, text_width = shape("text_encoder.token_embedding.weight")
    text = "text_encoder.transformer.resblocks."
    return GroupViTConfig(
        width=width,
        mlp=shape(f"{first}blocks.0.mlp.fc1.weight")[0],
        depths=tuple(len(_numbers(tensors, rf"img_encoder\.layers\.{i}\.blocks\.(\d+)\.")) for i in range(stages)),
        group_tokens=tuple(tokens),
        output_groups=(*groups, *groups[-1:] * (stages - len(groups))),
        heads=max(width // HEAD, 1),
        image_size=math.isqrt(patches) * patch,
        patch=patch,
        token_mlp=shape(f"{first}downsample.mlp_inter.fc1.weight")[0] / width,
        channel_mlp=shape(f"{first}downsample.mlp_channels.fc1.weight")[0] / width,
        text_width=text_width,
        text_mlp=shape(f"{text}0.mlp.c_fc.weight")[0],
        text_layers=len(_numbers(tensors, r"text_encoder\.transformer\.resblocks\.(\d+)\.")),
        text_heads=max(text_width // HEAD, 1),
        vocabulary=vocabulary,
        max_tokens=shape("text_encoder.positional_embedding")[0],
        bos=vocabulary - 2,
        eos=vocabulary - 1,
        projection=shape("img_projector.linear_out.weight")[0],
        projection_hidden=shape("img_projector.linear_out.weight")[1],
    )


def _numbers(tensors: Mapping[str, Any], expression: str) -> set[int]:
    return {int(found[1]) for name in tensors if (found := re.match(expression, name))}


def fill_released(model: GroupViT, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Load a released model's tensors. Raises InputError that names one missing, too many or of another shape."""
    wanted = {name: (value, released_name(name)) for name, value in model.state_dict().items()}
    places = {place.name for _, place in wanted.values()}
    if missing := sorted(places - tensors.keys()):
        raise InputError(
            f"{where}: lacks {len(missing)} tensors of a released GroupViT: {', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}; download it again"
        )
    if odd := sorted(tensors.keys() - places - {*UNUSED}):
        raise InputError(f"{where}: has {len(odd)} tensors that no released GroupViT has, such as {odd[0]}")
    found = {}
    for name, (value, place) in wanted.items():
        tensor = tensors[place.name]
        tensor = tensor if place.third is None else tensor.chunk(3)[place.third]
        if tensor.squeeze().shape != value.squeeze().shape:
            raise InputError(f"{where}: {place.name} has shape {tuple(tensors[place.name].shape)}, which doesn't fit")
        found[name] = tensor.reshape(value.shape)  # convolutions of one pixel are linear layers here
    model.load_state_dict(found)


def tokenizer_of_merges(path: Path, vocabulary: int) -> Tokenizer:
    """CLIP's tokenizer from its file of merges, one pair a line under a heading (.txt or .txt.gz).

    vocabulary: of the model: 256 bytes, each also at the end of a word, the merges, and two special tokens.
    Raises InputError for a file with fewer merges.
    """
    from transformers import CLIPTokenizer

    count = vocabulary - 2 * 256 - 2
    merges = [line.partition(" ")[::2] for _, line in read_lines(path)][1 : 1 + max(count, 0)]
    if count < 0 or len(merges) < count or not all(a and b and " " not in b for a, b in merges):
        raise InputError(f"{path}: expected a heading and {count} merges, one pair a line; take CLIP's {BPE_FILES[0]}")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    ids = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer: Tokenizer = CLIPTokenizer(vocab=ids, merges=cast(Any, merges)).backend_tokenizer
    return tokenizer
