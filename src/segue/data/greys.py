"""Values of any range as 8-bit grey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.types import InputError


def to_grey(
    values: NDArray[np.floating[Any]], where: Path | str, span: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """Values of any shape as uint8. span: what becomes 0 and 255; without, the 0.5th and the 99.5th percentile.

    Where those two are one value, minimum and maximum. Infinities lie at the ends, what is no number at 0.
    Raises InputError when no value is finite.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise InputError(f"{where}: every value is infinite or no number (NaN); export it again")
    low, high = span or (float(v) for v in np.percentile(finite, (0.5, 99.5)))
    if span is None and low == high:
        low, high = float(finite.min()), float(finite.max())
    known = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    grey: NDArray[np.uint8] = (((known - low) / max(high - low, 1e-12)).clip(0, 1) * 255).round().astype(np.uint8)
    return grey
