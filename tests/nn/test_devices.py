import pytest
import torch

from segue.nn.devices import resolve_device
from segue.types import InputError


def test_the_cpu_is_always_there():
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_a_gpu_where_there_is_one(there, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert resolve_device() == resolve_device("auto") == expected


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", ""])
def test_a_device_that_is_not_there_is_reported(name):
    with pytest.raises(InputError, match=r"not there .*expected auto, cpu, or cuda"):
        resolve_device(name)
