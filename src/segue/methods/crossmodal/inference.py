"""Inference with a trained model: parallel drawing of layouts, captioning of layouts, and attention maps of words."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi
from typing import NamedTuple

import torch
from torch import Tensor

from segue.methods.crossmodal.layers import EncodedStream, KeysValues, project_memory
from segue.methods.crossmodal.model import CrossModal
from segue.nn import stopping


@torch.inference_mode()
def draw_codes(
    model: CrossModal,
    ids: Tensor,
    grid: tuple[int, int],
    *,
    seeds: Sequence[int],
    image: Tensor | None = None,
    fixed: Tensor | None = None,
    boxes: Tensor | None = None,
    steps: int = 8,
    guidance: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """Codes (B, h, w) int64 for captions ids (B, T); a pure function of the arguments.

    seeds: one for each example. image: (B, 3, h * patch, w * patch) in [-1, 1]. fixed: (B, h, w) codes to keep, -1
    where the model draws. boxes: (B, 2h, 2w) painted boxes, 255 where there is none. steps: of parallel decoding.
    guidance: s in l_empty + s (l_caption - l_empty), 1 for none. temperature: of a cell's draw; 0 always takes the most
    probable code, and without boxes small objects that a caption names get lost.

    As in MaskGIT, each step draws some of the masked cells and leaves a share of cos(pi/2 (i+1)/steps) of them masked.
    But the cells come in a random order: MaskGIT's, the most confident first, draws sky and grass until no place is
    left for a dog.
    """
    mask_code = model.cell_embedding.mask_code
    codes = torch.full((len(ids), *grid), mask_code, device=ids.device)
    if fixed is not None:
        codes = torch.where(fixed >= 0, fixed, codes)
    given = ids if guidance == 1 else torch.cat([ids, model.null_captions(ids)])
    captions = model.encode_captions(given)
    memory = project_memory(model.cross_attention, captions)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    to_draw = (codes == mask_code).flatten(1)
    order = _uniform(grid, generators).to(codes.device).flatten(1).masked_fill(~to_draw, -1).argsort(1)
    codes, count = codes.flatten(1), to_draw.sum(1, keepdim=True)
    for step in stopping.steps(steps):
        share = cos(pi / 2 * (step + 1) / steps) if step + 1 < steps else 0
        end = codes.shape[1] - (count * share).long()
        cells, drawn_now = _cells_between(order, codes.shape[1] - (codes == mask_code).sum(1, keepdim=True), end)
        logits = model.code_logits(codes.view(-1, *grid), image, None, captions, memory, boxes, cells).float()
        if guidance != 1:
            logits, unconditional = logits.chunk(2)
            logits = unconditional + guidance * (logits - unconditional)
        if temperature:
            noise = -torch.log(-torch.log(_uniform((codes.shape[1], logits.shape[-1]), generators)))
            logits = logits + temperature * noise.to(logits).take_along_dim(cells[..., None], 1)  # the Gumbel-max trick
        drawn = torch.where(drawn_now, logits.argmax(-1), codes.gather(1, cells))
        codes = codes.scatter(1, cells, drawn)
    return codes.view(-1, *grid)


def _cells_between(order: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """The cells (B, Q) that come from `start` to `end`, both (B, 1), in each row's order (B, N), and whether they do.

    Rows with fewer than Q repeat one that does not.
    """
    place = start + torch.arange(int((end - start).max()), device=order.device)
    return order.gather(1, torch.where(place < end, place, 0)), place < end


def _uniform(shape: Sequence[int], generators: list[torch.Generator]) -> Tensor:
    """(B, *shape) numbers in (0, 1), those of each example from its own generator."""
    drawn = [torch.rand(*shape, generator=generator) for generator in generators]
    return torch.stack(drawn).clamp(1e-9, 1 - 1e-7)


@torch.inference_mode()
def word_attention_maps(model: CrossModal, codes: Tensor, ids: Tensor, image: Tensor | None = None) -> Tensor:
    """(B, T, h, w): cross-attention of each cell of finished codes to each word, mean over the second half of layers.

    Each cell's weights sum to 1 over the words.
    """
    captions = model.encode_captions(ids)
    memory = project_memory(model.cross_attention, captions)
    x, maps = model.cell_embedding(codes, image), []
    for i, layer in enumerate(model.cell_stream.layers):
        x, _ = layer.self_attention(x, None, False, None)
        cross = model.cross_attention[i]
        maps.append(cross.weights(layer.norm_cross(x), memory[i], captions.mask))
        x = layer.feed_forward(layer.cross_attention(x, cross, memory[i], captions.mask))
    later = torch.stack(maps[len(maps) // 2 :]).mean(0)
    return torch.unflatten(later.transpose(1, 2), 2, codes.shape[1:])


class CaptionCache(NamedTuple):
    """The cache of captioning, R rows: each layer's keys and values of the layout and of the words so far."""

    layout: list[KeysValues]
    mask: Tensor
    past: list[KeysValues] | None

    def select(self, rows: Tensor) -> CaptionCache:
        """The rows (R',) int64, in that order; a row may be named twice or not at all."""
        layout, past = ([(k[rows], v[rows]) for k, v in part] for part in (self.layout, self.past or []))
        return CaptionCache(layout, self.mask[rows], past or None)


def start_caption(model: CrossModal, layouts: EncodedStream) -> tuple[Tensor, CaptionCache]:
    """The logits (B, V) of the first word, and the cache for `continue_caption` (see `segue.nn.decoding`)."""
    start = torch.full((len(layouts.mask),), model.config.start, device=layouts.mask.device)
    cache = CaptionCache(project_memory(model.word_cross_attention, layouts), layouts.mask, None)
    return continue_caption(model, start, cache)


def continue_caption(model: CrossModal, tokens: Tensor, cache: CaptionCache) -> tuple[Tensor, CaptionCache]:
    """tokens: (R,) int64, the last of each row. Returns the logits (R, V) of the next one, and the extended cache."""
    logits, past = model.word_logits(tokens[:, None], cache.layout, cache.mask, cache.past)
    return logits[:, -1], cache._replace(past=past)


@torch.inference_mode()
def log_likelihood(model: CrossModal, ids: Tensor, codes: Tensor, image: Tensor | None = None) -> Tensor:
    """(B,): log-probability of the captions ids (B, T) given layouts codes (B, h, w), summed over the words."""
    layouts = model.encode_layouts(codes, image)
    memory = project_memory(model.word_cross_attention, layouts)
    logits, _ = model.word_logits(ids[:, :-1], memory, layouts.mask)
    each = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return (each * (ids[:, 1:] != model.config.pad)).sum(1)
