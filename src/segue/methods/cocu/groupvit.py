"""GroupViT, trained with the concepts that CoCu curates: pictures fall into groups, and groups get names.

Papers: J. Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision"; Y. Xing et al., "Rewrite Caption
Semantics: Bridging Semantic Gaps for Language-Supervised Semantic Segmentation" (CoCu).
B pictures, T texts, L tokens, N patches (row-major), G groups, D channels, P channels of the common space.

Modules carry the names of the hub's GroupViT checkpoints, so those load as they are and ours load in `transformers`
(outputs equal to 1e-5). What we do and neither it nor the papers: `naming_loss`, for batches that tell which prompts
name the same. What the papers do and it doesn't: the multi-label loss, gathering over processes (batch norm too),
drop-path. Beyond both: pictures of any size, an initialisation that can be trained from (its position embeddings and
first group tokens start at zero), text as long as the longest of the batch.
Not verified: the papers' figures, which need 12 to 26 million image-text pairs and days of many GPUs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from segue.nn.gather import gather
from segue.nn.norm import BatchNorm2d
from segue.types import InputError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
}
FAINT, SHARP = 0.1, 3.0  # factors of fresh weights, see GroupViT._initialise
CLAIM = 0.25  # how much a group's share of the picture counts where it claims a name, see naming_loss


@dataclass(frozen=True)
class GroupViTConfig:
    """Everything that shapes the network; the defaults are the paper's, and the hub's.

    depths, group_tokens, output_groups: transformer layers, learned group tokens and groups that come out, by stage; a
    stage of 0 group tokens only transforms. image_size: side in pixels of the training pictures, on whose grid the
    positions are learned. token_mlp, channel_mlp: hidden sizes of the assignment's two MLPs, in widths.
    drop_path: rate of the last layer, rising linearly from 0. bos, eos, pad: numbers of the special tokens; eos = 2
    means "the highest number of the text", as in the first CLIP checkpoints. logit_scale: log(1 / temperature) at the
    start. mean, std: of the pixels in [0, 1].
    """

    width: int = 384
    mlp: int = 1536
    depths: tuple[int, ...] = (6, 3, 3)
    group_tokens: tuple[int, ...] = (64, 8, 0)
    output_groups: tuple[int, ...] = (64, 8, 8)
    heads: int = 6
    image_size: int = 224
    patch: int = 16
    activation: str = "gelu"
    assign_eps: float = 1.0
    token_mlp: float = 0.5
    channel_mlp: float = 4.0
    drop_path: float = 0.1
    text_width: int = 256
    text_mlp: int = 1024
    text_layers: int = 12
    text_heads: int = 4
    text_activation: str = "quick_gelu"
    vocabulary: int = 49408
    max_tokens: int = 77
    bos: int = 49406
    eos: int = 49407
    pad: int = 1
    projection: int = 256
    projection_hidden: int = 4096
    logit_scale: float = 2.6592
    norm_eps: float = 1e-5
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        stages = len(self.depths)
        if not stages or len(self.group_tokens) != stages or len(self.output_groups) != stages:
            raise InputError(
                f"got {stages} depths, {len(self.group_tokens)} group_tokens and {len(self.output_groups)} "
                "output_groups, expected one of each for every stage"
            )
        for i in range(stages - 1):
            if self.group_tokens[i + 1] and self.group_tokens[i] != self.output_groups[i]:
                raise InputError(
                    f"stage {i}: got {self.group_tokens[i]} group tokens and {self.output_groups[i]} output groups, "
                    "expected as many of each, because the next stage's group tokens are projected from them"
                )
        for width, heads in ((self.width, self.heads), (self.text_width, self.text_heads)):
            if width % heads:
                raise InputError(f"width {width} is no multiple of {heads} heads; try width {heads * 64}")
        if self.image_size % self.patch:
            raise InputError(f"image_size {self.image_size} is no multiple of patch {self.patch}")
        for name in (self.activation, self.text_activation):
            if name not in ACTIVATIONS:
                raise InputError(f"activation {name!r}: expected one of {', '.join(ACTIVATIONS)}")


SIZES: dict[str, GroupViTConfig] = {
    "paper": GroupViTConfig(),
    "small": GroupViTConfig(
        width=96, mlp=384, depths=(2, 0), group_tokens=(8, 0), output_groups=(8, 8), heads=4,
        image_size=64, patch=8, drop_path=0.0, text_width=96, text_mlp=384, text_layers=2, text_heads=4,
        vocabulary=1024, max_tokens=32, bos=1, eos=3, pad=0, projection=96, projection_hidden=256,
    ),
    "scenes": GroupViTConfig(
        width=128, mlp=512, depths=(3, 2, 1), group_tokens=(24, 8, 0), output_groups=(24, 8, 8), heads=4,
        image_size=128, patch=8, text_width=128, text_mlp=512, text_layers=3, text_heads=4, vocabulary=1024,
        max_tokens=32, bos=1, eos=3, pad=0, projection=128, projection_hidden=512,
    ),
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ layers


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


# ------------------------------------------------------------------------------------------------ towers


class Seen(NamedTuple):
    """A picture in groups.

    groups: (B, G, D). soft: for each grouping, the soft assignment (B, G_i, N_i) of its tokens, every column a
    distribution. grid: (rows, columns) of the patches, N_0 = rows * columns.
    """

    groups: Tensor
    soft: list[Tensor]
    grid: tuple[int, int]

    def owners(self, soft: bool = True) -> Tensor:
        """(B, G, N_0): which share of each patch belongs to each last group; over the groups they sum to 1.

        The product of the stages' assignments, soft, or each token to its best group.
        """
        joined = None
        for assignment in self.soft:
            step = assignment if soft else one_hot(assignment)
            joined = step if joined is None else step @ joined
        if joined is None:
            raise InputError("this model has no group tokens in any stage, so nothing to segment with")
        return joined

    def shares(self) -> Tensor:
        """(B, G): each last group's share of the picture."""
        return self.owners().mean(2)


class Patches(nn.Module):
    """Pixels (B, 3, H, W) -> patch tokens (B, N, D) with their positions, and the grid."""

    def __init__(self, c: GroupViTConfig) -> None:
        super().__init__()
        self.patch, self.side = c.patch, c.image_size // c.patch
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(3, c.width, c.patch, c.patch)})
        self.position_embeddings = nn.Parameter(torch.empty(1, self.side**2, c.width))
        self.layernorm = _norm(c)

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """A picture that is no whole number of patches is padded at its right and bottom with its last pixels."""
        pad = (-image.shape[3] % self.patch, -image.shape[2] % self.patch)
        x = self.patch_embeddings["projection"](F.pad(image, (0, pad[0], 0, pad[1]), mode="replicate"))
        grid = (x.shape[2], x.shape[3])
        return self.layernorm(x.flatten(2).transpose(1, 2)) + self.positions(grid), grid

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """(1, rows * columns, D), interpolated (bicubic) from the learned grid."""
        if grid == (self.side, self.side):
            return self.position_embeddings
        square = self.position_embeddings.transpose(1, 2).unflatten(2, (self.side, self.side))
        return F.interpolate(square, size=grid, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)


class Vision(nn.Module):
    """Pictures into groups."""

    def __init__(self, c: GroupViTConfig) -> None:
        super().__init__()
        last = max(sum(c.depths) - 1, 1)
        drops = iter([c.drop_path * i / last for i in range(sum(c.depths))])
        self.embeddings = Patches(c)
        stages = nn.ModuleList(Stage(c, i, list(islice(drops, depth))) for i, depth in enumerate(c.depths))
        self.encoder = nn.ModuleDict({"stages": stages})
        self.layernorm = _norm(c)

    def forward(self, image: Tensor) -> Seen:
        """image: (B, 3, H, W), normalised."""
        x, grid = self.embeddings(image)
        groups, soft = None, []
        for stage in cast(nn.ModuleList, self.encoder["stages"]):
            x, groups, assignment = stage(x, groups)
            if assignment is not None:
                soft.append(assignment)
        return Seen(self.layernorm(x), soft, grid)


class Language(nn.Module):
    """Token numbers (T, L) -> the state of each text's end token (T, D). Causal, so padding at the end does nothing."""

    def __init__(self, c: GroupViTConfig) -> None:
        super().__init__()
        self.eos = c.eos
        self.embeddings = nn.ModuleDict(
            {
                "token_embedding": nn.Embedding(c.vocabulary, c.text_width),
                "position_embedding": nn.Embedding(c.max_tokens, c.text_width),
            }
        )
        layers = (
            Layer(c.text_width, c.text_heads, c.text_mlp, c.text_activation, c.norm_eps) for _ in range(c.text_layers)
        )
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(layers)})
        self.final_layer_norm = nn.LayerNorm(c.text_width, eps=c.norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        """ids: (T, L) int64, each row with an end token."""
        positions = cast(nn.Embedding, self.embeddings["position_embedding"]).weight[: ids.shape[1]]
        x = self.embeddings["token_embedding"](ids) + positions
        for layer in cast(nn.ModuleList, self.encoder["layers"]):
            x = layer(x, causal=True)
        end = ids.argmax(1) if self.eos == 2 else (ids == self.eos).int().argmax(1)
        return self.final_layer_norm(x[torch.arange(len(x), device=x.device), end])


class Projector(nn.Sequential):
    """Two layers into the common space, (..., D) -> (..., P); its batch norm counts over all processes."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__(nn.Linear(width, hidden), BatchNorm2d(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as above."""
        rows = self[0](x.flatten(0, -2))
        return self[3](self[2](self[1](rows[..., None, None])[..., 0, 0])).unflatten(0, x.shape[:-1])


# ------------------------------------------------------------------------------------------------ the model


class GroupViT(nn.Module):
    """See the head of this file. tokenizer: a `tokenizers` tokenizer, which marks the end of a text by itself."""

    def __init__(self, config: GroupViTConfig, tokenizer: Tokenizer | None = None) -> None:
        super().__init__()
        c = self.config = config
        self.vision_model, self.text_model = Vision(c), Language(c)
        self.visual_projection = Projector(c.width, c.projection_hidden, c.projection)
        self.text_projection = Projector(c.text_width, c.projection_hidden, c.projection)
        self.logit_scale = nn.Parameter(torch.tensor(c.logit_scale))
        self.tokenizer = None if tokenizer is None else _adopted(tokenizer, c)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Xavier for what multiplies, .02 for what is looked up, 0 for biases; for short trainings, two exceptions.

        Attention in the picture starts faint, so that patches and groups tell first of what is theirs; the assignment
        starts sharp, so that its noise doesn't drown it: with both, groups keep apart from the first steps on.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                nn.init.zeros_(cast(Tensor, module.bias))
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            elif isinstance(module, Stage) and module.group_token is not None:
                nn.init.trunc_normal_(module.group_token, std=0.02)
            elif isinstance(module, Patches):
                nn.init.trunc_normal_(module.position_embeddings, std=0.02)
        for module in self.vision_model.modules():
            if isinstance(module, Attention):
                module.out_proj.weight.mul_(FAINT)
            elif isinstance(module, Assign):
                module.q_proj.weight.mul_(SHARP)
                module.k_proj.weight.mul_(SHARP)

    @property
    def scale(self) -> Tensor:
        """The factor of every cosine, 1 / temperature, at most 100."""
        return self.logit_scale.float().clamp(max=math.log(100)).exp()

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(T, L) int64 on the CPU, L the longest text's tokens; what is past max_tokens is cut off."""
        if self.tokenizer is None:
            raise InputError("this model came without a tokenizer; put its tokenizer.json into its folder")
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"text: got {text!r:.40}, expected words; leave pictures without caption out")
        rows = [row.ids for row in self.tokenizer.encode_batch(list(texts))]
        longest = max((len(row) for row in rows), default=1)
        pad = self.config.pad
        return torch.tensor([row + [pad] * (longest - len(row)) for row in rows]).view(-1, longest)

    def see(self, image: Tensor) -> Seen:
        """image: (B, 3, H, W) of any size, normalised by the config's mean and std."""
        return self.vision_model(image)

    def embed_seen(self, seen: Seen) -> Tensor:
        """A picture's place in the common space, (B, P) of unit length: the projected mean of its groups."""
        return F.normalize(self.visual_projection(seen.groups.mean(1)).float(), dim=-1)

    def embed_groups(self, seen: Seen) -> Tensor:
        """Every group's place, (B, G, P) of unit length."""
        return F.normalize(self.visual_projection(seen.groups).float(), dim=-1)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """(T, L) -> (T, P) of unit length."""
        return self._projected(self.text_model(ids))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """The texts' places, (T, P) of unit length, on the model's device."""
        return self._projected(self._read(texts))

    def _read(self, texts: Sequence[str]) -> Tensor:
        """(T, D); a text that is there several times is read once."""
        once = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        states = self.text_model(self.tokenize(list(once)).to(self.logit_scale.device))
        return states[[once[text] for text in texts]]

    def _projected(self, states: Tensor) -> Tensor:
        return F.normalize(self.text_projection(states).float(), dim=-1)

    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) against texts (T, L): scaled cosines (B, T)."""
        return self.scale * self.embed_seen(self.see(image)) @ self.embed_tokens(ids).T

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: image (B, 3, H, W); text: for each picture its caption and K prompts, the same K everywhere.

        name, if it is there: (B, K) int64, which prompts name the same, -1 for one that names nothing. known, beside
        it: (B, N) int64, what else is true of the picture in these numbers, -1 for nothing.
        Returns "caption" (the caption against the batch), "prompts" (all prompts, when K > 0) and their sum "loss":
        L = L(I <-> T) + L(I <-> {T_m}), GroupViT's Eq. 8; where names are told, the second term is `naming_loss`.
        """
        texts = batch["text"]
        if len({len(row) for row in texts}) != 1 or not texts[0]:
            raise InputError("text: expected a caption and K prompts for each picture, the same K for all")
        captions, prompts = [row[0] for row in texts], [prompt for row in texts for prompt in row[1:]]
        apart = [some for some in (captions, prompts) if some]  # captions are long, prompts short
        read = [self._read(some).unflatten(0, (len(texts), -1)) for some in apart]
        told = gather(self._projected(torch.cat(read, 1)))
        seen = self.see(batch["image"])
        shown = gather(self.embed_seen(seen))
        terms = {"caption": multi_label_loss(shown, told[:, :1], self.scale)}
        if prompts and "name" in batch:
            groups, shares = gather(self.embed_groups(seen)), gather(seen.shares())
            names, known = gather(batch["name"]), gather(batch["known"])
            terms["prompts"] = naming_loss(groups, shares, told[:, 1:], names, known, self.scale)
        elif prompts:
            terms["prompts"] = multi_label_loss(shown, told[:, 1:], self.scale)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def multi_label_loss(images: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """Contrast of B pictures with M texts each, GroupViT's Eq. 6 and 7; with M = 1 it is CLIP's loss.

    images: (B, P), texts: (B, M, P), both of unit length. With s = scale * cosine:

        pictures -> texts: -1/B  sum_i  log( sum_m exp s(i, t_im) / sum_jm exp s(i, t_jm) )
        texts -> pictures: -1/MB sum_im log( exp s(t_im, i) / sum_j exp s(t_im, j) )

    Returns the mean of both directions.
    """
    count = len(images)
    s = scale * images @ texts.flatten(0, 1).T  # (B, B * M)
    own = torch.arange(count, device=s.device)
    mine = s.unflatten(1, (count, -1))[own, own]  # (B, M)
    to_texts = s.logsumexp(1) - mine.logsumexp(1)
    to_images = F.cross_entropy(s.T, own.repeat_interleave(texts.shape[1]))
    return (to_texts.mean() + to_images) / 2


def naming_loss(
    groups: Tensor, shares: Tensor, texts: Tensor, names: Tensor, known: Tensor, scale: Tensor | float
) -> Tensor:
    """Ours: single groups answer for a picture's names, as its pixels are named by them (see `segment`).

    With p_ig = softmax_c( scale * cos(group g of i, name c) ) over the C different names of the batch, each name where
    its texts are in the mean, N_i the names of picture i and a_ig the share of the picture that group g has:

        names -> groups:   -mean_i mean_{c in N_i} max_g log( a_ig^CLAIM p_ig(c) )      each name is some group's
        pixels -> names:   -mean_i sum_g a_ig log sum_{c in N_i} p_ig(c)                each pixel has one of the names

    Returns their sum. Eq. 6 and 7 ask for names of the mean of the groups only, and take a name that two pictures share
    as false for both: at our size groups then keep apart, but don't say what they are. With CLAIM = 0 groups without
    pixels hold names; with 1, or a sum over groups in the place of the maximum, one group that is a little of
    everything serves as well as several, and groups merge.
    groups: (B, G, P), texts: (B, M, P), all of unit length. shares: (B, G), over the groups they sum to 1.
    names: (B, M) int64, the same number for the same name, -1 for none; a picture without any counts nothing.
    known: (B, N) int64, what is true of a picture without a text of its own here, in these numbers, -1 for nothing: it
    is among N_i where another picture has its text.
    """
    real = names >= 0
    named = real.any(1)
    if not named.any():
        return 0 * groups.sum()  # part of the graph, as DDP wants it
    different, place = names[real].unique(return_inverse=True)
    told = F.normalize(texts.new_zeros(len(different), texts.shape[2]).index_add(0, place, texts[real]), dim=-1)
    mine = texts.new_zeros(len(names), len(different), dtype=torch.bool)
    mine[real.nonzero()[:, 0], place] = True
    mine |= (known[..., None] == different).any(1)
    likely = (scale * groups @ told.T).log_softmax(2)[named]  # (B, G, C)
    mine, shares = mine[named], shares[named]
    claims = likely + CLAIM * (shares + 1e-6).log()[..., None]
    of_names = (claims.amax(1) * mine).sum(1) / mine.sum(1)
    of_pixels = (shares * likely.masked_fill(~mine[:, None], -torch.inf).logsumexp(2)).sum(1)
    return -(of_names + of_pixels).mean()


# ------------------------------------------------------------------------------------------------ tokenizer


def train_tokenizer(texts: Iterable[str], limit: int = 49408) -> Tokenizer:
    """A tokenizer of the whole lower-cased words of `texts`, the most frequent `limit` of them; the same for any order.

    A word that it hasn't seen becomes "[UNK]", by which `segment.embed_names` knows that a name means nothing to the
    model. Pass its size on: `replace(config, vocabulary=tokenizer.get_vocab_size())`.
    """
    special = ["[PAD]", "[BOS]", "[UNK]", "[EOS]"]  # [EOS] must not be 2, see GroupViTConfig.eos
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(special)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    counts: Counter[str] = Counter()
    for text in texts:
        normal = tokenizer.normalizer.normalize_str(text)
        counts.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    if not counts:
        raise InputError("texts: got no word to make a tokenizer from; check the captions")
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[: max(limit - len(special), 0)]
    tokenizer.model = models.WordLevel({word: i for i, word in enumerate([*special, *ranked])}, unk_token="[UNK]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 3)]
    )
    return tokenizer


def sized_for(config: GroupViTConfig, tokenizer: Tokenizer) -> GroupViTConfig:
    """The config with the vocabulary and the special tokens of a tokenizer of `train_tokenizer`."""
    special: dict[str, Any] = {name: tokenizer.token_to_id(f"[{name.upper()}]") for name in ("pad", "bos", "eos")}
    if missing := [name for name, number in special.items() if number is None]:
        raise InputError(f"tokenizer: has no [{missing[0].upper()}], expected one of train_tokenizer")
    return replace(config, vocabulary=tokenizer.get_vocab_size(), **special)


def _adopted(tokenizer: Tokenizer, c: GroupViTConfig) -> Tokenizer:
    """A copy that cuts at the model's limit, checked to fit it."""
    mine = Tokenizer.from_str(tokenizer.to_str())
    mine.no_padding()
    mine.enable_truncation(c.max_tokens)
    if mine.get_vocab_size() > c.vocabulary:
        raise InputError(
            f"tokenizer: has {mine.get_vocab_size()} tokens, the model {c.vocabulary}; take the model's own tokenizer"
        )
    ids = mine.encode("a").ids
    if not ids or (c.eos != 2 and ids[-1] != c.eos):
        raise InputError(
            f"tokenizer: ends a text with token {ids[-1] if ids else 'none'}, the model expects {c.eos}; "
            "take the model's own tokenizer"
        )
    return mine
