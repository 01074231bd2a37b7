"""LViT against a plain re-implementation of the public network, written here from its description.

The reference works on a dict of tensors with the names of the authors' checkpoints, filled with random numbers.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from segue.methods.lvit import LViT, LViTConfig, from_released
from segue.types import InputError

W, SIZE, TOKENS, TEXT, HEADS, SIDE = 8, 32, 5, 12, 4, 4
CONFIG = LViTConfig(width=W, image_size=SIZE, stride=8, tokens=TOKENS, heads=HEADS)
WIDTHS = (W, 2 * W, 4 * W, 8 * W)
CELLS = (8, 4, 2, 1)


class Text(torch.nn.Module):
    width, max_tokens, frozen = TEXT, TOKENS, True

    def __init__(self):
        super().__init__()
        self.states = torch.nn.Parameter(torch.randn(2, TOKENS, TEXT), requires_grad=False)

    def tokenize(self, notes):
        return torch.tensor([int(n) for n in notes]), torch.ones(len(notes), TOKENS, dtype=torch.bool)

    def forward(self, ids, mask):
        return self.states[ids]


def weights():
    g, made = torch.Generator().manual_seed(0), {}

    def linear(name, out, width, *kernel):
        shape = (out, width, *kernel)
        made[f"{name}.weight"] = torch.randn(shape, generator=g) / math.sqrt(math.prod(shape[1:]))
        made[f"{name}.bias"] = torch.randn(out, generator=g)

    def norm(name, width):
        for part in ("weight", "bias"):
            made[f"{name}.{part}"] = torch.randn(width, generator=g)

    def conv_norm(name, out, width, *kernel):
        linear(f"{name}.conv", out, width, *kernel)
        norm(f"{name}.norm", out)
        made[f"{name}.norm.running_mean"] = torch.randn(out, generator=g)
        for part in ("weight", "running_var"):
            made[f"{name}.norm.{part}"] = torch.rand(out, generator=g) + 0.5
        made[f"{name}.norm.num_batches_tracked"] = torch.tensor(2)

    conv_norm("inc", W, 3, 3, 3)
    for i, width in enumerate(WIDTHS):
        suffix, deeper, out = str(i) if i else "", WIDTHS[min(i + 1, 3)], WIDTHS[max(i - 1, 0)]
        for j, (c_out, c_in) in enumerate(((deeper, width), (deeper, deeper))):
            conv_norm(f"down{i + 1}.nConvs.{j}", c_out, c_in, 3, 3)
        for j, (c_out, c_in) in enumerate(((out, 2 * width), (out, out))):
            conv_norm(f"up{i + 1}.nConvs.{j}", c_out, c_in, 3, 3)
        for part in ("conv_avg", "conv_max"):
            linear(f"up{i + 1}.pixModule.{part}", width, width, 1, 1)
        linear(f"up{i + 1}.pixModule.bottleneck.0", 6, 3)
        linear(f"up{i + 1}.pixModule.bottleneck.2", 1, 6)
        linear(f"text_module{4 - i}", WIDTHS[3 - i], WIDTHS[4 - i] if i else TEXT, 3)
        conv_norm(f"reconstruct{i + 1}", width, width, 1, 1)
        linear(f"downVit{suffix}.embeddings.patch_embeddings", width, width, CELLS[i], CELLS[i])
        made[f"downVit{suffix}.embeddings.position_embeddings"] = torch.randn(1, SIDE**2, width, generator=g)
        for at in (f"downVit{suffix}", f"upVit{suffix}"):
            block = f"{at}.Encoder_blocks.0"
            norm(f"{block}.norm1", width)
            norm(f"{block}.norm2", width)
            linear(f"{block}.attn.qkv", 3 * width, width)
            linear(f"{block}.attn.proj", width, width)
            linear(f"{block}.mlp.fc1", 4 * width, width)
            linear(f"{block}.mlp.fc2", width, 4 * width)
            conv_norm(f"{at}.CTBN", width // 2, width, 3)
            conv_norm(f"{at}.CTBN2", width, 2 * width, 3)
    conv_norm("downVit.CTBN3", SIDE**2, TOKENS, 3)
    linear("outc", 1, W, 1, 1)
    return made


class Reference:
    """The public network in evaluation mode."""

    def __init__(self, w):
        self.w = w

    def conv_norm(self, x, name, padding=1):
        w, convolve = self.w, F.conv1d if x.dim() == 3 else F.conv2d
        x = convolve(x, w[f"{name}.conv.weight"], w[f"{name}.conv.bias"], padding=padding)
        moments = (w[f"{name}.norm.running_mean"], w[f"{name}.norm.running_var"])
        return F.batch_norm(x, *moments, w[f"{name}.norm.weight"], w[f"{name}.norm.bias"]).relu()

    def linear(self, x, name):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def layer_norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def block(self, x, name):
        q, k, v = self.linear(self.layer_norm(x, f"{name}.norm1"), f"{name}.attn.qkv").chunk(3, -1)
        heads = []
        for q_h, k_h, v_h in zip(q.chunk(HEADS, -1), k.chunk(HEADS, -1), v.chunk(HEADS, -1), strict=True):
            heads.append((q_h @ k_h.mT / math.sqrt(q_h.shape[-1])).softmax(-1) @ v_h)
        x = x + self.linear(torch.cat(heads, -1), f"{name}.attn.proj")
        hidden = F.gelu(self.linear(self.layer_norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
        return x + F.gelu(self.linear(hidden, f"{name}.mlp.fc2"))

    def pixel_attention(self, x, name):
        mean = F.conv2d(x, self.w[f"{name}.conv_avg.weight"]).relu().mean(1)
        high = F.conv2d(x, self.w[f"{name}.conv_max.weight"]).relu().amax(1)
        three = torch.stack([mean, high, mean + high], -1)
        hidden = self.linear(three, f"{name}.bottleneck.0").relu()
        return x * self.linear(hidden, f"{name}.bottleneck.2")[..., 0][:, None]

    def __call__(self, image, states):
        w, x = self.w, [self.conv_norm(image, "inc")]
        for i in range(1, 5):
            down = F.max_pool2d(x[-1], 2)
            for j in range(2):
                down = self.conv_norm(down, f"down{i}.nConvs.{j}")
            x.append(down)
        text = states
        for k in (4, 3, 2, 1):
            text = F.conv1d(text.mT, w[f"text_module{k}.weight"], w[f"text_module{k}.bias"], padding=1).mT
        y = []
        for i, suffix in enumerate(("", "1", "2", "3")):
            at = f"downVit{suffix}"
            patch = f"{at}.embeddings.patch_embeddings"
            t = F.conv2d(x[i], w[f"{patch}.weight"], w[f"{patch}.bias"], stride=CELLS[i]).flatten(2).mT
            t = t + w[f"{at}.embeddings.position_embeddings"]
            if i == 0:
                t = t + self.conv_norm(text, "downVit.CTBN3")
            t = self.block(t, f"{at}.Encoder_blocks.0")
            y.append(t if i == 0 else torch.cat([self.conv_norm(t.mT, f"{at}.CTBN").mT, y[-1]], 2))
        y[3] = self.block(y[3], "upVit3.Encoder_blocks.0")
        for i, suffix in ((2, "2"), (1, "1"), (0, "")):
            below = self.conv_norm(y[i + 1].mT, f"upVit{suffix}.CTBN2").mT
            y[i] = self.block(y[i], f"upVit{suffix}.Encoder_blocks.0") + below
        out = x[4]
        for i in (3, 2, 1, 0):
            tokens = y[i].mT.unflatten(2, (SIDE, SIDE)).repeat_interleave(CELLS[i], 2).repeat_interleave(CELLS[i], 3)
            skip = self.conv_norm(tokens, f"reconstruct{i + 1}", padding=0) + x[i]
            up = out.repeat_interleave(2, 2).repeat_interleave(2, 3)
            out = torch.cat([self.pixel_attention(skip, f"up{i + 1}.pixModule"), up], 1)
            for j in range(2):
                out = self.conv_norm(out, f"up{i + 1}.nConvs.{j}")
        return F.conv2d(out, w["outc.weight"], w["outc.bias"])


def test_the_network_is_the_public_one():
    torch.manual_seed(0)
    network, theirs = LViT(CONFIG, Text()), weights()
    found = network.load_state_dict(from_released(theirs), strict=False)
    assert found.missing_keys == ["text_encoder.states"]
    assert found.unexpected_keys == []
    image, states = torch.rand(2, 3, SIZE, SIZE), network.text_encoder.states
    expected = Reference(theirs)(image, states)
    scale = expected.abs().max()
    torch.testing.assert_close(network.eval()(image, ["0", "1"]) / scale, expected / scale, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(network(image, ["1", "0"]), expected)


def test_a_step_of_training_reaches_every_weight():
    torch.manual_seed(0)
    network = LViT(CONFIG, Text()).train()
    batch = {"image": torch.rand(3, 3, SIZE, SIZE), "mask": torch.rand(3, 1, SIZE, SIZE).round(), "seed": [1, 2, 3]}
    terms = network.training_step(batch | {"note": ["0", "1", None]})
    terms["loss"].backward()
    trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
    assert [n for n, p in trained.items() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_paper_s_size_has_the_authors_parameters():
    """29.7 M in the papers' tables; the rest of their 39.9 M is never used."""
    network = LViT(LViTConfig(), Text())
    assert 25e6 < sum(p.numel() for n, p in network.named_parameters() if "text_encoder" not in n) < 30e6


@pytest.mark.parametrize("sizes", [{"image_size": 100}, {"stride": 4}, {"image_size": 224, "stride": 24}])
def test_sizes_that_do_not_fit(sizes):
    with pytest.raises(InputError, match="expected a size that is a multiple of 16 and of"):
        LViTConfig(**sizes)
