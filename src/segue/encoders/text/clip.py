"""The text encoder of a CLIP or SigLIP, frozen."""

from __future__ import annotations

from segue.encoders.pretrained import complete, loading
from segue.encoders.text.contract import _A_CLIP
from segue.encoders.text.frozen import FrozenText
from segue.types import InputError


class ClipText(FrozenText):
    """The frozen text tower of CLIP (Radford et al. 2021), causal as CLIP's own.

    source: a hub id such as "openai/clip-vit-base-patch32", or a folder in the same format (a whole CLIP or
    its text model alone).
    max_tokens: the model's own limit (77) unless given.
    """

    kind = "clip"

    def __init__(self, source: str, *, max_tokens: int | None = None) -> None:
        from transformers import AutoConfig, AutoTokenizer, CLIPTextModel

        source = str(source)
        with loading(source):
            found = AutoConfig.from_pretrained(source).model_type
            if found not in ("clip", "clip_text_model"):
                raise InputError(f"{source}: holds a {found!r} model, expected a CLIP such as {_A_CLIP}")
            model = complete(
                source, CLIPTextModel.from_pretrained(source, use_safetensors=True, output_loading_info=True)
            )
            tokenizer = AutoTokenizer.from_pretrained(source).backend_tokenizer
        super().__init__(model, tokenizer, source=source, max_tokens=max_tokens)
