import pytest
import torch
import torch.nn.functional as F

import golden
from segue.methods.crossmodal.vq import UNKNOWN, LayoutVQ, VQConfig, balanced_loss, banded_cross_entropy, decoder_widths
from segue.types import InputError


def layouts(n=4, size=32, classes=4, seed=0):
    """Three random boxes on a background each."""
    draw = torch.Generator().manual_seed(seed)
    made = torch.zeros(n, size, size, dtype=torch.uint8)
    for layout in made:
        for kind in range(1, classes):
            x, y = torch.randint(0, size - 8, (2,), generator=draw).tolist()
            layout[y : y + 8 + kind, x : x + 8] = kind
    return made


def tiny(**changes):
    torch.manual_seed(0)
    return LayoutVQ(VQConfig(**{"classes": 4, "factor": 4, "width": 32, "levels": (4, 3), **changes}))


def test_codes_and_values_are_two_names_of_one_thing():
    vq = tiny()
    codes = torch.arange(12).view(1, 3, 4)
    values = vq.values(codes)
    assert values.flatten(2)[0].T.unique(dim=0).shape == (12, 2)
    assert values.abs().max() == 1
    z = torch.logit((values + 1) / 2, eps=1e-4)
    assert (vq._codes(z) == codes).all()
    torch.testing.assert_close(vq.quantise(z), values)


def test_a_cell_has_its_code_whatever_lies_beside_it():
    vq, data = tiny(), layouts()
    changed = data.clone()
    changed[:, :, 4:] = 3 - changed[:, :, 4:]
    assert (vq.encode(changed)[:, :, 0] == vq.encode(data)[:, :, 0]).all()


def test_with_context_a_cell_sees_its_rim_and_no_further():
    vq, data = tiny(context=8), layouts()
    seen = vq.encoder(vq._embedded(data))[:, :, :, 0]
    for column, same in ((4, False), (5, True)):
        changed = data.clone()
        changed[:, :, column] = 3 - changed[:, :, column]
        again = vq.encoder(vq._embedded(changed))[:, :, :, 0]
        assert torch.allclose(seen, again, atol=1e-6) == same


def test_the_loss_in_bands_is_the_loss_in_one_piece_with_its_gradient():
    torch.manual_seed(0)
    features = torch.randn(2, 6, 70, 9, requires_grad=True)
    head = torch.nn.Conv2d(6, 5, 1)
    layout = torch.randint(0, 5, (2, 140, 18))
    layout[0, :7] = UNKNOWN
    whole = F.interpolate(features, scale_factor=2, mode="bilinear")
    weights = torch.tensor([1.0, 0.5, 2.0, 1.0, 3.0])
    naive = F.cross_entropy(head(whole), layout, weights, ignore_index=UNKNOWN, reduction="sum")
    ours = banded_cross_entropy(features, head, layout, weights)
    torch.testing.assert_close(ours, naive)
    for a, b in zip(
        torch.autograd.grad(ours, [features, head.weight]),
        torch.autograd.grad(naive, [features, head.weight]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_rare_class_counts_by_the_root_of_its_pixels():
    features = torch.zeros(1, 3, 4, 4)
    layout = torch.zeros(1, 8, 8, dtype=torch.int64)
    layout[0, 0, :4] = 1  # 4 pixels against 52
    layout[0, 7] = UNKNOWN
    head = torch.nn.Conv2d(3, 2, 1)
    torch.nn.init.zeros_(head.weight)
    head.bias.data = torch.tensor([0.0, 1.0])
    rare, common = (-torch.log_softmax(head.bias.data, 0)[k] for k in (1, 0))
    a, b = 4**0.5, 52**0.5
    torch.testing.assert_close(balanced_loss(features, head, layout, 2), (a * rare + b * common) / (a + b))


def test_a_few_layouts_are_learned_and_come_back():
    vq, data = tiny(), layouts()
    optimiser = torch.optim.AdamW(vq.parameters(), 5e-3)
    for _ in range(150):
        optimiser.zero_grad()
        vq.training_step({"layout": data})["loss"].backward()
        optimiser.step()
    codes = vq.encode(data)
    assert codes.shape == (4, 8, 8)
    assert codes.max() < vq.config.codes
    assert (vq.decode(codes) == data).float().mean() > 0.97


def test_unknown_pixels_cost_nothing():
    vq, data = tiny(), layouts()
    before = vq.training_step({"layout": data})["loss"]
    hidden = data.clone()
    hidden[:, :4] = UNKNOWN
    assert vq.training_step({"layout": hidden})["loss"] != before
    assert torch.isfinite(vq.training_step({"layout": torch.full_like(data, UNKNOWN)})["loss"])


def test_the_decoder_narrows_towards_full_resolution():
    assert decoder_widths(VQConfig(classes=3, factor=16, width=96)) == [96, 48, 32, 32]


def test_unknown_is_no_class():
    vq = tiny()
    unknown, last = (vq._embedded(torch.full((1, 4, 4), value)) for value in (UNKNOWN, 3))
    assert not torch.equal(unknown, last)


def test_training_reaches_every_parameter():
    vq = tiny()
    vq.training_step({"layout": layouts()})["loss"].backward()
    missing = [n for n, p in vq.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missing == []


def test_other_sizes_and_bad_ones():
    vq = tiny()
    assert vq.decode(vq.encode(torch.zeros(1, 16, 40, dtype=torch.uint8))).shape == (1, 16, 40)
    with pytest.raises(InputError, match="sides that 4 divides"):
        vq.encode(torch.zeros(1, 18, 16, dtype=torch.uint8))
    with pytest.raises(InputError, match="a power of two from 4"):
        VQConfig(classes=3, factor=6)
    with pytest.raises(InputError, match="a power of two from 4"):
        VQConfig(classes=3, factor=2)
    with pytest.raises(InputError, match="expected 2 to 255"):
        VQConfig(classes=256)


def test_weights_mean_what_they_meant():
    for factor in (4, 8):
        vq = golden.set_weights(tiny(factor=factor)).eval()
        data = layouts(size=64)
        data[0, :9, :9] = UNKNOWN
        codes = vq.encode(data)
        loss = vq.training_step({"layout": data})["loss"]
        golden.same_as_before(
            f"vq {factor}", codes=codes, values=vq.values(codes), decoded=vq.decode(codes), loss=loss,
            quantised=vq.quantise(golden.inputs("z", 1, len(vq.config.levels), 3, 3)),
        )  # fmt: skip
