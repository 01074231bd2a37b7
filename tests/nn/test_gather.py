"""Gathering in one process, and among two of which the other is played by hand; really over two it is tested in
tests/training/test_processes.py.
"""

import pytest
import torch

from segue.nn import gather as module
from segue.nn.gather import gather, is_distributed


class TwoProcesses:
    """torch.distributed as process number 1 of two sees it. theirs: the rows of process 0, and the gradient it has."""

    def __init__(self, theirs, gradient):
        self.theirs, self.gradient = theirs, gradient

    def is_available(self):
        return True

    def is_initialized(self):
        return True

    def get_world_size(self):
        return 2

    def get_rank(self):
        return 1

    def all_gather(self, parts, x):
        parts[0].copy_(self.theirs)
        parts[1].copy_(x)

    def all_reduce(self, total):
        total.add_(self.gradient)


def test_in_one_process_it_is_the_tensor_itself():
    x = torch.zeros(2, 3)
    assert gather(x) is x
    assert not is_distributed()


@pytest.fixture
def two(monkeypatch):
    made = TwoProcesses(torch.arange(6.0).view(2, 3), torch.full((4, 3), 10.0))
    monkeypatch.setattr(module, "dist", made)
    return made


def test_rows_are_joined_in_order_of_rank(two):
    x = torch.full((2, 3), 7.0)
    assert is_distributed()
    assert torch.equal(gather(x), torch.cat([two.theirs, x]))


def test_gradients_are_summed_over_processes_and_come_back_to_their_rows(two):
    x = torch.full((2, 3), 7.0, requires_grad=True)
    weight = torch.arange(12.0).view(4, 3)
    (weight * gather(x)).sum().backward()
    assert torch.equal(x.grad, weight[2:] + 10)
