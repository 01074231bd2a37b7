"""Draw the layout of a sentence, and tell a layout in words: one set of weights, both ways.

Paper: S. Sahoo et al., "Cross-Modal Synthesis: Generating Semantic Segmentation Masks from Image Captions and
Vice-Versa using Multi-Modal Transformers". It names a dual-stream transformer with shared cross-modal attention, the
loss .6 mask + .3 text + .1 align, 512 x 512 layouts, ViT-B/16 and BERT; the rest stands open, and is ours:

- A layout is a grid of discrete tokens (`vq`); it is drawn by masked prediction, all cells in a few steps (MaskGIT,
  Chang et al. 2022), and told word by word. "HubMixin" means that the very same attention weights carry words to cells
  and cells to words.
- The stream that is given runs by itself, the one that is made attends to it (`streams`).
- A picture, where there is one, joins the cells' embeddings: its patches lie on the layout's grid. Dropping it, and the
  caption, for some examples in training makes one set of weights serve `caption`, `caption+image`, `mask` and
  `mask+image`, and allows guidance.
- L_align is 1 - cos of the pooled streams, as the paper has it. Nothing in it holds different captions apart.
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
from segue.methods.crossmodal.streams import Attention, Given, KeysValues, Stream, cross_keys
from segue.nn.positions import sine_positions, sines

# Of fresh embeddings and positions. At the usual .02 the first layer's output drowns which token it was, and where.
SCALE = 0.5


def build_crossmodal(config: CrossModalConfig) -> CrossModal:
    """The whole model, put together here."""
    c = config
    return CrossModal(
        config=config,
        words=Words(config),
        cells=Cells(config),
        word_stream=Stream(c.width, c.heads, c.depth, post_norm=c.norms == "post", epsilon=c.epsilon),
        cell_stream=Stream(c.width, c.heads, c.depth, epsilon=c.epsilon),
        words_to_cells=_attentions(config),
        own_cells_to_words=_attentions(config) if c.attention == "separate" else None,
        code_head=nn.Sequential(
            nn.Linear(c.width, c.width), nn.GELU(), nn.LayerNorm(c.width), nn.Linear(c.width, c.codes)
        ),
        word_head=nn.Linear(c.width, c.vocabulary),
    )


def _attentions(config: CrossModalConfig) -> Sequence[Attention]:
    made = [Attention(config.width, config.heads) for _ in range(config.depth)]
    return cast(Sequence[Attention], nn.ModuleList(made))


class Words(nn.Module):
    """(B, T) word ids -> (B, T, C)."""

    def __init__(self, config: CrossModalConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(config.vocabulary, config.width)
        self.position = nn.Parameter(SCALE * sines(config.max_words, config.width))
        nn.init.normal_(self.embed.weight, std=SCALE)

    def forward(self, ids: Tensor, first: int = 0) -> Tensor:
        """first: the position of ids[:, 0]."""
        return self.embed(ids) + self.position[first : first + ids.shape[1]]


class Cells(nn.Module):
    """(B, h, w) codes, and a picture where there is one, -> (B, N, C). The code K means "not drawn yet"."""

    def __init__(self, config: CrossModalConfig) -> None:
        super().__init__()
        self.blank = config.codes
        self.embed = nn.Embedding(config.codes + 1, config.width)
        places = sine_positions(*config.grid, config.width)
        self.position = nn.Parameter(SCALE * places.T.unflatten(1, config.grid))
        self.see = nn.Conv2d(3, config.width, config.patch, config.patch)
        self.unseen = nn.Parameter(torch.zeros(config.width))  # stands for the picture when there is none
        nn.init.normal_(self.embed.weight, std=SCALE)

    def forward(self, codes: Tensor, image: Tensor | None, seen: Tensor | None = None) -> Tensor:
        """codes: (B, h, w). image: (B, 3, h * patch, w * patch). seen: (B,) bool, False where the image is left out."""
        x = self.embed(codes) + self._positions(codes.shape[1:]).permute(1, 2, 0)
        look = self.unseen.expand_as(x)
        if image is not None:
            patches = self.see(image).permute(0, 2, 3, 1)
            look = patches if seen is None else torch.where(seen[:, None, None, None], patches, look)
        return (x + look).flatten(1, 2)

    def _positions(self, grid: torch.Size) -> Tensor:
        if grid == self.position.shape[1:]:
            return self.position
        return F.interpolate(self.position[None], size=tuple(grid), mode="bicubic", align_corners=False)[0]


class CrossModal(nn.Module):
    """See `build_crossmodal`."""

    def __init__(
        self,
        config: CrossModalConfig,
        words: Words,
        cells: Cells,
        word_stream: Stream,
        cell_stream: Stream,
        words_to_cells: Sequence[Attention],
        own_cells_to_words: Sequence[Attention] | None,
        code_head: nn.Sequential,
        word_head: nn.Linear,
    ) -> None:
        super().__init__()
        self.config, self.words, self.cells = config, words, cells
        self.word_stream, self.cell_stream = word_stream, cell_stream
        self.words_to_cells, self.own_cells_to_words = words_to_cells, own_cells_to_words
        self.code_head, self.word_head = code_head, word_head

    @property
    def cells_to_words(self) -> Sequence[Attention]:
        """The attention that carries cells to words: with "shared" the very one that carries words to cells."""
        return self.words_to_cells if self.own_cells_to_words is None else self.own_cells_to_words

    # --- what is given

    def read(self, ids: Tensor) -> Given:
        """Captions (B, T), from start to end and then padded."""
        real = ids != self.config.pad
        return self.word_stream.give(self.words(ids), real)

    def look(self, codes: Tensor, image: Tensor | None = None, seen: Tensor | None = None) -> Given:
        """Layout tokens (B, h, w), with the picture (B, 3, H, W) where there is one."""
        x = self.cells(codes, image, seen)
        return self.cell_stream.give(x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))

    # --- what is made

    def code_logits(
        self, codes: Tensor, image: Tensor | None, seen: Tensor | None, caption: Given, keys: list[KeysValues]
    ) -> Tensor:
        """(B, N, K) for every cell of half-drawn codes (B, h, w), under a caption and its `cross_keys`."""
        return self.code_head(self._cell_states(codes, image, seen, caption, keys))

    def _cell_states(
        self, codes: Tensor, image: Tensor | None, seen: Tensor | None, caption: Given, keys: list[KeysValues]
    ) -> Tensor:
        return self.cell_stream.make(self.cells(codes, image, seen), self.words_to_cells, keys, caption.real)[0]

    def word_logits(
        self, ids: Tensor, keys: list[KeysValues], real: Tensor, past: list[KeysValues] | None = None
    ) -> tuple[Tensor, list[KeysValues]]:
        """(B, T, V) for the word after each of ids (B, T), and the past of all words so far.

        keys: of the layout's `cross_keys`. real: (B, N) bool, the layout's. With a past, T is 1.
        """
        first = past[0][0].shape[2] if past else 0
        x = self.words(ids, first)
        x, past = self.word_stream.make(x, self.cells_to_words, keys, real, causal=True, past=past)
        return self.word_head(x), past

    # --- training

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: codes (B, h, w), ids (R, T), image (B, 3, H, W) or None, seed [B]. Returns "loss" and its terms.

        ids: the captions to tell, R / B of every layout, one layout's after the other. asked (B, T): the captions to
        draw from, ids unless given.
        """
        codes, ids, image = batch["codes"], batch["ids"], batch.get("image")
        asked = batch.get("asked", ids)
        draw = torch.stack(
            [torch.rand(4 + codes[0].numel(), generator=torch.Generator().manual_seed(s)) for s in batch["seed"]]
        )
        draw = draw.to(codes.device)
        seen = draw[:, 0] >= self.config.drop_image
        silent = draw[:, 1] < self.config.drop_caption
        caption = self.read(torch.where(silent[:, None], self.nothing(asked), asked))
        layout = self.look(codes, image, seen)
        terms = {
            "mask": self._mask_loss(codes, image, draw, caption),
            "text": self._text_loss(ids, layout),
        }
        if self.config.align:
            terms["align"] = self._align_loss(caption, layout, ~silent)
        weights = dict(zip(("mask", "text", "align"), self.config.loss_weights, strict=True))
        terms["loss"] = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return terms

    def nothing(self, ids: Tensor) -> Tensor:
        """The empty caption: start, end."""
        empty = torch.full_like(ids, self.config.pad)
        empty[:, 0], empty[:, 1] = self.config.start, self.config.end
        return empty

    def _mask_loss(self, codes: Tensor, image: Tensor | None, draw: Tensor, caption: Given) -> Tensor:
        """Cross-entropy of the cells that a random share, cos(pi/2 u), left blank."""
        seen = draw[:, 2] >= self.config.drop_image
        share = (torch.pi / 2 * draw[:, 3]).cos()
        noise = draw[:, 4:].view(codes.shape)
        rank = noise.flatten(1).argsort(1).argsort(1).view(codes.shape)
        blank = rank < (share * codes[0].numel()).ceil().clamp_min(1)[:, None, None]
        keys = cross_keys(self.words_to_cells, caption)
        states = self._cell_states(codes.masked_fill(blank, self.cells.blank), image, seen, caption, keys)
        error = F.cross_entropy(self.code_head(states[blank.flatten(1)]).float(), codes[blank], reduction="none")
        counts = blank.flatten(1).sum(1)
        return (error / counts.repeat_interleave(counts)).sum() / len(codes)

    def _text_loss(self, ids: Tensor, layout: Given) -> Tensor:
        """Cross-entropy of every word and of the end, given the words before it; a layout is read once for all."""
        each = len(ids) // len(layout.real)
        keys = [
            (k.repeat_interleave(each, 0), v.repeat_interleave(each, 0))
            for k, v in cross_keys(self.cells_to_words, layout)
        ]
        logits, _ = self.word_logits(ids[:, :-1], keys, layout.real.repeat_interleave(each, 0))
        error = F.cross_entropy(logits.transpose(1, 2).float(), ids[:, 1:], reduction="none", label_smoothing=0.1)
        real = ids[:, 1:] != self.config.pad
        return ((error * real).sum(1) / real.sum(1)).mean()

    def _align_loss(self, caption: Given, layout: Given, said: Tensor) -> Tensor:
        """1 - cos of the pooled last states, over the examples that have a caption."""
        distance = 1 - F.cosine_similarity(caption.pooled, layout.pooled)
        return (distance * said).sum() / said.sum().clamp_min(1)
