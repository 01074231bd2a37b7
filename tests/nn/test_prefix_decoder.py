"""The prefix decoder: its cache against whole sequences."""

import pytest
import torch

import golden
from segue.nn.prefix_decoder import PrefixDecoder


def decoder():
    torch.manual_seed(0)
    made = PrefixDecoder(vocabulary=9, width=8, layers=2, heads=2, positions=8)
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return made.eval()


def test_steps_with_a_cache_equal_whole_sequences_for_any_selection_of_rows():
    made, prefix, tokens = decoder(), torch.randn(3, 2, 8), torch.randint(0, 9, (3, 5))
    whole = made(prefix, tokens)
    logits, cache = made.start(prefix)
    torch.testing.assert_close(logits, whole[:, 0])
    rows = torch.tensor([2, 0, 2])
    cache = cache.select(rows)
    for step in range(5):
        logits, cache = made.step(tokens[rows, step], cache)
        torch.testing.assert_close(logits, whole[rows, step + 1], atol=1e-5, rtol=1e-5)


def test_a_selected_cache_is_a_copy():
    made = decoder()
    _, cache = made.start(torch.randn(2, 2, 8))
    first, again = cache.select(torch.tensor([0])), cache.select(torch.tensor([0]))
    made.step(torch.tensor([3]), first)
    a, _ = made.step(torch.tensor([5]), again)
    b, _ = made.step(torch.tensor([5]), cache.select(torch.tensor([0])))
    torch.testing.assert_close(a, b)


def test_weights_mean_what_they_meant():
    made, tokens = golden.set_weights(decoder()), torch.tensor([[1, 2, 3, 0], [8, 7, 0, 0]])
    prefix, real = golden.inputs("prefix", 2, 2, 8), torch.tensor([[True] * 4, [True, True, False, False]])
    losses = {f"loss_{share}": made.loss(prefix, tokens, real, label_smoothing=share) for share in (0.0, 0.5)}
    golden.same_as_before("syntic decoder", logits=made(prefix, tokens), **losses)


def test_fresh_weights_are_spread_as_they_were():
    torch.manual_seed(0)
    made = PrefixDecoder(vocabulary=9, width=32, layers=2, heads=2, positions=8)
    spread = {name: float(p.detach().std()) for name, p in made.named_parameters() if p.ndim > 1}
    for name, found in spread.items():
        assert found == pytest.approx(0.01 if name.endswith(("out.weight", "feed_forward.2.weight")) else 0.02, rel=0.2)


def test_dropout_is_for_training():
    torch.manual_seed(0)
    made, prefix = (
        PrefixDecoder(vocabulary=9, width=8, layers=1, heads=2, positions=8, dropout=0.5),
        torch.randn(1, 2, 8),
    )
    tokens = torch.tensor([[1, 2]])
    assert not torch.equal(made.train()(prefix, tokens), made(prefix, tokens))
    assert torch.equal(made.eval()(prefix, tokens), made(prefix, tokens))
