"""GroupViT's layers: attention, assignment of tokens to groups, stages. Names are those of the hub's checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.methods.cocu.groupvit.config import ACTIVATIONS, GroupViTConfig

FAINT, SHARP = 0.1, 3.0  # factors of fresh weights, see GroupViT._initialise


class MLP(nn.Module):
    """Two linear layers: (..., d_in) -> (..., d_out)."""

    def __init__(self, d_in: int, hidden: int, d_out: int, activation: str) -> None:
        super().__init__()
        self.fc1, self.fc2, self.activation = nn.Linear(d_in, hidden), nn.Linear(hidden, d_out), activation

    def forward(self, x: Tensor) -> Tensor:
        """Along the last axis."""
        return self.fc2(ACTIVATIONS[self.activation](self.fc1(x)))


class TokenMLP(MLP):
    """The same along the tokens: (B, n_in, D) -> (B, n_out, D)."""

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as above."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head attention of x (B, Q, D) to memory (B, K, D), without residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, causal: bool = False) -> Tensor:
        """causal: a position sees those up to itself."""
        q, k, v = (
            f(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for f, y in ((self.q_proj, x), (self.k_proj, memory), (self.v_proj, memory))
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A pre-norm transformer layer, whose two branches are left out at the rate `drop`, picture by picture."""

    def __init__(self, width: int, heads: int, mlp: int, activation: str, eps: float, drop: float = 0.0) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, mlp, width, activation)
        self.drop = drop

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """(B, L, D) -> the same shape."""
        y = self.layer_norm1(x)
        x = x + self._dropped(self.self_attn(y, y, causal))
        return x + self._dropped(self.mlp(self.layer_norm2(x)))

    def _dropped(self, branch: Tensor) -> Tensor:
        if not (self.training and self.drop):
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop
        return branch * (kept / (1 - self.drop)).to(branch)


class CrossLayer(nn.Module):
    """Groups look at the patches before they take them: attention, MLP, norm."""

    def __init__(self, c: GroupViTConfig) -> None:
        super().__init__()
        self.attn = Attention(c.width, c.heads)
        self.mlp = MLP(c.width, c.mlp, c.width, c.activation)
        self.norm2, self.norm_post = _norm(c), _norm(c)

    def forward(self, groups: Tensor, x: Tensor) -> Tensor:
        """(B, G, D), (B, N, D) -> (B, G, D)."""
        groups = groups + self.attn(groups, x)
        return self.norm_post(groups + self.mlp(self.norm2(groups)))


class Assign(nn.Module):
    """Every token goes to one group: softmax over the groups, made hard; Gumbel noise in training only."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.q_proj, self.k_proj, self.v_proj, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, groups: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, G, D), (B, N, D) -> the groups' sums over (count + eps), and the soft assignment (B, G, N)."""
        raw = (self.q_proj(groups) @ self.k_proj(x).transpose(1, 2)).float() * x.shape[-1] ** -0.5
        soft = raw.softmax(1)  # in float32: Gumbel noise drawn in bfloat16 would hold infinities
        hard = F.gumbel_softmax(raw, hard=True, dim=1) if self.training else one_hot(raw)
        weight = hard / (hard.sum(2, keepdim=True) + self.eps)
        return self.proj(weight.to(x) @ self.v_proj(x)), soft


def one_hot(scores: Tensor) -> Tensor:
    """(B, G, N) -> 1 at every token's best group, 0 elsewhere."""
    return torch.zeros_like(scores).scatter_(1, scores.argmax(1, keepdim=True), 1.0)


class Grouping(nn.Module):
    """Tokens (B, N, D) and group tokens (B, G', D) -> G new tokens (B, G, D), and who went where."""

    def __init__(self, c: GroupViTConfig, tokens: int, outputs: int) -> None:
        super().__init__()
        self.norm_tokens, self.norm_post_tokens, self.norm_x, self.norm_new_x = (_norm(c) for _ in range(4))
        self.mlp_inter = TokenMLP(tokens, int(c.token_mlp * c.width), outputs, c.activation)
        self.pre_assign_attn = CrossLayer(c)
        self.assign = Assign(c.width, c.assign_eps)
        self.mlp_channels = MLP(c.width, int(c.channel_mlp * c.width), c.width, c.activation)

    def forward(self, x: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the new tokens and the soft assignment (B, G, N)."""
        x = self.norm_x(x)
        groups = self.pre_assign_attn(self.norm_post_tokens(self.mlp_inter(self.norm_tokens(groups))), x)
        new, soft = self.assign(groups, x)
        new = new + groups
        return new + self.mlp_channels(self.norm_new_x(new)), soft


class Stage(nn.Module):
    """Transformer layers over tokens and group tokens together, then the grouping; without group tokens, layers."""

    def __init__(self, c: GroupViTConfig, i: int, drops: Sequence[float]) -> None:
        super().__init__()
        tokens, before = c.group_tokens[i], c.output_groups[i - 1] if i else 0
        self.group_token = nn.Parameter(torch.empty(1, tokens, c.width)) if tokens else None
        self.layers = nn.ModuleList(Layer(c.width, c.heads, c.mlp, c.activation, c.norm_eps, d) for d in drops)
        self.downsample = Grouping(c, tokens, c.output_groups[i]) if tokens else None
        mixer = TokenMLP(before, c.width // 2, tokens, c.activation) if tokens and before else None
        self.group_projector = nn.Sequential(_norm(c), mixer) if mixer is not None else None

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """x: (B, N, D). before: the last stage's group tokens. Returns tokens, group tokens and soft assignment."""
        if self.group_token is None or self.downsample is None:
            for layer in self.layers:
                x = layer(x)
            return x, None, None
        groups = self.group_token.expand(len(x), -1, -1)
        if self.group_projector is not None:
            groups = groups + self.group_projector(before)
        both = torch.cat([x, groups.to(x)], 1)
        for layer in self.layers:
            both = layer(both)
        x, groups = both.split([x.shape[1], groups.shape[1]], 1)
        new, soft = self.downsample(x, groups)
        return new, groups, soft


def _norm(c: GroupViTConfig) -> nn.LayerNorm:
    return nn.LayerNorm(c.width, eps=c.norm_eps)
