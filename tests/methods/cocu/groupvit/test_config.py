"""Configs that can't be are refused."""

from dataclasses import replace

import pytest

from methods.cocu.groupvit.tiny_groupvit import TINY
from segue.types import InputError


def test_configs_that_cannot_be_are_refused():
    for changes, match in (
        ({"depths": (1, 1)}, "2 depths, 3 group_tokens"),
        ({"group_tokens": (6, 4, 2), "output_groups": (6, 3, 2)}, "stage 1: got 4 group tokens and 3 output groups"),
        ({"heads": 5}, "no multiple of 5 heads"),
        ({"image_size": 225}, "no multiple of patch"),
        ({"activation": "relu"}, "expected one of gelu, quick_gelu"),
    ):
        with pytest.raises(InputError, match=match):
            replace(TINY, **changes)
