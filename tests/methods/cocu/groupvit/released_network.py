"""GroupViT once more, with the tensor names of the released code, written from the paper and those names.

Sizes are small; heads have 64 channels, as in the released configs.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, TEXT_WIDTH, HIDDEN, JOINT = 128, 64, 48, 16
DEPTHS, TOKENS, GROUPS = (2, 1, 1), (6, 3, 0), (6, 3)
PATCH, SIDE, MAX_TOKENS = 16, 2, 40
MERGES = ["d o", "do g</w>", "c a", "ca t</w>", "g r", "gr a", "gra s", "gras s</w>", "s k", "sk y</w>"]
VOCABULARY = 512 + len(MERGES) + 2


class Parts(nn.Module):
    """A module that is nothing but its parts."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def mlp(inside, hidden, outside):
    return Parts(fc1=nn.Linear(inside, hidden), fc2=nn.Linear(hidden, outside))


def run(part, x):
    return part.fc2(F.gelu(part.fc1(x)))


def attend(q, k, v, heads):
    q, k, v = (y.view(*y.shape[:2], heads, -1).transpose(1, 2) for y in (q, k, v))
    mixed = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]), 3) @ v
    return mixed.transpose(1, 2).flatten(2)


def block():
    attention = Parts(qkv=nn.Linear(WIDTH, 3 * WIDTH), proj=nn.Linear(WIDTH, WIDTH))
    return Parts(norm1=nn.LayerNorm(WIDTH), attn=attention, norm2=nn.LayerNorm(WIDTH), mlp=mlp(WIDTH, 4 * WIDTH, WIDTH))


def run_block(part, x):
    x = x + part.attn.proj(attend(*part.attn.qkv(part.norm1(x)).chunk(3, 2), WIDTH // 64))
    return x + run(part.mlp, part.norm2(x))


def four_projections():
    return Parts(**{name: nn.Linear(WIDTH, WIDTH) for name in ("q_proj", "k_proj", "v_proj", "proj")})


def grouping(tokens, groups):
    cross = Parts(
        attn=four_projections(),
        norm2=nn.LayerNorm(WIDTH),
        mlp=mlp(WIDTH, 4 * WIDTH, WIDTH),
        norm_post=nn.LayerNorm(WIDTH),
    )
    norms = {name: nn.LayerNorm(WIDTH) for name in ("norm_tokens", "norm_post_tokens", "norm_x", "norm_new_x")}
    return Parts(
        mlp_inter=mlp(tokens, WIDTH // 2, groups),
        pre_assign_attn=cross,
        assign=four_projections(),
        mlp_channels=mlp(WIDTH, 4 * WIDTH, WIDTH),
        **norms,
    )


def run_grouping(part, x, tokens):
    x = part.norm_x(x)
    queries = part.norm_post_tokens(run(part.mlp_inter, part.norm_tokens(tokens).transpose(1, 2)).transpose(1, 2))
    a = part.pre_assign_attn.attn
    queries = queries + a.proj(attend(a.q_proj(queries), a.k_proj(x), a.v_proj(x), WIDTH // 64))
    queries = queries + run(part.pre_assign_attn.mlp, part.pre_assign_attn.norm2(queries))
    queries = part.pre_assign_attn.norm_post(queries)
    a = part.assign
    soft = (a.q_proj(queries) @ a.k_proj(x).transpose(1, 2) / math.sqrt(WIDTH)).softmax(1)
    hard = F.one_hot(soft.argmax(1), soft.shape[1]).transpose(1, 2).float()
    new = queries + a.proj(hard / (hard.sum(2, keepdim=True) + 1) @ a.v_proj(x))
    return new + run(part.mlp_channels, part.norm_new_x(new)), soft


def projector(width):
    hidden = nn.Sequential(nn.Conv1d(width, HIDDEN, 1), nn.BatchNorm1d(HIDDEN), nn.ReLU())
    return Parts(linear_hidden=hidden, linear_out=nn.Conv1d(HIDDEN, JOINT, 1))


def project(part, x):
    return F.normalize(part.linear_out(part.linear_hidden(x.transpose(1, 2))).transpose(1, 2), dim=2)


def text_block():
    inner = Parts(c_fc=nn.Linear(TEXT_WIDTH, 4 * TEXT_WIDTH), c_proj=nn.Linear(4 * TEXT_WIDTH, TEXT_WIDTH))
    attention = nn.MultiheadAttention(TEXT_WIDTH, TEXT_WIDTH // 64, batch_first=True)
    return Parts(attn=attention, ln_1=nn.LayerNorm(TEXT_WIDTH), mlp=inner, ln_2=nn.LayerNorm(TEXT_WIDTH))


class ReleasedGroupViT(nn.Module):
    """The released model; its state dict is what a released .pth holds under "model"."""

    def __init__(self):
        super().__init__()
        stages = []
        for i, depth in enumerate(DEPTHS):
            parts = {"blocks": nn.ModuleList(block() for _ in range(depth))}
            if TOKENS[i]:
                parts["group_token"] = nn.Parameter(torch.randn(1, TOKENS[i], WIDTH))
                parts["downsample"] = grouping(TOKENS[i], GROUPS[i])
            if i and TOKENS[i]:
                mixer = mlp(TOKENS[i - 1], WIDTH // 2, TOKENS[i])
                parts["group_projector"] = nn.Sequential(nn.LayerNorm(WIDTH), mixer)
            stages.append(Parts(**parts))
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        self.multi_label_logit_scale = nn.Parameter(torch.tensor(3.0))
        self.img_encoder = Parts(
            pos_embed=nn.Parameter(torch.randn(1, SIDE**2, WIDTH)),
            patch_embed=Parts(proj=nn.Conv2d(3, WIDTH, PATCH, PATCH), norm=nn.LayerNorm(WIDTH)),
            layers=nn.ModuleList(stages),
            norm=nn.LayerNorm(WIDTH),
        )
        self.text_encoder = Parts(
            positional_embedding=nn.Parameter(torch.randn(MAX_TOKENS, TEXT_WIDTH)),
            token_embedding=nn.Embedding(VOCABULARY, TEXT_WIDTH),
            transformer=Parts(resblocks=nn.ModuleList(text_block() for _ in range(2))),
            ln_final=nn.LayerNorm(TEXT_WIDTH),
        )
        self.img_projector, self.text_projector = projector(WIDTH), projector(TEXT_WIDTH)
        with torch.no_grad():
            for name, value in self.state_dict().items():
                if value.is_floating_point() and value.ndim:
                    value.copy_(
                        torch.rand_like(value) + 0.5 if name.endswith("running_var") else 0.3 * torch.randn_like(value)
                    )

    def pictures(self, image):
        """Embeddings of the pictures (B, P), of their groups (B, G, P), and the soft assignments."""
        net = self.img_encoder
        x = net.patch_embed.norm(net.patch_embed.proj(image).flatten(2).transpose(1, 2)) + net.pos_embed
        tokens, found = None, []
        for stage in net.layers:
            if hasattr(stage, "group_token"):
                fresh = stage.group_token.expand(len(x), -1, -1)
                if hasattr(stage, "group_projector"):
                    norm, mixer = stage.group_projector
                    fresh = fresh + run(mixer, norm(tokens).transpose(1, 2)).transpose(1, 2)
                x = torch.cat([x, fresh], 1)
            for one in stage.blocks:
                x = run_block(one, x)
            if hasattr(stage, "group_token"):
                count = stage.group_token.shape[1]
                x, tokens = x[:, :-count], x[:, -count:]
                x, soft = run_grouping(stage.downsample, x, tokens)
                found.append(soft)
        x = net.norm(x)
        return project(self.img_projector, x.mean(1, keepdim=True))[:, 0], project(self.img_projector, x), found

    def texts(self, ids):
        """Embeddings (T, P) of token ids (T, MAX_TOKENS), padded with 0."""
        net = self.text_encoder
        x = net.token_embedding(ids) + net.positional_embedding
        later = torch.triu(torch.ones(MAX_TOKENS, MAX_TOKENS, dtype=torch.bool), 1)
        for one in net.transformer.resblocks:
            y = one.ln_1(x)
            x = x + one.attn(y, y, y, attn_mask=later, need_weights=False)[0]
            y = one.mlp.c_fc(one.ln_2(x))
            x = x + one.mlp.c_proj(y * torch.sigmoid(1.702 * y))
        x = net.ln_final(x)[torch.arange(len(x)), ids.argmax(1)]
        return project(self.text_projector, x[:, None])[:, 0]


def make_released(seed=0):
    torch.manual_seed(seed)
    return ReleasedGroupViT().eval()


def write_merges(path):
    path.write_text("\n".join(["#version: 0.2", *MERGES, "x y", ""]), encoding="utf-8")
    return path
