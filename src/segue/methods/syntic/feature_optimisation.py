"""Feature optimisation, Eq. 2 of SynTIC: features of synthetic images are moved towards their captions' features.

The encoders are frozen; the features themselves are the parameters. Shapes: N pairs, D width, B pairs in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.types import InputError

Progress = Callable[[int, int, float], None]  # (updates done, updates in all, mean loss of the last pass)


def alignment_loss(v: Tensor, t: Tensor, group: Tensor, tau: float) -> Tensor:
    """Eq. 2 for every image, (B,): -log( exp(cos(v_i, t_i) / tau) / sum_j exp(cos(v_i, t_j) / tau) ).

    v, t: (B, D) image and text features. group: (B,) int64; captions j != i of the same group describe image i too, so
    they are left out of the sum.
    """
    similarity = F.normalize(v, dim=-1) @ F.normalize(t, dim=-1).T / tau
    positive = torch.eye(len(v), dtype=torch.bool, device=v.device)
    false_negative = (group[:, None] == group) & ~positive
    return similarity.masked_fill(false_negative, -torch.inf).logsumexp(1) - similarity.diagonal()


def optimise_features(
    v: NDArray[Any],
    t: NDArray[Any],
    group: NDArray[np.integer] | None = None,
    *,
    steps: int,
    lr: float = 1e-5,
    batch: int = 256,
    tau: float = 0.01,
    seed: int = 0,
    chunk: int = 65_536,
    out: NDArray[Any] | None = None,
    progress: Progress | None = None,
) -> NDArray[Any]:
    """Move each row of v towards its row of t by `steps` updates of Adam on Eq. 2, and normalise it.

    v, t: (N, D) image and text features, float16 or float32, in memory or memory-mapped. group: (N,), equal for the
    captions of one image; None: every caption has an image of its own. lr: Adam moves a coordinate by about lr in a
    step, and the coordinates of a unit vector have a root mean square of D ** -.5, so the paper's 1e-5 needs hundreds
    of steps to have an effect.
    chunk: rows held in memory at a time, with two moments each; batches are drawn within a chunk, and chunks at random
    from all rows. In each pass over a chunk every row is in one batch, so that `steps` passes are `steps` updates of
    each row, with Adam's moments of its own. batch: rows of a batch; the batches of a chunk have equal sizes, so they
    may be a little larger.
    out: (N, D) array to write into (a memory map, v itself); a new float32 array by default.
    The same arguments give the same features.
    Raises InputError for arrays whose shapes or types don't fit, and for a setting of 0 or less.
    """
    _check(v, t, group, out, steps=steps, batch=batch, chunk=chunk, lr=lr, tau=tau)
    group = np.arange(len(v)) if group is None else group
    out = np.empty(v.shape, np.float32) if out is None else out
    order = np.random.default_rng(seed).permutation(len(v))
    chunks = np.array_split(order, -(-len(v) // chunk))
    total = steps * len(v)
    done = 0
    for number, rows in enumerate(chunks):
        rows = np.sort(rows)  # reads a memory map from front to back
        vs, ts = (torch.from_numpy(np.asarray(x[rows], np.float32)) for x in (v, t))
        report = _reporter(progress, done, total, len(rows))
        groups = torch.from_numpy(np.asarray(group[rows]))
        batches = _batches(len(rows), batch, [seed, number])
        out[rows] = _optimised(vs, ts, groups, batches, steps=steps, lr=lr, tau=tau, report=report).numpy()
        done += steps * len(rows)
    return out


def _batches(rows: int, batch: int, seed: list[int]) -> Iterator[tuple[Tensor, ...]]:
    """The batches of one pass after another: random parts of the rows, of nearly equal size."""
    rng = np.random.default_rng(seed)
    while True:
        yield torch.from_numpy(rng.permutation(rows)).tensor_split(max(1, rows // batch))


def _optimised(
    v: Tensor,
    t: Tensor,
    group: Tensor,
    batches: Iterator[tuple[Tensor, ...]],
    *,
    steps: int,
    lr: float,
    tau: float,
    report: Callable[[int, float], None],
) -> Tensor:
    """One chunk (n, D): Adam (Kingma & Ba, with its usual betas) on the rows of each batch."""
    mean, square = torch.zeros_like(v), torch.zeros_like(v)
    for step in range(1, steps + 1):
        loss = 0.0
        for rows in next(batches):
            x = v[rows].requires_grad_()
            value = alignment_loss(x, t[rows], group[rows], tau).sum()
            (gradient,) = torch.autograd.grad(value / len(rows), x)
            mean[rows] = m = mean[rows].lerp(gradient, 0.1)
            square[rows] = s = square[rows].lerp(gradient.square(), 0.001)
            v[rows] = x.detach() - lr * (m / (1 - 0.9**step)) / ((s / (1 - 0.999**step)).sqrt() + 1e-8)
            loss += float(value.detach())
        report(step, loss / len(v))
    return F.normalize(v, dim=-1)


def _reporter(progress: Progress | None, done: int, total: int, rows: int) -> Callable[[int, float], None]:
    def report(step: int, loss: float) -> None:
        if progress is not None:
            progress(done + step * rows, total, loss)

    return report


def _check(v: Any, t: Any, group: Any, out: Any, **settings: float) -> None:
    check_features(v, "image features")
    if v.shape != t.shape:
        raise InputError(
            f"feature optimisation: image features {v.shape} and text features {t.shape}; each caption needs the "
            "features of its own synthetic image, from the same dual encoder"
        )
    if group is not None and np.shape(group) != (len(v),):
        raise InputError(f"group: got shape {np.shape(group)}, expected ({len(v)},), one number for each caption")
    if out is not None and out.shape != v.shape:
        raise InputError(f"out: got shape {out.shape}, expected {v.shape}, that of the features")
    for name, value in settings.items():
        if not value > 0:
            raise InputError(f"{name}: got {value}, expected more than 0")


def check_features(x: Any, what: str, width: int | None = None) -> None:
    """Raise InputError for anything but an (N, D) array of floats with N >= 1, of `width` columns when given."""
    shape, kind = np.shape(x), getattr(x, "dtype", type(x).__name__)
    if len(shape) != 2 or 0 in shape or "float" not in str(kind):
        raise InputError(f"{what}: got shape {shape} and type {kind}, expected an (N, D) array of floats, N >= 1")
    if width is not None and shape[1] != width:
        raise InputError(
            f"{what}: got {shape[1]} columns, expected {width}; embed with the dual encoder that this was made with"
        )
