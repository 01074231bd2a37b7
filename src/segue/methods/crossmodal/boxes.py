"""The first of two levels: a caption to a sequence of boxes with classes, from which the cells are then drawn.

Which classes a layout has, how many of each, and where, is decided here, by a few dozen tokens, each given those before
it; cells that are drawn in parallel decide it badly. A box is five tokens: class, left, top, right, bottom, its edges
on a grid of `bins` steps a side. The largest box comes first, so that what comes later lies over it when painted.

B examples, T words, R boxes, L tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Interval
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from segue.methods.crossmodal.layers import Attention, KeysValues, Stream, project_memory
from segue.nn.decoding import decode
from segue.nn.positions import sine_positions_1d
from segue.options import Decoding, NonNegative, Positive
from segue.types import InputError

UNKNOWN = 255
PAD, END = 0, 1  # of the boxes' tokens; END also starts a sequence
FIRST = 2  # the token of the first class
PARTS = 5  # tokens of a box
LEAST = 0.002  # of a layout, from which a part of it has a box
EMBEDDING_SCALE = 0.5
ALIKE_LONG = 16  # examples of like length that a training step computes together
UNLIKELY = -1e4  # a logit that is drawn only where no other token may be
SIDES = 0.1  # weight of telling left from right in the loss
Wanted = tuple[tuple[int, ...], tuple[float, float]]  # boxes of any of these classes: the fewest and the most


@dataclass(frozen=True)
class BoxConfig:
    """The shape of the box decoder. Raises InputError for a width that is not a multiple of 4 and of the heads.

    Attributes:
        classes: of the layouts.
        bins: steps of a layout's side on which the edges of boxes lie.
        vocabulary: tokens of the captions.
        max_words: the most tokens of a caption, with start and end.
        pad: id of the captions' padding token.
        max_boxes: the most boxes of a layout.
        width: channels.
        heads: of the attention.
        depth: layers of the caption's encoder, and of the decoder.
        word_context: what a word knows at first of its neighbours' embeddings, as `words_in_context`; 0 for nothing.
            Which one of "dog left of a car" is left lies in the words' order, and attention by itself didn't find it.
    """

    classes: Annotated[int, Interval(ge=2, le=UNKNOWN)]
    bins: Annotated[int, Interval(ge=2, le=512)]
    vocabulary: Annotated[int, Interval(ge=2, le=1_000_000)]
    max_words: Annotated[int, Interval(ge=3, le=4096)]
    pad: NonNegative = 0
    max_boxes: Annotated[int, Interval(ge=1, le=100)] = 14
    width: Positive = 96
    heads: int = 3
    depth: Positive = 3
    word_context: Annotated[float, Interval(ge=0, lt=1)] = 0.0

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % 4 or self.width % self.heads:
            raise InputError(
                f"width: got {self.width} with {self.heads} heads, expected a multiple of 4 and of the heads"
            )

    @property
    def first_edge(self) -> int:
        """The token of the edge 0."""
        return FIRST + self.classes

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return self.first_edge + self.bins + 1

    @property
    def max_tokens(self) -> int:
        """The most tokens of a layout, without its end."""
        return PARTS * self.max_boxes


class BoxDecoder(nn.Module):
    """Captions (B, T) -> the logits of box tokens."""

    def __init__(self, config: BoxConfig) -> None:
        super().__init__()
        c = self.config = config
        self.word_embed = nn.Embedding(c.vocabulary, c.width)
        self.word_position = nn.Parameter(EMBEDDING_SCALE * sine_positions_1d(c.max_words, c.width))
        self.embed = nn.Embedding(c.tokens, c.width)
        self.position = nn.Parameter(EMBEDDING_SCALE * sine_positions_1d(c.max_tokens + 1, c.width))
        self.encoder = Stream(c.width, c.heads, c.depth)
        self.decoder = Stream(c.width, c.heads, c.depth)
        attentions = nn.ModuleList(Attention(c.width, c.heads) for _ in range(c.depth))
        self.cross_attention = cast(Sequence[Attention], attentions)
        self.head = nn.Linear(c.width, c.tokens)
        for table in (self.word_embed, self.embed):
            nn.init.normal_(table.weight, std=EMBEDDING_SCALE)

    def encode(self, ids: Tensor) -> tuple[list[KeysValues], Tensor]:
        """Captions (B, T) int64 -> each layer's keys and values, and the mask (B, T) of what is no padding."""
        mask = ids != self.config.pad
        words = words_in_context(self.word_embed(ids), mask, self.config.word_context)
        embedded = words + self.word_position[: ids.shape[1]]
        return project_memory(self.cross_attention, self.encoder.encode(embedded, mask)), mask

    def logits(
        self, tokens: Tensor, memory: list[KeysValues], mask: Tensor, past: list[KeysValues] | None = None
    ) -> tuple[Tensor, list[KeysValues]]:
        """(B, L, tokens) for what follows each of tokens (B, L), and the keys and values so far; with a past, L is 1.

        memory, mask: of `encode`.
        """
        first = past[0][0].shape[2] if past else 0
        x = self.embed(tokens) + self.position[first : first + tokens.shape[1]]
        x, past = self.decoder.decode(x, self.cross_attention, memory, mask, causal=True, past=past)
        return self.head(x), past

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: ids (B, T) int64 captions, boxes (B, L) int64 tokens from start to end and then padded. swapped_ids:
        (B, T), the captions with left and right exchanged, or not there.

        Returns "loss": the mean cross-entropy of a token, and with swapped captions SIDES times that of telling a
        caption from the swapped one by its boxes, whose mean is "sides".
        """
        tokens, ids, swapped = batch["boxes"], batch["ids"], batch.get("swapped_ids")
        losses = self._losses(tokens, *self.encode(ids))
        loss = losses.sum() / (tokens[:, 1:] != PAD).sum()
        if swapped is None or not (sided := (ids != swapped).any(1)).any():
            return {"loss": loss}
        sides = F.softplus(losses[sided] - self._losses(tokens[sided], *self.encode(swapped[sided]))).mean()
        return {"loss": loss + SIDES * sides, "sides": sides}

    def _losses(self, tokens: Tensor, memory: list[KeysValues], mask: Tensor) -> Tensor:
        """(B,) cross-entropies of each example's tokens, computed by groups of like length, with little padding."""
        lengths, losses = (tokens != PAD).sum(1), tokens.new_zeros(len(tokens), dtype=torch.float32)
        for rows in lengths.argsort().split(ALIKE_LONG):
            part = tokens[rows, : int(lengths[rows].max())]
            logits, _ = self.logits(part[:, :-1], [(k[rows], v[rows]) for k, v in memory], mask[rows])
            loss = F.cross_entropy(logits.float().transpose(1, 2), part[:, 1:], ignore_index=PAD, reduction="none")
            losses = losses.index_copy(0, rows, loss.sum(1))
        return losses


def words_in_context(words: Tensor, mask: Tensor, share: float) -> Tensor:
    """(B, T, C): each word with its neighbours, those before it in the first half of its channels, those after in the
    second. The nearest one counts 1, each further one `share` of the one before; with 0 the words stay as they are.

    mask: (B, T) bool, True on words.
    """
    if not share:
        return words
    places = torch.arange(words.shape[1], device=words.device)
    apart = places[:, None] - places
    weights = torch.where(apart > 0, share ** (apart - 1).clamp_min(0), 0.0).to(words.dtype)
    before, after = (words * mask[..., None]).chunk(2, -1)
    return words + torch.cat([weights @ before, weights.T @ after], -1)


# --- boxes, their tokens, and their picture


class LayoutPart(NamedTuple):
    """A connected part of a layout: its class, its pixels and the slices of its rows and columns."""

    kind: int
    size: int
    where: tuple[slice, slice]
    numbers: NDArray[np.int32]  # (H, W), of the parts of its class
    number: int

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The part within its slices."""
        inside: NDArray[np.bool_] = self.numbers[self.where] == self.number
        return inside


def layout_parts(labels: NDArray[np.uint8]) -> Iterator[LayoutPart]:
    """The connected parts of a layout (H, W) on LEAST of it or more, class by class."""
    for kind in np.unique(labels[labels != UNKNOWN]).tolist():
        numbers, _ = ndimage.label(labels == kind)
        sizes = np.bincount(numbers.ravel())[1:].tolist()
        for number, (size, where) in enumerate(zip(sizes, ndimage.find_objects(numbers), strict=True), 1):
            if size >= LEAST * labels.size:
                yield LayoutPart(kind, size, where, numbers, number)


def layout_boxes(labels: NDArray[np.uint8], bins: int, most: int) -> NDArray[np.int64]:
    """(R, 5) class, left, top, right, bottom of the connected parts of a layout (H, W), the largest part first.

    Edges are in bins, right and bottom are past the part. Parts on less than LEAST of the layout have no box, and of
    more than `most` the largest are taken.
    """
    found: list[tuple[int, list[int]]] = []
    scale = [bins / side for side in labels.shape]
    for part in layout_parts(labels):
        rows, columns = part.where
        left, right = _edges(columns, scale[1], bins)
        top, bottom = _edges(rows, scale[0], bins)
        found.append((part.size, [part.kind, left, top, right, bottom]))
    found.sort(key=lambda one: (-one[0], one[1]))
    return np.array([box for _, box in found[:most]], np.int64).reshape(-1, PARTS)


def _edges(span: slice, scale: float, bins: int) -> tuple[int, int]:
    """The nearest bins of a slice's ends, at least one apart."""
    low = min(round(span.start * scale), bins - 1)
    return low, max(round(span.stop * scale), low + 1)


def mirrored_boxes(boxes: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """(R, 5) boxes of the mirrored layout, in the same order."""
    kinds, left, top, right, bottom = boxes.T
    return np.stack([kinds, bins - right, top, bins - left, bottom], 1)


def bands_first(boxes: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """The boxes (R, 5) with those from the left to the right edge first, else in the same order.

    Grass or a road that a truck hides is the smaller part of the two, and comes later, but lies behind it.
    """
    return boxes[np.argsort(~spans_width(boxes, bins), kind="stable")]


def spans_width(boxes: NDArray[np.int64], bins: int) -> NDArray[np.bool_]:
    """(R,): which of the boxes (R, 5) reach from the left to the right edge."""
    spans: NDArray[np.bool_] = (boxes[:, 1] == 0) & (boxes[:, 3] == bins)
    return spans


def box_tokens(boxes: NDArray[np.int64], config: BoxConfig) -> Tensor:
    """(R, 5) boxes -> (max_tokens + 2,) int64: start, five tokens each, end, padding."""
    offsets = np.array([FIRST] + 4 * [config.first_edge])
    tokens = torch.full((config.max_tokens + 2,), PAD)
    length = PARTS * len(boxes)
    tokens[0], tokens[length + 1] = END, END
    tokens[1 : length + 1] = torch.from_numpy((boxes + offsets).ravel())
    return tokens


def boxes_of_tokens(tokens: Sequence[int], config: BoxConfig) -> NDArray[np.int64]:
    """The inverse of `box_tokens`, without start and end."""
    offsets = np.array([FIRST] + 4 * [config.first_edge])
    boxes: NDArray[np.int64] = np.array(tokens, np.int64).reshape(-1, PARTS) - offsets
    return boxes


def paint_boxes(boxes: NDArray[np.int64], bins: int) -> NDArray[np.uint8]:
    """(R, 5) boxes -> (bins, bins) uint8 classes, a later box over the earlier ones, 255 where there is none."""
    painted: NDArray[np.uint8] = np.full((bins, bins), UNKNOWN, np.uint8)
    for kind, left, top, right, bottom in boxes.tolist():
        painted[top:bottom, left:right] = kind
    return painted


# --- inference


class Asked(NamedTuple):
    """Of what there shall be boxes, in R rows with up to I entries: any of the classes (R, I, classes) bool counts, and
    least and most (R, I) are how many.
    """

    classes: Tensor
    least: Tensor
    most: Tensor

    @classmethod
    def of(cls, asked: Sequence[Sequence[Wanted]], classes: int, device: torch.device) -> Asked:
        """asked: for each row its entries."""
        longest = max(map(len, asked))
        marks, least = torch.zeros(len(asked), longest, classes), torch.zeros(len(asked), longest)
        most = torch.full_like(least, torch.inf)
        for row, entries in enumerate(asked):
            for i, (kinds, (low, high)) in enumerate(entries):
                marks[row, i, list(kinds)], least[row, i], most[row, i] = 1, low, high
        return cls(marks.bool().to(device), least.to(device), most.to(device))


class BoxCache(NamedTuple):
    """The cache of decoding, R rows: keys and values of the captions and of the tokens so far, those tokens, and what
    is asked for.
    """

    memory: list[KeysValues]
    mask: Tensor
    past: list[KeysValues] | None
    tokens: Tensor
    asked: Asked

    def select(self, rows: Tensor) -> BoxCache:
        """The rows (R',) int64, in that order."""
        memory, past = ([(k[rows], v[rows]) for k, v in part] for part in (self.memory, self.past or []))
        return BoxCache(memory, self.mask[rows], past or None, self.tokens[rows], Asked(*(x[rows] for x in self.asked)))


def _continue(model: BoxDecoder, tokens: Tensor, cache: BoxCache) -> tuple[Tensor, BoxCache]:
    """The logits (R, tokens) of what may follow tokens (R,), -inf for what may not, and the extended cache."""
    logits, past = model.logits(tokens[:, None], cache.memory, cache.mask, cache.past)
    cache = cache._replace(past=past, tokens=torch.cat([cache.tokens, tokens[:, None]], 1))
    logits = logits[:, -1].masked_fill(~_allowed(model.config, cache.tokens[:, 1:]), -torch.inf)
    return (logits if (cache.tokens.shape[1] - 1) % PARTS else _as_asked(logits, cache, model.config)), cache


def _as_asked(logits: Tensor, cache: BoxCache, config: BoxConfig) -> Tensor:
    """Logits (R, tokens) of a class or the end, by what is asked for.

    Of what there are as many as asked no more is drawn, and while something lacks the end's probability is that of what
    lacks.
    """
    kinds, least, most = cache.asked
    drawn = F.one_hot(cache.tokens[:, 1::PARTS] - FIRST, config.classes).sum(1)
    have = (kinds * drawn[:, None]).sum(-1)
    full = (kinds & (have >= most)[..., None]).any(1)
    lacks = (kinds & (have < least)[..., None]).any(1) & ~full
    logits = logits.clone()
    classes = logits[:, FIRST : config.first_edge]
    classes.masked_fill_(full, -torch.inf)
    some, end = lacks.any(1, keepdim=True), logits[:, END, None]
    now = classes.masked_fill(~lacks, -torch.inf).logsumexp(1, keepdim=True)
    classes += torch.where(lacks, torch.logaddexp(now, end) - now, 0.0)
    logits[:, END, None] = end.masked_fill(some, UNLIKELY)
    return logits


def _allowed(config: BoxConfig, tokens: Tensor) -> Tensor:
    """(R, tokens) bool: a class or the end first, then left and top, then right and bottom beyond these."""
    phase, edges = tokens.shape[1] % PARTS, torch.arange(config.tokens, device=tokens.device) - config.first_edge
    if phase == 0:
        return ((edges < 0) & (edges + config.first_edge != PAD)).expand(len(tokens), -1)
    low = tokens[:, -2, None] - config.first_edge + 1 if phase > 2 else torch.zeros_like(tokens[:, :1])
    high = config.bins if phase > 2 else config.bins - 1
    return (edges >= low) & (edges <= high)


class DrawnBoxes(NamedTuple):
    """(R, 5) boxes; score: the log-probability of a token, by the distribution that was drawn from."""

    boxes: NDArray[np.int64]
    score: float


@torch.inference_mode()
def draw_boxes(
    model: BoxDecoder,
    ids: Tensor,
    options: Decoding,
    seeds: Sequence[int],
    asked: Sequence[Sequence[Wanted]] | None = None,
) -> list[DrawnBoxes]:
    """Boxes of each caption of ids (B, T); a pure function of the arguments. seeds: one for each example.

    asked: for each example of what there shall be boxes, and how many; what the room for boxes ends before is left out.
    """
    memory, mask = model.encode(ids)
    start = torch.full((len(ids),), END, device=ids.device)
    wanted = Asked.of([()] * len(ids) if asked is None else asked, model.config.classes, ids.device)
    cache = BoxCache(memory, mask, None, start.new_empty(len(ids), 0), wanted)
    logits, cache = _continue(model, start, cache)
    found = decode(partial(_continue, model), logits, cache, end=END, options=options, seeds=seeds)
    return [DrawnBoxes(boxes_of_tokens(each[0].tokens, model.config), each[0].score) for each in found]
