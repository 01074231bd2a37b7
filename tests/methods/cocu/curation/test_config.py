"""Settings of a curation that can't be."""

import pytest

from segue.methods.cocu.curation.config import CurateSettings
from segue.types import InputError


@pytest.mark.parametrize("name", ["neighbours", "probes", "shard"])
def test_counts_are_one_or_more(name):
    assert getattr(CurateSettings(**{name: 1}), name) == 1
    with pytest.raises(InputError, match=f"{name}: got 0, expected 1 or more"):
        CurateSettings(**{name: 0})
