"""The text encoder of a CLIP, frozen."""

from __future__ import annotations

from segue.encoders.pretrained import EXAMPLE_CLIP, complete, loading
from segue.encoders.text.contract import FrozenTextEncoder
from segue.types import InputError
from segue.weights import resolve_weights


class ClipTextEncoder(FrozenTextEncoder):
    """The frozen text encoder of CLIP (Radford et al. 2021), with its causal attention.

    source: a hub id such as "openai/clip-vit-base-patch32" (with @REVISION if need be), or a folder in the same format
    (a whole CLIP or its text model alone).
    max_tokens: the model's own limit (77) unless given.
    Raises InputError when it can't be had, is no CLIP, or lacks weights.
    """

    kind = "clip"

    def __init__(self, source: str, *, max_tokens: int | None = None) -> None:
        from transformers import AutoConfig, AutoTokenizer, CLIPTextModel

        source = str(source)
        name, revision = resolve_weights(source, "text encoder")
        with loading(source):
            found = AutoConfig.from_pretrained(name, revision=revision).model_type
            if found not in ("clip", "clip_text_model"):
                raise InputError(f"{source}: holds a {found!r} model, expected a CLIP such as {EXAMPLE_CLIP}")
            model = complete(
                source,
                CLIPTextModel.from_pretrained(name, revision=revision, use_safetensors=True, output_loading_info=True),
                unused=("vision_model.", "visual_projection.", "text_projection.", "logit_scale"),
            )
            tokenizer = AutoTokenizer.from_pretrained(name, revision=revision).backend_tokenizer
        super().__init__(model, tokenizer, source=source, max_tokens=max_tokens)
