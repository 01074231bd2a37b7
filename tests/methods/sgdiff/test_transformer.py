import math

import pytest
import torch

import golden
from segue.methods.sgdiff.transformer import (
    Attention,
    BimodalTransformer,
    BitEmbedding,
    CaptionHead,
    HiddenStates,
    sinusoidal_encoding,
)


def transformer(**switches):
    torch.manual_seed(0)
    options = {"cross_attention": True, "captions": True, "masks": True} | switches
    return BimodalTransformer(width=16, heads=2, feed_forward=32, blocks=2, **options)


def streams():
    torch.manual_seed(1)
    return torch.randn(2, 5, 16), torch.randn(2, 4, 16), torch.tensor([[True] * 4, [True, True, False, False]])


def test_attention_against_its_formula():
    torch.manual_seed(0)
    attention, x, memory = Attention(8, 2), torch.randn(1, 3, 8), torch.randn(1, 4, 8)
    allowed = torch.tensor([True, True, False, True])[None, None, None]
    heads = []
    for h in (slice(0, 4), slice(4, 8)):
        q, k, v = (f(y)[0, :, h] for f, y in ((attention.q, x), (attention.k, memory), (attention.v, memory)))
        score = (q @ k.T / 2).masked_fill(~allowed[0, 0, 0], -torch.inf)
        heads.append(score.softmax(-1) @ v)
    assert torch.allclose(attention(x, memory, allowed)[0], attention.out(torch.cat(heads, -1)), atol=1e-6)
    weights = attention.attention_weights(x, memory, allowed)
    assert weights.shape == (1, 3, 4)
    assert torch.allclose(weights.sum(-1), torch.ones(1, 3))
    assert (weights[..., 2] == 0).all()


def test_one_memory_serves_many_queries():
    torch.manual_seed(0)
    attention, x, memory = Attention(8, 2), torch.randn(3, 2, 8), torch.randn(1, 4, 8)
    assert torch.allclose(attention(x, memory), attention(x, memory.expand(3, -1, -1)), atol=1e-6)


def test_the_directions_read_each_other_only_with_cross_attention():
    c, g, real = streams()
    for cross_attention in (True, False):
        net = transformer(cross_attention=cross_attention)
        plain = net(c, g, real)
        assert torch.allclose(net(c, g + 1, real).caption, plain.caption) != cross_attention
        assert torch.allclose(net(c + 1, g, real).graph, plain.graph) != cross_attention


def test_padded_nodes_are_not_read():
    c, g, real = streams()
    other = torch.where(real[..., None], g, torch.randn_like(g) * 9)
    net = transformer()
    a, b = net(c, g, real), net(c, other, real)
    assert torch.allclose(a.caption, b.caption, atol=1e-5)
    assert torch.allclose(a.graph[real], b.graph[real], atol=1e-5)


def test_a_caption_is_the_same_when_only_it_is_needed():
    c, g, real = streams()
    for switches in ({}, {"cross_attention": False}, {"masks": False}):
        net = transformer(**switches)
        assert torch.equal(net(c, g, real, caption_only=True).caption, net(c, g, real).caption)


def test_what_nothing_would_read_is_not_built():
    assert [
        len(transformer(masks=False).graph_layers),
        len(transformer(masks=False, cross_attention=False).graph_layers),
    ] == [1, 0]
    graph_only = transformer(captions=False)
    assert (len(graph_only.caption_layers), graph_only.cross_attention) == (0, False)


def test_attention_weights_are_distributions_over_the_graph():
    c, g, real = streams()
    net = transformer()
    weights = net.cross_attention_weights(net(c, g, real), real)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 5))
    assert (weights[1, :, 2:] == 0).all()
    assert transformer(cross_attention=False).cross_attention_weights(net(c, g, real), real) is None


@pytest.mark.parametrize("switches", [{}, {"cross_attention": False}, {"masks": False}, {"captions": False}])
def test_weights_mean_what_they_meant(switches):
    net = golden.set_weights(transformer(**switches))
    c, g, real = golden.inputs("c", 2, 5, 16), golden.inputs("g", 2, 4, 16), streams()[2]
    states = net(c if switches.get("captions", True) else None, g, real)
    found = {"graph": states.graph[real], "last": states.last_input[1][real]}
    if states.caption is not None:
        found["caption"] = states.caption
        weights = net.cross_attention_weights(states, real)
        found |= {} if weights is None else {"weights": weights}
    golden.same_as_before(f"sgdiff transformer {switches}", **found)


def test_weights_around_the_captions_mean_what_they_meant():
    torch.manual_seed(0)
    embedding, head = golden.set_weights(BitEmbedding(6, 16, 5)), golden.set_weights(CaptionHead(16, 9, tags=True))
    x, estimate = golden.inputs("x", 2, 4, 6), golden.inputs("estimate", 2, 4, 6)
    h = embedding(x, torch.tensor([-3.0, 9.0]), estimate)
    golden.same_as_before("sgdiff captions", h=h, tokens=head(h), tags=head.tags(h))


def test_the_waves_double_from_half_a_period():
    found = sinusoidal_encoding(torch.tensor([[0.25, 0.5]]), 3)
    angles = [math.pi * x * f for x in (0.25, 0.5) for f in (1, 2, 4)]
    expected = [f(a) for three in (angles[:3], angles[3:]) for f in (math.sin, math.cos) for a in three]
    torch.testing.assert_close(found[0], torch.tensor(expected), atol=1e-6, rtol=0)


def test_rows_of_states_are_chosen_and_no_caption_stays_none():
    graph, last = torch.arange(6.0).view(3, 2, 1), torch.arange(6.0, 12).view(3, 2, 1)
    states = HiddenStates(graph + 20, graph, (None, last)).select(torch.tensor([2, 0]))
    assert states.caption.flatten().tolist() == [24, 25, 20, 21]
    assert states.graph.flatten().tolist() == [4, 5, 0, 1]
    assert states.last_input[0] is None
    assert states.last_input[1].flatten().tolist() == [10, 11, 6, 7]
