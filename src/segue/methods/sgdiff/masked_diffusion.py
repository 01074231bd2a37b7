"""A masked (absorbing) diffusion decoder: words are hidden, and found again with the surest first.

After Chang et al., "MaskGIT" (2022), and Austin et al., "Structured denoising diffusion models in discrete
state-spaces" (2021). Beside analog bits it needs no codes, no noise schedule and no second pass in training. It is a
further decoder of ours; the paper's is `analog_bits`.

Shapes: B captions, L tokens, V vocabulary size; the id V marks a hidden token.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from segue.methods.sgdiff.analog_bits import mask_until_end
from segue.methods.sgdiff.sampler import Constraint
from segue.nn import stopping

MASKED_TEMPERATURE = 0.7  # the decoder's own
FILL_WEIGHT = 0.1  # of the cells behind a caption's end in the loss


class MaskedEmbedding(nn.Module):
    """Token ids, V for a hidden one, and positions -> the caption's stream."""

    def __init__(self, size: int, width: int, length: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size + 1, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.5)
        nn.init.normal_(self.tokens.weight, std=0.5)

    def forward(self, token_ids: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)."""
        embedded: Tensor = self.tokens(token_ids) + self.position[: token_ids.shape[1]]
        return embedded


def hide(token_ids: Tensor, hidden_id: int) -> tuple[Tensor, Tensor]:
    """Captions (B, L) with a random share of their cells hidden, one at least; and that share (B,).

    Shares are drawn as the sampler meets them: cos(pi / 2 u), u even in [0, 1].
    """
    rows, length = token_ids.shape
    share = torch.cos(math.pi / 2 * torch.rand(rows, 1, device=token_ids.device))
    order = torch.rand(rows, length, device=token_ids.device).argsort(1).argsort(1)
    hidden = order < (share * length).ceil().clamp_min(1)
    return token_ids.masked_fill(hidden, hidden_id), hidden.float().mean(1)


def loss_weights(token_ids: Tensor, shown: Tensor, hidden_id: int) -> Tensor:
    """(B, L): 1 for a hidden token up to the end, FILL_WEIGHT for one behind it, 0 for what is shown."""
    return (shown == hidden_id) * torch.where(mask_until_end(token_ids), 1.0, FILL_WEIGHT)


def sample_masked(
    fill: Callable[[Tensor], Tensor],
    rows: int,
    length: int,
    hidden_id: int,
    *,
    steps: int,
    temperature: float,
    draw: Callable[[], Tensor],
    constrain: Constraint,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Token ids (B, L) and the log-probability (B, L) of each when it was found.

    fill: (B, L) ids -> logits (B, L, V). draw: returns (B, L, V) numbers uniform in (0, 1), others at each call.
    temperature: of the tokens, and of the noise on how sure each is, which falls to 0 at the last step.
    """
    found, log_p = torch.full((rows, length), hidden_id, device=device), torch.zeros(rows, length, device=device)
    for step in stopping.steps(steps):
        logits, hidden = fill(found), found == hidden_id
        plain = logits.log_softmax(-1)
        held = torch.full_like(logits, -torch.inf).scatter(2, found.clamp(max=hidden_id - 1)[..., None], 0.0)
        logits = constrain(torch.where(hidden[..., None], logits, held))
        noise = -(-draw().clamp(1e-9, 1 - 1e-7).log()).log()
        tokens = (logits + temperature * noise).argmax(-1)
        token_p = plain.gather(2, tokens[..., None]).squeeze(-1)
        left = math.floor(length * math.cos(math.pi / 2 * (step + 1) / steps)) if step + 1 < steps else 0
        sure = token_p + temperature * (1 - (step + 1) / steps) * noise[..., 0]
        sure = torch.where(hidden, sure, torch.inf)
        keep = sure.argsort(1, descending=True).argsort(1) < length - left
        fresh = keep & hidden
        found, log_p = torch.where(fresh, tokens, found), torch.where(fresh, token_p, log_p)
    return found, log_p
