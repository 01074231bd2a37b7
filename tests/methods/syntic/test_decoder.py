"""The prefix decoder: its cache against whole sequences."""

import torch

from segue.methods.syntic.decoder import PrefixDecoder


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
