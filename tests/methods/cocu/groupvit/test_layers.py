"""GroupViT's layers: noise and drop path."""

from dataclasses import replace

import pytest
import torch

import golden
from methods.cocu.groupvit.tiny_groupvit import TINY, make_model
from segue.methods.cocu.groupvit.layers import (
    Assignment,
    Attention,
    CrossAttentionLayer,
    GroupingBlock,
    Stage,
    TokenMLP,
    one_hot,
)


def test_noise_and_drop_path_in_training_only():
    model, image = make_model(image_size=32, patch=8, drop_path=0.5), torch.randn(2, 3, 32, 32)
    model.eval()
    assert torch.equal(model.encode_image(image).groups, model.encode_image(image).groups)
    model.train()
    assert not torch.equal(model.encode_image(image).groups, model.encode_image(image).groups)


def test_drop_path_keeps_the_mean_and_rises_with_depth():
    model = make_model(drop_path=0.3)
    layers = [layer for stage in model.vision_model.encoder["stages"] for layer in stage.layers]
    assert [round(layer.drop, 4) for layer in layers] == [0.0, 0.1, 0.2, 0.3]
    assert {layer.drop for layer in model.text_model.encoder["layers"]} == {0.0}
    torch.manual_seed(0)
    dropped = layers[3].train()._drop_path(torch.ones(20_000, 1, 1))
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0, 1 / 0.7])


def test_one_hot_is_at_every_tokens_best_group():
    scores = torch.tensor([[[0.1, 3.0, -1.0], [0.2, 2.0, 0.0]]])
    assert one_hot(scores).tolist() == [[[0, 1, 0], [1, 0, 1]]]


@torch.no_grad()
def test_groups_are_sums_of_their_tokens_over_their_count():
    torch.manual_seed(0)
    assign = Assignment(4, eps=0.5).eval()
    groups, x = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    found, soft = assign(groups, x)
    logits = assign.q_proj(groups) @ assign.k_proj(x).transpose(1, 2) / 2  # sqrt(4)
    torch.testing.assert_close(soft, logits.softmax(1))
    for b in range(2):
        own = [[n for n in range(5) if int(logits[b, :, n].argmax()) == g] for g in range(3)]
        for g, tokens in enumerate(own):
            total = sum((assign.v_proj(x[b, n]) for n in tokens), torch.zeros(4))
            torch.testing.assert_close(found[b, g], assign.proj(total / (len(tokens) + 0.5)))


@torch.no_grad()
def test_causal_attention_does_not_see_what_follows():
    torch.manual_seed(0)
    attention, x = Attention(8, 2), torch.randn(1, 5, 8)
    changed = x.clone()
    changed[:, 3:] += 1
    before, after = attention(x, x, causal=True), attention(changed, changed, causal=True)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(attention(x, x)[:, :3], attention(changed, changed)[:, :3])


@torch.no_grad()
def test_a_token_mlp_mixes_tokens_and_not_channels():
    torch.manual_seed(0)
    mixer, x = TokenMLP(5, 8, 3, "gelu"), torch.randn(1, 5, 4)
    changed = x.clone()
    changed[..., 2] += 1
    before, after = mixer(x), mixer(changed)
    assert before.shape == (1, 3, 4)
    torch.testing.assert_close(before[..., [0, 1, 3]], after[..., [0, 1, 3]])
    assert not torch.allclose(before[..., 2], after[..., 2])


def test_a_stage_without_group_tokens_only_transforms():
    stage, x = Stage(TINY, 2, [0.0]), torch.randn(2, 3, 32)
    out, groups, assignment = stage(x, None)
    assert out.shape == x.shape
    assert groups is assignment is None
    assert len(stage.layers) == 1


def test_the_next_stages_group_tokens_are_projected_from_the_last():
    model = make_model(image_size=32, patch=8).eval()
    first, second = model.vision_model.encoder["stages"][:2]
    assert first.group_projector is None
    x, groups = torch.randn(1, 6, 32), torch.randn(1, 6, 32)
    with torch.no_grad():
        torch.nn.init.normal_(second.group_token)
        one, two = second(x, groups), second(x, 2 * groups + 1)
    assert one[1].shape == (1, 3, 32)
    assert not torch.allclose(one[1], two[1])


def test_weights_mean_what_they_meant():
    torch.manual_seed(0)
    c = replace(TINY, norm_eps=0.01, assign_eps=0.5)
    parts = {"cross": CrossAttentionLayer(c), "grouping": GroupingBlock(c, 6, 3), "stage": Stage(c, 1, [0.0])}
    for part in parts.values():
        golden.set_weights(part).eval()
    x, groups = golden.inputs("x", 2, 5, 32), golden.inputs("groups", 2, 6, 32)
    found = {"cross": parts["cross"](groups, x)}
    found["grouped"], found["soft"] = parts["grouping"](x, groups)
    found["stage"], found["tokens"], found["assignment"] = parts["stage"](x, groups)
    golden.same_as_before("groupvit layers", **found)
    hidden = [int(factor * 32) for factor in (c.token_mlp, c.channel_mlp)]
    block = parts["grouping"]
    assert [block.mlp_inter.fc1.out_features, block.mlp_channels.fc1.out_features] == hidden
    assert parts["stage"].group_projector[1].fc1.out_features == 16
