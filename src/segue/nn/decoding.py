"""Greedy search, beam search and sampling of token sequences in batches, for any autoregressive model.

One loop does all three. For each example K = max(beams, num) hypotheses are kept: K = 1 is greedy search, K > 1 beam
search. Sampling orders hypotheses by a perturbed log-probability instead (stochastic beam search: Kool et al.,
"Stochastic Beams and Where to Find Them", 2019), which for K = 1 is ordinary sampling and for K > 1 sampling without
replacement: the answers are distinct, and each set of them has the probability it should have.

Why not `generate` of transformers: it has no sampling without replacement, no seed for each example (so that an answer
would depend on the rest of its batch), and no point at which a request that was cancelled leaves the loop.

Shapes: B examples, A of them not finished yet, K hypotheses each, V tokens in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from segue.nn.stopping import steps
from segue.options import Decoding


class Cache(Protocol):
    """A model's state of R sequences, such as their keys and values."""

    def select(self, rows: Tensor) -> Any:
        """The cache of the given rows (R',) int64, in that order; a row may be named twice or not at all."""
        ...


Step = Callable[[Tensor, Any], tuple[Tensor, Any]]  # (tokens (R,), cache of R rows) -> (logits (R, V), the next cache)


class Hypothesis(NamedTuple):
    """A finished sequence. tokens: without the end token. score: log-probability / length ** length_penalty."""

    tokens: list[int]
    score: float


class _Beams(NamedTuple):
    """Unfinished hypotheses. example: (A,). tokens: (A, K, T). logp: (A, K). priority: (A, K), by which they are
    ordered: logp, or when sampling the perturbed logp. Both are -inf where there is no hypothesis.
    """

    example: Tensor
    tokens: Tensor
    logp: Tensor
    priority: Tensor


class _Candidates(NamedTuple):
    """Continuations by one token, the best first, (A, C) each. parent: position among the K hypotheses."""

    priority: Tensor
    parent: Tensor
    token: Tensor
    logp: Tensor

    def gather(self, index: Tensor) -> _Candidates:
        """Those at the positions index (A, C')."""
        return _Candidates(*(part.gather(1, index) for part in self))


_Finished = list[tuple[float, Hypothesis]]  # of one example, with their priorities, the best first


@torch.inference_mode()
def decode(
    step: Step,
    logits: Tensor,
    cache: Cache,
    *,
    end: int,
    options: Decoding,
    suppressed_token_ids: Sequence[int] = (),
    seeds: Sequence[int] | None = None,
) -> list[list[Hypothesis]]:
    """Continue B sequences until each has `options.num` finished hypotheses; the best (or first drawn) come first.

    logits: (B, V), of the first token. cache: the model's, B rows. end: id of the token that ends a sequence.
    suppressed_token_ids: tokens that never occur. seeds: one for each example, by default options.seed for all, so that
    an answer depends neither on the other examples of the batch nor on its place among them.
    A sequence that reaches max_tokens ends there. Fewer than `num` come back only when no more exist.
    """
    examples, device = len(logits), logits.device
    seeds = [options.seed] * examples if seeds is None else seeds
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    finished: list[_Finished] = [[] for _ in range(examples)]
    zero = logits.new_zeros(examples, 1, dtype=torch.float32)
    beams = _Beams(torch.arange(examples, device=device), zero[:, :, None].long()[:, :, :0], zero, zero)
    for length in (1 + done for done in steps(options.max_tokens + 1)):
        allowed = _next_log_probabilities(logits, beams.tokens, end, suppressed_token_ids, options)
        candidates = _candidates(beams, allowed, options, generators)
        _collect_finished(finished, beams, candidates, end, length, options)
        if length > options.max_tokens:
            break
        beams, parent = _continued(beams, candidates, end, options.width)
        live = _unfinished(finished, beams, length, options)
        if not len(live):
            break
        rows = (live[:, None] * allowed.shape[1] + parent[live]).flatten()
        if len(rows) != len(logits) or options.width > 1:
            cache = cache.select(rows)
        beams = _Beams(*(part[live] for part in beams))
        logits, cache = step(beams.tokens[..., -1].flatten(), cache)
    return [[hypothesis for _, hypothesis in each[: options.num]] for each in finished]


def _next_log_probabilities(
    logits: Tensor, tokens: Tensor, end: int, suppressed: Sequence[int], options: Decoding
) -> Tensor:
    """Log-probabilities (A, K, V) of the next token, -inf where it is not allowed.

    A search scores by the model's own probabilities, so that they sum to less than 1 where tokens are not allowed;
    sampling draws from what is left, and there they sum to 1.
    """
    allowed = logits.float() / options.temperature if options.top_p else logits.float().log_softmax(-1)
    ending = allowed[:, end].clone()
    allowed[:, list(suppressed)] = -torch.inf
    if options.no_repeat:
        allowed[_repeats(tokens.flatten(0, 1), options.no_repeat)] = -torch.inf
    if tokens.shape[-1] == options.max_tokens:
        allowed[:] = -torch.inf
    if tokens.shape[-1] == options.max_tokens or end not in suppressed:
        allowed[:, end] = ending
    if options.top_p:
        allowed = _nucleus(allowed, options.top_p).log_softmax(-1)
    return torch.unflatten(allowed, 0, tokens.shape[:2])


def _repeats(tokens: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Rows and tokens that would complete a second occurrence of a run of n tokens of (R, T)."""
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
    beyond = before >= top_p
    beyond[..., 0] = False  # in float32 a tiny top_p is 0
    outside = torch.zeros_like(beyond).scatter(-1, order, beyond)
    return logits.masked_fill(outside, -torch.inf)


def _candidates(beams: _Beams, allowed: Tensor, options: Decoding, generators: list[torch.Generator]) -> _Candidates:
    """The best 2K continuations of each example by one token.

    At most K of them end their sequence, one for each parent, so that K others are left to continue.
    """
    count = min(2 * options.width, allowed.shape[-1])
    priority = _perturbed(beams, beams.logp[..., None] + allowed, generators) if options.top_p else allowed
    best, token = priority.topk(count)  # (A, K, count), of each parent
    logp = beams.logp[..., None] + allowed.gather(-1, token)
    ordered = (best if options.top_p else logp).flatten(1)
    priority, place = ordered.topk(min(2 * options.width, count * allowed.shape[1]))
    return _Candidates(priority, place // count, token.flatten(1).gather(1, place), logp.flatten(1).gather(1, place))


def _perturbed(beams: _Beams, logp: Tensor, generators: list[torch.Generator]) -> Tensor:
    """Log-probabilities plus Gumbel noise (A, K, V), given that their maximum is the parent's (Kool et al., 3.2)."""
    noise = torch.stack(
        [torch.rand(logp.shape[1:], generator=generators[i], device=logp.device) for i in beams.example.tolist()]
    )
    gumbel = logp - (-noise.clamp(1e-20, 1 - 1e-7).log()).log()
    highest = gumbel.amax(-1, keepdim=True)
    target = beams.priority[..., None]
    v = target - gumbel + torch.log(-torch.expm1(gumbel - highest))
    moved = target - v.clamp_min(0) - torch.log1p(torch.exp(-v.abs()))
    return moved.masked_fill(logp.isneginf() | moved.isnan(), -torch.inf)


def _collect_finished(
    finished: list[_Finished], beams: _Beams, candidates: _Candidates, end: int, length: int, options: Decoding
) -> None:
    """Add the sequences that ended among the best K candidates; keep each example's best K."""
    priority, parent, token, logp = candidates
    ended = (token == end)[:, : options.width] & priority[:, : options.width].isfinite()
    for a, k in ended.nonzero().tolist():
        score = float(logp[a, k]) / length**options.length_penalty
        hypothesis = Hypothesis(beams.tokens[a, parent[a, k]].tolist(), score)
        kept = finished[int(beams.example[a])]
        kept.append((float(priority[a, k]) if options.top_p else score, hypothesis))
        kept.sort(key=lambda pair: -pair[0])
        del kept[options.width :]


def _continued(beams: _Beams, candidates: _Candidates, end: int, width: int) -> tuple[_Beams, Tensor]:
    """The best K candidates that don't end, and the parent of each (A, K)."""
    priority = candidates.priority.masked_fill(candidates.token == end, -torch.inf)
    priority, place = priority.topk(min(width, priority.shape[1]))
    _, parent, token, logp = candidates.gather(place)
    before = beams.tokens.gather(1, parent[..., None].expand(-1, -1, beams.tokens.shape[-1]))
    logp = logp.masked_fill(priority.isneginf(), -torch.inf)
    return _Beams(beams.example, torch.cat([before, token[..., None]], -1), logp, priority), parent


def _unfinished(finished: list[_Finished], beams: _Beams, length: int, options: Decoding) -> Tensor:
    """Positions (A',) of the examples to continue: too few finished hypotheses yet, or an open one may beat the last.

    Open hypotheses are compared at their length so far, so with a length penalty above 0 this is a heuristic.
    """
    best = beams.priority.amax(1).tolist()
    scale = 1.0 if options.top_p else length**options.length_penalty
    live = [
        a
        for a, (example, priority) in enumerate(zip(beams.example.tolist(), best, strict=True))
        if priority > -torch.inf
        and (len(finished[example]) < options.width or priority / scale > finished[example][-1][0])
    ]
    return torch.tensor(live, dtype=torch.int64, device=beams.priority.device)
