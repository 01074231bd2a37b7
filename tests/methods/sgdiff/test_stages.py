from dataclasses import replace

import pytest
import torch

import golden
from methods.sgdiff.toys import EXAMPLES, LEXICON, SYSTEMS, build_system, rngs, toy_batch, toy_model
from segue.methods.sgdiff import stages
from segue.methods.sgdiff.batches import TrainingExample, collate
from segue.methods.sgdiff.stages import CaptionStage, JointStage, has_caption_stage, rewrite
from segue.types import InputError


def lacking(model):
    return [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.abs().sum() > 0)
    ]


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("kind", [CaptionStage, JointStage])
def test_every_parameter_learns(name, kind):
    model = build_system(name)
    stage = kind(model)
    for seed in range(4):  # both sides of the self-conditioning coin, and enough words
        torch.manual_seed(seed)
        terms = stage.training_step(toy_batch(model.config, seed=seed))
        terms["loss"].backward()
        assert all(torch.isfinite(term) for term in terms.values())
    assert lacking(model) == []


@pytest.mark.parametrize("name", ["mecl_none", "mask_only"])  # MECL treats rows of one picture differently
def test_rows_of_one_picture_have_the_loss_of_rows_of_several_equal_pictures(name):
    model, twice = build_system(name), [example for example in EXAMPLES for _ in range(2)]
    shared = collate(EXAMPLES, LEXICON, model.config, rngs(6), "any")
    apart = collate(twice, LEXICON, model.config, rngs(6), "any")
    assert len(shared["image"]) == 3
    assert len(apart["image"]) == len(shared["token_ids"]) == 6
    losses = []
    for batch in (shared, apart):
        torch.manual_seed(0)
        losses.append(JointStage(model).training_step(batch)["loss"])
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("changes", [{"cross_attention": False}, {"tasks": "mask"}, {"mecl": "none"}])
def test_every_parameter_of_the_baseline_learns(changes):
    model = build_system("autoregressive", **changes)
    torch.manual_seed(0)
    JointStage(model).training_step(toy_batch(model.config))["loss"].backward()
    assert lacking(model) == []


def test_apart_the_backbone_learns_at_a_tenth_of_the_rate():
    plain, apart = JointStage(toy_model()), JointStage(toy_model(), apart=True)
    assert (plain.lr_scale, plain.clip_apart) == ({}, ())
    assert apart.lr_scale == {"model.backbone.": 0.1}
    names = [name for name, _ in apart.named_parameters()]
    assert all(any(name.startswith(start) for name in names) for start in apart.clip_apart)
    assert "model.mask_head." in apart.clip_apart


def gradients_of(term, model, part):
    """The norm of a term's gradient on the parameters whose names begin with `part`."""
    parameters = [p for name, p in model.named_parameters() if name.startswith(part)]
    found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return sum(float(g.square().sum()) for g in found if g is not None) ** 0.5


@pytest.mark.parametrize("decoder", ["diffusion", "masked"])
def test_mecl_may_teach_masks_and_only_read_captions(decoder):
    for masks, words in (("graph", "joint"), ("query", "joint"), ("query", "detached")):
        model = toy_model(decoder=decoder, mecl_masks=masks, mecl_words=words)
        torch.manual_seed(0)
        term = JointStage(model).training_step(toy_batch(model.config))["mecl"]
        assert (gradients_of(term, model, "mask_head") > 0) is (masks == "query")
        # h_c alone goes through this norm; the graph's stream, which reads the captions', does not
        assert (gradients_of(term, model, "transformer.caption_norm") > 0) is (words == "joint")


def test_mecl_by_noise_counts_a_row_by_what_is_known(monkeypatch):
    model = toy_model(mecl_by_noise=True)
    seen = []
    monkeypatch.setattr(model.mecl, "forward", lambda *args: seen.append(args[-1]) or torch.zeros(()))
    torch.manual_seed(0)
    JointStage(model).training_step(toy_batch(model.config))
    assert seen[0].shape == (3,)
    assert ((seen[0] >= 0) & (seen[0] <= 1)).all()


def test_time_warping_learns_its_curve_only_in_training():
    model = toy_model(time_warp=True)
    before = model.time_warp.nats.clone()
    stage = CaptionStage(model)
    stage.eval().training_step(toy_batch())
    assert torch.equal(model.time_warp.nats, before)
    stage.train().training_step(toy_batch())
    assert not torch.equal(model.time_warp.nats, before)


def test_what_is_kept_stays_as_it_is():
    model = toy_model(decoder="autoregressive")
    keep = list(model.picture_side().values())
    for kind in (CaptionStage, JointStage):
        JointStage(model).training_step(toy_batch(model.config))["loss"].backward()
        model.zero_grad()
        kind(model, keep).training_step(toy_batch(model.config))["loss"].backward()
        kept = {id(p) for part in keep for p in part.parameters()}
        assert all(p.grad is None for p in model.parameters() if id(p) in kept)
        assert model.transformer.caption_layers[0].self_attention.q.weight.grad is not None
    assert model.transformer.graph_layers[0].cross_attention.q.weight.grad is not None


def test_the_terms_are_those_of_equation_13():
    names = {"adaptor", "ranking", "bit", "cross_entropy", "tag", "mask", "dice", "mecl"}
    torch.manual_seed(0)
    terms = JointStage(toy_model()).training_step(toy_batch())
    assert set(terms) == {"loss"} | names
    weights = {"adaptor": 2, "ranking": 2, "bit": 1, "cross_entropy": 1, "tag": 1, "mask": 5, "dice": 5, "mecl": 1}
    assert torch.allclose(terms["loss"], sum(weights[name] * terms[name] for name in names))


def test_the_first_stage_has_neither_masks_nor_mecl():
    model = toy_model()
    assert set(CaptionStage(model).training_step(toy_batch())) == {
        "loss",
        "adaptor",
        "ranking",
        "bit",
        "cross_entropy",
        "tag",
    }
    frozen = {name.split(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"pixel_decoder", "mask_head", "mecl", "transformer"}
    JointStage(model)
    assert all(p.requires_grad for p in model.parameters())


def test_half_of_the_steps_have_a_first_estimate(monkeypatch):
    model, batch, used = toy_model(), toy_batch(), []
    denoise = model.denoise

    def spy(x, snr, estimate, graph, **options):
        if torch.is_grad_enabled():
            used.append(bool(estimate.any()))
            assert not estimate.requires_grad
        return denoise(x, snr, estimate, graph, **options)

    monkeypatch.setattr(model, "denoise", spy)
    torch.manual_seed(0)
    for _ in range(200):
        JointStage(model).training_step(batch)
    assert 80 < sum(used) < 120  # of 200, 2.8 standard deviations


def test_a_first_stage_without_anything_to_train_is_refused():
    CaptionStage(toy_model(tasks="mask"))
    with pytest.raises(InputError, match="this model has neither of them"):
        CaptionStage(toy_model(tasks="mask", psga="none"))


def test_the_loss_does_not_see_padded_nodes():
    batch = toy_batch()
    padded = dict(batch)
    for name in ("class_ids", "node_mask", "relevant", "ranks", "mask_known"):
        padded[name] = torch.nn.functional.pad(batch[name], (0, 2))
    padded["boxes"] = torch.nn.functional.pad(batch["boxes"], (0, 0, 0, 2))
    padded["features"] = torch.nn.functional.pad(batch["features"], (0, 0, 0, 2))
    padded["grounding"] = torch.nn.functional.pad(batch["grounding"], (0, 0, 0, 2))
    padded["masks"] = torch.nn.functional.pad(batch["masks"], (0, 0, 0, 0, 0, 2))
    for psga in ("both", "none"):
        stage = JointStage(toy_model(psga=psga))
        torch.manual_seed(7)
        first = stage.training_step(batch)
        torch.manual_seed(7)
        second = stage.training_step(padded)
        for name in first:
            assert torch.allclose(first[name], second[name], atol=1e-4), name


def test_captions_without_phrases_teach_words_alone():
    picture = replace(EXAMPLES[0].picture, phrases=())
    batch = toy_batch(examples=[TrainingExample(EXAMPLES[0].image, picture)])
    terms = JointStage(toy_model()).training_step(batch)
    assert {name: float(terms[name].detach()) for name in ("adaptor", "ranking", "tag")} == {
        "adaptor": 0,
        "ranking": 0,
        "tag": 0,
    }
    assert float(terms["cross_entropy"].detach()) > 0
    assert float(terms["mask"].detach()) > 0
    assert torch.isfinite(terms["loss"])


# time_warp: its buffers count losses, so that they are no weights to set by their names
@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "time_warp"])
def test_losses_are_what_they_were(name):
    model = golden.set_weights(build_system(name))
    for kind in (CaptionStage, JointStage):
        if kind is CaptionStage and name == "mask_only" and not has_caption_stage(model.config):
            continue
        for seed in range(2):  # with the last guess and without
            torch.manual_seed(seed)
            terms = kind(model).training_step(toy_batch(model.config, seed=seed))
            golden.same_as_before(f"sgdiff {kind.__name__} {name} {seed}", **terms)


def test_the_pull_of_a_term_is_its_gradient_at_the_features():
    model = toy_model(lambda_mecl=1.0)
    batch, twice = toy_batch(model.config), toy_model(lambda_mecl=2.0)
    twice.load_state_dict(model.state_dict())
    state = torch.get_rng_state()
    found, more = (JointStage(one).eval().term_gradients(batch) for one in (model, twice))
    assert torch.equal(state, torch.get_rng_state())
    places = {name.split("_")[1] for name in found}
    assert places == {"picture", "caption"}
    assert {"gradient_picture_dice", "gradient_caption_mecl", "gradient_caption_tag"} <= set(found)
    assert "gradient_caption_dice" not in found or found["gradient_caption_dice"] > 0
    for name, value in found.items():
        assert value > 0, name
        assert more[name] == pytest.approx((2 if name.endswith("mecl") else 1) * value, rel=1e-4), name
    frozen = JointStage(model, keep=[model.backbone]).eval()
    assert frozen.term_gradients(batch) == pytest.approx(found)


def test_words_that_mecl_only_reads_are_not_pulled():
    model = toy_model(mecl_words="detached")
    found = JointStage(model).eval().term_gradients(toy_batch(model.config))
    assert "gradient_caption_mecl" not in found
    assert found["gradient_picture_mecl"] > 0
    assert JointStage(build_system("mask_only")).term_gradients(toy_batch(model.config)) == {}


def test_a_student_learns_what_its_teacher_writes(monkeypatch):
    teacher, student, batch = build_system("autoregressive"), build_system("masked"), toy_batch(toy_model().config)
    teacher.eval()
    torch.manual_seed(0)
    taught = rewrite(teacher, batch)
    assert {name for name in batch if not torch.equal(batch[name], taught[name])} == {"token_ids", "tags"}
    seen = []
    monkeypatch.setattr(stages, "_caption_step", lambda model, batch, levels: seen.append(batch) or _step(model))
    torch.manual_seed(0)
    CaptionStage(student, teacher=teacher).training_step(batch)
    assert torch.equal(seen[0]["token_ids"], taught["token_ids"])
    assert not any(name.startswith("_teacher") for name in CaptionStage(student, teacher=teacher).state_dict())


def test_a_teacher_writes_of_the_nodes_that_the_caption_names(monkeypatch):
    teacher, batch = build_system("autoregressive").eval(), toy_batch(toy_model().config)
    assert batch["node_mask"].all()
    batch["relevant"] = torch.tensor([[True, True], [True, False], [True, False]])
    batch["has_phrases"] = torch.tensor([True, True, False])  # of the last it is not known what it names
    graphs, write = [], teacher.write
    monkeypatch.setattr(teacher, "write", lambda graph, **options: graphs.append(graph) or write(graph, **options))
    rewrite(teacher, batch)
    assert graphs[0].node_mask.sum(1).tolist() == [2, 1, 2]


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (lambda: build_system("masked"), "doesn't write word by word"),
        (lambda: build_system("autoregressive", max_words=7), "other max_words; train it on the same data"),
        (lambda: _with_other_words(build_system("autoregressive")), "other words or classes"),
    ],
)
def test_a_teacher_that_cannot_be_one_is_refused(teacher, message):
    with pytest.raises(InputError, match=message):
        CaptionStage(build_system("masked"), teacher=teacher())


def _step(model):
    return stages._Step({"cross_entropy": torch.zeros((), requires_grad=True)}, [], None, None)


def _with_other_words(model):
    model.lexicon = replace(model.lexicon, words=(*model.lexicon.words, "zebra"))
    return model
