import numpy as np
import pytest
import torch

import golden
from methods.sgdiff.toys import SYSTEMS, build_system, toy_batch, toy_model
from segue.methods.sgdiff.model import Subgraph, picture_statistics


def test_a_picture_is_encoded_with_its_own_size():
    encoded = toy_model().eval().encode(np.zeros((40, 56, 3), np.uint8))
    assert encoded.size == (56, 40)  # width, height


def test_a_detectors_features_are_read():
    model = toy_model(feature_width=5)
    features = torch.randn(3, 2, 5)
    batch = toy_batch() | {"features": features}
    levels = model.backbone(batch["image"])
    first = model.adapt(levels, batch).nodes
    assert not torch.allclose(first, model.adapt(levels, batch | {"features": features + 1}).nodes)


def test_without_ranking_the_order_of_nodes_means_nothing():
    batch, model = toy_batch(), toy_model(psga="none").eval()
    levels = model.backbone(batch["image"])
    swapped = batch | {name: batch[name].flip(1) for name in ("class_ids", "boxes", "features", "node_mask")}
    swapped["edges"] = torch.stack([1 - batch["edges"][..., 0], batch["edges"][..., 1], 1 - batch["edges"][..., 2]], -1)
    swapped["prompt_node"] = 1 - batch["prompt_node"]
    x, snr = torch.randn(3, 10, model.codes.shape[1]), torch.zeros(3)
    logits = []
    for one in (batch, swapped):
        graph = model.subgraph(levels, model.adapt(levels, one), one, one["node_mask"], None)
        logits.append(model.denoise(x, snr, torch.zeros_like(x), graph)[0])
    assert torch.allclose(logits[0], logits[1], atol=1e-4)


def test_without_cross_attention_the_captions_input_has_the_mean_of_the_graph():
    model = build_system("no_cross_attention")
    with torch.no_grad():
        model.graph_mean.weight.copy_(torch.eye(32))
        model.graph_mean.bias.fill_(0.5)
    features = torch.zeros(2, 3, 32)
    features[0, :, 0], features[1, :, 0] = torch.tensor([2.0, 4.0, 9.0]), torch.tensor([1.0, 2.0, 6.0])
    mask = torch.tensor([[True, True, False], [True, True, True]])  # 9 is padding
    graph = Subgraph(torch.zeros(2, 1).long(), mask[:, :1], torch.zeros(2, 1, 4), features, mask, torch.zeros(2, 0))
    offset = model.caption_offset(graph)
    assert offset.shape == (2, 1, 32)
    assert offset[:, 0, 0].tolist() == [3.5, 3.5]  # (2 + 4) / 2 and (1 + 2 + 6) / 3, each with the bias
    assert (offset[:, 0, 1:] == 0.5).all()
    assert toy_model().caption_offset(graph) == 0


@pytest.mark.parametrize("decoder", ["diffusion", "masked", "autoregressive"])
def test_a_caption_reads_the_whole_picture_where_it_should(decoder):
    batch = toy_batch()
    night = batch | {"image": batch["image"] - 2}
    for reads in (False, True):
        torch.manual_seed(0)
        model = toy_model(decoder=decoder, picture=reads).eval()
        day, dark = model.backbone(batch["image"]), model.backbone(night["image"])
        found = model.adapt(day, batch)  # the same nodes, so that only the picture differs
        graphs = [model.subgraph(one, found, batch, batch["node_mask"], batch["ranks"]) for one in (day, dark)]
        first, second = (_logits(model, batch, graph) for graph in graphs)
        assert torch.equal(first, second) != reads


def _logits(model, batch, graph):
    if model.config.decoder == "autoregressive":
        return model.teacher_forced(batch["token_ids"], graph)[0]
    if model.config.decoder == "masked":
        return model.fill(batch["token_ids"], graph)[0]
    x = torch.ones(len(batch["token_ids"]), 10, model.codes.shape[1])
    return model.denoise(x, torch.zeros(len(x)), x, graph)[0]


def test_the_whole_picture_is_read_for_each_of_its_rows():
    level = torch.tensor([[[[1.0, 3.0]]], [[[5.0, 5.0]]]])  # two pictures of one channel
    assert picture_statistics(level, 4)[:, 0].tolist() == [2, 2, 5, 5]
    assert picture_statistics(level, 2)[:, 1].tolist() == pytest.approx([2**0.5, 0])


def test_the_mean_of_the_graph_reaches_every_token():
    torch.manual_seed(0)
    model, batch = build_system("no_cross_attention").eval(), toy_batch()
    levels = model.backbone(batch["image"])
    graph = model.subgraph(levels, model.adapt(levels, batch), batch, batch["node_mask"], batch["ranks"])
    x, snr = torch.randn(3, 10, model.codes.shape[1]), torch.zeros(3)
    first = model.denoise(x, snr, torch.zeros_like(x), graph)[0]
    other = model.denoise(x, snr, torch.zeros_like(x), graph._replace(features=graph.features + 1))[0]
    assert ((first - other).abs().amax(-1) > 1e-3).all()


@pytest.mark.parametrize("system", SYSTEMS)
def test_weights_mean_what_they_meant(system):
    model = golden.set_weights(build_system(system)).eval()
    batch = toy_batch(model.config)
    levels = model.backbone(batch["image"])
    output = model.adapt(levels, batch)
    keep = batch["node_mask"].clone()
    keep[0, 1] = False
    graph = model.subgraph(levels, output, batch, keep, batch["ranks"] if model.config.ranks_nodes else None)
    found = {"nodes": output.nodes, "graph": graph.features[graph.mask], "index": graph.node_index}
    if model.config.decoder == "autoregressive":
        logits, states = model.teacher_forced(batch["token_ids"], graph)
    elif model.config.decoder == "masked":
        logits, states = model.fill(batch["token_ids"], graph)
    elif model.config.generates_captions:
        x = golden.inputs("x", 3, 10, model.codes.shape[1])
        logits, states = model.denoise(x, torch.tensor([-1.0, 0.0, 5.0]), x / 2, graph)
    else:
        logits, states = None, model.graph_states(graph)
    masks, tags = model.masks(states, graph, model.pixel_decoder and model.pixel_decoder(levels)), None
    if logits is not None:
        real = graph.node_mask
        queries = None if masks is None else masks.queries
        found |= {"logits": logits, "grounding": model.grounding_logits(states, graph, queries)[real]}
        tags = model.phrase_tags(states)
    found |= {} if masks is None else {"masks": masks.logits[-1][graph.node_mask]}
    found |= {} if tags is None else {"tags": tags}
    golden.same_as_before(f"sgdiff {system}", **found)


def test_without_mecl_and_attention_no_word_names_a_node():
    model, batch = build_system("no_cross_attention", mecl="none").eval(), toy_batch()
    levels = model.backbone(batch["image"])
    graph = model.subgraph(levels, model.adapt(levels, batch), batch, batch["node_mask"], batch["ranks"])
    x = torch.zeros(3, 10, model.codes.shape[1])
    _, states = model.denoise(x, torch.zeros(3), x, graph)
    found = model.grounding_logits(states, graph, None)
    assert found.shape == (3, 2, 10)
    assert (found == 0).all()
