"""GroupViT's layers: attention, assignment of tokens to groups, stages. Names are those of the hub's checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.methods.cocu.groupvit.config import ACTIVATIONS, GroupViTConfig


class MLP(nn.Module):
    """Two linear layers: (..., d_in) -> (..., d_out)."""

    def __init__(self, d_in: int, hidden: int, d_out: int, activation: str) -> None:
        super().__init__()
        self.fc1, self.fc2, self.activation = nn.Linear(d_in, hidden), nn.Linear(hidden, d_out), activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out)."""
        out: Tensor = self.fc2(ACTIVATIONS[self.activation](self.fc1(x)))
        return out


class TokenMLP(MLP):
    """The same along the tokens: (B, n_in, D) -> (B, n_out, D)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, D) -> (B, n_out, D)."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head attention of x (B, Q, D) to memory (B, K, D), without residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, causal: bool = False) -> Tensor:
        """(B, Q, D), (B, K, D) -> (B, Q, D). causal: a position attends to itself and those before it."""
        q, k, v = (
            f(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for f, y in ((self.q_proj, x), (self.k_proj, memory), (self.v_proj, memory))
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class TransformerLayer(nn.Module):
    """A pre-norm transformer layer; each branch is dropped at the rate `drop`, picture by picture (drop path)."""

    def __init__(self, width: int, heads: int, mlp: int, activation: str, eps: float, drop: float = 0.0) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, mlp, width, activation)
        self.drop = drop

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """(B, L, D) -> the same shape."""
        y = self.layer_norm1(x)
        x = x + self._drop_path(self.self_attn(y, y, causal))
        return x + self._drop_path(self.mlp(self.layer_norm2(x)))

    def _drop_path(self, branch: Tensor) -> Tensor:
        if not (self.training and self.drop):
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop
        return branch * (kept / (1 - self.drop)).to(branch)


class CrossAttentionLayer(nn.Module):
    """Group tokens attend to the tokens before these are assigned to them: attention, MLP, norm."""

    def __init__(self, c: GroupViTConfig) -> None:
        super().__init__()
        self.attn = Attention(c.width, c.heads)
        self.mlp = MLP(c.width, c.mlp, c.width, c.activation)
        self.norm2, self.norm_post = layer_norm(c), layer_norm(c)

    def forward(self, groups: Tensor, x: Tensor) -> Tensor:
        """(B, G, D), (B, N, D) -> (B, G, D)."""
        groups = groups + self.attn(groups, x)
        out: Tensor = self.norm_post(groups + self.mlp(self.norm2(groups)))
        return out


class Assignment(nn.Module):
    """Assigns every token to one group: softmax over the groups, made hard; with Gumbel noise in training only."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.q_proj, self.k_proj, self.v_proj, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, groups: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, G, D), (B, N, D) -> the groups' sums over (count + eps), and the soft assignment (B, G, N)."""
        logits = (self.q_proj(groups) @ self.k_proj(x).transpose(1, 2)).float() * x.shape[-1] ** -0.5
        soft = logits.softmax(1)  # in float32: Gumbel noise drawn in bfloat16 would hold infinities
        hard = F.gumbel_softmax(logits, hard=True, dim=1) if self.training else one_hot(logits)
        weight = hard / (hard.sum(2, keepdim=True) + self.eps)
        return self.proj(weight.to(x) @ self.v_proj(x)), soft


def one_hot(scores: Tensor) -> Tensor:
    """(B, G, N) -> 1 at every token's best group, 0 elsewhere."""
    return torch.zeros_like(scores).scatter_(1, scores.argmax(1, keepdim=True), 1.0)


class GroupingBlock(nn.Module):
    """Tokens (B, N, D) and group tokens (B, G', D) -> G new tokens (B, G, D), and the assignment."""

    def __init__(self, c: GroupViTConfig, tokens: int, outputs: int) -> None:
        super().__init__()
        self.norm_tokens, self.norm_post_tokens, self.norm_x, self.norm_new_x = (layer_norm(c) for _ in range(4))
        self.mlp_inter = TokenMLP(tokens, int(c.token_mlp * c.width), outputs, c.activation)
        self.pre_assign_attn = CrossAttentionLayer(c)
        self.assign = Assignment(c.width, c.assign_eps)
        self.mlp_channels = MLP(c.width, int(c.channel_mlp * c.width), c.width, c.activation)

    def forward(self, x: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, D), (B, G', D) -> the new tokens (B, G, D) and the soft assignment (B, G, N)."""
        x = self.norm_x(x)
        groups = self.pre_assign_attn(self.norm_post_tokens(self.mlp_inter(self.norm_tokens(groups))), x)
        new, soft = self.assign(groups, x)
        new = new + groups
        return new + self.mlp_channels(self.norm_new_x(new)), soft


class Stage(nn.Module):
    """Transformer layers over tokens and group tokens together, then the grouping; without group tokens, layers only.

    i: number of the stage, from 0. drops: drop-path rate of each layer.
    """

    def __init__(self, c: GroupViTConfig, i: int, drops: Sequence[float]) -> None:
        super().__init__()
        tokens, before = c.group_tokens[i], c.output_groups[i - 1] if i else 0
        self.group_token = nn.Parameter(torch.empty(1, tokens, c.width)) if tokens else None
        self.layers = nn.ModuleList(
            TransformerLayer(c.width, c.heads, c.mlp, c.activation, c.norm_eps, drop) for drop in drops
        )
        self.downsample = GroupingBlock(c, tokens, c.output_groups[i]) if tokens else None
        mixer = TokenMLP(before, c.width // 2, tokens, c.activation) if tokens and before else None
        self.group_projector = nn.Sequential(layer_norm(c), mixer) if mixer is not None else None

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
        x, groups = torch.split(both, [x.shape[1], groups.shape[1]], 1)
        new, soft = self.downsample(x, groups)
        return new, groups, soft


def layer_norm(c: GroupViTConfig) -> nn.LayerNorm:
    """A layer norm of the vision model."""
    return nn.LayerNorm(c.width, eps=c.norm_eps)
