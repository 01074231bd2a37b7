"""The text encoder of a CLIP, frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from segue.encoders.pretrained import load_pretrained, load_pretrained_tokenizer
from segue.encoders.text.contract import FrozenTextEncoder, Tokens
from segue.options import MaxTokens
from segue.weights import pinned


class ClipTextEncoder(FrozenTextEncoder):
    """The frozen text encoder of CLIP (Radford et al. 2021), with its causal attention.

    source: a hub id such as "openai/clip-vit-base-patch32" (with @REVISION if need be), or a folder in the same format
    (a whole CLIP or its text model alone).
    max_tokens: the model's own limit (77) unless given.
    projected: every text is padded to max_tokens, and all positions' states, those of the padding too, go through
    CLIP's text projection: what RecLMIS' released code reads.
    Raises InputError when it can't be had, is no CLIP, or lacks weights.
    """

    kind = "clip"

    def __init__(self, source: str, *, max_tokens: MaxTokens | None = None, projected: bool = False) -> None:
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        model_class = CLIPTextModelWithProjection if projected else CLIPTextModel
        kinds = dict.fromkeys(("clip", "clip_text_model"), model_class)
        unused = ("vision_model.", "visual_projection.", "logit_scale", *(() if projected else ("text_projection.",)))
        model = load_pretrained(source, kinds, "text encoder", unused=unused)
        tokenizer = load_pretrained_tokenizer(source)
        super().__init__(model, tokenizer, source=pinned(str(source)), max_tokens=max_tokens)
        self.projected = projected
        if projected:
            self.width = model.config.projection_dim

    def tokenize(self, notes: Sequence[str]) -> Tokens:
        """See `TextEncoder`."""
        ids, mask = super().tokenize(notes)
        short = (0, self.max_tokens - ids.shape[1]) if self.projected else (0, 0)
        return Tokens(F.pad(ids, short), F.pad(mask, short))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See `FrozenTextEncoder`; where it is projected, padding has states of its own."""
        if not self.projected:
            return super().forward(ids, mask)
        states: Tensor = self.model.text_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        projected: Tensor = self.model.text_projection(states)
        return projected

    def config(self) -> dict[str, Any]:
        """See `FrozenTextEncoder`."""
        return super().config() | ({"projected": True} if self.projected else {})
