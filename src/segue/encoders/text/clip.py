"""The text encoder of a CLIP, frozen."""

from __future__ import annotations

from segue.encoders.pretrained import load_pretrained, load_pretrained_tokenizer
from segue.encoders.text.contract import FrozenTextEncoder
from segue.options import MaxTokens
from segue.weights import pinned


class ClipTextEncoder(FrozenTextEncoder):
    """The frozen text encoder of CLIP (Radford et al. 2021), with its causal attention.

    source: a hub id such as "openai/clip-vit-base-patch32" (with @REVISION if need be), or a folder in the same format
    (a whole CLIP or its text model alone).
    max_tokens: the model's own limit (77) unless given.
    Raises InputError when it can't be had, is no CLIP, or lacks weights.
    """

    kind = "clip"

    def __init__(self, source: str, *, max_tokens: MaxTokens | None = None) -> None:
        from transformers import CLIPTextModel

        kinds = dict.fromkeys(("clip", "clip_text_model"), CLIPTextModel)
        unused = ("vision_model.", "visual_projection.", "text_projection.", "logit_scale")
        model = load_pretrained(source, kinds, "text encoder", unused=unused)
        tokenizer = load_pretrained_tokenizer(source)
        super().__init__(model, tokenizer, source=pinned(str(source)), max_tokens=max_tokens)
