from dataclasses import replace

import pytest
import torch

from methods.sgdiff.toys import EXAMPLES, LEXICON, TINY, rngs, toy_batch, toy_model
from segue.methods.sgdiff.batches import Example, collate
from segue.methods.sgdiff.checkpoint import restore, save
from segue.methods.sgdiff.config import SGDiffConfig, ablate_config
from segue.methods.sgdiff.model import build_sgdiff
from segue.types import InputError

SYSTEMS = (
    "full",
    "no_psga",
    "filter",
    "rank",
    "no_cross_attention",
    "mask_only",
    "caption_only",
    "mecl_none",
    "mecl_intra",
    "mecl_inter",
    "autoregressive",
)


def system(name, **more):
    torch.manual_seed(0)
    return build_sgdiff(replace(ablate_config(TINY, name), **more), LEXICON)


def lacking(model):
    return [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.abs().sum() > 0)
    ]


STAGES = [(name, stage) for name in SYSTEMS for stage in (1, 2)]


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_every_parameter_learns(name, stage):
    model = system(name)
    model.begin_stage(stage)
    for seed in range(4):  # both sides of the self-conditioning coin, and enough words
        torch.manual_seed(seed)
        terms = model.training_step(toy_batch(model.config, seed=seed))
        terms["loss"].backward()
        assert all(torch.isfinite(term) for term in terms.values())
    assert lacking(model) == []


@pytest.mark.parametrize("name", ["mecl_none", "mask_only"])  # MECL does tell rows of one picture from others
def test_rows_of_one_picture_are_taught_as_if_each_had_it_to_itself(name):
    model, twice = system(name), [example for example in EXAMPLES for _ in range(2)]
    shared = collate(EXAMPLES, LEXICON, model.config, rngs(6), "any")
    apart = collate(twice, LEXICON, model.config, rngs(6), "any")
    assert len(shared["image"]) == 3
    assert len(apart["image"]) == len(shared["ids"]) == 6
    losses = []
    for batch in (shared, apart):
        torch.manual_seed(0)
        losses.append(model.training_step(batch)["loss"])
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("changes", [{"cross_attention": False}, {"tasks": "mask"}, {"mecl": "none"}])
def test_every_parameter_of_the_rival_learns(changes):
    model = system("autoregressive", **changes)
    torch.manual_seed(0)
    model.training_step(toy_batch(model.config))["loss"].backward()
    assert lacking(model) == []


def test_a_detectors_features_are_read():
    model = toy_model(feature_width=5)
    features = torch.randn(3, 2, 5)
    batch = toy_batch() | {"features": features}
    levels = model.backbone(batch["image"])
    first = model.adapt(levels, batch).nodes
    assert not torch.allclose(first, model.adapt(levels, batch | {"features": features + 1}).nodes)


def test_the_terms_are_those_of_equation_13():
    names = {"adaptor", "ranking", "bit", "cross_entropy", "tag", "mask", "dice", "mecl"}
    torch.manual_seed(0)
    model = toy_model()
    terms = model.training_step(toy_batch())
    assert set(terms) == {"loss"} | names
    weights = {"adaptor": 2, "ranking": 2, "bit": 1, "cross_entropy": 1, "tag": 1, "mask": 5, "dice": 5, "mecl": 1}
    assert torch.allclose(terms["loss"], sum(weights[name] * terms[name] for name in names))


def test_the_first_stage_has_neither_masks_nor_contrast():
    model = toy_model()
    model.begin_stage(1)
    assert set(model.training_step(toy_batch())) == {"loss", "adaptor", "ranking", "bit", "cross_entropy", "tag"}
    frozen = {name.split(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"pixels", "masks", "contrast", "transformer"}
    model.begin_stage(2)
    assert all(p.requires_grad for p in model.parameters())


def test_half_of_the_steps_know_a_first_guess(monkeypatch):
    model, batch, seen = toy_model(), toy_batch(), []
    denoise = model.denoise

    def spy(x, snr, guess, graph, **options):
        if torch.is_grad_enabled():
            seen.append(bool(guess.any()))
            assert not guess.requires_grad
        return denoise(x, snr, guess, graph, **options)

    monkeypatch.setattr(model, "denoise", spy)
    torch.manual_seed(0)
    for _ in range(200):
        model.training_step(batch)
    assert 80 < sum(seen) < 120  # of 200, 2.8 standard deviations


def test_stages_that_are_not_are_refused():
    with pytest.raises(InputError, match="stage: got 3"):
        toy_model().begin_stage(3)
    toy_model(tasks="mask").begin_stage(1)
    with pytest.raises(InputError, match="stage: got 1, expected 2, or 1 where there are captions or an adaptor"):
        toy_model(tasks="mask", psga="none").begin_stage(1)


def test_the_loss_does_not_see_padded_nodes():
    batch = toy_batch()
    padded = dict(batch)
    for name in ("classes", "nodes", "relevant", "order", "known"):
        padded[name] = torch.nn.functional.pad(batch[name], (0, 2))
    padded["boxes"] = torch.nn.functional.pad(batch["boxes"], (0, 0, 0, 2))
    padded["features"] = torch.nn.functional.pad(batch["features"], (0, 0, 0, 2))
    padded["pairs"] = torch.nn.functional.pad(batch["pairs"], (0, 0, 0, 2))
    padded["masks"] = torch.nn.functional.pad(batch["masks"], (0, 0, 0, 0, 0, 2))
    for psga in ("both", "none"):
        model = toy_model(psga=psga)
        torch.manual_seed(7)
        first = model.training_step(batch)
        torch.manual_seed(7)
        second = model.training_step(padded)
        for name in first:
            assert torch.allclose(first[name], second[name], atol=1e-4), name


def test_without_ranking_the_order_of_nodes_means_nothing():
    batch, model = toy_batch(), toy_model(psga="none").eval()
    levels = model.backbone(batch["image"])
    swapped = batch | {name: batch[name].flip(1) for name in ("classes", "boxes", "features", "nodes")}
    swapped["edges"] = torch.stack([1 - batch["edges"][..., 0], batch["edges"][..., 1], 1 - batch["edges"][..., 2]], -1)
    swapped["prompt"] = 1 - batch["prompt"]
    x, snr = torch.randn(3, 10, model.codes.shape[1]), torch.zeros(3)
    logits = []
    for one in (batch, swapped):
        graph = model.subgraph(model.adapt(levels, one), one, one["nodes"], None)
        logits.append(model.denoise(x, snr, torch.zeros_like(x), graph)[0])
    assert torch.allclose(logits[0], logits[1], atol=1e-4)


def test_captions_without_phrases_teach_words_alone():
    picture = replace(EXAMPLES[0].picture, phrases=())
    batch = toy_batch(examples=[Example(EXAMPLES[0].image, picture)])
    terms = toy_model().training_step(batch)
    assert {name: float(terms[name].detach()) for name in ("adaptor", "ranking", "tag")} == {
        "adaptor": 0,
        "ranking": 0,
        "tag": 0,
    }
    assert float(terms["cross_entropy"].detach()) > 0
    assert float(terms["mask"].detach()) > 0
    assert torch.isfinite(terms["loss"])


def test_the_default_is_small():
    count = sum(p.numel() for p in build_sgdiff(SGDiffConfig(), LEXICON).parameters())
    assert 2e6 < count < 4.2e6  # 8 MB in float16


def test_bad_configurations_are_refused():
    for changes, message in (
        ({"psga": "some"}, "psga: got 'some', expected one of none, filter, rank, both"),
        ({"tasks": "all"}, "expected one of both, mask, caption"),
        ({"size": 100}, "size: got 100, expected a multiple of 16"),
        ({"heads": 3}, "a width that is a multiple of heads"),
        ({"length": 0}, "expected 1 or more of each"),
    ):
        with pytest.raises(InputError, match=message):
            SGDiffConfig(**changes)
    with pytest.raises(InputError, match="expected one of full, no_psga"):
        ablate_config(TINY, "fool")


@pytest.mark.parametrize("name", ["full", "autoregressive", "mask_only"])
def test_a_checkpoint_comes_back(name, tmp_path):
    model = system(name).eval()
    save(model, tmp_path / "m", {"recipe": "a test"})
    again, about = restore(tmp_path / "m")
    assert about == {"recipe": "a test"}
    assert (again.config, again.lexicon, again.training) == (model.config, model.lexicon, False)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    batch = toy_batch(model.config)
    torch.manual_seed(0)
    first = model.training_step(batch)["loss"]
    torch.manual_seed(0)
    assert torch.equal(first, again.training_step(batch)["loss"])


def test_a_checkpoint_in_half_the_space(tmp_path):
    model = toy_model()
    save(model, tmp_path / "whole")
    save(model, tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    again, _ = restore(tmp_path / "half")
    assert all(torch.allclose(a, b, atol=2e-3) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_broken_checkpoints_are_refused(tmp_path):
    save(toy_model(), tmp_path / "m")
    text = (tmp_path / "m" / "config.json").read_text()
    (tmp_path / "m" / "config.json").write_text(text.replace('"width": 32', '"width": 16'))
    with pytest.raises(InputError, match="don't belong together"):
        restore(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(text.replace('"width": 32', '"weight": 32'))
    with pytest.raises(InputError, match=r"config\.json has weight, which this version"):
        restore(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(text.replace('"lexicon"', '"lexikon"'))
    with pytest.raises(InputError, match=r"config\.json: lacks lexicon"):
        restore(tmp_path / "m")
