"""SynTIC: Eq. 5 and 6 as printed, what each system's prefix is made of, gradients, captions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import golden
from segue.methods.syntic import SIZES, SYSTEMS, SupportSet, Syntic, SynticConfig, build_syntic, system_config
from segue.nn.decoding import decode
from segue.options import Decoding
from segue.types import InputError

TINY = SynticConfig(width=16, layers=2, heads=2, max_tokens=6, dropout=0.0)
D, V, END = 12, 9, 1
TRAINED = [name for name in SYSTEMS if name != "clipre"]


def model(config=TINY, seed=0) -> Syntic:
    torch.manual_seed(seed)
    made = build_syntic(config, vocabulary=V, encoder_width=D, end=END, suppressed_token_ids=[0])
    for p in made.decoder.parameters():
        if p.ndim > 1:
            torch.nn.init.normal_(p, std=0.3)
    return made


def features(n, seed=0):
    return F.normalize(torch.randn(n, D, generator=torch.Generator().manual_seed(seed)), dim=1)


def batch():
    found = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])
    return {
        "tokens": torch.tensor(
            [[5, 3, 1, 0], [4, 1, 0, 0], [7, 0, 2, 1]]
        ),  # 0 is padding's number and a real token too
        "real": torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]).bool(),
        "image": features(3, 1),
        "query": features(3, 6),
        "projected": features(3, 2),
        "text": features(3, 3),
        "neighbours": features(48, 5).view(3, 16, D),
        "objects": features(9, 4).view(3, 3, D),
        "found": found,
    }


def support(n=30):
    return SupportSet(features(n, 9).numpy(), [f"caption {i}" for i in range(n)])


def test_equation_5_as_printed():
    attention = model().object_attention
    b = batch()
    got = attention(b["image"], b["objects"], b["found"])
    width, heads = 16, 2
    for i in range(3):
        names = b["objects"][i][b["found"][i]] if b["found"][i].any() else attention.null_object[None]
        outputs = []
        for h in range(heads):
            rows = slice(h * width // heads, (h + 1) * width // heads)
            q = attention.q.weight[rows] @ b["image"][i] + attention.q.bias[rows]
            k = names @ attention.k.weight[rows].T
            v = names @ attention.v.weight[rows].T + attention.v.bias[rows]
            outputs.append((k @ q / math.sqrt(width / heads)).softmax(0) @ v)
        torch.testing.assert_close(got[i], attention.out(torch.cat(outputs)), atol=1e-5, rtol=1e-5)


def test_padded_names_and_names_left_out_are_the_same():
    attention, b = model().object_attention, batch()
    noise = torch.where(b["found"][..., None], b["objects"], 99 * torch.randn(3, 3, D))
    torch.testing.assert_close(
        attention(b["image"], b["objects"], b["found"]), attention(b["image"], noise, b["found"])
    )
    nothing = attention(b["image"][1:2], torch.zeros(1, 0, D), torch.zeros(1, 0, dtype=torch.bool))
    torch.testing.assert_close(nothing, attention(b["image"], b["objects"], b["found"])[1:2])


def test_equation_6_as_printed():
    net, b = model(), batch()
    prefix = net.prefix(b["projected"], b["query"], b["objects"], b["found"])
    total = count = 0
    for i in range(3):
        said = b["tokens"][i][b["real"][i]].tolist()
        for place, token in enumerate(said):
            logits = net.decoder(prefix[i : i + 1], torch.tensor([said[:place]], dtype=torch.int64))[0, -1]
            total, count = total - logits.log_softmax(0)[token].item(), count + 1
    assert count == 9  # the real 0 in the last caption counts
    assert net.training_step(b)["loss"].item() == pytest.approx(total / count, abs=1e-5)


def test_the_number_of_the_padding_does_not_matter():
    net, b = model(), batch()
    other = b | {"tokens": torch.where(b["real"], b["tokens"], torch.full_like(b["tokens"], 8))}
    assert torch.equal(net.training_step(b)["loss"], net.training_step(other)["loss"])


def test_no_token_sees_a_later_one():
    net, b = model(), batch()
    prefix = net.prefix(b["image"])
    changed = b["tokens"].clone()
    changed[:, 2:] = 3
    before, after = net.decoder(prefix, b["tokens"]), net.decoder(prefix, changed)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert (before[:, 3:] - after[:, 3:]).abs().max() > 1e-3


@pytest.mark.parametrize("system", TRAINED)
def test_every_parameter_gets_a_gradient(system):
    net = model(system_config(TINY, system))
    b = batch() | {"tokens": torch.tensor([[2, 3, 4, 1, 0, 1, 1], [5, 6, 7, 1, 1, 1, 1], [8, 0, 2, 3, 4, 5, 1]])}
    b["real"] = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]]).bool()
    net.training_step(b)["loss"].backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []
    # the last position reads the last token but one: every place has a gradient of its own
    assert (net.decoder.position.weight.grad.abs().sum(1)[: 6 + net.config.prefix_length] > 0).all()


@pytest.mark.parametrize(
    ("system", "reads"),
    [
        ("baseline", {"image"}), ("fo", {"image"}), ("fp", {"projected"}),
        ("af", {"image", "query", "objects", "found"}), ("fp_fo", {"projected"}),
        ("full", {"projected", "query", "objects", "found"}), ("decap", {"text"}),
        ("capdec", {"text"}), ("close", {"text"}), ("neighbours", {"projected", "text", "neighbours"}),
    ],
)  # fmt: skip
def test_a_system_reads_what_its_prefix_is_made_of_and_nothing_else(system, reads):
    net, b = model(system_config(TINY, system)), batch()
    needed = {name: b[name] for name in reads | {"tokens", "real"}}
    torch.manual_seed(0)
    alone = net.training_step(needed)["loss"]
    torch.manual_seed(0)
    assert torch.equal(alone, net.training_step(b)["loss"])
    for name in reads:
        with pytest.raises(KeyError):
            net.training_step({k: v for k, v in needed.items() if k != name})


def test_inference_of_each_system(monkeypatch):
    seen = {}
    b = batch()
    for system in TRAINED:
        net = model(system_config(TINY, system)).eval()
        monkeypatch.setattr(net, "prefix", lambda p, *rest, net=net: seen.update(p=p) or Syntic.prefix(net, p, *rest))
        net.generate(b["image"], support(), b["objects"], b["found"])
        projects = torch.allclose(seen["p"], support().project(b["image"]))
        assert projects == (system in ("fp", "fp_fo", "fp_af", "full", "decap", "neighbours"))


def test_noise_and_shift_are_on_the_text_features():
    b = batch()
    net = model(system_config(TINY, "capdec"))
    assert net.training_step(b)["loss"] != net.training_step(b)["loss"]
    calm = model(replace(system_config(TINY, "close"), noise=0.0))
    plain = calm.training_step(b)["loss"]
    assert torch.equal(plain, calm.training_step(b)["loss"])
    calm.estimate_shift(b["image"] * 7, b["text"] * 3)
    torch.testing.assert_close(calm.shift, (b["image"] - b["text"]).mean(0))
    expected = calm.decoder.loss(calm.prefix(b["text"] + calm.shift), b["tokens"], b["real"])
    assert torch.equal(calm.training_step(b)["loss"], expected)
    assert expected != plain


def test_the_prefix_has_one_token_for_the_picture_and_one_for_its_objects():
    b = batch()
    assert model(system_config(TINY, "fp")).prefix(b["image"]).shape == (3, 1, 16)
    full = model()
    assert full.prefix(b["image"]).shape == (3, 2, 16)
    torch.testing.assert_close(full.prefix(5 * b["image"]), full.prefix(b["image"]))  # normalised
    swapped = full.prefix(b["image"], b["projected"], b["objects"], b["found"])
    assert torch.equal(swapped[:, 0], full.prefix(b["image"])[:, 0])


def test_it_learns_captions_by_heart():
    net, b = model(replace(TINY, width=32)), batch()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        net.training_step(b)["loss"].backward()
        optimiser.step()
    assert net.training_step(b)["loss"] < 0.05
    net.eval()
    objects, found = b["objects"], b["found"]
    logits, cache = net.decoder.start(net.prefix(b["projected"], b["image"], objects, found))
    answers = decode(net.decoder.step, logits, cache, end=END, options=Decoding(max_tokens=6))
    assert [a[0].tokens for a in answers] == [[5, 3], [4], [7, 0, 2]]


def test_suppressed_tokens_are_never_generated_and_the_support_set_can_be_swapped():
    net = model().eval()
    v = features(8, 5)
    answers = [
        [one.tokens for one in each]
        for each in net.generate(v, support(), options=Decoding(num=4, beams=6, max_tokens=6))
    ]
    assert all(len({tuple(t) for t in one}) == 4 for one in answers)
    assert 0 not in {t for one in answers for tokens in one for t in tokens}
    other = SupportSet(features(30, 77).numpy())
    assert [one[0].tokens for one in net.generate(v, other)] != [one[0].tokens for one in net.generate(v, support())]


def test_twelve_systems_of_the_paper_and_one_of_ours():
    assert list(SYSTEMS) == [
        *("baseline", "fo", "fp", "af", "fo_af", "fp_fo", "fp_af", "full"),
        *("clipre", "capdec", "close", "decap", "neighbours"),
    ]
    eight = [system_config(TINY, name) for name in list(SYSTEMS)[:8]]
    assert len({(c.fo, c.fp, c.af) for c in eight}) == 8
    assert all(replace(TINY, **SYSTEMS[name]).width == 16 for name in SYSTEMS)
    assert (SIZES["faithful"].layers, SIZES["faithful"].heads) == (4, 4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: system_config(TINY, "zerocap"), "system 'zerocap': expected one of baseline, fo, fp"),
        (lambda: model(system_config(TINY, "clipre")), "retrieves captions and has nothing to train"),
        (lambda: SynticConfig(source="images"), "source: got 'images', expected image, text or none"),
        (lambda: SynticConfig(width=10, heads=4), "width: got 10, expected a multiple of heads = 4"),
        (lambda: SynticConfig(tau=0), "tau: got 0, expected more than 0"),
        (lambda: model().generate(features(2)), "projects pictures onto captions: pass support="),
        (lambda: model().generate(torch.zeros(2, 5), support()), "image features: got 5 columns, expected 12"),
        (lambda: model().generate(features(2), support(), options=Decoding(max_tokens=7)), "max_tokens: got 7"),
        (lambda: model().prefix(torch.zeros(2, 5)), "features: got 5 columns, expected 12"),
        (lambda: model().prefix(features(2), None, torch.zeros(2, 3, 5), torch.ones(2, 3)), "objects: got shape"),
        (lambda: model().generate(torch.from_numpy(np.zeros((2, 12), np.int64)), support()), "image features: .*int64"),
    ],
)  # fmt: skip
def test_bad_input(wrong, message):
    with pytest.raises(InputError, match=message):
        wrong()


@pytest.mark.parametrize("system", TRAINED)
def test_weights_mean_what_they_meant(system):
    net, b = golden.set_weights(model(system_config(TINY, system))), batch()
    torch.manual_seed(0)
    loss = net.training_step(b | {"query": b["image"]})["loss"]
    net.eval()
    near = b["neighbours"] if net.config.neighbours else None
    prefix = net.prefix(b["projected"], b["image"], b["objects"], b["found"], near)
    captions = net.generate(b["image"], support(), b["objects"], b["found"], options=Decoding(num=2, max_tokens=4))
    scores = torch.tensor([[one.score for one in some] for some in captions])
    golden.same_as_before(f"syntic {system}", loss=loss, prefix=prefix, scores=scores)


def test_fresh_weights_are_spread_as_they_were():
    torch.manual_seed(0)
    made = build_syntic(TINY, vocabulary=V, encoder_width=D, end=END, suppressed_token_ids=[0])
    golden.same_as_before("syntic fresh", spreads=[float(p.detach().std()) for p in made.parameters() if p.ndim > 1])


def test_neighbours_of_another_shape_are_refused():
    net, b = model(system_config(TINY, "neighbours")), batch()
    for wrong in (None, b["neighbours"][:, :-1], b["neighbours"][:2]):
        with pytest.raises(InputError, match=r"neighbours: got .*, expected the features of the nearest captions"):
            net.prefix(b["image"], neighbours=wrong)
