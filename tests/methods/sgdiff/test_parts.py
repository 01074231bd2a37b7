"""The transformer, the mask head and the rival's cache."""

import pytest
import torch
import torch.nn.functional as F

from methods.sgdiff.toys import LEXICON, toy_batch, toy_model
from segue.methods.sgdiff.autoregressive import Writer, write
from segue.methods.sgdiff.lexicon import END, UNKNOWN
from segue.methods.sgdiff.mask_head import MaskHead, PixelDecoder, look_at, mask_losses
from segue.methods.sgdiff.transformer import Attention, BimodalTransformer


def transformer(**switches):
    torch.manual_seed(0)
    options = {"crosses": True, "tells": True, "outlines": True} | switches
    return BimodalTransformer(width=16, heads=2, feed=32, blocks=2, **options)


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
    weights = attention.weights(x, memory, allowed)
    assert weights.shape == (1, 3, 4)
    assert torch.allclose(weights.sum(-1), torch.ones(1, 3))
    assert (weights[..., 2] == 0).all()


def test_one_memory_serves_many_queries():
    torch.manual_seed(0)
    attention, x, memory = Attention(8, 2), torch.randn(3, 2, 8), torch.randn(1, 4, 8)
    assert torch.allclose(attention(x, memory), attention(x, memory.expand(3, -1, -1)), atol=1e-6)


def test_the_directions_read_each_other_only_with_cross_attention():
    c, g, real = streams()
    for crosses in (True, False):
        net = transformer(crosses=crosses)
        plain = net(c, g, real)
        assert torch.allclose(net(c, g + 1, real).caption, plain.caption) != crosses
        assert torch.allclose(net(c + 1, g, real).graph, plain.graph) != crosses


def test_padded_nodes_are_not_read():
    c, g, real = streams()
    other = torch.where(real[..., None], g, torch.randn_like(g) * 9)
    net = transformer()
    a, b = net(c, g, real), net(c, other, real)
    assert torch.allclose(a.caption, b.caption, atol=1e-5)
    assert torch.allclose(a.graph[real], b.graph[real], atol=1e-5)


def test_words_alone_are_the_same_words():
    c, g, real = streams()
    for switches in ({}, {"crosses": False}, {"outlines": False}):
        net = transformer(**switches)
        assert torch.equal(net(c, g, real, words_alone=True).caption, net(c, g, real).caption)


def test_what_nothing_would_read_is_not_built():
    assert [len(transformer(outlines=False).graphs), len(transformer(outlines=False, crosses=False).graphs)] == [1, 0]
    alone = transformer(tells=False)
    assert (len(alone.captions), alone.crosses) == (0, False)


def test_glances_are_distributions_over_the_graph():
    c, g, real = streams()
    net = transformer()
    looks = net.glances(net(c, g, real), real)
    assert torch.allclose(looks.sum(-1), torch.ones(2, 5))
    assert (looks[1, :, 2:] == 0).all()
    assert transformer(crosses=False).glances(net(c, g, real), real) is None


def test_look_at_reads_the_box():
    level = torch.zeros(1, 1, 8, 8)
    level[0, 0, 2:4, 4:8] = 1
    boxes = torch.tensor([[[0.5, 0.25, 0.5, 0.25], [0.0, 0.5, 0.5, 0.5]]])
    seen = look_at(level, boxes, 2)
    assert seen.shape == (1, 2, 4)
    assert torch.allclose(seen[0, 0], torch.ones(4))
    assert torch.allclose(seen[0, 1], torch.zeros(4))


def test_masks_of_one_picture_serve_many_rows():
    torch.manual_seed(0)
    levels = [torch.randn(1, 8, s, s) for s in (16, 8, 4, 2)]
    pixels = PixelDecoder((8, 8, 8, 8), 16, 16)(levels)
    head = MaskHead(width=16, heads=2, feed=32, channels=16)
    h, boxes = torch.randn(3, 2, 16), torch.rand(3, 2, 4) / 2 + 0.1
    together = head(h, boxes, pixels)[-1]
    assert together.shape == (3, 2, 16, 16)
    for row in range(3):
        assert torch.allclose(head(h[row : row + 1], boxes[row : row + 1], pixels)[-1][0], together[row], atol=1e-5)


def test_the_slope_pushes_masks_into_their_boxes():
    torch.manual_seed(0)
    pixels = PixelDecoder((8, 8, 8, 8), 16, 16)([torch.randn(1, 8, s, s) for s in (16, 8, 4, 2)])
    head = MaskHead(width=16, heads=2, feed=32, channels=16)
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 1.0]]])
    logits = head(torch.randn(1, 1, 16), boxes, pixels)[-1][0, 0]
    assert float(logits[:, -1].max()) < float(logits[:, :8].min())


def test_mask_losses_are_those_of_the_known_masks():
    torch.manual_seed(0)
    logits, masks = torch.randn(2, 3, 4, 4), (torch.rand(2, 3, 4, 4) > 0.5).float()
    known = torch.tensor([[True, False, False], [False, False, True]])
    cross, dice = mask_losses([logits], masks, known)
    chosen, truth = torch.stack([logits[0, 0], logits[1, 2]]), torch.stack([masks[0, 0], masks[1, 2]])
    assert torch.allclose(cross, F.binary_cross_entropy_with_logits(chosen, truth))
    p = chosen.sigmoid()
    each = 1 - (2 * (p * truth).sum((1, 2)) + 1) / (p.sum((1, 2)) + truth.sum((1, 2)) + 1)
    assert torch.allclose(dice, each.mean())
    assert [float(x) for x in mask_losses([logits], masks, torch.zeros_like(known))] == [0, 0]


def test_the_cache_gives_what_the_whole_caption_gives():
    model, batch = toy_model(decoder="autoregressive").eval(), toy_batch()
    found = model.adapt(model.backbone(batch["image"]), batch)
    graph = model.subgraph(found, batch, batch["nodes"], batch["order"])
    logits, states = model.read(batch["ids"], graph)
    writer = Writer(model.transformer, graph.features, graph.there)
    inputs = model.words(batch["ids"])
    steps = torch.cat([writer(inputs[:, j : j + 1]) for j in range(inputs.shape[1])], 1)
    assert torch.allclose(steps, states.caption, atol=1e-5)
    assert torch.allclose(model.head(steps), logits, atol=1e-4)


def test_a_word_does_not_see_those_after_it():
    model, batch = toy_model(decoder="autoregressive").eval(), toy_batch()
    graph = model.subgraph(model.adapt(model.backbone(batch["image"]), batch), batch, batch["nodes"], batch["order"])
    other = batch["ids"].clone()
    other[:, 4:] = 3
    first, second = model.read(batch["ids"], graph)[0], model.read(other, graph)[0]
    assert torch.allclose(first[:, :5], second[:, :5], atol=1e-5)
    assert not torch.allclose(first[:, 5:], second[:, 5:])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_writing_word_by_word_keeps_to_the_length(temperature):
    model, batch = toy_model(decoder="autoregressive").eval(), toy_batch()
    graph = model.subgraph(model.adapt(model.backbone(batch["image"]), batch), batch, batch["nodes"], batch["order"])
    parts = (model.transformer, model.words, model.head, 0.0, graph.features, graph.there)
    numbers = write(*parts, most=10, length=4, temperature=temperature, seeds=[0, 1, 2])
    assert ((numbers != END).sum(1) == 4).all()
    free = write(*parts, most=10, temperature=temperature, seeds=[0, 1, 2])
    assert free.shape == (3, 10)
    assert (free < LEXICON.size).all()
    assert not (free == UNKNOWN).any()
    ended = (free == END).cumsum(1) > 0
    assert (free[ended] == END).all()
