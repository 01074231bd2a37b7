"""Layouts and captions out of a trained model: parallel drawing in a few steps, and the heat maps of its words."""

from __future__ import annotations

from collections.abc import Sequence
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
    steps: int = 12,
    guidance: float = 2.0,
    temperature: float = 1.0,
) -> Tensor:
    """Codes (B, h, w) for captions ids (B, T); one seed an example, and nothing else is random.

    image: (B, 3, h * patch, w * patch). fixed: (B, h, w) codes to keep, -1 where the model draws. steps: of parallel
    decoding. guidance: s in l_empty + s (l_caption - l_empty); 1 is none. temperature: of a cell's draw and, annealed
    to nothing, of the choice of cells; 0 always takes the most probable code.

    MaskGIT: each step draws all blank cells, keeps the surest and leaves cos(pi/2 (i+1)/steps) of them blank.
    """
    codes = torch.full((len(ids), *grid), model.cells.blank, device=ids.device)
    if fixed is not None:
        codes = torch.where(fixed >= 0, fixed, codes)
    caption, empty = model.read(ids), model.read(model.nothing(ids))
    keys, empty_keys = cross_keys(model.words_to_cells, caption), cross_keys(model.words_to_cells, empty)
    drawers = [torch.Generator().manual_seed(seed) for seed in seeds]
    to_draw = (codes == model.cells.blank).flatten(1)
    for step in range(steps):
        stop_point()
        logits = model.code_logits(codes, image, None, caption, keys).float()
        if guidance != 1:
            free = model.code_logits(codes, image, None, empty, empty_keys).float()
            logits = free + guidance * (logits - free)
        left = torch.cos(torch.tensor(torch.pi / 2 * (step + 1) / steps)).clamp_min(0)
        keep_blank = (to_draw.sum(1) * left).floor().long() if step + 1 < steps else to_draw.sum(1) * 0
        codes = _fill(codes, logits, keep_blank, drawers, temperature, float(left), model.cells.blank)
    return codes


def _fill(
    codes: Tensor,
    logits: Tensor,
    keep_blank: Tensor,
    drawers: list[torch.Generator],
    temperature: float,
    heat: float,
    blank: int,
) -> Tensor:
    """Draw the blank cells and blank the `keep_blank` least sure of them again."""
    shape, codes = codes.shape, codes.flatten(1)
    noise = _gumbel(logits.shape[1:], drawers).to(logits)
    drawn = (logits + temperature * noise).argmax(-1)
    sure = logits.log_softmax(-1).gather(-1, drawn[..., None])[..., 0]
    sure = sure + temperature * heat * _gumbel(sure.shape[1:], drawers).to(sure)
    was_blank = codes == blank
    rank = sure.masked_fill(~was_blank, torch.inf).argsort(1).argsort(1)
    filled = torch.where(was_blank, drawn, codes)
    return filled.masked_fill(was_blank & (rank < keep_blank[:, None]), blank).view(shape)


def _gumbel(shape: torch.Size, drawers: list[torch.Generator]) -> Tensor:
    uniform = torch.stack([torch.rand(shape, generator=drawer) for drawer in drawers]).clamp(1e-9, 1 - 1e-7)
    return -torch.log(-torch.log(uniform))


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


def tell_on(model: CrossModal, words: Tensor, told: Telling) -> tuple[Tensor, Telling]:
    """words: (R,), the last of each row. Returns the logits (R, V) of the next word, and the lengthened past."""
    logits, past = model.word_logits(words[:, None], told.layout, told.real, told.past)
    return logits[:, -1], told._replace(past=past)
