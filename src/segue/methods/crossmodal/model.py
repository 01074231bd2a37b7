"""Captions to layouts and layouts to captions: one set of weights for both directions.

Paper: S. Sahoo et al., "Cross-Modal Synthesis: Generating Semantic Segmentation Masks from Image Captions and
Vice-Versa using Multi-Modal Transformers". It names a dual-stream transformer with shared cross-modal attention, the
loss .6 mask + .3 text + .1 align, 512 x 512 layouts, ViT-B/16 and BERT. It leaves the rest open; our choices are:

- A layout is a grid of discrete tokens (`vq`). It is drawn by masked prediction, all cells in a few steps (MaskGIT,
  Chang et al. 2022), and captioned token by token. "Shared" means that the same cross-attention weights serve both
  directions.
- The conditioning stream is encoded by itself, the generated one attends to it (`layers`).
- An image, where there is one, is added to the cells' embeddings: its patches lie on the layout's grid. Dropping it,
  and the caption, for some examples in training makes one set of weights serve the conditions `caption`,
  `caption+image`, `mask` and `mask+image`, and allows classifier-free guidance.
- L_align is 1 - cos of the pooled streams, as in the paper. Nothing in it keeps different captions apart; `contrast`
  has InfoNCE in its place, which does.
- Cells drawn in parallel decide badly which things there are and where. A decoder makes boxes of the caption first
  (`boxes`), and the cells are drawn given them: painted, a later box over the earlier ones.
Not verified: the paper's figures. A caption can't fix positions, so its caption-only mIoU can't be what the name says.

B examples, T words, N = h x w cells (row-major), C channels, K codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.layers import Attention, EncodedStream, KeysValues, Stream, project_memory
from segue.nn.positions import sine_positions, sine_positions_1d

# Of fresh token and position embeddings. At the usual .02 the first layer's output would drown both.
EMBEDDING_SCALE = 0.5
BINS_PER_CELL = 2  # a cell is so many bins of the boxes wide and high
NO_BOX = 255
CONTRAST_TEMPERATURE = 0.07
BOX_WIDTH = 32  # channels of a class in a box


def build_crossmodal(config: CrossModalConfig) -> CrossModal:
    """The whole model."""
    c = config
    return CrossModal(
        config=config,
        word_embedding=WordEmbedding(config),
        cell_embedding=CellEmbedding(config),
        word_stream=Stream(c.width, c.heads, c.depth, post_norm=c.norms == "post", epsilon=c.epsilon),
        cell_stream=Stream(c.width, c.heads, c.depth, epsilon=c.epsilon),
        cross_attention=_attentions(config),
        separate_word_cross_attention=_attentions(config) if c.attention == "separate" else None,
        code_head=nn.Sequential(
            nn.Linear(c.width, c.width), nn.GELU(), nn.LayerNorm(c.width), nn.Linear(c.width, c.codes)
        ),
        word_head=nn.Linear(c.width, c.vocabulary),
    )


def _attentions(config: CrossModalConfig) -> Sequence[Attention]:
    layers = [Attention(config.width, config.heads) for _ in range(config.depth)]
    return cast(Sequence[Attention], nn.ModuleList(layers))


class WordEmbedding(nn.Module):
    """(B, T) token ids -> (B, T, C), with learned positions."""

    def __init__(self, config: CrossModalConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(config.vocabulary, config.width)
        self.position = nn.Parameter(EMBEDDING_SCALE * sine_positions_1d(config.max_words, config.width))
        nn.init.normal_(self.embed.weight, std=EMBEDDING_SCALE)

    def forward(self, ids: Tensor, first: int = 0) -> Tensor:
        """first: the position of ids[:, 0]."""
        embedded: Tensor = self.embed(ids) + self.position[first : first + ids.shape[1]]
        return embedded


class CellEmbedding(nn.Module):
    """(B, h, w) codes, and an image where there is one, -> (B, N, C). The code K is the mask token: "not drawn yet"."""

    def __init__(self, config: CrossModalConfig) -> None:
        super().__init__()
        self.mask_code = config.codes
        self.embed = nn.Embedding(config.codes + 1, config.width)
        positions = sine_positions(*config.grid, config.width)
        self.position = nn.Parameter(EMBEDDING_SCALE * torch.unflatten(positions.T, 1, config.grid))
        self.patch_embedding = nn.Conv2d(3, config.width, config.patch, config.patch)
        self.null_image = nn.Parameter(torch.zeros(config.width))  # takes the place of the image when there is none
        self.box_embedding = BoxEmbedding(config) if config.classes else None
        nn.init.normal_(self.embed.weight, std=EMBEDDING_SCALE)

    def forward(
        self, codes: Tensor, image: Tensor | None, use_image: Tensor | None = None, boxes: Tensor | None = None
    ) -> Tensor:
        """codes: (B, h, w) int64. image: (B, 3, h * patch, w * patch) in [-1, 1]. use_image: (B,) bool.

        boxes: see `BoxEmbedding`, only for a model with boxes.
        """
        x: Tensor = self.embed(codes) + self._positions(codes.shape[1:]).permute(1, 2, 0)
        if boxes is not None:
            assert self.box_embedding is not None
            x = x + self.box_embedding(boxes)
        patches = self.null_image.expand_as(x)
        if image is not None:
            embedded = self.patch_embedding(image).permute(0, 2, 3, 1)
            patches = embedded if use_image is None else torch.where(use_image[:, None, None, None], embedded, patches)
        return (x + patches).flatten(1, 2)

    def _positions(self, grid: torch.Size) -> Tensor:
        if grid == self.position.shape[1:]:
            return self.position
        return F.interpolate(self.position[None], size=tuple(grid), mode="bicubic", align_corners=False)[0]


class BoxEmbedding(nn.Module):
    """Painted boxes (B, 2h, 2w) integer classes, 255 where there is none -> (B, h, w, C). Without boxes it is 0."""

    def __init__(self, config: CrossModalConfig) -> None:
        super().__init__()
        self.classes = config.classes
        self.embed = nn.Embedding(config.classes + 1, BOX_WIDTH, padding_idx=config.classes)
        self.cells = nn.Conv2d(BOX_WIDTH, config.width, BINS_PER_CELL, BINS_PER_CELL, bias=False)

    def forward(self, boxes: Tensor) -> Tensor:
        """(B, 2h, 2w) -> (B, h, w, C)."""
        embedded = self.embed(boxes.long().clamp_max(self.classes))  # only 255 is larger than the last class
        cells: Tensor = self.cells(embedded.permute(0, 3, 1, 2))
        return cells.permute(0, 2, 3, 1)


class CrossModal(nn.Module):
    """See `build_crossmodal`. cross_attention: the cells' attention to words, and with "shared" the words' to cells."""

    def __init__(
        self,
        *,
        config: CrossModalConfig,
        word_embedding: WordEmbedding,
        cell_embedding: CellEmbedding,
        word_stream: Stream,
        cell_stream: Stream,
        cross_attention: Sequence[Attention],
        separate_word_cross_attention: Sequence[Attention] | None,
        code_head: nn.Sequential,
        word_head: nn.Linear,
    ) -> None:
        super().__init__()
        self.config = config
        self.word_embedding, self.cell_embedding = word_embedding, cell_embedding
        self.word_stream, self.cell_stream = word_stream, cell_stream
        self.cross_attention, self.separate_word_cross_attention = cross_attention, separate_word_cross_attention
        self.code_head, self.word_head = code_head, word_head

    @property
    def word_cross_attention(self) -> Sequence[Attention]:
        """The words' attention to cells, a layer each: `cross_attention` itself unless it is separate."""
        separate = self.separate_word_cross_attention
        return self.cross_attention if separate is None else separate

    # --- the conditioning stream

    def encode_captions(self, ids: Tensor) -> EncodedStream:
        """Captions (B, T) int64, from start to end and then padded."""
        return self.word_stream.encode(self.word_embedding(ids), ids != self.config.pad)

    def encode_layouts(
        self, codes: Tensor, image: Tensor | None = None, use_image: Tensor | None = None
    ) -> EncodedStream:
        """Layout tokens (B, h, w) int64, with the image (B, 3, H, W) where there is one; see `CellEmbedding`."""
        x = self.cell_embedding(codes, image, use_image)
        return self.cell_stream.encode(x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))

    def picture_features(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) images in [-1, 1] -> (B, C): the cells of a layout of which nothing is drawn yet, pooled."""
        codes = torch.full((len(image), *self.config.grid), self.cell_embedding.mask_code, device=image.device)
        return self.encode_layouts(codes, image).pooled

    # --- the generated stream

    def code_logits(
        self,
        codes: Tensor,
        image: Tensor | None,
        use_image: Tensor | None,
        captions: EncodedStream,
        memory: list[KeysValues],
        boxes: Tensor | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """(B, N, K) for every cell of half-drawn codes (B, h, w), given captions and their `project_memory`.

        boxes: see `BoxEmbedding`. wanted: (B, Q) int64, the cells whose logits (B, Q, K) are asked for. Captions and
        memory of n B rows give n B rows of logits.
        """
        logits: Tensor = self.code_head(self._cell_states(codes, image, use_image, captions, memory, boxes, wanted))
        return logits

    def _cell_states(
        self,
        codes: Tensor,
        image: Tensor | None,
        use_image: Tensor | None,
        captions: EncodedStream,
        memory: list[KeysValues],
        boxes: Tensor | None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        x = self.cell_embedding(codes, image, use_image, boxes)
        return self.cell_stream.decode(x, self.cross_attention, memory, captions.mask, wanted=wanted)[0]

    def word_logits(
        self, ids: Tensor, memory: list[KeysValues], mask: Tensor, past: list[KeysValues] | None = None
    ) -> tuple[Tensor, list[KeysValues]]:
        """(B, T, V) for the token after each of ids (B, T), and each layer's keys and values of all tokens so far.

        memory: of the layout's `project_memory`. mask: (B, N) bool, the layout's. With a past, T is 1.
        """
        first = past[0][0].shape[2] if past else 0
        x = self.word_embedding(ids, first)
        x, past = self.word_stream.decode(x, self.word_cross_attention, memory, mask, causal=True, past=past)
        return self.word_head(x), past

    # --- training

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: codes (B, h, w), ids (R, T), image (B, 3, H, W) or None, seed [B]. Returns "loss" and its terms.

        ids: the captions to generate, R / B of every layout, one layout's after the other. prompts (B, T): the captions
        to draw from, ids unless given. boxes (B, 2h, 2w): the painted boxes of a layout, for a model with boxes.
        """
        codes, ids, image = batch["codes"], batch["ids"], batch.get("image")
        prompts = batch.get("prompt_ids", ids)
        random = torch.stack(
            [torch.rand(5 + codes[0].numel(), generator=torch.Generator().manual_seed(s)) for s in batch["seed"]]
        )
        random = random.to(codes.device)
        use_image = random[:, 0] >= self.config.drop_image
        dropped = random[:, 1] < self.config.drop_caption
        captions = self.encode_captions(torch.where(dropped[:, None], self.null_captions(prompts), prompts))
        layouts = self.encode_layouts(codes, image, use_image)
        terms = {
            "mask": self._mask_loss(codes, image, random, captions, batch.get("boxes")),
            "text": self._text_loss(ids, layouts),
        }
        if self.config.align:
            loss = self._contrast_loss if self.config.contrast else self._align_loss
            terms["align"] = loss(captions, layouts, prompts.masked_fill(dropped[:, None], self.config.pad))
        weights = dict(zip(("mask", "text", "align"), self.config.loss_weights, strict=True))
        terms["loss"] = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return terms

    def null_captions(self, ids: Tensor) -> Tensor:
        """Empty captions of the shape of ids (B, T): start, end, padding."""
        empty = torch.full_like(ids, self.config.pad)
        empty[:, 0], empty[:, 1] = self.config.start, self.config.end
        return empty

    def _mask_loss(
        self, codes: Tensor, image: Tensor | None, random: Tensor, captions: EncodedStream, boxes: Tensor | None
    ) -> Tensor:
        """Cross-entropy of the masked cells: a random share of them, cos(pi/2 u)."""
        use_image = random[:, 2] >= self.config.drop_image
        share = (torch.pi / 2 * random[:, 3]).cos()
        if boxes is not None:
            given = (random[:, -1] < self.config.drop_boxes) == (use_image & (image is not None))
            boxes = boxes.masked_fill(~given[:, None, None], NO_BOX)
        noise = random[:, 4:-1].view(codes.shape)
        rank = noise.flatten(1).argsort(1).argsort(1).view(codes.shape)
        masked = rank < (share * codes[0].numel()).ceil().clamp_min(1)[:, None, None]
        memory = project_memory(self.cross_attention, captions)
        inputs = codes.masked_fill(masked, self.cell_embedding.mask_code)
        states = self._cell_states(inputs, image, use_image, captions, memory, boxes)
        error = F.cross_entropy(self.code_head(states[masked.flatten(1)]).float(), codes[masked], reduction="none")
        counts = masked.flatten(1).sum(1)
        return (error / counts.repeat_interleave(counts)).sum() / len(codes)

    def _text_loss(self, ids: Tensor, layouts: EncodedStream) -> Tensor:
        """Cross-entropy of every token and of the end, given those before; one encoded layout serves its captions."""
        each = len(ids) // len(layouts.mask)
        memory = [
            (k.repeat_interleave(each, 0), v.repeat_interleave(each, 0))
            for k, v in project_memory(self.word_cross_attention, layouts)
        ]
        logits, _ = self.word_logits(ids[:, :-1], memory, layouts.mask.repeat_interleave(each, 0))
        error = F.cross_entropy(logits.transpose(1, 2).float(), ids[:, 1:], reduction="none", label_smoothing=0.1)
        real = ids[:, 1:] != self.config.pad
        return ((error * real).sum(1) / real.sum(1)).mean()

    def _align_loss(self, captions: EncodedStream, layouts: EncodedStream, ids: Tensor) -> Tensor:
        """1 - cos of the pooled last states, over the examples that have a caption; ids: (B, T), padding in others."""
        has_caption = (ids != self.config.pad).any(1)
        distance = 1 - F.cosine_similarity(captions.pooled, layouts.pooled)
        return (distance * has_caption).sum() / has_caption.sum().clamp_min(1)

    def _contrast_loss(self, captions: EncodedStream, layouts: EncodedStream, ids: Tensor) -> Tensor:
        """InfoNCE of the pooled last states both ways; equal captions are no negatives. ids: as above."""
        has_caption = (ids != self.config.pad).any(1)
        similar = F.normalize(captions.pooled, dim=-1) @ F.normalize(layouts.pooled, dim=-1).T / CONTRAST_TEMPERATURE
        equal = (ids[:, None] == ids[None]).all(-1) & ~torch.eye(len(ids), dtype=torch.bool, device=ids.device)
        similar = similar.float().masked_fill(equal, -torch.inf)
        place = torch.arange(len(ids), device=ids.device)
        ways = (F.cross_entropy(one, place, reduction="none") for one in (similar, similar.T))
        return (sum(ways, torch.zeros_like(place)) / 2 * has_caption).sum() / has_caption.sum().clamp_min(1)
