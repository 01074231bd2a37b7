from dataclasses import replace

import pytest
import torch
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.inference import (
    continue_caption,
    draw_codes,
    log_likelihood,
    start_caption,
    word_attention_maps,
)
from segue.methods.crossmodal.layers import project_memory
from segue.methods.crossmodal.model import build_crossmodal
from segue.methods.crossmodal.pretrained import load_pretrained_weights, pretrained_config
from segue.types import InputError

TINY = CrossModalConfig(codes=12, grid=(4, 4), patch=4, vocabulary=20, max_words=8, width=32, heads=4, depth=2)


def model(**changes):
    torch.manual_seed(0)
    return build_crossmodal(replace(TINY, **changes))


def batch(n=6, image=True):
    draw = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 12, (n, 4, 4), generator=draw)
    ids = torch.zeros(n, 8, dtype=torch.long)
    for row in range(n):
        length = 2 + row % 4
        ids[row, 0] = TINY.start
        ids[row, 1:length] = torch.randint(3, 20, (length - 1,), generator=draw)
        ids[row, length] = TINY.end
    picture = torch.rand(n, 3, 16, 16, generator=draw) if image else None
    return {"codes": codes, "ids": ids, "image": picture, "seed": list(range(n))}


@pytest.mark.parametrize("changes", [{}, {"attention": "separate"}, {"norms": "post"}])
def test_training_reaches_every_parameter(changes):
    network = model(**changes)
    network.training_step(batch())["loss"].backward()
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


def test_several_captions_of_a_layout_are_told_as_one_after_another():
    network, data = model(), batch()
    other = data["ids"].roll(1, 0)
    both = {**data, "ids": torch.stack([data["ids"], other], 1).flatten(0, 1), "asked": data["ids"]}
    apart = [network.training_step({**data, "ids": ids, "asked": data["ids"]})["text"] for ids in (data["ids"], other)]
    torch.testing.assert_close(network.training_step(both)["text"], torch.stack(apart).mean())


def test_words_said_one_by_one_are_words_said_at_once():
    network, data = model().eval(), batch()
    layout = network.encode_layouts(data["codes"], data["image"])
    whole, _ = network.word_logits(data["ids"], project_memory(network.word_cross_attention, layout), layout.mask)
    logits, told = start_caption(network, layout)
    torch.testing.assert_close(logits, whole[:, 0], rtol=1e-4, atol=1e-5)
    order = torch.tensor([5, 4, 3, 2, 1, 0])
    told = told.select(order)
    for step in range(1, data["ids"].shape[1]):
        logits, told = continue_caption(network, data["ids"][order, step], told)
        torch.testing.assert_close(logits, whole[order, step], rtol=1e-4, atol=1e-5)


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


def test_drawing_is_a_function_of_its_seeds_and_keeps_what_is_fixed():
    network, data = model().eval(), batch(3, image=False)
    ids = data["ids"]
    drawn = draw_codes(network, ids, (4, 4), seeds=[1, 2, 3], steps=4)
    assert drawn.max() < TINY.codes
    assert (drawn == draw_codes(network, ids, (4, 4), seeds=[1, 2, 3], steps=4)).all()
    alone = draw_codes(network, ids[1:2], (4, 4), seeds=[2], steps=4)
    assert (alone == drawn[1:2]).all()
    assert (drawn != draw_codes(network, ids, (4, 4), seeds=[4, 5, 6], steps=4)).any()
    fixed = torch.full((3, 4, 4), -1)
    fixed[:, :2] = 5
    kept = draw_codes(network, ids, (4, 4), seeds=[1, 2, 3], steps=4, fixed=fixed)
    assert (kept[:, :2] == 5).all()
    assert kept.max() < TINY.codes


def test_each_step_draws_its_share_of_the_blank_cells_in_an_order_of_the_seed(monkeypatch):
    network, data, seen = model().eval(), batch(2, image=False), []
    logits = network.code_logits
    monkeypatch.setattr(network, "code_logits", lambda codes, *rest: (seen.append(codes), logits(codes, *rest))[1])
    drawn = draw_codes(network, data["ids"][[0, 0]], (4, 4), seeds=[1, 2], steps=4, guidance=1)
    blank = [codes == network.cell_embedding.mask_code for codes in seen]
    assert [one.sum((1, 2)).tolist() for one in blank] == [[16, 16], [14, 14], [11, 11], [6, 6]]
    assert (blank[3][0] != blank[3][1]).any()
    for codes in seen:
        assert ((codes == drawn) | (codes == network.cell_embedding.mask_code)).all()  # what is drawn stays


def test_a_caption_s_likelihood_is_that_of_telling_it_word_by_word():
    network, data = model().eval(), batch(3)
    found = log_likelihood(network, data["ids"], data["codes"], data["image"])
    for row in range(3):
        caption = data["ids"][row : row + 1]
        with torch.inference_mode():
            logits, told = start_caption(
                network, network.encode_layouts(data["codes"][row : row + 1], data["image"][row : row + 1])
            )
            total = 0.0
            for word in caption[0, 1:]:
                if word == TINY.pad:
                    break
                total += float(logits.log_softmax(-1)[0, word])
                logits, told = continue_caption(network, word[None], told)
        assert float(found[row]) == pytest.approx(total, abs=1e-4)


def test_a_few_pairs_are_learned_both_ways():
    network, data = model(drop_image=1.0, drop_caption=0.0), batch(4, image=False)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for step in range(350):
        optimiser.zero_grad()
        network.training_step({**data, "seed": [4 * step + i for i in range(4)]})["loss"].backward()
        optimiser.step()
    network.eval()
    drawn = draw_codes(network, data["ids"], (4, 4), seeds=range(4), steps=4, guidance=1, temperature=0)
    assert (drawn == data["codes"]).float().mean() > 0.95
    layout = network.encode_layouts(data["codes"])
    logits, _ = network.word_logits(data["ids"], project_memory(network.word_cross_attention, layout), layout.mask)
    real = data["ids"][:, 1:] != TINY.pad
    assert (logits[:, :-1].argmax(-1) == data["ids"][:, 1:])[real].all()


def test_word_maps_share_each_cell_among_the_words():
    network, data = model().eval(), batch(2)
    maps = word_attention_maps(network, data["codes"], data["ids"], data["image"])
    assert maps.shape == (2, 8, 4, 4)
    torch.testing.assert_close(maps.sum(1), torch.ones(2, 4, 4))
    assert (maps[data["ids"] == TINY.pad] == 0).all()


def test_a_larger_grid_than_trained():
    network = model().eval()
    assert network.encode_layouts(torch.zeros(1, 6, 8, dtype=torch.long)).pooled.shape == (1, 32)


def test_starting_weights_are_the_bert_and_the_vit():
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    vit = ViTModel(ViTConfig(**shape, image_size=16, patch_size=4)).eval()
    bert = BertModel(BertConfig(**shape, vocab_size=20, max_position_embeddings=16)).eval()
    config = pretrained_config(vit, bert, codes=12, grid=(4, 4), max_words=8)
    network = build_crossmodal(config).eval()
    load_pretrained_weights(network, vit, bert)
    data = batch()
    with torch.no_grad():
        theirs = bert(input_ids=data["ids"], attention_mask=(data["ids"] != 0).long()).last_hidden_state
        ours = network.encode_captions(data["ids"])
        torch.testing.assert_close(ours.states[-1][ours.mask], theirs[ours.mask], rtol=1e-4, atol=1e-5)
        patches = vit.embeddings(data["image"])[:, 1:]
        torch.testing.assert_close(network.cell_embedding(data["codes"], data["image"]), patches, rtol=1e-4, atol=1e-5)
        for layer in vit.layers if hasattr(vit, "layers") else vit.encoder.layer:
            out = layer(patches)
            patches = out if torch.is_tensor(out) else out[0]
        seen = network.encode_layouts(data["codes"], data["image"]).states[-1]
        torch.testing.assert_close(seen, vit.layernorm(patches), rtol=1e-4, atol=1e-5)


def test_starting_weights_of_unequal_shapes_are_refused():
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 128}
    vit = ViTModel(ViTConfig(**shape, image_size=16, patch_size=4))
    bert = BertModel(BertConfig(**{**shape, "num_hidden_layers": 2}, vocab_size=20))
    with pytest.raises(InputError, match="expected equal ones"):
        pretrained_config(vit, bert, codes=12, grid=(4, 4))
