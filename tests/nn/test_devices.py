import pytest
import torch

from segue.nn import devices
from segue.nn.devices import autocast, pictures_at_once, resolve_device, resolve_dtype
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


@pytest.mark.parametrize(("fast", "expected"), [(True, "bf16"), (False, "float32")])
def test_auto_is_bf16_where_that_is_fast_and_any_other_dtype_is_itself(fast, expected, monkeypatch):
    monkeypatch.setattr(devices, "has_fast_bf16", lambda kind: fast)
    assert resolve_dtype("auto", "cpu") == expected
    assert [resolve_dtype(name, "cpu") for name in ("float32", "bf16")] == ["float32", "bf16"]


@pytest.mark.parametrize("name", ["float16", "bfloat16", "", None, 16])
def test_another_dtype_is_refused(name):
    with pytest.raises(InputError, match=r"dtype: got .*expected one of 'auto', 'float32', 'bf16'"):
        resolve_dtype(name, "cpu")


def test_products_are_in_the_dtype_whatever_the_callers_autocast():
    x = torch.ones(2, 2)
    with autocast("cpu", "bf16"):
        assert (x @ x).dtype == torch.bfloat16
        with autocast("cpu", "float32"):
            assert (x @ x).dtype == torch.float32


def test_a_cpu_reads_few_pictures_at_once_by_their_pixels_and_a_gpu_all():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = [pictures_at_once(16, side, "cpu", dtype) for side in (96, 224, 4096) for dtype in ("float32", "bf16")]
    finally:
        torch.set_num_threads(threads)
    assert found == [16, 16, 6, 8, 1, 1]
    assert pictures_at_once(16, 4096, "cuda", "bf16") == 16
