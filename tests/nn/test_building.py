"""A network is not built larger than its weights file, whatever its config says."""

import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segue.nn.building import SPARE_NUMBERS, SPARE_TENSORS, read_shapes, sized_by
from segue.types import InputError

SHAPES = {"weight": (4, 3), "bias": (4,)}


def test_the_right_size_is_built():
    with sized_by(SHAPES, "here"):
        module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Embedding(5, 4), nn.BatchNorm2d(4))
        torch.arange(0, 10), torch.linspace(0, 1, steps=3), torch.zeros((2, 2)), torch.ones(size=(2,))
    assert module[0].weight.shape == (4, 3)
    assert nn.Linear(SPARE_NUMBERS, 2).in_features == SPARE_NUMBERS  # outside nothing is counted


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(10**6, 10**6),
        lambda: nn.Embedding(10**9, 1000),
        lambda: torch.empty(10**6, 10**6),
        lambda: torch.zeros((10**6, 10**6)),
        lambda: torch.ones(size=(10**6, 10**6)),
        lambda: torch.arange(10**11),
        lambda: torch.linspace(0, 1, 10**11),
        lambda: [nn.LayerNorm(1) for _ in range(SPARE_TENSORS)],
    ],
)
def test_what_is_larger_is_refused_before_its_memory_is_taken(make):
    with pytest.raises(InputError, match=r"here: config\.json describes a much larger model"), sized_by(SHAPES, "here"):
        make()


def test_a_part_with_a_file_of_its_own_counts_alone():
    with sized_by(SHAPES, "here"):
        with sized_by({"weight": (SPARE_NUMBERS, 1)}, "there"):
            torch.empty(2 * SPARE_NUMBERS)
        with pytest.raises(InputError, match="here"):
            torch.empty(2 * SPARE_NUMBERS)


def test_shapes_of_a_file(tmp_path):
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(())}, tmp_path / "model.safetensors")
    assert read_shapes(tmp_path / "model.safetensors") == {"a": (2, 3), "b": ()}
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "torn").write_bytes(b"\xff" * 20)
    for name, message in (("none", "missing"), ("pipe", "not a file"), ("torn", "20 bytes")):
        with pytest.raises(InputError, match=message):
            read_shapes(tmp_path / name)
