"""The small image encoder."""

import pytest
import torch

from contract.encoders import ImageEncoderContract
from segue.encoders.image.small import SmallImageEncoder
from segue.types import InputError


class TestSmallImage(ImageEncoderContract):
    def make(self):
        torch.manual_seed(0)
        return SmallImageEncoder(size=64, width=24, layers=1, heads=2)

    def test_every_parameter_gets_a_gradient(self):
        encoder = self.make()
        pooled, dense = encoder(torch.randn(2, 3, 64, 64))
        ((pooled * torch.randn_like(pooled)).sum() + dense.pow(3).sum()).backward()
        assert [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []

    def test_is_small(self):
        assert 1e6 < sum(p.numel() for p in SmallImageEncoder().parameters()) < 2e6

    def test_refuses_sizes_that_do_not_divide(self):
        with pytest.raises(InputError, match="size that 16 divides"):
            SmallImageEncoder(size=100)
