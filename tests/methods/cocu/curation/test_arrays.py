"""Tables of candidates, and embeddings in other types."""

import numpy as np
import pytest
import torch

from methods.cocu.curation.curated import halves
from segue.methods.cocu.curation.arrays import pad, to_float64, to_unit_float32
from segue.types import InputError


def test_candidates_are_laid_out_row_by_row():
    table = pad(np.array([0, 0, 2, 2, 2]), 4)
    assert table.filled.tolist() == [[True, True, False], [False] * 3, [True] * 3, [False] * 3]
    assert table.column.tolist() == [0, 1, 0, 1, 2]
    values = np.array([5, 6, 7, 8, 9])
    laid_out = table.scatter(values)
    assert laid_out.tolist() == [[5, 6, 0], [0, 0, 0], [7, 8, 9], [0, 0, 0]]
    assert laid_out[table.row, table.column].tolist() == values.tolist()
    assert pad(np.array([], int), 2).filled.shape == (2, 0)


def test_float64_holds_float16_exactly():
    rows = halves(np.random.default_rng(0).normal(size=(5, 8)))
    found = to_float64(rows, np.array([[3, 0], [1, 1]]))
    assert found.dtype == torch.float64
    assert found.shape == (2, 2, 8)
    assert found[0, 0].tolist() == rows[3].astype(float).tolist()


@pytest.mark.parametrize(("factor", "length"), [(0.9, "0.(89|90)"), (1.1, "1.(09|10|1)"), (np.inf, "(inf|nan)")])
def test_rows_that_are_not_of_unit_length_are_named_by_their_number(factor, length):
    rows = halves(np.random.default_rng(0).normal(size=(5, 8)))
    assert to_unit_float32(rows, 0).dtype == np.float32
    rows[3] *= factor
    with pytest.raises(InputError, match=rf"texts: row 103 has length {length}\d*, expected 1"):
        to_unit_float32(rows, 100, "texts")
