"""What frozen text encoders of `transformers` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer
from torch import Tensor

from segue.encoders.pretrained import Pretrained, fingerprint
from segue.types import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel
from segue.encoders.text.contract import TextEncoder


class FrozenText(Pretrained, TextEncoder):
    """A pretrained transformers text model that is never trained; see `ClipText` and `MiniLM`.

    Always in evaluation mode. Its weights are neither trainable nor in the state dict: a checkpoint records
    where they come from and their fingerprint (sha256), which `load_text_encoder` checks.
    """

    kind: str
    frozen = True

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, *, source: str, max_tokens: int | None) -> None:
        most = model.config.max_position_embeddings
        sizes = tokenizer.get_vocab_size(), model.config.vocab_size
        if sizes[0] != sizes[1]:
            raise InputError(
                f"{source}: the tokenizer has {sizes[0]} tokens and the model {sizes[1]}; put the "
                "model's own tokenizer files beside it"
            )
        if max_tokens is not None and max_tokens > most:
            raise InputError(f"{source}: got max_tokens={max_tokens}, expected at most {most}: its positions end there")
        super().__init__(
            tokenizer, width=model.config.hidden_size, max_tokens=most if max_tokens is None else max_tokens
        )
        self.source = source
        # Half-precision weights become float32 exactly; autocast chooses the precision of the computing.
        self.model = model.float().requires_grad_(False).eval()
        self.fingerprint = fingerprint(self.model)
        self.eval()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, L, D) last states; padded positions are zeros."""
        states = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return states.masked_fill(~mask[..., None], 0.0)

    def config(self) -> dict[str, Any]:
        """Kind, source, max_tokens and the fingerprint of the weights."""
        return {
            "kind": self.kind,
            "source": self.source,
            "max_tokens": self.max_tokens,
            "sha256": self.fingerprint,
        }
