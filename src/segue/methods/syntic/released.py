"""DeCap's released decoders: a .pt of its training, with other names of tensors than ours.

The decoder is a GPT-2 that begins a caption with CLIP's start token and reads, before it, one linear projection of a
feature. Sizes are read off the shapes; that it has four heads, and that features are projected onto captions by a
temperature of .01, the released code says (`decoder_config.pkl`, `inference_decap.ipynb`). Of its tokens, GPT-2's
50,257, those above CLIP's were never trained; they are left out, so that they have no share of a probability.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from segue.data.tokenizer import CaptionTokenizer
from segue.methods.checkpoint import fill_module
from segue.methods.syntic.config import SynticConfig, system_config
from segue.methods.syntic.model import Syntic, build_syntic
from segue.types import InputError

PROJECTION = "clip_project.model.0."  # by which such a file is known
HEADS = 4
MAX_TOKENS = 28  # the released loop ends after 30, the start and the end token among them

_RENAMED = [  # regular expression of our name -> theirs, one after another
    (r"^image_projection\.", PROJECTION),
    (r"^decoder\.embed\.", "decoder.transformer.wte."),
    (r"^decoder\.position\.", "decoder.transformer.wpe."),
    (r"^decoder\.norm\.", "decoder.transformer.ln_f."),
    (r"^decoder\.blocks\.", "decoder.transformer.h."),
    (r"\.norm_attention\.", ".ln_1."),
    (r"\.norm_feed_forward\.", ".ln_2."),
    (r"\.qkv\.", ".attn.c_attn."),
    (r"\.out\.", ".attn.c_proj."),
    (r"\.feed_forward\.0\.", ".mlp.c_fc."),
    (r"\.feed_forward\.2\.", ".mlp.c_proj."),
]
_UNUSED = re.compile(r"decoder\.transformer\.h\.\d+\.attn\.(masked_)?bias|decoder\.lm_head\.weight")


def is_released(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors by their names are those of a decoder of DeCap's or of CapDec's."""
    return any(name.startswith("clip_project.") for name in tensors)


def from_released(tensors: Mapping[str, Tensor], tokenizer: CaptionTokenizer, where: Path) -> Syntic:
    """The captioner of a released decoder, in evaluation mode. tokenizer: of the CLIP that it was trained with.

    Raises InputError that names a missing or an odd tensor, and for CapDec's, whose prefix is made otherwise.
    """
    if any(name.startswith("gpt.") for name in tensors):
        raise InputError(
            f"{where}: a decoder of CapDec's, which Segue doesn't read: the published ones take features of "
            "CLIP RN50x4, which transformers doesn't have; DeCap's are read"
        )
    shapes = {name: tuple(x.shape) for name, x in tensors.items()}
    wanted = [f"{PROJECTION}weight", "decoder.transformer.wte.weight", "decoder.transformer.wpe.weight"]
    if missing := [name for name in wanted if len(shapes.get(name, ())) != 2]:
        raise InputError(f"{where}: lacks the tensor {missing[0]} of DeCap's released decoder; download it again")
    width, encoder_width = shapes[wanted[0]]
    if width % HEADS or shapes[wanted[1]][0] < len(tokenizer):
        raise InputError(
            f"{where}: {shapes[wanted[1]][0]} tokens of width {width}, expected at least the tokenizer's "
            f"{len(tokenizer)} of a width that {HEADS} heads divide; pass the --tokenizer of its own CLIP"
        )
    blocks = {found[1] for name in tensors if (found := re.match(r"decoder\.transformer\.h\.(\d+)\.", name))}
    config = replace(
        system_config(SynticConfig(), "decap"), width=width, layers=len(blocks), heads=HEADS, max_tokens=MAX_TOKENS,
        activation="gelu_tanh", start_token=tokenizer.start,
    )  # fmt: skip
    model = build_syntic(
        config, vocabulary=len(tokenizer), encoder_width=encoder_width, end=tokenizer.end,
        suppressed_token_ids=tokenizer.suppressed_token_ids,
    )  # fmt: skip
    names = {name: _released_name(name) for name in model.state_dict() if name != "shift"}
    if missing := sorted({*names.values()} - tensors.keys()):
        raise InputError(f"{where}: lacks {len(missing)} tensors of DeCap's released decoder, such as {missing[0]}")
    if odd := sorted(name for name in tensors.keys() - {*names.values()} if not _UNUSED.fullmatch(name)):
        raise InputError(f"{where}: has {len(odd)} tensors that DeCap's released decoder has not, such as {odd[0]}")
    weights = {name: _ours(name, tensors[theirs]) for name, theirs in names.items()}
    for name in ("decoder.embed.weight", "decoder.position.weight"):
        weights[name] = weights[name][: len(model.get_parameter(name))]
    fill_module(model, weights | {"shift": model.shift}, where)
    return model.eval()


def _released_name(name: str) -> str:
    for expression, new in _RENAMED:
        name = re.sub(expression, new, name)
    return name


def _ours(name: str, x: Tensor) -> Tensor:
    """GPT-2 stores the matrices of its blocks transposed."""
    return x.float().T.contiguous() if name.startswith("decoder.blocks.") and x.ndim == 2 else x.float()
