import pytest
import torch

import golden
from methods.sgdiff.toys import LEXICON, toy_batch, toy_model
from segue.methods.sgdiff.autoregressive import IncrementalDecoder, generate
from segue.methods.sgdiff.lexicon import END, UNKNOWN


def test_the_cache_gives_what_the_whole_caption_gives():
    model, batch = toy_model(decoder="autoregressive").eval(), toy_batch()
    levels = model.backbone(batch["image"])
    graph = model.subgraph(levels, model.adapt(levels, batch), batch, batch["node_mask"], batch["ranks"])
    logits, states = model.teacher_forced(batch["token_ids"], graph)
    decoder = IncrementalDecoder(model.transformer, graph.features, graph.mask)
    inputs = model.token_embedding(batch["token_ids"])
    steps = torch.cat([decoder(inputs[:, j : j + 1]) for j in range(inputs.shape[1])], 1)
    assert torch.allclose(steps, states.caption, atol=1e-5)
    assert torch.allclose(model.caption_head(steps), logits, atol=1e-4)


def test_a_word_does_not_see_those_after_it():
    model, batch = toy_model(decoder="autoregressive").eval(), toy_batch()
    levels = model.backbone(batch["image"])
    graph = model.subgraph(levels, model.adapt(levels, batch), batch, batch["node_mask"], batch["ranks"])
    other = batch["token_ids"].clone()
    other[:, 4:] = 3
    first, second = model.teacher_forced(batch["token_ids"], graph)[0], model.teacher_forced(other, graph)[0]
    assert torch.allclose(first[:, :5], second[:, :5], atol=1e-5)
    assert not torch.allclose(first[:, 5:], second[:, 5:])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_decoding_keeps_to_the_length(temperature):
    model, batch = toy_model(decoder="autoregressive").eval(), toy_batch()
    levels = model.backbone(batch["image"])
    graph = model.subgraph(levels, model.adapt(levels, batch), batch, batch["node_mask"], batch["ranks"])

    def decoded(length):
        decoder = IncrementalDecoder(model.transformer, graph.features, graph.mask)
        return generate(
            decoder, model.token_embedding, model.caption_head, offset=0.0, max_words=10, length=length,
            temperature=temperature, seeds=[0, 1, 2],
        )  # fmt: skip

    assert ((decoded(4) != END).sum(1) == 4).all()
    free = decoded(None)
    assert free.shape == (3, 10)
    assert (free < LEXICON.size).all()
    assert not (free == UNKNOWN).any()
    ended = (free == END).cumsum(1) > 0
    assert (free[ended] == END).all()


def test_several_captions_of_a_graph_are_distinct_and_do_not_depend_on_the_batch():
    model, batch = toy_model(decoder="autoregressive").eval(), toy_batch()
    levels = model.backbone(batch["image"])
    graph = model.subgraph(levels, model.adapt(levels, batch), batch, batch["node_mask"], batch["ranks"])
    found = model.write(graph, temperature=1.0, seeds=[5, 6, 7], num=4)
    assert found.shape == (12, 10)
    for row in range(3):
        own = found[4 * row : 4 * row + 4]
        assert len({tuple(one) for one in own.tolist()}) == 4
        alone = model.write(graph.select(torch.tensor([row])), temperature=1.0, seeds=[5 + row], num=4)
        assert torch.equal(own, alone)


def test_where_fewer_captions_exist_than_asked_for_they_come_again():
    model, batch = toy_model(decoder="autoregressive").eval(), toy_batch()
    levels = model.backbone(batch["image"])
    graph = model.subgraph(levels, model.adapt(levels, batch), batch, batch["node_mask"], batch["ranks"])
    words = LEXICON.size  # END and UNKNOWN among them, which a caption of one word can't be
    found = model.write(graph.select(torch.tensor([0])), temperature=1.0, seeds=[0], length=1, num=words)
    assert found.shape == (words, 10)
    assert len({tuple(one) for one in found.tolist()}) == words - 2
    assert not (found[:, 0] == UNKNOWN).any()


def test_weights_mean_what_they_meant():
    model, batch = golden.set_weights(toy_model(decoder="autoregressive")).eval(), toy_batch()
    levels = model.backbone(batch["image"])
    graph = model.subgraph(levels, model.adapt(levels, batch), batch, batch["node_mask"], batch["ranks"])
    logits, states = model.teacher_forced(batch["token_ids"], graph)
    found = [
        generate(
            IncrementalDecoder(model.transformer, graph.features, graph.mask), model.token_embedding,
            model.caption_head, offset=0.5, max_words=10, length=length, temperature=temperature, seeds=[3, 1, 2],
        )
        for length, temperature in ((None, 0.0), (4, 0.0), (None, 1.0))
    ]  # fmt: skip
    golden.same_as_before(
        "sgdiff autoregressive captions", logits=logits, graph=states.graph[graph.mask], captions=torch.stack(found),
        inputs=model.token_embedding(batch["token_ids"]),
    )  # fmt: skip
