import torch
from torch import nn

from segue.encoders.image.pyramid import EfficientNetPyramid
from segue.nn.folding import fold_norms, lay_out_columns
from segue.nn.norm import BatchNorm2d
from segue.nn.prefix_decoder import PrefixDecoder
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


@torch.no_grad()
def test_matrices_are_laid_out_by_columns_and_mean_the_same():
    torch.manual_seed(0)
    decoder = PrefixDecoder(vocabulary=11, width=8, layers=2, heads=2, positions=9).eval()
    before = {name: x.clone() for name, x in decoder.state_dict().items()}
    prefix, tokens = torch.randn(3, 2, 8), torch.tensor([[1, 2], [3, 4], [10, 0]])
    logits = decoder(prefix, tokens)
    lay_out_columns(decoder)
    matrices = [decoder.embed.weight, decoder.blocks[0].qkv.weight, decoder.blocks[1].feed_forward[2].weight]
    assert all(x.stride() == (1, len(x)) for x in matrices)
    assert all(torch.equal(x, before[name]) for name, x in decoder.state_dict().items())
    torch.testing.assert_close(decoder(prefix, tokens), logits, rtol=0, atol=1e-5)
