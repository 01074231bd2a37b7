import pytest

from methods.sgdiff.toys import LEXICON, TINY
from segue.methods.sgdiff.config import SGDiffConfig, ablate_config
from segue.methods.sgdiff.model import SGDiff
from segue.types import InputError


def test_the_default_is_small():
    count = sum(p.numel() for p in SGDiff(SGDiffConfig(), LEXICON).parameters())
    assert 2e6 < count < 4.2e6  # 8 MB in float16


def test_bad_configurations_are_refused():
    for changes, message in (
        ({"psga": "some"}, "psga: got 'some', expected one of 'none', 'filter', 'rank', 'both'"),
        ({"tasks": "all"}, "expected one of 'both', 'mask', 'caption'"),
        ({"size": 100}, "size: got 100, expected a multiple of 16"),
        ({"heads": 3}, "a width that is a multiple of heads"),
        ({"max_words": 0}, "expected 1 or more of each"),
        ({"time_warp": True, "decoder": "masked"}, "time_warp: it is of analog bits, and the decoder is masked"),
        ({"picture": True, "tasks": "mask"}, "picture: captions read it, and this system makes none"),
    ):
        with pytest.raises(InputError, match=message):
            SGDiffConfig(**changes)
    with pytest.raises(InputError, match="expected one of full, no_psga"):
        ablate_config(TINY, "fool")
