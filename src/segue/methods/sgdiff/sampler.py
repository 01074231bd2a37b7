"""From noise to captions in a few steps, with an exact length and words to include if asked for.

Three samplers. "renoise", the default, noises its estimate of x_0 anew for each step, as Song et al. do ("Consistency
Models", 2023, Algorithm 1), with less than all of the noise, so that tokens which are an artefact of the initial noise
are sampled again. "ddim" keeps the noise that it found, "ddpm" is the ancestral sampler between the two. SCD-Net's
takes the posterior's mean without its noise, which is none of them and makes all samples alike; it isn't offered.

Where we differ: each step goes on from the code of one token (the "clamping trick" of Li et al., "Diffusion-LM Improves
Controllable Text Generation", 2022), not from the mean of all tokens' codes, which is no token's code. That is the
likeliest token, so that of two that both fit the more frequent one wins too often; with a `temperature` it is drawn by
the tokens' probabilities.

Shapes: B captions, L tokens, V vocabulary size, n bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from segue.methods.sgdiff.analog_bits import (
    add_noise,
    expected_code,
    log_snr,
    mask_until_end,
    sampling_times,
    signal_and_noise,
)
from segue.methods.sgdiff.lexicon import END, UNKNOWN
from segue.nn import stopping
from segue.options import DescribeOptions
from segue.types import InputError

RENOISE_SHARE = 0.8  # of q(x_t | x_0)'s noise that "renoise" adds: with all of it weaker models lose track
Extra = TypeVar("Extra")
Denoise = Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Extra]]
Constraint = Callable[[Tensor], Tensor]


def sample(
    denoise: Denoise[Extra],
    codes: Tensor,
    draw: Callable[[], Tensor],
    *,
    options: DescribeOptions,
    constrain: Constraint | None = None,
    times: Tensor | None = None,
) -> tuple[Tensor, Extra]:
    """Logits (B, L, V) of the last evaluation, and whatever else `denoise` returned there.

    denoise: (x_t (B, L, n), log-SNR (B,), the last estimate of x_0 (B, L, n), whether it is the last evaluation) ->
    (logits (B, L, V), anything).
    codes: (V, n). draw: returns (B, L, n) standard normal numbers, others at each call. constrain: changes the logits
    of each step, so that every later step takes account of it. options: their steps (evaluations of `denoise`), sampler
    and temperature (None is 0), which falls linearly to 0, the likeliest tokens, at the last step. times: (steps,) t of
    each step, `sampling_times` unless given.
    """
    steps = options.steps
    x = draw()
    estimate, levels = torch.zeros_like(x), log_snr(sampling_times(steps) if times is None else times).to(x.device)
    for step in stopping.steps(steps):
        logits, extra = denoise(x, levels[step].expand(len(x)), estimate, step + 1 == steps)
        logits = constrain(logits) if constrain else logits
        if step + 1 < steps:
            estimate = expected_code(logits, codes)
            x0 = codes[_pick_tokens(logits, (options.temperature or 0.0) * (1 - step / (steps - 1)), draw)]
            if options.sampler == "renoise":
                x = add_noise(x0, levels[step + 1].expand(len(x)), RENOISE_SHARE * draw())
            else:
                noise, fresh = (1.0, draw()) if options.sampler == "ddpm" else (0.0, torch.zeros_like(x))
                x = step_down(x, x0, levels[step : step + 2], noise, fresh)
    return logits, extra


def _pick_tokens(logits: Tensor, temperature: float, draw: Callable[[], Tensor]) -> Tensor:
    """(B, L, V) -> token ids (B, L): the likeliest, or drawn by their probabilities at the temperature."""
    if not temperature:
        return logits.argmax(-1)
    cumulative = (logits / temperature).softmax(-1).cumsum(-1)
    uniform = torch.special.ndtr(draw()[..., :1])  # the distribution function of a normal number is uniform in [0, 1]
    result: Tensor = (cumulative < uniform * cumulative[..., -1:]).sum(-1)
    return result


def step_down(x: Tensor, x0: Tensor, levels: Tensor, noise: float, fresh: Tensor) -> Tensor:
    """From x at log-SNR levels[0] to x at the higher log-SNR levels[1], with x0 taken for x_0.

    x, x0: (B, L, n). noise: 0 is DDIM, 1 DDPM. fresh: new noise, unused by DDIM.
    """
    alpha, sigma = signal_and_noise(levels[0])
    alpha_next, sigma_next = signal_and_noise(levels[1])
    direction = (x - alpha * x0) / sigma
    variance = noise**2 * (sigma_next / sigma).square() * (1 - (alpha / alpha_next).square())
    kept = (sigma_next.square() - variance).clamp_min(0).sqrt() * direction
    return alpha_next * x0 + kept + variance.sqrt() * fresh


def decode_tokens(logits: Tensor, unconstrained: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids (B, L), END after the first END, and their mean log-probability (B,) up to END.

    By the argmax of the logits: a code thresholded from bits may belong to no token. unconstrained: the logits before
    any constraint, which give the probabilities of the tokens.
    """
    token_ids = logits.argmax(-1)
    real = mask_until_end(token_ids)
    log_p = unconstrained.log_softmax(-1).gather(2, token_ids[..., None]).squeeze(-1)
    return token_ids.masked_fill(~real, END), (log_p * real).sum(1) / real.sum(1)


def caption_constraint(length: int | None, include: Sequence[int], max_words: int) -> Constraint:
    """A constraint on logits (B, L, V): captions of `length` words (None: any) that all have the tokens `include`.

    max_words: L. Raises InputError for a length above it, or more words to include than fit in.
    """
    if length is not None and not 1 <= length <= max_words:
        raise InputError(f"length: got {length}, expected 1 to {max_words} words; the model was built for that many")
    if len(include) > (room := max_words if length is None else length):
        raise InputError(f"include: got {len(include)} words for a caption of {room}; name fewer, or ask for more")

    def constrain(logits: Tensor) -> Tensor:
        logits = logits.clone()
        logits[..., UNKNOWN] = -torch.inf
        if length is not None:  # END from there on, and not before
            logits[:, :length, END] = -torch.inf
            logits[:, length:] = -torch.inf
            logits[:, length:, END] = 0
        for row in logits if include else ():
            _place_words(row, include)
        return logits

    return constrain


def _place_words(logits: Tensor, token_ids: Sequence[int]) -> None:
    """In place, (L, V): each token at the position where all of them together are likeliest (Hungarian)."""
    ends = (logits.argmax(-1) == END).nonzero()
    length = max(int(ends[0]) if len(ends) else len(logits), len(token_ids))
    cost = -logits[:length].log_softmax(-1)[:, list(token_ids)].clamp_min(-1e4)
    positions, which = linear_sum_assignment(cost.double().cpu().numpy())
    logits[:length, END] = -torch.inf
    for position, k in zip(positions.tolist(), which.tolist(), strict=True):
        logits[position] = -torch.inf
        logits[position, token_ids[k]] = 0
