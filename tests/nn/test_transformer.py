"""The transformer block: against its definition head by head, and what a mask hides."""

import torch
import torch.nn.functional as F

from segue.nn.transformer import Block


def block(width=8, heads=2):
    torch.manual_seed(0)
    made = Block(width, heads)
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return made


def by_hand(made, x, mask):
    """One example (L, D)."""
    q, k, v = made.query_key_value(made.norm_attention(x)).chunk(3, -1)
    width = x.shape[1] // made.heads
    outputs = []
    for head in range(made.heads):
        part = slice(head * width, (head + 1) * width)
        score = (q[:, part] @ k[:, part].T / width**0.5).masked_fill(~mask[None], -torch.inf)
        outputs.append(score.softmax(-1) @ v[:, part])
    x = x + made.out(torch.cat(outputs, -1))
    norm, first, _, second = made.feed_forward
    return x + second(F.gelu(first(norm(x))))


def test_it_is_multi_head_attention_and_a_feed_forward_network():
    made, x = block(), torch.randn(3, 5, 8)
    mask = torch.tensor([[True] * 5, [True, True, False, True, False], [True] + [False] * 4])
    expected = torch.stack([by_hand(made, one, real) for one, real in zip(x, mask, strict=True)])
    torch.testing.assert_close(made(x, mask), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(made(x), made(x, torch.ones(3, 5, dtype=torch.bool)), atol=1e-5, rtol=1e-5)


def test_masked_positions_change_no_other():
    made, x = block(), torch.randn(1, 5, 8)
    mask = torch.tensor([[True, True, True, False, False]])
    changed = x.clone()
    changed[:, 3:] = 9
    torch.testing.assert_close(made(x, mask)[:, :3], made(changed, mask)[:, :3])
    assert not torch.allclose(made(x)[:, :3], made(changed)[:, :3])
