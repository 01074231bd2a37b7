"""Configs that can't be are refused."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from methods.cocu.groupvit.tiny_groupvit import TINY
from segue.methods.cocu.groupvit.config import ACTIVATIONS, SIZES
from segue.types import InputError


def test_configs_that_cannot_be_are_refused():
    for changes, match in (
        ({"depths": (1, 1)}, "2 depths, 3 group_tokens"),
        ({"group_tokens": (6, 4, 2), "output_groups": (6, 3, 2)}, "stage 1: got 4 group tokens and 3 output groups"),
        ({"heads": 5}, "no multiple of 5 heads"),
        ({"image_size": 225}, "no multiple of patch"),
        ({"activation": "relu"}, "expected one of 'gelu', 'quick_gelu'"),
    ):
        with pytest.raises(InputError, match=match):
            replace(TINY, **changes)


def test_stages_without_group_tokens_need_no_matching_groups():
    assert replace(TINY, depths=(1, 1), group_tokens=(6, 0), output_groups=(4, 4)).group_tokens == (6, 0)
    assert replace(TINY, depths=(1,), group_tokens=(6,), output_groups=(2,)).output_groups == (2,)


def test_activations_are_clips_and_the_exact_one():
    x = torch.linspace(-4, 4, 9)
    torch.testing.assert_close(ACTIVATIONS["quick_gelu"](x), x / (1 + (-1.702 * x).exp()))
    torch.testing.assert_close(ACTIVATIONS["gelu"](x), F.gelu(x))


def test_sizes_are_what_they_are_called_by():
    assert {name: (c.image_size, c.patch) for name, c in SIZES.items()} == {
        "paper": (224, 16), "small": (64, 8), "scenes": (128, 8), "cells": (13, 1),
    }  # fmt: skip
