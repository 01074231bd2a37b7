"""Layouts and captions out of a trained model: parallel drawing in a few steps, and the heat maps of its words."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi
from typing import NamedTuple

import torch
from torch import Tensor

from segue.methods.crossmodal.model import CrossModal
from segue.methods.crossmodal.streams import Given, KeysValues, cross_keys
from segue.nn.stopping import stop_point


@torch.inference_mode()
def draw_codes(
    model: CrossModal,
    ids: Tensor,
    grid: tuple[int, int],
    *,
    seeds: Sequence[int],
    image: Tensor | None = None,
    fixed: Tensor | None = None,
    steps: int = 8,
    guidance: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """Codes (B, h, w) for captions ids (B, T); one seed an example, and nothing else is random.

    image: (B, 3, h * patch, w * patch). fixed: (B, h, w) codes to keep, -1 where the model draws. steps: of parallel
    decoding. guidance: s in l_empty + s (l_caption - l_empty); 1 is none. temperature: of a cell's draw; 0 always takes
    the most probable code, and the small things that a caption names get lost.

    As MaskGIT, each step draws some of the blank cells and leaves cos(pi/2 (i+1)/steps) of them blank, but the cells
    come in a random order: its order, the surest first, draws sky and grass until no place is left for a dog.
    """
    blank = model.cells.blank
    codes = torch.full((len(ids), *grid), blank, device=ids.device)
    if fixed is not None:
        codes = torch.where(fixed >= 0, fixed, codes)
    caption, empty = model.read(ids), model.read(model.nothing(ids))
    keys, empty_keys = cross_keys(model.words_to_cells, caption), cross_keys(model.words_to_cells, empty)
    drawers = [torch.Generator().manual_seed(seed) for seed in seeds]
    to_draw = codes == blank
    turn = _uniform(grid, drawers).to(codes.device).masked_fill(~to_draw, -1)
    turn = turn.flatten(1).argsort(1).argsort(1).view(codes.shape)  # what is fixed comes first
    for step in range(steps):
        stop_point()
        logits = model.code_logits(codes, image, None, caption, keys).float()
        if guidance != 1:
            free = model.code_logits(codes, image, None, empty, empty_keys).float()
            logits = free + guidance * (logits - free)
        noise = -torch.log(-torch.log(_uniform(logits.shape[1:], drawers)))  # Gumbel's: its largest is a draw
        drawn = (logits + temperature * noise.to(logits)).argmax(-1).view(codes.shape)
        left = cos(pi / 2 * (step + 1) / steps) if step + 1 < steps else 0
        later = (to_draw.flatten(1).sum(1) * left).long()[:, None, None]
        now = (codes == blank) & (turn < turn[0].numel() - later)
        codes = torch.where(now, drawn, codes)
    return codes


def _uniform(shape: Sequence[int], drawers: list[torch.Generator]) -> Tensor:
    """(B, *shape) numbers in (0, 1), each example's from its own generator."""
    drawn = [torch.rand(*shape, generator=drawer) for drawer in drawers]
    return torch.stack(drawn).clamp(1e-9, 1 - 1e-7)


@torch.inference_mode()
def word_maps(model: CrossModal, codes: Tensor, ids: Tensor, image: Tensor | None = None) -> Tensor:
    """(B, T, h, w): how much each cell of finished codes looks at each word, the mean of the later half of the layers.

    Each cell's weights sum to 1 over the words.
    """
    caption = model.read(ids)
    keys: list[KeysValues] = cross_keys(model.words_to_cells, caption)
    x, maps = model.cells(codes, image), []
    for i, layer in enumerate(model.cell_stream.layers):
        x, _ = layer.own(x, None, False, None)
        cross = model.words_to_cells[i]
        maps.append(cross.weights(layer.norm_cross(x), keys[i], caption.real))
        x = layer.think(layer.other(x, cross, keys[i], caption.real))
    later = torch.stack(maps[len(maps) // 2 :]).mean(0)
    return later.transpose(1, 2).unflatten(2, codes.shape[1:])


class Telling(NamedTuple):
    """What telling remembers, R rows: each layer's keys and values of the layout and of the words so far."""

    layout: list[KeysValues]
    real: Tensor
    past: list[KeysValues] | None

    def select(self, rows: Tensor) -> Telling:
        """The rows (R,) int64, in that order; a row may be named twice or not at all."""
        chosen = [[(k[rows], v[rows]) for k, v in part] for part in (self.layout, self.past or [])]
        return Telling(chosen[0], self.real[rows], chosen[1] or None)


def start_telling(model: CrossModal, layout: Given) -> tuple[Tensor, Telling]:
    """The logits (B, V) of the first word, and what goes on from there (`segue.nn.decoding`)."""
    start = torch.full((len(layout.real),), model.config.start, device=layout.real.device)
    return tell_on(model, start, Telling(cross_keys(model.cells_to_words, layout), layout.real, None))


@torch.inference_mode()
def log_likelihood(model: CrossModal, ids: Tensor, codes: Tensor, image: Tensor | None = None) -> Tensor:
    """(B,): log-probability that captions ids (B, T) are told from layouts codes (B, h, w), the sum over the words."""
    layout = model.look(codes, image)
    logits, _ = model.word_logits(ids[:, :-1], cross_keys(model.cells_to_words, layout), layout.real)
    each = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return (each * (ids[:, 1:] != model.config.pad)).sum(1)


def tell_on(model: CrossModal, words: Tensor, told: Telling) -> tuple[Tensor, Telling]:
    """words: (R,), the last of each row. Returns the logits (R, V) of the next word, and the lengthened past."""
    logits, past = model.word_logits(words[:, None], told.layout, told.real, told.past)
    return logits[:, -1], told._replace(past=past)
