import torch
from torch import nn

from segue.encoders.image.pyramid import EfficientNetPyramid
from segue.nn.folding import fold_norms
from segue.nn.norm import BatchNorm2d
from segue.nn.unet import conv_norm


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(part, kind) for part in network.modules())


def with_averages(network: nn.Module) -> nn.Module:
    """In evaluation mode, with batch norms that have seen something."""
    torch.manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                tensor.uniform_(0.5, 1.5)
    return network.eval()


@torch.no_grad()
def test_norms_go_into_the_convolutions_before_them_and_answers_stay():
    network = with_averages(nn.Sequential(conv_norm(3, 8), conv_norm(8, 8, 2, "separable"), nn.Conv2d(8, 4, 1)))
    x = torch.randn(2, 3, 16, 16)
    before, convolutions = network(x), count(network, nn.Conv2d)
    fold_norms(network)
    assert (count(network, nn.BatchNorm2d), count(network, nn.Conv2d)) == (0, convolutions)
    torch.testing.assert_close(network(x), before, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_trained_pyramid_is_folded_too():
    pyramid = with_averages(EfficientNetPyramid(frozen=False, weights=False))
    x, convolutions = torch.randn(1, 3, 64, 64), count(pyramid, nn.Conv2d)
    before = pyramid(x)
    fold_norms(pyramid)
    assert (count(pyramid, nn.BatchNorm2d), count(pyramid, nn.Conv2d)) == (0, convolutions) == (0, 33)
    for found, expected in zip(pyramid(x), before, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_norm_that_follows_no_convolution_stays():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), BatchNorm2d(3), BatchNorm2d(3)).eval()
    fold_norms(network)
    assert count(network, nn.BatchNorm2d) == 2
