"""The released size against a plain re-implementation of the public network, written here from its description.

The reference works on a dict of tensors with the names of the authors' checkpoints, filled with random numbers.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from segue.methods.reclmis.released import ReleasedConfig, ReleasedRecLMIS, from_released

BASE, C, GRID, TOKENS, HEADS, LAYERS = 2, 16, 2, 6, 4, 2
CONFIG = ReleasedConfig(widths=(BASE, 2 * BASE, 4 * BASE, C, C), grid=GRID, tokens=TOKENS, reconstruction_layers=LAYERS)
UPS = {4: (2 * C, 4 * BASE), 3: (8 * BASE, 2 * BASE), 2: (4 * BASE, BASE), 1: (2 * BASE, BASE)}
WORDS = [6, 4]  # real tokens of the two notes; the rest is padding, which has features of its own


class Text(torch.nn.Module):
    """A stand-in for CLIP's projected states."""

    width, max_tokens, frozen = C, TOKENS, True

    def __init__(self):
        super().__init__()
        self.states = torch.nn.Parameter(torch.randn(2, TOKENS, C), requires_grad=False)

    def tokenize(self, notes):
        ids = torch.tensor([int(note) for note in notes])
        return ids, torch.stack([torch.arange(TOKENS) < WORDS[i] for i in ids])

    def forward(self, ids, mask):
        return self.states[ids]


def weights(seed=0):
    g = torch.Generator().manual_seed(seed)
    made = {}

    def tensor(name, *shape):
        made[name] = torch.randn(*shape, generator=g) / math.sqrt(max(1, math.prod(shape[1:])))

    def linear(name, out, width, *kernel):
        tensor(f"{name}.weight", out, width, *kernel)
        tensor(f"{name}.bias", out)

    def conv_norm(name, out, width, *kernel):
        linear(f"{name}.conv", out, width, *kernel)
        for part in ("bias", "running_mean"):
            tensor(f"{name}.norm.{part}", out)
        for part in ("weight", "running_var"):
            made[f"{name}.norm.{part}"] = torch.rand(out, generator=g) + 0.5
        made[f"{name}.norm.num_batches_tracked"] = torch.tensor(3)

    conv_norm("inc", BASE, 3, 3, 3)
    widths = CONFIG.widths
    for i in range(4):
        conv_norm(f"down{i + 1}.nConvs.0", widths[i + 1], widths[i], 3, 3)
        conv_norm(f"down{i + 1}.nConvs.1", widths[i + 1], widths[i + 1], 3, 3)
    for k, (joined, out) in UPS.items():
        conv_norm(f"up{k}.nConvs.0", out, joined, 3, 3)
        conv_norm(f"up{k}.nConvs.1", out, out, 3, 3)
        skip = joined // 2
        tensor(f"up{k}.pixModule.conv_avg.weight", skip, skip, 1, 1)
        tensor(f"up{k}.pixModule.conv_max.weight", skip, skip, 1, 1)
        linear(f"up{k}.pixModule.bottleneck.0", 6, 3)
        linear(f"up{k}.pixModule.bottleneck.2", 1, 6)
        linear(f"up{k}.pixModule.conv_sig.0", skip, skip, 1, 1)  # which the authors' network doesn't use
    linear("outc", 1, BASE, 1, 1)
    linear("text_module4", C, C, 3)
    linear("interact.embeddings.patch_embeddings", C, C, 1, 1)
    tensor("interact.embeddings.position_embeddings", 1, GRID**2, C)
    conv_norm("interact.CTBN", C, C, 3)
    attentions = ["interact.attn_text", "interact.attn_img"]
    for mlp in ("mlp_visual", "mlp_woi"):
        linear(f"{mlp}.0", C, C)
        linear(f"{mlp}.2", 1, C)
    for which in ("rec_img_trans1", "rec_text_trans1"):
        for at in (f"{which}.decoder{d}.decoder_layers.{i}" for d in (1, 2) for i in range(LAYERS)):
            attentions += [f"{at}.self_attn", f"{at}.encoder_attn"]
            for norm in ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"):
                linear(f"{at}.{norm}", C, 1)
                made[f"{at}.{norm}.weight"] = made[f"{at}.{norm}.weight"][:, 0]
            linear(f"{at}.fc1", 2 * C, C)
            linear(f"{at}.fc2", C, 2 * C)
    for at in attentions:
        tensor(f"{at}.in_proj_weight", 3 * C, C)
        tensor(f"{at}.in_proj_bias", 3 * C)
        linear(f"{at}.out_proj", C, C)
    tensor("clip.positional_embedding", 3, C)
    return made


class Reference:
    """The public network in evaluation mode; x is BGR."""

    def __init__(self, w):
        self.w = w

    def conv_norm(self, x, name):
        w, convolve = self.w, F.conv1d if x.dim() == 3 else F.conv2d
        x = convolve(x, w[f"{name}.conv.weight"], w[f"{name}.conv.bias"], padding=1)
        moments = (w[f"{name}.norm.running_mean"], w[f"{name}.norm.running_var"])
        return F.batch_norm(x, *moments, w[f"{name}.norm.weight"], w[f"{name}.norm.bias"]).relu()

    def linear(self, x, name):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def attention(self, query, memory, name, condition=None, causal=False):
        weight, bias = (self.w[f"{name}.in_proj_{part}"].chunk(3) for part in ("weight", "bias"))
        q, k, v = (x @ w.T + b for x, w, b in zip((query, memory, memory), weight, bias, strict=True))
        heads = []
        for q_h, k_h, v_h in zip(q.chunk(HEADS, -1), k.chunk(HEADS, -1), v.chunk(HEADS, -1), strict=True):
            score = q_h @ k_h.mT / math.sqrt(C // HEADS)
            if causal:
                score = score + torch.full(score.shape[-2:], -torch.inf).triu(1)
            weight = score.softmax(-1)
            if condition is not None:
                weight = weight * (condition[:, None] + 1e-10)
                weight = weight / weight.sum(-1, keepdim=True)
            heads.append(weight @ v_h)
        return self.linear(torch.cat(heads, -1), f"{name}.out_proj")

    def layer_norm(self, x, name):
        return F.layer_norm(x, (C,), self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def stack(self, x, memory, name, own_condition, memory_condition):
        for i in range(LAYERS):
            at = f"{name}.decoder_layers.{i}"
            x = x + self.attention(x, x, f"{at}.self_attn", own_condition, causal=True)
            x = self.layer_norm(x, f"{at}.self_attn_layer_norm")
            if memory is not None:
                x = x + self.attention(x, memory, f"{at}.encoder_attn", memory_condition)
                x = self.layer_norm(x, f"{at}.encoder_attn_layer_norm")
            fed = self.linear(self.linear(x, f"{at}.fc1").relu(), f"{at}.fc2")
            x = self.layer_norm(x + fed, f"{at}.final_layer_norm")
        return x

    def reconstruct(self, masked, memory, condition, name):
        encoded = self.stack(memory, None, f"{name}.decoder1", condition, None)
        return self.stack(masked, encoded, f"{name}.decoder2", None, condition)

    def pixel_attention(self, x, name):
        mean = F.conv2d(x, self.w[f"{name}.conv_avg.weight"]).relu().mean(1)
        high = F.conv2d(x, self.w[f"{name}.conv_max.weight"]).relu().amax(1)
        three = torch.stack([mean, high, mean + high], -1)
        hidden = self.linear(three, f"{name}.bottleneck.0").relu()
        return x * self.linear(hidden, f"{name}.bottleneck.2")[..., 0][:, None]

    def __call__(self, x, states, words):
        levels = [self.conv_norm(x, "inc")]
        for i in range(1, 5):
            down = F.max_pool2d(levels[-1], 2)
            for j in range(2):
                down = self.conv_norm(down, f"down{i}.nConvs.{j}")
            levels.append(down)
        e = F.conv1d(states.mT, self.w["text_module4.weight"], self.w["text_module4.bias"], padding=1).mT
        v = levels[4].flatten(2).mT
        at = "interact.embeddings"
        patches = F.conv2d(levels[4], self.w[f"{at}.patch_embeddings.weight"], self.w[f"{at}.patch_embeddings.bias"])
        patches = patches.flatten(2).mT + self.w[f"{at}.position_embeddings"]
        read = self.attention(e, patches, "interact.attn_text")
        seen = self.attention(patches, read, "interact.attn_img")
        mixed = self.conv_norm(read.mT, "interact.CTBN").mT
        w_poi = self.linear(self.linear(seen, "mlp_visual.0").relu(), "mlp_visual.2")[..., 0].softmax(1)
        score = self.linear(self.linear(mixed, "mlp_woi.0").relu(), "mlp_woi.2")[..., 0]
        w_woi = score.masked_fill(~words, -torch.inf).softmax(1)
        y = seen.mT.unflatten(2, (GRID, GRID))
        for k, skip in zip((4, 3, 2, 1), levels[3::-1], strict=True):
            y = torch.cat([self.pixel_attention(skip, f"up{k}.pixModule"), F.interpolate(y, scale_factor=2)], 1)
            for j in range(2):
                y = self.conv_norm(y, f"up{k}.nConvs.{j}")
        y = F.conv2d(y, self.w["outc.weight"], self.w["outc.bias"])
        return {"logits": y, "v": v, "e": e, "v_attended": seen, "e_attended": mixed, "w_poi": w_poi, "w_woi": w_woi}


@pytest.fixture
def both():
    torch.manual_seed(0)
    network = ReleasedRecLMIS(CONFIG, Text())
    theirs = weights()
    found = network.load_state_dict(from_released(theirs), strict=False)
    assert found.missing_keys == ["text_encoder.states"]
    assert found.unexpected_keys == []
    return network.eval(), Reference(theirs)


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_logits_and_conditions_are_the_public_network_s(both):
    network, reference = both
    rgb, notes = torch.rand(2, 3, 32, 32), ["0", "1"]
    ids, words = network.text_encoder.tokenize(notes)
    states = network.text_encoder(ids, words)
    theirs = reference(rgb.flip(1), states, words)
    assert theirs["logits"].std() > 0.01
    same(network(rgb, notes), theirs["logits"])
    assert not torch.allclose(network(rgb, notes[::-1]), theirs["logits"], atol=1e-3)
    _, f = network._segment(rgb, states)
    for name in ("v", "e", "v_attended", "e_attended"):
        same(f[name], theirs[name])
    w_poi, w_woi = network.conditions(f["v_attended"], f["e_attended"], words)
    same(w_poi, theirs["w_poi"])
    same(w_woi, theirs["w_woi"])
    assert (w_woi[1, 4:] == 0).all()


def test_reconstructions_are_the_public_network_s(both):
    network, reference = both
    v, e = torch.randn(2, GRID**2, C), torch.randn(2, TOKENS, C)
    w_poi, w_woi = torch.rand(2, GRID**2).softmax(1), torch.rand(2, TOKENS).softmax(1)
    same(network.vision_reconstructor(v, e, w_woi), reference.reconstruct(v, e, w_woi, "rec_img_trans1"))
    same(network.language_reconstructor(e, v, w_poi), reference.reconstruct(e, v, w_poi, "rec_text_trans1"))


def test_padding_is_read_as_the_authors_do(both):
    """Their image branch attends to all 18 positions: with other padding the mask is another."""
    network, _ = both
    rgb = torch.rand(1, 3, 32, 32)
    before = network(rgb, ["1"])
    network.text_encoder.states.data[1, 5] += 100
    assert not torch.equal(network(rgb, ["1"]), before)


def test_a_step_of_training_has_all_terms_and_reaches_every_weight():
    torch.manual_seed(0)
    network = ReleasedRecLMIS(CONFIG, Text()).train()
    batch = {"image": torch.rand(3, 3, 32, 32), "mask": torch.rand(3, 1, 32, 32).round(), "seed": [1, 2, 3]}
    terms = network.training_step(batch | {"note": ["0", "1", None]})
    assert set(terms) == {"v2t", "t2v", "ccl", "segmentation", "loss"}
    terms["loss"].backward()
    trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
    # the last score's bias and the keys' biases cancel in a softmax
    dead = [n for n, p in trained.items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [n for n in dead if not n.endswith(".k.bias")] == []
    lean = ReleasedRecLMIS(CONFIG, Text(), training=False)
    assert not any("reconstructor" in name for name in lean.state_dict())
