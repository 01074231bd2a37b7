"""Greedy search, beam search and nucleus sampling over a batch, for any model that can continue a sequence.

One loop does all three. Each picture keeps K = max(beams, num) hypotheses: K = 1 is greedy search, K > 1 beam search.
Sampling ranks hypotheses by a perturbed log-probability instead (stochastic beam search: Kool et al., "Stochastic
Beams and Where to Find Them", 2019), which for K = 1 is ordinary sampling and for K > 1 sampling without replacement:
the answers are distinct, and each set of them has the probability it should have.

Shapes: B pictures, A of them not done yet, K hypotheses each, V tokens in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from segue.nn.stopping import stop_point
from segue.options import Decoding


class Cache(Protocol):
    """What a model remembers of its rows."""

    def select(self, rows: Tensor) -> Any:
        """The cache of the given rows (R,) int64, in that order; a row may be named twice or not at all."""
        ...


Step = Callable[[Tensor, Any], tuple[Tensor, Any]]  # (tokens (R,), cache of R rows) -> (logits (R, V), the next cache)


class Answer(NamedTuple):
    """tokens: without the end. score: log-probability / length ** length_penalty."""

    tokens: list[int]
    score: float


class _Open(NamedTuple):
    """Hypotheses that go on. picture: (A,). tokens: (A, K, T). logp, rank: (A, K), -inf where there is none."""

    picture: Tensor
    tokens: Tensor
    logp: Tensor
    rank: Tensor


@torch.inference_mode()
def decode(
    step: Step,
    logits: Tensor,
    cache: Cache,
    *,
    end: int,
    options: Decoding,
    banned: Sequence[int] = (),
    seeds: Sequence[int] | None = None,
) -> list[list[Answer]]:
    """Continue B sequences until each has its answers: `num` for each picture, the best (or first drawn) first.

    logits: (B, V), of the first token. cache: the model's, B rows. end: the token that ends an answer.
    banned: tokens that never occur. seeds: one for each picture, by default options.seed + its position; with
    them an answer does not depend on the other pictures of the batch.
    An answer that reaches max_tokens ends there. Fewer than `num` come back only when no more exist.
    """
    pictures, device = len(logits), logits.device
    seeds = range(options.seed, options.seed + pictures) if seeds is None else seeds
    draws = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    found: list[list[tuple[float, Answer]]] = [[] for _ in range(pictures)]
    zero = logits.new_zeros(pictures, 1, dtype=torch.float32)
    open_ = _Open(torch.arange(pictures, device=device), zero[:, :, None].long()[:, :, :0], zero, zero)
    for length in range(1, options.max_tokens + 2):
        stop_point()
        allowed = _allowed(logits, open_.tokens, end, banned, options)
        rank, parent, token, total = _candidates(open_, allowed, options, draws)
        _collect(found, open_, rank, parent, token, total, end, length, options)
        if length > options.max_tokens:
            break
        open_, parent = _kept(open_, rank, parent, token, total, end, options.width)
        live = _unfinished(found, open_, length, options)
        if not len(live):
            break
        rows = (live[:, None] * allowed.shape[1] + parent[live]).flatten()
        if len(rows) != len(logits) or options.width > 1:
            cache = cache.select(rows)
        open_ = _Open(*(part[live] for part in open_))
        logits, cache = step(open_.tokens[..., -1].flatten(), cache)
    return [[answer for _, answer in answers[: options.num]] for answers in found]


def _allowed(logits: Tensor, tokens: Tensor, end: int, banned: Sequence[int], o: Decoding) -> Tensor:
    """Log-probabilities (A, K, V) of the next token, -inf where it is not allowed.

    A search scores by the model's own probabilities, so that they sum to less than 1 where tokens are not allowed;
    sampling draws from what is left, and there they sum to 1.
    """
    allowed = logits.float() / o.temperature if o.top_p else logits.float().log_softmax(-1)
    ending = allowed[:, end].clone()
    allowed[:, list(banned)] = -torch.inf
    if o.no_repeat:
        allowed[_repeats(tokens.flatten(0, 1), o.no_repeat)] = -torch.inf
    if tokens.shape[-1] == o.max_tokens:
        allowed[:] = -torch.inf
    if tokens.shape[-1] == o.max_tokens or end not in banned:
        allowed[:, end] = ending
    if o.top_p:
        allowed = _nucleus(allowed, o.top_p).log_softmax(-1)
    return allowed.unflatten(0, tokens.shape[:2])


def _repeats(tokens: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Rows and tokens that would make the last n tokens of (R, T) a run that was there before."""
    if tokens.shape[1] < n:
        nowhere = tokens.new_empty(0)
        return nowhere, nowhere
    runs = tokens.unfold(1, n, 1)  # (R, T - n + 1, n)
    last = tokens[:, None, tokens.shape[1] - n + 1 :]
    row, place = (runs[..., :-1] == last).all(-1).nonzero(as_tuple=True)
    return row, runs[row, place, -1]


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Keep the fewest likeliest tokens whose probabilities together reach top_p, at least one."""
    probability, order = logits.softmax(-1).sort(-1, descending=True)
    before = probability.cumsum(-1) - probability
    outside = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return logits.masked_fill(outside, -torch.inf)


def _candidates(
    open_: _Open, allowed: Tensor, o: Decoding, draws: list[torch.Generator]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best 2K one-token continuations of each picture: rank, parent, token and log-probability, all (A, 2K).

    At most K of them end their answer, one for each parent, so K others are left to go on with.
    """
    few = min(2 * o.width, allowed.shape[-1])
    rank = _perturbed(open_, open_.logp[..., None] + allowed, draws) if o.top_p else allowed
    best, token = rank.topk(few)  # (A, K, few), of each parent
    total = open_.logp[..., None] + allowed.gather(-1, token)
    rank, place = (best if o.top_p else total).flatten(1).topk(min(2 * o.width, few * allowed.shape[1]))
    return rank, place // few, token.flatten(1).gather(1, place), total.flatten(1).gather(1, place)


def _perturbed(open_: _Open, total: Tensor, draws: list[torch.Generator]) -> Tensor:
    """Log-probabilities plus Gumbel noise (A, K, V), given that their maximum is the parent's (Kool et al., 3.2)."""
    noise = torch.stack(
        [torch.rand(total.shape[1:], generator=draws[i], device=total.device) for i in open_.picture.tolist()]
    )
    gumbel = total - (-noise.clamp(1e-20, 1 - 1e-7).log()).log()
    highest = gumbel.amax(-1, keepdim=True)
    target = open_.rank[..., None]
    v = target - gumbel + torch.log(-torch.expm1(gumbel - highest))
    moved = target - v.clamp_min(0) - torch.log1p(torch.exp(-v.abs()))
    return moved.masked_fill(total.isneginf() | moved.isnan(), -torch.inf)


def _collect(
    found: list[list[tuple[float, Answer]]],
    open_: _Open,
    rank: Tensor,
    parent: Tensor,
    token: Tensor,
    total: Tensor,
    end: int,
    length: int,
    o: Decoding,
) -> None:
    """Take in the answers that ended among the best K candidates; keep each picture's best K."""
    ended = (token == end)[:, : o.width] & rank[:, : o.width].isfinite()
    for a, k in ended.nonzero().tolist():
        score = float(total[a, k]) / length**o.length_penalty
        answer = Answer(open_.tokens[a, parent[a, k]].tolist(), score)
        answers = found[int(open_.picture[a])]
        answers.append((float(rank[a, k]) if o.top_p else score, answer))
        answers.sort(key=lambda pair: -pair[0])
        del answers[o.width :]


def _kept(
    open_: _Open, rank: Tensor, parent: Tensor, token: Tensor, total: Tensor, end: int, width: int
) -> tuple[_Open, Tensor]:
    """The best K candidates that go on, and the parent of each (A, K)."""
    rank = rank.masked_fill(token == end, -torch.inf)
    rank, place = rank.topk(min(width, rank.shape[1]))
    parent, token, total = (x.gather(1, place) for x in (parent, token, total))
    before = open_.tokens.gather(1, parent[..., None].expand(-1, -1, open_.tokens.shape[-1]))
    total = total.masked_fill(rank.isneginf(), -torch.inf)
    return _Open(open_.picture, torch.cat([before, token[..., None]], -1), total, rank), parent


def _unfinished(found: list[list[tuple[float, Answer]]], open_: _Open, length: int, o: Decoding) -> Tensor:
    """Positions (A',) of the pictures that go on: too few answers yet, or an open one is ahead of the last of them.

    Open hypotheses are compared at their length so far, so with a length penalty above 0 this is a heuristic.
    """
    best = open_.rank.amax(1).tolist()
    scale = 1.0 if o.top_p else length**o.length_penalty
    live = [
        a
        for a, (picture, rank) in enumerate(zip(open_.picture.tolist(), best, strict=True))
        if rank > -torch.inf and (len(found[picture]) < o.width or rank / scale > found[picture][-1][0])
    ]
    return torch.tensor(live, dtype=torch.int64, device=open_.rank.device)
