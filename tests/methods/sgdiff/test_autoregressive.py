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
