from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from methods.sgdiff.toys import EXAMPLES, SIDE, toy_batch, toy_example, toy_model
from segue.data import rle
from segue.methods.sgdiff import inference
from segue.methods.sgdiff.batches import TrainingExample
from segue.methods.sgdiff.graph import SceneGraph, build_graph, spatial_relations
from segue.methods.sgdiff.inference import SGDiffGenerator, _phrases
from segue.methods.sgdiff.prompts import object_boxes, prompt_box
from segue.methods.sgdiff.quality import Acceptance, QualityGate, names_something
from segue.methods.sgdiff.stages import JointStage
from segue.methods.sgdiff.transformer import HiddenStates
from segue.options import DescribeOptions
from segue.types import InputError

IMAGE, PICTURE, _ = toy_example()
GRAPH, _ = build_graph(PICTURE, (SIDE, SIDE))
LEFT, RIGHT = (region.box for region in PICTURE.regions)


def describe(model, encoded, graph, box, **options):
    return SGDiffGenerator(model).generate(encoded, graph, [box], DescribeOptions(**options))[0]


def describe_all(model, encoded, graph, boxes, **options):
    return SGDiffGenerator(model).generate(encoded, graph, boxes, DescribeOptions(**options))


def trained(decoder, steps):
    """A network that has memorised the toy pictures."""
    model = toy_model(decoder=decoder)
    stage = JointStage(model)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    batches = [toy_batch(examples=EXAMPLES * 4, seed=seed) for seed in range(4)]
    for step in range(steps):
        optimiser.zero_grad()
        stage.training_step(batches[step % 4])["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


@pytest.mark.parametrize("decoder", ["diffusion", "masked", "autoregressive"])
def test_toy_pictures_are_memorised(decoder):
    """From a box to its caption, from that box's side, and each phrase with the mask of its own shape."""
    torch.manual_seed(0)
    model = trained(decoder, 150)
    for image, picture, _ in EXAMPLES:
        graph, _ = build_graph(picture, (SIDE, SIDE))
        encoded = model.encode(image)
        for first, caption in enumerate(picture.captions):
            found = describe(model, encoded, graph, picture.regions[first].box, num=3)[0]
            assert found.caption == caption
            phrases = _phrases_of(picture, first)
            assert [one.phrase for one in found.groundings] == [caption[p.start : p.end] for p in phrases]
            for one, phrase in zip(found.groundings, phrases, strict=True):
                truth = rle.decode(picture.regions[phrase.regions[0]].mask)
                assert (one.mask & truth).sum() / (one.mask | truth).sum() > 0.8
                assert one.label == picture.regions[phrase.regions[0]].label
                assert 0.5 < one.score <= 1


def _phrases_of(picture, caption):
    return sorted((p for p in picture.phrases if p.caption == caption), key=lambda p: p.start)


@pytest.fixture(scope="module")
def model():
    return toy_model().eval()


@pytest.fixture(scope="module")
def encoded(model):
    return model.encode(IMAGE)


def same(a, b):
    def summary(captions):
        return [
            (c.caption, round(c.score, 4), [(g.phrase, g.start, int(g.mask.sum())) for g in c.groundings])
            for c in captions
        ]

    return summary(a) == summary(b)


def test_captions_are_ranked_and_as_many_as_asked(model, encoded):
    for num in (1, 5):
        scores = [caption.score for caption in describe(model, encoded, GRAPH, LEFT, num=num)]
        assert len(scores) == num
        assert scores == sorted(scores, reverse=True)
        assert all(0 < score <= 1 for score in scores)


def test_a_caption_of_a_set_of_nodes_is_as_likely_as_the_set():
    """P(set) is the product over all nodes but the prompt's, not their mean."""
    model = toy_model(tasks="mask").eval()  # no words, whose probability would count too
    model.adaptor.relevance.weight.data.zero_()
    model.adaptor.relevance.bias.data.fill_(2.0)
    p, boxes = torch.tensor(2.0).sigmoid().item(), np.array([[3 * i, 4, 8, 8] for i in range(5)], np.float32)
    graph = SceneGraph(("square",) * 5, boxes, tuple(spatial_relations(boxes)), (SIDE, SIDE))
    scores = [caption.score for caption in describe(model, model.encode(IMAGE), graph, boxes[0], num=2)]
    assert scores == pytest.approx([p**4, p**2 * (1 - p) ** 2], rel=1e-4)  # IoU .8 of one node less is suppressed


def test_of_several_tries_the_most_sensible_stays_with_its_own_masks(model, encoded, monkeypatch):
    decoded, selected = [], []

    def spy(*args, whole=inference.decode_tokens):
        decoded.append(whole(*args))
        return decoded[-1]

    def select(self, rows, whole=HiddenStates.select):
        selected.append(rows.tolist())
        return whole(self, rows)

    monkeypatch.setattr(inference, "decode_tokens", spy)
    monkeypatch.setattr(HiddenStates, "select", select)
    captions = describe(model, encoded, GRAPH, LEFT, num=2, best_of=3)
    ((token_ids, log_p),), (best,) = decoded, selected
    assert len(token_ids) == 6
    gate = QualityGate(GRAPH, model.lexicon, None)
    texts = [model.lexicon.decode(row)[0] for row in token_ids.tolist()]
    values = np.array([gate.value(text, p, 0.0) for text, p in zip(texts, log_p.tolist(), strict=True)])
    first = int(values[:3].argmax())
    fresh = [i for i in range(3, 6) if texts[i] != texts[first]] or list(range(3, 6))  # no caption twice, if possible
    assert best == [first, max(fresh, key=lambda i: values[i])]
    assert {c.caption for c in captions} == {model.lexicon.decode(token_ids[row].tolist())[0] for row in best}
    assert len(set(log_p.tolist())) > 1


def test_the_quality_gate_keeps_and_ranks_by_its_fit(encoded):
    """A fit that wants what the model finds unlikely keeps other tries than one that wants the likely ones."""
    model, log_p = toy_model().eval(), {}
    for sign in (1.0, -1.0):
        model.acceptance = Acceptance((sign, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0)
        scores = np.array([one.score for one in describe(model, encoded, GRAPH, LEFT, num=2, best_of=8)])
        assert list(scores) == sorted(scores, reverse=True)
        log_p[sign] = sign * np.log(scores / (1 - scores))
    assert log_p[-1.0].max() < log_p[1.0].min() <= 0


@pytest.mark.parametrize("decoder", ["diffusion", "masked", "autoregressive"])
def test_a_text_is_given_once_where_tries_differ(decoder):
    model = toy_model(decoder=decoder).eval()
    options = {"num": 3, "best_of": 8, "temperature": 2.0, "length": 4}
    found = describe(model, model.encode(IMAGE), GRAPH, LEFT, **options)
    assert len({one.caption for one in found}) == 3


def test_word_by_word_the_likeliest_caption_is_among_the_tries():
    model = toy_model(decoder="autoregressive").eval()
    encoded = model.encode(IMAGE)
    likeliest = describe(model, encoded, GRAPH, LEFT, num=1, temperature=0.0)[0].caption
    model.acceptance = Acceptance((9.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0)  # by their log-probability alone
    assert describe(model, encoded, GRAPH, LEFT, num=1)[0].caption == likeliest


def test_a_phrase_without_a_noun_has_no_mask(encoded):
    model = toy_model().eval()
    model.caption_head.tags.bias.data[1] += 50
    model.mask_head.mask_embedding[-1].bias.data[-1] += 50
    found = describe(model, encoded, GRAPH, LEFT, num=8)
    phrases = {one.phrase for caption in found for one in caption.groundings}
    assert phrases
    assert phrases <= {"square", "circle", "left", "right"}


def test_a_seed_gives_the_same_again_and_another_something_else(model, encoded):
    first = describe(model, encoded, GRAPH, LEFT, num=4)
    assert same(first, describe(model, encoded, GRAPH, LEFT, num=4))
    assert not same(first, describe(model, encoded, GRAPH, LEFT, num=4, seed=1))
    assert not same(first, describe(model, encoded, GRAPH, LEFT, num=4, temperature=1.0))


def test_prompts_in_one_batch_give_what_they_give_alone(model, encoded):
    together = describe_all(model, encoded, GRAPH, [LEFT, RIGHT], num=3)
    assert same(together[0], describe(model, encoded, GRAPH, LEFT, num=3))
    assert same(together[1], describe(model, encoded, GRAPH, RIGHT, num=3))
    assert len(describe_all(model, encoded, GRAPH, object_boxes(GRAPH), num=2)) == 2
    sampled = describe_all(model, encoded, GRAPH, [LEFT, RIGHT], num=3, temperature=1.0)
    assert same(sampled[1], describe(model, encoded, GRAPH, RIGHT, num=3, temperature=1.0))


def test_masks_of_a_photograph_are_made_one_at_a_time(model, encoded, monkeypatch):
    made = []

    def interpolate(*args, whole=F.interpolate, **options):
        made.append(whole(*args, **options))
        return made[-1]

    monkeypatch.setattr("torch.nn.functional.interpolate", interpolate)
    bias = model.caption_head.tags.bias.data
    monkeypatch.setattr(
        model.caption_head.tags.bias, "data", bias + torch.tensor([0.0, 50.0, 0.0])
    )  # every word begins a phrase
    describe(model, encoded, GRAPH, LEFT, num=5, length=8)
    assert len(made) > 2
    assert {tuple(one.shape) for one in made} == {(1, 1, SIDE, SIDE)}


def test_masks_are_on_the_pictures_own_grid(model):
    big = np.repeat(np.repeat(IMAGE, 3, 0), 2, 1)
    boxes = GRAPH.boxes * np.array([2, 3, 2, 3], np.float32)
    graph = replace(GRAPH, boxes=boxes, size=(2 * SIDE, 3 * SIDE))
    model.caption_head.tags.bias.data[1] += 50  # every word begins a phrase
    captions = describe(model, model.encode(big), graph, boxes[0])
    model.caption_head.tags.bias.data[1] -= 50
    shapes = {one.mask.shape for c in captions for one in c.groundings}
    assert shapes <= {(3 * SIDE, 2 * SIDE)}


@pytest.mark.parametrize("decoder", ["diffusion", "masked", "autoregressive"])
def test_length_is_exact(decoder):
    model = toy_model(decoder=decoder).eval()
    for length in (1, 7, 10):
        for found in describe(model, model.encode(IMAGE), GRAPH, LEFT, length=length, temperature=0.5):
            assert len(found.caption.split()) == length


@pytest.mark.parametrize("decoder", ["diffusion", "masked"])
def test_words_are_included(decoder):
    model = toy_model(decoder=decoder).eval()
    encoded = model.encode(IMAGE)
    for found in describe(model, encoded, GRAPH, LEFT, include=("green", "a square")):
        assert {"green", "a", "square"} <= set(found.caption.split())
    for found in describe(model, encoded, GRAPH, LEFT, include=("green", "square"), length=2):
        assert sorted(found.caption.split()) == ["green", "square"]


def test_a_model_without_captions_names_classes():
    model = toy_model(tasks="mask").eval()
    model.mask_head.mask_embedding[-1].bias.data[-1] += 50  # every mask fills its box
    for found in describe(model, model.encode(IMAGE), GRAPH, LEFT, num=2):
        assert found.caption == ""
        assert {one.label for one in found.groundings} <= {"square", "circle"}
        assert found.groundings
        assert all(one.phrase == one.label for one in found.groundings)


def test_classes_are_known_wherever_the_boxes_are():
    model = toy_model(tasks="mask").eval()
    model.mask_head.mask_embedding[-1].bias.data[-1] += 50
    boxes = GRAPH.boxes + np.array([0.33, 0.7, 0.1, 0.2], np.float32)  # as a detector's: no short fractions
    boxes[1] = boxes[0]  # and two of a kind
    found = describe(model, model.encode(IMAGE), replace(GRAPH, boxes=boxes), boxes[0], num=1)[0]
    assert sorted(one.label for one in found.groundings) == sorted(GRAPH.labels)


def test_a_model_without_masks_has_no_groundings():
    model = toy_model(tasks="caption").eval()
    encoded = model.encode(IMAGE)
    assert encoded.pixels is None
    assert all(found.groundings == () for found in describe(model, encoded, GRAPH, LEFT))


@pytest.mark.parametrize(
    "switches",
    [
        {"mecl": "none"},
        {"mecl": "none", "cross_attention": False},
        {"mecl": "none", "decoder": "autoregressive"},
        {"psga": "none"},
        {"psga": "rank"},
        {"psga": "filter"},
        {"decoder": "autoregressive", "cross_attention": False},
        {"decoder": "masked"},
        {"time_warp": True},
        {"mecl_masks": "query", "mecl_words": "detached", "mecl_by_noise": True},
    ],
)
def test_every_system_describes(switches):
    model = toy_model(**switches).eval()
    if model.caption_head.tags is not None:
        model.caption_head.tags.bias.data[1] += 50
    model.mask_head.mask_embedding[-1].bias.data[-1] += 50
    captions = describe(model, model.encode(IMAGE), GRAPH, RIGHT, length=6)
    assert len(captions) == 5
    assert all(found.groundings for found in captions if names_something(found.caption.split()))
    assert all(0 <= one.score <= 1 for found in captions for one in found.groundings)


def test_every_prompt_is_answered(model, encoded):
    mask = rle.decode(PICTURE.regions[1].mask)
    x, y, w, h = RIGHT
    for prompt in ({"point": (x + w / 2, y + h / 2)}, {"mask": mask}, {"scribble": [(x, y), (x + w - 1, y + h - 1)]}):
        assert same(
            describe(model, encoded, GRAPH, prompt_box(GRAPH, **prompt), num=2),
            describe(model, encoded, GRAPH, RIGHT, num=2),
        )


def test_five_hundred_nodes_and_a_cycle(model, encoded):
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 25, (500, 2)), np.full((500, 2), 4.0)], 1).astype(np.float32)
    graph = SceneGraph(("square",) * 500, boxes, tuple(spatial_relations(boxes)), (SIDE, SIDE))
    assert len(describe(model, encoded, graph, (3, 3, 4, 4))) == 5
    cycle = replace(GRAPH, relations=(*GRAPH.relations, *GRAPH.relations))
    assert len(describe(model, encoded, cycle, LEFT)) == 5
    lone = replace(GRAPH, labels=("zebra",), boxes=GRAPH.boxes[:1], relations=(), stuff=None)
    assert len(describe(model, encoded, lone, LEFT)) == 5


def test_bad_requests_are_refused(model, encoded):
    for box, options, message in (
        ((99, 0, 5, 5), {}, "outside the picture of 32x32"),
        ((3, 3, 0, 5), {}, "an empty box"),
        (LEFT, {"num": 0}, "num: got 0, expected 1 or more"),
        (LEFT, {"steps": 0}, "steps: got 0, expected 1 or more"),
        (LEFT, {"best_of": 0}, "best_of: got 0, expected 1 or more"),
        (LEFT, {"sampler": "scd"}, "sampler: got 'scd', expected one of 'renoise', 'ddim', 'ddpm'"),
        (LEFT, {"temperature": -1}, "temperature: got -1, expected 0 or more, at most 10"),
        (LEFT, {"temperature": 10.5}, "temperature: got 10.5, expected 0 or more, at most 10"),
        (LEFT, {"temperature": "1"}, "temperature: got '1', expected a number"),
        (LEFT, {"temperature": float("nan")}, "temperature: got nan, expected a number"),
        (LEFT, {"seed": -1}, "seed: got -1, expected 0 or more"),
        ("3355", {}, "expected four numbers"),
        (LEFT, {"length": 0}, "length: got 0, expected 1 or more"),
        (LEFT, {"length": 11}, "length: got 11, expected 1 to 10 words"),
        (LEFT, {"include": ("zebra",)}, "zebra is outside the model's"),
        (LEFT, {"include": ("a", "red"), "length": 1}, "got 2 words for a caption of 1"),
    ):
        with pytest.raises(InputError, match=message):
            describe(model, encoded, GRAPH, box, **options)
    with pytest.raises(InputError, match="encode its own"):
        describe(model, encoded, replace(GRAPH, size=(64, 32)), LEFT)
    with pytest.raises(InputError, match="0 boxes"):
        describe_all(model, encoded, GRAPH, [])
    baseline, segmenter = toy_model(decoder="autoregressive").eval(), toy_model(tasks="mask").eval()
    with pytest.raises(InputError, match="can't hold words in place"):
        describe(baseline, baseline.encode(IMAGE), GRAPH, LEFT, include=("red",))
    with pytest.raises(InputError, match="this model only segments"):
        describe(segmenter, segmenter.encode(IMAGE), GRAPH, LEFT, length=3)
    with pytest.raises(InputError, match=r"expected \(H, W, 3\) uint8"):
        model.encode(IMAGE[..., 0])


def test_a_picture_is_encoded_once(model, encoded):
    calls = []
    handle = model.backbone.register_forward_hook(lambda *_: calls.append(1))
    describe(model, encoded, GRAPH, LEFT)
    describe(model, encoded, GRAPH, RIGHT)
    handle.remove()
    assert calls == []


def test_phrases_from_tags():
    assert _phrases(np.array([1, 2, 2, 0, 2, 1, 1, 2])) == [(0, 3), (4, 5), (5, 6), (6, 8)]
    assert _phrases(np.array([0, 0])) == []


def test_a_detectors_features_must_be_those_it_was_trained_with(model, encoded):
    with pytest.raises(InputError, match="features are 4 numbers, the model was built for 0"):
        describe(model, encoded, replace(GRAPH, features=np.zeros((2, 4), np.float32)), LEFT)


def test_examples_may_carry_their_own_graph():
    batch = toy_batch(examples=[TrainingExample(IMAGE, PICTURE, GRAPH)])
    assert batch["relevant"].all()
