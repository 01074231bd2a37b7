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
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from segue.methods.cocu.groupvit.config import GroupViTConfig
from segue.methods.cocu.groupvit.layers import FAINT, SHARP, Assign, Attention, Layer, Stage, _norm, one_hot
from segue.methods.cocu.groupvit.losses import multi_label_loss, naming_loss
from segue.nn.gather import gather
from segue.nn.norm import BatchNorm2d
from segue.types import InputError


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
