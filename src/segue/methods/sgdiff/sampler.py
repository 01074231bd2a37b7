"""From noise to words in a few steps, with exact length and words to include.

Three samplers. "renoise", the default, noises its guess of x_0 anew for each step, as Song et al. do ("Consistency
Models", 2023, Algorithm 1), with less than all of the noise: words that only the noise of the start speaks for don't
last. "ddim" keeps the noise that it found, "ddpm" is the ancestral sampler between the two. SCD-Net's takes the
posterior's mean without its noise, which is none of them and makes all samples alike; it isn't offered.

Where we differ: each step goes on from the code of a word (the "clamping trick" of Li et al., "Diffusion-LM Improves
Controllable Text Generation", 2022), not from the mean of all words' codes, which is no word's. Of the likeliest word,
so that of two that may both be said the commoner wins too often; a `temperature` draws them by their probabilities.

Shapes: B captions, L words, V word numbers, n bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from segue.methods.sgdiff.bits import add_noise, expected_code, log_snr, sampling_times, scales, told
from segue.methods.sgdiff.lexicon import END, UNKNOWN
from segue.nn.stopping import stop_point
from segue.types import InputError

SAMPLERS = ("renoise", "ddim", "ddpm")
SURE = 0.8  # the share of q(x_t | x_0)'s noise that "renoise" takes: with all of it weaker models lose their thread
Denoise = Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Any]]
Control = Callable[[Tensor], Tensor]


def sample(
    denoise: Denoise,
    codes: Tensor,
    draw: Callable[[], Tensor],
    *,
    steps: int,
    sampler: str = "renoise",
    temperature: float = 0.0,
    control: Control | None = None,
) -> tuple[Tensor, Any]:
    """Logits (B, L, V) of the last evaluation, and whatever else `denoise` returned there.

    denoise: (x_t (B, L, n), log-SNR (B,), the guess of x_0 before (B, L, n), whether it is the last evaluation) ->
    (logits (B, L, V), anything).
    codes: (V, n). draw: gives (B, L, n) standard normal numbers, others at each call. steps: evaluations of `denoise`.
    sampler: one of SAMPLERS. temperature: of the words that the steps go on from; it falls evenly to 0, the likeliest
    words, at the last one. control: changes the logits of each step, so that every step knows of it.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"sampler: got {sampler!r}, expected one of {', '.join(SAMPLERS)}")
    if steps < 1 or not 0 <= temperature < torch.inf:
        raise InputError(f"steps: got {steps}, expected 1 or more; temperature: got {temperature}, expected 0 or more")
    x = draw()
    guess, levels = torch.zeros_like(x), log_snr(sampling_times(steps)).to(x.device)
    for step in range(steps):
        stop_point()
        logits, extra = denoise(x, levels[step].expand(len(x)), guess, step + 1 == steps)
        logits = control(logits) if control else logits
        if step + 1 < steps:
            guess = expected_code(logits, codes)
            x0 = codes[_pick(logits, temperature * (1 - step / (steps - 1)), draw)]
            if sampler == "renoise":
                x = add_noise(x0, levels[step + 1].expand(len(x)), SURE * draw())
            else:
                noise, fresh = (1.0, draw()) if sampler == "ddpm" else (0.0, torch.zeros_like(x))
                x = step_down(x, x0, levels[step], levels[step + 1], noise, fresh)
    return logits, extra


def _pick(logits: Tensor, temperature: float, draw: Callable[[], Tensor]) -> Tensor:
    """(B, L, V) -> word numbers (B, L): the likeliest, or drawn by their probabilities at the temperature."""
    if not temperature:
        return logits.argmax(-1)
    upto = (logits / temperature).softmax(-1).cumsum(-1)
    chance = torch.special.ndtr(draw()[..., :1])  # a normal number's place among all of them: even in 0 to 1
    return (upto < chance * upto[..., -1:]).sum(-1)


def step_down(x: Tensor, x0: Tensor, here: Tensor, there: Tensor, noise: float, fresh: Tensor) -> Tensor:
    """x at log-SNR `here` -> x at the higher log-SNR `there`, x0 taken for x_0.

    noise: 0 is DDIM, 1 DDPM. fresh: new noise, unused by DDIM.
    """
    alpha, sigma = scales(here)
    alpha_next, sigma_next = scales(there)
    direction = (x - alpha * x0) / sigma
    variance = noise**2 * (sigma_next / sigma).square() * (1 - (alpha / alpha_next).square())
    kept = (sigma_next.square() - variance).clamp_min(0).sqrt() * direction
    return alpha_next * x0 + kept + variance.sqrt() * fresh


def words_of(logits: Tensor, belief: Tensor) -> tuple[Tensor, Tensor]:
    """Word numbers (B, L), END after the first END, and the mean log-probability (B,) of those told.

    By the argmax of the logits: a code thresholded from bits may belong to no word. belief: the logits before any
    control, which tell how likely the words are.
    """
    numbers = logits.argmax(-1)
    real = told(numbers)
    likely = belief.log_softmax(-1).gather(2, numbers[..., None]).squeeze(-1)
    return numbers.masked_fill(~real, END), (likely * real).sum(1) / real.sum(1)


def controls(length: int | None, include: Sequence[int], most: int) -> Control:
    """The control of captions of `length` words (None: as they like) that all tell the words `include`.

    most: L. Raises InputError for a length that can't be, or more words than fit in.
    """
    if length is not None and not 1 <= length <= most:
        raise InputError(f"length: got {length}, expected 1 to {most} words; the model was built for that many")
    if len(include) > (room := most if length is None else length):
        raise InputError(f"include: got {len(include)} words for a caption of {room}; name fewer, or ask for more")

    def control(logits: Tensor) -> Tensor:
        logits = logits.clone()
        logits[..., UNKNOWN] = -torch.inf
        if length is not None:  # END from there on, and not before
            logits[:, :length, END] = -torch.inf
            logits[:, length:] = -torch.inf
            logits[:, length:, END] = 0
        for row in logits if include else ():
            _hold_words(row, include)
        return logits

    return control


def _hold_words(logits: Tensor, words: Sequence[int]) -> None:
    """In place, (L, V): each word at the position where all of them together are likeliest (Hungarian)."""
    ends = (logits.argmax(-1) == END).nonzero()
    length = max(int(ends[0]) if len(ends) else len(logits), len(words))
    cost = -logits[:length].log_softmax(-1)[:, list(words)].clamp_min(-1e4)
    places, which = linear_sum_assignment(cost.double().cpu().numpy())
    logits[:length, END] = -torch.inf
    for place, k in zip(places.tolist(), which.tolist(), strict=True):
        logits[place] = -torch.inf
        logits[place, words[k]] = 0
