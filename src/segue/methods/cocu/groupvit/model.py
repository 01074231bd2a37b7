"""GroupViT, trained with the concepts that CoCu curates: patches are assigned to groups, and groups get names.

Papers: J. Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision"; Y. Xing et al., "Rewrite Caption
Semantics: Bridging Semantic Gaps for Language-Supervised Semantic Segmentation" (CoCu).
B pictures, T texts, L tokens, N patches (row-major), G groups, D channels, P channels of the joint space.

Modules carry the names of the hub's GroupViT checkpoints, so those load as they are and ours load in `transformers`
(outputs equal to 1e-5). Ours alone: `group_concept_loss`, for batches that say which prompts are of the same concept.
Ours, too: groups that stand on the cells v_n of a frozen dual encoder (`GroupViTConfig.image_encoder`). The network
reads them as patches and says which belong together; what a group is called depends on its own cells alone, since a
group that attends to the whole picture learns to tell every cell what the picture shows:

    m_g = sum_n A[g, n] v_n,  of length 1        u_n = v_n + sum_g A[g, n] W m_g,  W begins at 0

so an untrained one is the dual encoder as it is. Learned by `shared_out_loss` on the u_n.
In the papers and not in transformers: the multi-label loss, gathering over processes (batch norm too), drop path.
Beyond both: pictures of any size, an initialisation that can be trained from (in transformers the position embeddings
and first group tokens start at zero), texts as long as the longest of the batch.
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
from segue.methods.cocu.groupvit.layers import Assignment, Attention, Stage, TransformerLayer, layer_norm, one_hot
from segue.methods.cocu.groupvit.losses import group_concept_loss, multi_label_loss
from segue.nn.gather import gather
from segue.nn.norm import BatchNorm2d
from segue.types import InputError

INITIAL_ATTENTION_GAIN, INITIAL_ASSIGNMENT_GAIN = 0.1, 3.0  # of fresh weights, see GroupViT._initialise


class VisionOutput(NamedTuple):
    """A batch of pictures as groups.

    groups: (B, G, D). assignments: for each grouping i the soft assignment (B, G_i, N_i) of its tokens to its groups,
    every column a distribution. grid: (rows, columns) of the patches, N_0 = rows * columns. cells: (B, N_0, P), those
    of the dual encoder that the model stands on, if it does.
    """

    groups: Tensor
    assignments: list[Tensor]
    grid: tuple[int, int]
    cells: Tensor | None = None

    def patch_assignment(self, soft: bool = True) -> Tensor:
        """(B, G, N_0): the share of each patch that belongs to each last group; over the groups they sum to 1.

        The product of the stages' assignments. soft: False assigns each token to its best group alone.
        Raises InputError for a model without group tokens.
        """
        product = None
        for assignment in self.assignments:
            step = assignment if soft else one_hot(assignment)
            product = step if product is None else step @ product
        if product is None:
            raise InputError("this model has no group tokens in any stage, so nothing to segment with")
        return product

    def group_shares(self) -> Tensor:
        """(B, G): each last group's share of the picture."""
        return self.patch_assignment().mean(2)


class PatchEmbeddings(nn.Module):
    """Pixels (B, 3, H, W) -> patch tokens (B, N, D) with their positions, and the grid (rows, columns)."""

    def __init__(self, c: GroupViTConfig) -> None:
        super().__init__()
        self.patch, self.side = c.patch, c.image_size // c.patch
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(c.channels, c.width, c.patch, c.patch)})
        self.position_embeddings = nn.Parameter(torch.empty(1, self.side**2, c.width))
        self.layernorm = layer_norm(c)

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """A picture that is not a whole number of patches is padded at its right and bottom with its last pixels."""
        pad = (-image.shape[3] % self.patch, -image.shape[2] % self.patch)
        x = self.patch_embeddings["projection"](F.pad(image, (0, pad[0], 0, pad[1]), mode="replicate"))
        grid = (x.shape[2], x.shape[3])
        return self.layernorm(x.flatten(2).transpose(1, 2)) + self.interpolated_positions(grid), grid

    def interpolated_positions(self, grid: tuple[int, int]) -> Tensor:
        """(1, rows * columns, D), interpolated (bicubic) from the learned grid."""
        if grid == (self.side, self.side):
            return self.position_embeddings
        square = torch.unflatten(self.position_embeddings.transpose(1, 2), 2, (self.side, self.side))
        return F.interpolate(square, size=grid, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)


class VisionModel(nn.Module):
    """Pictures -> groups."""

    def __init__(self, c: GroupViTConfig) -> None:
        super().__init__()
        self.on_cells = c.image_encoder is not None
        last = max(sum(c.depths) - 1, 1)
        drops = iter([c.drop_path * i / last for i in range(sum(c.depths))])
        self.embeddings = PatchEmbeddings(c)
        stages = nn.ModuleList(Stage(c, i, list(islice(drops, depth))) for i, depth in enumerate(c.depths))
        self.encoder = nn.ModuleDict({"stages": stages})
        self.layernorm = layer_norm(c)

    def forward(self, image: Tensor) -> VisionOutput:
        """image: (B, 3, H, W), normalised."""
        x, grid = self.embeddings(image)
        groups, assignments = None, []
        for stage in cast(nn.ModuleList, self.encoder["stages"]):
            x, groups, assignment = stage(x, groups)
            if assignment is not None:
                assignments.append(assignment)
        cells = image.flatten(2).transpose(1, 2) if self.on_cells else None
        return VisionOutput(self.layernorm(x), assignments, grid, cells)


class TextModel(nn.Module):
    """Token ids (T, L) -> the state of each text's end token (T, D). Causal, so padding at the end has no effect."""

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
            TransformerLayer(c.text_width, c.text_heads, c.text_mlp, c.text_activation, c.norm_eps)
            for _ in range(c.text_layers)
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
        states: Tensor = self.final_layer_norm(x[torch.arange(len(x), device=x.device), end])
        return states


class Projector(nn.Sequential):
    """Two layers into the joint space, (..., D) -> (..., P); its batch norm counts over all processes."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__(nn.Linear(width, hidden), BatchNorm2d(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., P)."""
        rows = self[0](x.flatten(0, -2))
        return torch.unflatten(self[3](self[2](self[1](rows[..., None, None])[..., 0, 0])), 0, x.shape[:-1])


class GroupViT(nn.Module):
    """The network, see the head of this file.

    tokenizer: of the `tokenizers` package; it must add the end token of a text itself. Without one, only token ids can
    be embedded. Raises InputError for a tokenizer that does not fit the config.
    """

    def __init__(self, config: GroupViTConfig, tokenizer: Tokenizer | None = None) -> None:
        super().__init__()
        c = self.config = config
        self.vision_model = VisionModel(c)
        if c.image_encoder is None:
            self.text_model = TextModel(c)
            self.visual_projection = Projector(c.width, c.projection_hidden, c.projection)
            self.text_projection = Projector(c.text_width, c.projection_hidden, c.projection)
        else:
            self.cell_moves = nn.Linear(c.projection, c.projection)
        self.logit_scale = nn.Parameter(torch.tensor(c.logit_scale))
        self.tokenizer = None if tokenizer is None else _checked_tokenizer(tokenizer, c)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Xavier for linear layers and convolutions, std .02 for embeddings, 0 for biases; with two exceptions.

        The output of the vision model's attention is scaled down, so that at first a token depends mainly on itself.
        The assignment's queries and keys are scaled up, so that its logits are larger than the Gumbel noise. With both,
        groups separate from the first steps on, which short trainings need.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                nn.init.zeros_(cast(Tensor, module.bias))
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            elif isinstance(module, Stage) and module.group_token is not None:
                nn.init.trunc_normal_(module.group_token, std=0.02)
            elif isinstance(module, PatchEmbeddings):
                nn.init.trunc_normal_(module.position_embeddings, std=0.02)
        for module in self.vision_model.modules():
            if isinstance(module, Attention):
                module.out_proj.weight.mul_(INITIAL_ATTENTION_GAIN)
            elif isinstance(module, Assignment):
                module.q_proj.weight.mul_(INITIAL_ASSIGNMENT_GAIN)
                module.k_proj.weight.mul_(INITIAL_ASSIGNMENT_GAIN)
        if self.config.image_encoder is not None:
            nn.init.zeros_(self.cell_moves.weight)

    @property
    def scale(self) -> Tensor:
        """The factor of every cosine, 1 / temperature, at most 100."""
        return self.logit_scale.float().clamp(max=math.log(100)).exp()

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(T, L) int64 token ids on the CPU, L tokens of the longest text; what is past max_tokens is cut off.

        Raises InputError for a model without a tokenizer and for an empty text.
        """
        if self.config.image_encoder is not None:
            raise InputError(f"this model stands on {self.config.image_encoder}: take the texts' vectors of that")
        if self.tokenizer is None:
            raise InputError("this model came without a tokenizer; put its tokenizer.json into its folder")
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"text: got {text!r:.40}, expected words; leave pictures without caption out")
        rows = [row.ids for row in self.tokenizer.encode_batch(list(texts))]
        longest = max((len(row) for row in rows), default=1)
        pad = self.config.pad
        return torch.tensor([row + [pad] * (longest - len(row)) for row in rows]).view(-1, longest)

    def encode_image(self, image: Tensor) -> VisionOutput:
        """The groups of pictures. image: (B, 3, H, W) of any size, normalised by the config's mean and std.

        On a dual encoder: (B, P, rows, columns), its cells, of length 1.
        """
        output: VisionOutput = self.vision_model(image)
        return output

    def embed_image(self, vision: VisionOutput) -> Tensor:
        """The embeddings of pictures, (B, P) of unit length: the projected mean of their groups."""
        return F.normalize(self.visual_projection(vision.groups.mean(1)).float(), dim=-1)

    def embed_groups(self, vision: VisionOutput) -> Tensor:
        """The embedding of every group, (B, G, P) of unit length."""
        return F.normalize(self.visual_projection(vision.groups).float(), dim=-1)

    def refine_cells(self, vision: VisionOutput) -> Tensor:
        """The cells of the dual encoder as their groups move them, u of the head of this file: (B, N, P) of length 1.

        Raises InputError for a model on pixels.
        """
        if vision.cells is None:
            raise InputError("this model reads pixels, so there are no cells to refine; name an image_encoder")
        assignment = vision.patch_assignment()
        moves = self.cell_moves(F.normalize(assignment @ vision.cells, dim=-1)).float()
        return F.normalize(vision.cells + assignment.transpose(1, 2) @ moves, dim=-1)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """The embeddings of tokenized texts, (T, L) -> (T, P) of unit length."""
        return self._project_text(self.text_model(ids))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """The embeddings of texts, (T, P) of unit length, on the model's device. Raises InputError as `tokenize`."""
        return self._project_text(self._encode_texts(texts))

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        """(T, D); a text that occurs several times is encoded once."""
        unique = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        ids = self.tokenize(list(unique)).to(self.logit_scale.device)
        states: Tensor = self.text_model(ids)
        return states[[unique[text] for text in texts]]

    def _project_text(self, states: Tensor) -> Tensor:
        return F.normalize(self.text_projection(states).float(), dim=-1)

    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) against texts (T, L): scaled cosines (B, T)."""
        return self.scale * self.embed_image(self.encode_image(image)) @ self.embed_tokens(ids).T

    def embed_batch(self, batch: dict[str, Any]) -> tuple[VisionOutput, Tensor, Tensor]:
        """The groups of a batch's pictures here, and the embeddings of pictures (B, P) and texts (B, 1 + K, P) of all
        processes.

        Raises InputError for pictures with different numbers of texts, or none.
        """
        texts = batch["text"]
        if len({len(row) for row in texts}) != 1 or not texts[0]:
            raise InputError("text: expected a caption and K prompts for each picture, the same K for all")
        captions, prompts = [row[0] for row in texts], [prompt for row in texts for prompt in row[1:]]
        # captions are long and prompts short, so they are padded apart
        states = [
            torch.unflatten(self._encode_texts(some), 0, (len(texts), -1)) for some in (captions, prompts) if some
        ]
        text = gather(self._project_text(torch.cat(states, 1)))
        vision = self.encode_image(batch["image"])
        return vision, gather(self.embed_image(vision)), text

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The losses of a batch, gathered over all processes: L = L(I <-> T) + L(I <-> {T_m}), GroupViT's Eq. 8.

        batch: image (B, 3, H, W), normalised; text: for each picture its caption and K prompts, the same K for all.
        Optional: concept_ids (B, K) int64, the concept of each prompt, -1 for none; and with it known_ids (B, N) int64,
        further concepts that are true of the picture, -1 for none. With them the second term is `group_concept_loss`;
        and with concept_weights (B, K), the probability that the picture shows each prompt's concept, weighted by it.
        Returns scalars: "caption" (the captions' term), "prompts" (the second term, when K > 0) and "loss", their sum.
        Raises InputError as `embed_batch`.
        """
        vision, image, text = self.embed_batch(batch)
        terms = {"caption": multi_label_loss(image, text[:, :1], self.scale)}
        if text.shape[1] > 1 and "concept_ids" in batch:
            groups, shares = gather(self.embed_groups(vision)), gather(vision.group_shares())
            concept_ids, known_ids = gather(batch["concept_ids"]), gather(batch["known_ids"])
            weights = gather(batch["concept_weights"]) if "concept_weights" in batch else None
            prompts = text[:, 1:]
            terms["prompts"] = group_concept_loss(groups, shares, prompts, concept_ids, known_ids, self.scale, weights)
        elif text.shape[1] > 1:
            terms["prompts"] = multi_label_loss(image, text[:, 1:], self.scale)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def _checked_tokenizer(tokenizer: Tokenizer, c: GroupViTConfig) -> Tokenizer:
    """A copy that cuts at the model's limit. Raises InputError when its tokens or its end token don't fit the model."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.enable_truncation(c.max_tokens)
    if copy.get_vocab_size() > c.vocabulary:
        raise InputError(
            f"tokenizer: has {copy.get_vocab_size()} tokens, the model {c.vocabulary}; take the model's own tokenizer"
        )
    ids = copy.encode("a").ids
    if not ids or (c.eos != 2 and ids[-1] != c.eos):
        raise InputError(
            f"tokenizer: ends a text with token {ids[-1] if ids else 'none'}, the model expects {c.eos}; "
            "take the model's own tokenizer"
        )
    return copy
