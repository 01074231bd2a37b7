"""Our batch normalisation in one process; over two it is tested in tests/training/test_processes.py."""

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segue.nn.norm import BatchNorm2d


@pytest.mark.parametrize("arguments", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}])
def test_equals_torch_in_one_process(arguments):
    ours, theirs = BatchNorm2d(3, **arguments), nn.BatchNorm2d(3, **arguments)
    theirs.load_state_dict(ours.state_dict())
    for _ in range(3):
        x = torch.randn(4, 3, 5, 5)
        assert torch.equal(ours(x), theirs(x))
    assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in theirs.state_dict().items())
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("arguments", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}])
def test_global_formula_equals_torch(monkeypatch, arguments):
    """The path of several processes, with a gather that joins one."""
    monkeypatch.setattr("segue.nn.norm.is_distributed", lambda: True)
    ours, theirs = BatchNorm2d(3, **arguments), nn.BatchNorm2d(3, **arguments)
    for norm in (ours, theirs):
        if norm.affine:
            nn.init.constant_(norm.weight, 2.0), nn.init.constant_(norm.bias, 5.0)
    for _ in range(3):
        x = 100 + torch.randn(4, 3, 5, 5)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor)
    assert ours(x.bfloat16()).dtype == torch.bfloat16


def test_statistics_are_those_of_all_processes(monkeypatch):
    """Another process, played by hand, has images of another brightness."""
    here, there = torch.randn(4, 3, 5, 5), 3 + 2 * torch.randn(2, 3, 5, 5)
    variance, mean = torch.var_mean(there, dim=(0, 2, 3), correction=0)
    theirs = torch.cat([mean, variance, torch.tensor([50.0])])[None]
    monkeypatch.setattr("segue.nn.norm.is_distributed", lambda: True)
    monkeypatch.setattr("segue.nn.norm.gather", lambda row: torch.cat([row, theirs]))
    ours, whole = BatchNorm2d(3), nn.BatchNorm2d(3)
    torch.testing.assert_close(ours(here), whole(torch.cat([here, there]))[:4], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.running_var, whole.running_var)


def test_folds_into_a_convolution():
    convolution, norm = nn.Conv2d(2, 3, 3).eval(), BatchNorm2d(3)
    x = torch.randn(2, 2, 6, 6)
    norm(convolution(x))
    folded = fuse_conv_bn_eval(convolution, norm.eval())
    torch.testing.assert_close(folded(x), norm(convolution(x)))


def test_wrong_rank_is_refused():
    with pytest.raises(ValueError, match="expected 4D input"):
        BatchNorm2d(3)(torch.zeros(2, 3))
