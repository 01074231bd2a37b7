"""The joint model: gradients, shared weights, losses, what each word and condition can see."""

import pytest
import torch

import golden
from methods.crossmodal.tiny_crossmodal import batch, model
from segue.methods.crossmodal.layers import EncodedStream, project_memory
from segue.types import InputError


@pytest.mark.parametrize("changes", [{}, {"attention": "separate"}, {"norms": "post"}, {"classes": 5}])
def test_training_reaches_every_parameter(changes):
    network = model(**changes)
    network.training_step(batch(boxes=bool(changes.get("classes"))))["loss"].backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [n for n in silent if not n.endswith("k.bias")] == []  # a key's bias cancels in the softmax


@pytest.mark.parametrize(("width", "heads"), [(66, 2), (100, 3)])
def test_a_width_that_does_not_divide_is_refused(width, heads):
    with pytest.raises(InputError, match=f"width: got {width} with {heads} heads, expected a multiple of 4"):
        model(width=width, heads=heads)


def test_shared_attention_is_one_set_of_weights():
    shared, separate = model(), model(attention="separate")
    assert shared.cross_attention is shared.word_cross_attention
    count = [sum(p.numel() for p in m.parameters()) for m in (shared, separate)]
    assert count[1] - count[0] == sum(p.numel() for p in shared.cross_attention.parameters())


def test_the_terms_weigh_as_in_the_paper_and_align_is_a_switch():
    terms = model().training_step(batch())
    total = 0.6 * terms["mask"] + 0.3 * terms["text"] + 0.1 * terms["align"]
    torch.testing.assert_close(terms["loss"], total)
    assert set(model(align=False).training_step(batch())) == {"mask", "text", "loss"}


def test_several_captions_of_a_layout_are_learned_as_one_after_another():
    network, data = model(), batch()
    other = data["ids"].roll(1, 0)
    both = {**data, "ids": torch.stack([data["ids"], other], 1).flatten(0, 1), "prompt_ids": data["ids"]}
    prompts = {"prompt_ids": data["ids"]}
    apart = [network.training_step({**data, "ids": ids, **prompts})["text"] for ids in (data["ids"], other)]
    torch.testing.assert_close(network.training_step(both)["text"], torch.stack(apart).mean())


def test_a_word_never_sees_the_words_after_it_and_padding_is_never_read():
    network, data = model().eval(), batch()
    layout = network.encode_layouts(data["codes"])
    keys = project_memory(network.word_cross_attention, layout)
    other = data["ids"].clone()
    other[:, 5:] = 7
    a, b = (network.word_logits(ids, keys, layout.mask)[0] for ids in (data["ids"], other))
    torch.testing.assert_close(a[:, :5], b[:, :5])
    short, long = data["ids"][:1, :3], data["ids"][:1]
    torch.testing.assert_close(network.encode_captions(short).pooled, network.encode_captions(long).pooled)


def test_each_condition_counts():
    network, data = model().eval(), batch()
    plain = network.encode_layouts(data["codes"]).pooled
    assert not torch.allclose(plain, network.encode_layouts(data["codes"], data["image"]).pooled)
    unseen = network.encode_layouts(data["codes"], data["image"], torch.zeros(6, dtype=torch.bool)).pooled
    torch.testing.assert_close(plain, unseen)


def test_a_larger_grid_than_trained():
    network = model().eval()
    assert network.encode_layouts(torch.zeros(1, 6, 8, dtype=torch.long)).pooled.shape == (1, 32)


def test_logits_of_some_cells_and_of_two_captions_of_a_layout_are_those_of_each():
    net, data = model().eval(), batch()
    captions = [net.encode_captions(ids) for ids in (data["ids"], net.null_captions(data["ids"]))]
    whole = [
        net.code_logits(data["codes"], None, None, one, project_memory(net.cross_attention, one)) for one in captions
    ]
    both = net.encode_captions(torch.cat([data["ids"], net.null_captions(data["ids"])]))
    cells = torch.tensor([[3, 0, 3], [1, 15, 7]]).repeat(len(data["ids"]) // 2, 1)
    memory = project_memory(net.cross_attention, both)
    some = net.code_logits(data["codes"], None, None, both, memory, wanted=cells)
    for found, all_cells in zip(some.chunk(2), whole, strict=True):
        torch.testing.assert_close(found, all_cells.take_along_dim(cells[..., None], 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"attention": "separate"}, {"norms": "post", "epsilon": 0.01}])
def test_weights_mean_what_they_meant(changes):
    net, data = golden.set_weights(model(**changes)).eval(), batch()
    layouts = net.encode_layouts(data["codes"], data["image"], torch.arange(6) % 2 == 0)
    captions = net.encode_captions(data["ids"])
    cells = net.code_logits(data["codes"], None, None, captions, project_memory(net.cross_attention, captions))
    words, _ = net.word_logits(data["ids"], project_memory(net.word_cross_attention, layouts), layouts.mask)
    larger = net.encode_layouts(data["codes"].repeat(1, 2, 1))
    weights = net.cross_attention[0].weights(
        layouts.states[0], project_memory(net.cross_attention, captions)[0], captions.mask
    )
    golden.same_as_before(
        f"crossmodal {changes}", layouts=layouts.pooled, captions=captions.pooled, cells=cells, words=words,
        larger=larger.pooled, weights=weights, **net.training_step(data),
    )  # fmt: skip


def test_fresh_weights_are_spread_as_they_were():
    net = model()
    golden.same_as_before("crossmodal fresh", spreads=[float(p.detach().std()) for p in net.parameters() if p.ndim > 1])
    golden.same_as_before("crossmodal positions", words=net.word_embedding.position, cells=net.cell_embedding.position)


def test_no_boxes_are_painted_boxes_of_nothing():
    network, data = model(classes=5).eval(), batch(boxes=True)
    plain = network.cell_embedding(data["codes"], None)
    assert not torch.allclose(plain, network.cell_embedding(data["codes"], None, boxes=data["boxes"]))
    nothing = torch.full_like(data["boxes"], 255)
    torch.testing.assert_close(plain, network.cell_embedding(data["codes"], None, boxes=nothing))


@pytest.mark.parametrize(
    ("drop_image", "drop_boxes", "given"), [(1, 0, True), (1, 1, False), (0, 0, False), (0, 1, True)]
)
def test_boxes_are_given_where_there_is_no_image(drop_image, drop_boxes, given):
    network = model(classes=5, drop_image=float(drop_image), drop_boxes=float(drop_boxes))
    data = batch(boxes=True)
    mask = network.training_step(data)["mask"]
    without = network.training_step({**data, "boxes": torch.full_like(data["boxes"], 255)})["mask"]
    assert torch.allclose(mask, without) == (not given)


def test_the_contrast_wants_each_caption_nearest_to_its_own_layout():
    network = model(contrast=True, drop_caption=0.0)
    assert network.training_step(batch())["align"].isfinite()
    states, ids = torch.eye(4), torch.arange(1, 5)[:, None]
    stream = EncodedStream([states[:, None]], torch.ones(4, 1, dtype=torch.bool))
    moved = EncodedStream([states.roll(1, 0)[:, None]], stream.mask)
    assert network._contrast_loss(stream, stream, ids) < 1e-4
    assert network._contrast_loss(stream, moved, ids) > 10
    same = torch.tensor([[1], [2], [1], [2]])  # of two equal captions neither is the other's negative
    swapped = EncodedStream([states[[2, 3, 0, 1]][:, None]], stream.mask)
    assert network._contrast_loss(stream, swapped, same) < 1.1
    none = torch.zeros(4, 1, dtype=torch.int64)
    assert network._contrast_loss(stream, moved, none) == 0
