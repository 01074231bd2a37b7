"""Drawing, captioning and likelihood by a tiny joint model."""

import pytest
import torch

from methods.crossmodal.tiny_crossmodal import TINY, batch, model
from segue.methods.crossmodal.inference import (
    continue_caption,
    draw_codes,
    log_likelihood,
    start_caption,
    word_attention_maps,
)
from segue.methods.crossmodal.layers import project_memory
from segue.nn.stopping import Stopped, stop_when


def test_captioning_step_by_step_equals_one_pass():
    network, data = model().eval(), batch()
    layout = network.encode_layouts(data["codes"], data["image"])
    whole, _ = network.word_logits(data["ids"], project_memory(network.word_cross_attention, layout), layout.mask)
    logits, cache = start_caption(network, layout)
    torch.testing.assert_close(logits, whole[:, 0], rtol=1e-4, atol=1e-5)
    order = torch.tensor([5, 4, 3, 2, 1, 0])
    cache = cache.select(order)
    for step in range(1, data["ids"].shape[1]):
        logits, cache = continue_caption(network, data["ids"][order, step], cache)
        torch.testing.assert_close(logits, whole[order, step], rtol=1e-4, atol=1e-5)


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


def test_rows_with_more_cells_to_keep_draw_fewer_a_step():
    network, data = model().eval(), batch(2, image=False)
    fixed = torch.full((2, 4, 4), -1)
    fixed[1, :3] = 5
    drawn = draw_codes(network, data["ids"], (4, 4), seeds=[1, 2], steps=4, fixed=fixed)
    assert (drawn[1, :3] == 5).all()
    assert drawn.max() < network.cell_embedding.mask_code
    for row in range(2):
        alone = draw_codes(
            network, data["ids"][row : row + 1], (4, 4), seeds=[row + 1], steps=4, fixed=fixed[row : row + 1]
        )
        assert (alone[0] == drawn[row]).all()


def test_a_caption_s_likelihood_is_that_of_captioning_word_by_word():
    network, data = model().eval(), batch(3)
    found = log_likelihood(network, data["ids"], data["codes"], data["image"])
    for row in range(3):
        caption = data["ids"][row : row + 1]
        with torch.inference_mode():
            logits, cache = start_caption(
                network, network.encode_layouts(data["codes"][row : row + 1], data["image"][row : row + 1])
            )
            total = 0.0
            for word in caption[0, 1:]:
                if word == TINY.pad:
                    break
                total += float(logits.log_softmax(-1)[0, word])
                logits, cache = continue_caption(network, word[None], cache)
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


def test_drawing_stops_when_nobody_waits_for_it():
    network = model().eval()
    with stop_when(lambda: True), pytest.raises(Stopped):
        draw_codes(network, batch(1)["ids"], (4, 4), seeds=[0])
