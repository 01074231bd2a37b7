"""Values of any range as 8-bit grey."""

import numpy as np
import pytest

from segue.data.greys import to_grey
from segue.types import InputError


def test_percentiles_are_the_ends_or_the_extremes_where_they_are_one_value():
    values = np.arange(2400.0).reshape(40, 60)
    low, high = np.percentile(values, (0.5, 99.5))
    assert (to_grey(values, "ramp") == ((values - low) / (high - low)).clip(0, 1).__mul__(255).round()).all()
    few = np.zeros((40, 60))  # both percentiles are 0
    few[0, :3] = 10, 20, 40
    assert to_grey(few, "few")[0, :4].tolist() == [64, 128, 255, 0]
    assert to_grey(np.full((2, 2), 7.0), "flat").tolist() == [[0, 0], [0, 0]]


def test_a_given_span_and_what_is_no_number():
    values = np.array([-np.inf, 0, 10, 15, 20, np.inf, np.nan])
    assert to_grey(values, "window", (10, 20)).tolist() == [0, 0, 0, 128, 255, 255, 0]
    with pytest.raises(InputError, match="here: every value is infinite or no number"):
        to_grey(np.array([np.nan, np.inf]), "here")
