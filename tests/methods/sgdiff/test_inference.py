import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from methods.sgdiff.toys import EXAMPLES, SIDE, toy_batch, toy_example, toy_model
from segue.data import rle
from segue.methods.sgdiff.batches import Example
from segue.methods.sgdiff.graph import SceneGraph, graph_of, spatial_relations
from segue.methods.sgdiff.inference import _phrases, explain, explain_all
from segue.methods.sgdiff.prompts import every_box, prompt_box
from segue.methods.sgdiff.transformer import States
from segue.types import InputError

IMAGE, PICTURE, _ = toy_example()
GRAPH, _ = graph_of(PICTURE, (SIDE, SIDE))
LEFT, RIGHT = (region.box for region in PICTURE.regions)


def trained(decoder, steps):
    """A network that knows the toy pictures by heart."""
    model = toy_model(decoder=decoder)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    batches = [toy_batch(examples=EXAMPLES * 4, seed=seed) for seed in range(4)]
    for step in range(steps):
        optimiser.zero_grad()
        model.training_step(batches[step % 4])["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


@pytest.mark.parametrize("decoder", ["diffusion", "autoregressive"])
def test_toy_pictures_are_learned_by_heart(decoder):
    """From a box to its caption, told from that box's side, and each phrase with the mask of its own shape."""
    torch.manual_seed(0)
    model = trained(decoder, 150)
    for image, picture, _ in EXAMPLES:
        graph, _ = graph_of(picture, (SIDE, SIDE))
        encoded = model.encode(image)
        for first, caption in enumerate(picture.captions):
            story = explain(model, encoded, graph, picture.regions[first].box, top=3)[0]
            assert story.caption == caption
            assert [link.phrase for link in story.links] == [caption[p.start : p.end] for p in _told(picture, first)]
            for link, phrase in zip(story.links, _told(picture, first), strict=True):
                truth = rle.decode(picture.regions[phrase.regions[0]].mask)
                assert (link.mask & truth).sum() / (link.mask | truth).sum() > 0.8
                assert link.label == picture.regions[phrase.regions[0]].label
                assert 0.5 < link.score <= 1


def _told(picture, caption):
    return sorted((p for p in picture.phrases if p.caption == caption), key=lambda p: p.start)


@pytest.fixture(scope="module")
def model():
    return toy_model().eval()


@pytest.fixture(scope="module")
def encoded(model):
    return model.encode(IMAGE)


def same(a, b):
    def told(stories):
        return [
            (s.caption, round(s.score, 4), [(x.phrase, x.start, int(x.mask.sum())) for x in s.links]) for s in stories
        ]

    return told(a) == told(b)


def test_stories_are_ranked_and_as_many_as_asked(model, encoded):
    for top in (1, 5):
        stories = explain(model, encoded, GRAPH, LEFT, top=top)
        assert len(stories) == top
        assert [s.score for s in stories] == sorted((s.score for s in stories), reverse=True)
        assert all(0 < s.score <= 1 for s in stories)


def test_a_story_of_a_set_of_nodes_is_as_likely_as_the_set():
    """P(set) is the product over all nodes but the prompt's, not their mean."""
    model = toy_model(tasks="mask").eval()  # no words, whose probability would count too
    model.adaptor.relevance.weight.data.zero_()
    model.adaptor.relevance.bias.data.fill_(2.0)
    p, boxes = torch.tensor(2.0).sigmoid().item(), np.array([[3 * i, 4, 8, 8] for i in range(5)], np.float32)
    graph = SceneGraph(("square",) * 5, boxes, tuple(spatial_relations(boxes)), (SIDE, SIDE))
    scores = [story.score for story in explain(model, model.encode(IMAGE), graph, boxes[0], top=2)]
    assert scores == pytest.approx([p**4, p**2 * (1 - p) ** 2], rel=1e-4)  # IoU .8 of one node less is suppressed


def test_of_several_tries_the_likeliest_stays_with_its_own_masks(model, encoded, monkeypatch):
    told, rows = [], []
    module = sys.modules[explain_all.__module__]  # the package has a function of its name

    def spy(*args, whole=module.words_of):
        told.append(whole(*args))
        return told[-1]

    def of_rows(self, some, whole=States.of_rows):
        rows.append(some.tolist())
        return whole(self, some)

    monkeypatch.setattr(module, "words_of", spy)
    monkeypatch.setattr(States, "of_rows", of_rows)
    stories = explain(model, encoded, GRAPH, LEFT, top=2, tries=3)
    ((numbers, likely),), (best,) = told, rows
    assert len(numbers) == 6
    assert best == [int(likely[:3].argmax()), 3 + int(likely[3:].argmax())]
    assert {s.caption for s in stories} == {model.lexicon.text(numbers[row].tolist())[0] for row in best}
    assert len(set(likely.tolist())) > 1


def test_a_seed_tells_the_same_again_and_another_something_else(model, encoded):
    first = explain(model, encoded, GRAPH, LEFT, top=4)
    assert same(first, explain(model, encoded, GRAPH, LEFT, top=4))
    assert not same(first, explain(model, encoded, GRAPH, LEFT, top=4, seed=1))
    assert not same(first, explain(model, encoded, GRAPH, LEFT, top=4, temperature=1.0))


def test_prompts_in_one_batch_tell_what_they_tell_alone(model, encoded):
    together = explain_all(model, encoded, GRAPH, [LEFT, RIGHT], top=3)
    assert same(together[0], explain(model, encoded, GRAPH, LEFT, top=3))
    assert same(together[1], explain(model, encoded, GRAPH, RIGHT, top=3))
    assert len(explain_all(model, encoded, GRAPH, every_box(GRAPH), top=2)) == 2
    drawn = explain_all(model, encoded, GRAPH, [LEFT, RIGHT], top=3, temperature=1.0)
    assert same(drawn[1], explain(model, encoded, GRAPH, RIGHT, top=3, temperature=1.0))


def test_masks_of_a_photograph_are_made_one_at_a_time(model, encoded, monkeypatch):
    made = []

    def interpolate(*args, whole=F.interpolate, **options):
        made.append(whole(*args, **options))
        return made[-1]

    monkeypatch.setattr("torch.nn.functional.interpolate", interpolate)
    bias = model.head.tags.bias.data
    monkeypatch.setattr(
        model.head.tags.bias, "data", bias + torch.tensor([0.0, 50.0, 0.0])
    )  # every word begins a phrase
    explain(model, encoded, GRAPH, LEFT, top=2)
    assert len(made) > 2
    assert {tuple(one.shape) for one in made} == {(1, 1, SIDE, SIDE)}


def test_masks_are_on_the_pictures_own_grid(model):
    big = np.repeat(np.repeat(IMAGE, 3, 0), 2, 1)
    boxes = GRAPH.boxes * np.array([2, 3, 2, 3], np.float32)
    graph = replace(GRAPH, boxes=boxes, size=(2 * SIDE, 3 * SIDE))
    model.head.tags.bias.data[1] += 50  # every word begins a phrase
    stories = explain(model, model.encode(big), graph, boxes[0])
    model.head.tags.bias.data[1] -= 50
    shapes = {link.mask.shape for s in stories for link in s.links}
    assert shapes <= {(3 * SIDE, 2 * SIDE)}


@pytest.mark.parametrize("decoder", ["diffusion", "autoregressive"])
def test_length_is_exact(decoder):
    model = toy_model(decoder=decoder).eval()
    for length in (1, 7, 10):
        for story in explain(model, model.encode(IMAGE), GRAPH, LEFT, length=length, temperature=0.5):
            assert len(story.caption.split()) == length


def test_words_are_included(model, encoded):
    for story in explain(model, encoded, GRAPH, LEFT, include=("green", "a square")):
        assert {"green", "a", "square"} <= set(story.caption.split())
    for story in explain(model, encoded, GRAPH, LEFT, include=("green", "square"), length=2):
        assert sorted(story.caption.split()) == ["green", "square"]


def test_a_model_that_only_outlines_names_classes():
    model = toy_model(tasks="mask").eval()
    model.masks.embed[-1].bias.data[-1] += 50  # every mask fills its box
    for story in explain(model, model.encode(IMAGE), GRAPH, LEFT, top=2):
        assert story.caption == ""
        assert {link.label for link in story.links} <= {"square", "circle"}
        assert story.links
        assert all(link.phrase == link.label for link in story.links)


def test_classes_are_known_wherever_the_boxes_are():
    model = toy_model(tasks="mask").eval()
    model.masks.embed[-1].bias.data[-1] += 50
    boxes = GRAPH.boxes + np.array([0.33, 0.7, 0.1, 0.2], np.float32)  # as a detector's: no short fractions
    boxes[1] = boxes[0]  # and two of a kind
    story = explain(model, model.encode(IMAGE), replace(GRAPH, boxes=boxes), boxes[0], top=1)[0]
    assert sorted(link.label for link in story.links) == sorted(GRAPH.labels)


def test_a_model_that_only_tells_has_no_links():
    model = toy_model(tasks="caption").eval()
    encoded = model.encode(IMAGE)
    assert encoded.pixels is None
    assert all(story.links == () for story in explain(model, encoded, GRAPH, LEFT))


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
    ],
)
def test_every_system_explains(switches):
    model = toy_model(**switches).eval()
    if model.head.tags is not None:
        model.head.tags.bias.data[1] += 50
    model.masks.embed[-1].bias.data[-1] += 50
    stories = explain(model, model.encode(IMAGE), GRAPH, RIGHT, length=6)
    assert len(stories) == 5
    assert all(story.links for story in stories)
    assert all(0 <= link.score <= 1 for story in stories for link in story.links)


def test_every_prompt_is_answered(model, encoded):
    mask = rle.decode(PICTURE.regions[1].mask)
    x, y, w, h = RIGHT
    for prompt in ({"point": (x + w / 2, y + h / 2)}, {"mask": mask}, {"scribble": [(x, y), (x + w - 1, y + h - 1)]}):
        assert same(
            explain(model, encoded, GRAPH, prompt_box(GRAPH, **prompt), top=2),
            explain(model, encoded, GRAPH, RIGHT, top=2),
        )


def test_five_hundred_nodes_and_a_cycle(model, encoded):
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 25, (500, 2)), np.full((500, 2), 4.0)], 1).astype(np.float32)
    graph = SceneGraph(("square",) * 500, boxes, tuple(spatial_relations(boxes)), (SIDE, SIDE))
    assert len(explain(model, encoded, graph, (3, 3, 4, 4))) == 5
    cycle = replace(GRAPH, relations=(*GRAPH.relations, *GRAPH.relations))
    assert len(explain(model, encoded, cycle, LEFT)) == 5
    lone = replace(GRAPH, labels=("zebra",), boxes=GRAPH.boxes[:1], relations=(), stuff=None)
    assert len(explain(model, encoded, lone, LEFT)) == 5


def test_bad_requests_are_refused(model, encoded):
    for box, options, message in (
        ((99, 0, 5, 5), {}, "outside the picture of 32x32"),
        ((3, 3, 0, 5), {}, "an empty box"),
        (LEFT, {"top": 0}, "top=0"),
        (LEFT, {"steps": 0}, "steps: got 0"),
        (LEFT, {"tries": 0}, "tries: got 0, expected 1 or more"),
        (LEFT, {"sampler": "scd"}, "sampler: got 'scd', expected one of renoise, ddim, ddpm"),
        (LEFT, {"temperature": -1}, "temperature: got -1, expected 0 to 10"),
        (LEFT, {"temperature": 10.5}, "temperature: got 10.5, expected 0 to 10"),
        (LEFT, {"temperature": "1"}, "temperature: got '1', expected 0 to 10"),
        (LEFT, {"temperature": float("nan")}, "temperature: got nan, expected 0 to 10"),
        (LEFT, {"seed": -1}, "seed: got -1, expected 0 or more"),
        ("3355", {}, "expected four numbers"),
        (LEFT, {"length": 0}, "length: got 0, expected 1 to 10 words"),
        (LEFT, {"length": 11}, "length: got 11, expected 1 to 10 words"),
        (LEFT, {"include": ("zebra",)}, "zebra is outside the model's"),
        (LEFT, {"include": ("a", "red"), "length": 1}, "got 2 words for a caption of 1"),
    ):
        with pytest.raises(InputError, match=message):
            explain(model, encoded, GRAPH, box, **options)
    with pytest.raises(InputError, match="encode its own"):
        explain(model, encoded, replace(GRAPH, size=(64, 32)), LEFT)
    with pytest.raises(InputError, match="0 boxes"):
        explain_all(model, encoded, GRAPH, [])
    rival, mute = toy_model(decoder="autoregressive").eval(), toy_model(tasks="mask").eval()
    with pytest.raises(InputError, match="can't hold words in place"):
        explain(rival, rival.encode(IMAGE), GRAPH, LEFT, include=("red",))
    with pytest.raises(InputError, match="this model only outlines"):
        explain(mute, mute.encode(IMAGE), GRAPH, LEFT, length=3)
    with pytest.raises(InputError, match=r"expected \(H, W, 3\) uint8"):
        model.encode(IMAGE[..., 0])


def test_a_picture_is_looked_at_once(model, encoded):
    calls = []
    handle = model.backbone.register_forward_hook(lambda *_: calls.append(1))
    explain(model, encoded, GRAPH, LEFT)
    explain(model, encoded, GRAPH, RIGHT)
    handle.remove()
    assert calls == []


def test_phrases_from_tags():
    assert _phrases(np.array([1, 2, 2, 0, 2, 1, 1, 2])) == [(0, 3), (4, 5), (5, 6), (6, 8)]
    assert _phrases(np.array([0, 0])) == []


def test_a_detectors_features_must_be_those_it_was_trained_with(model, encoded):
    with pytest.raises(InputError, match="features are 4 numbers, the model was built for 0"):
        explain(model, encoded, replace(GRAPH, features=np.zeros((2, 4), np.float32)), LEFT)


def test_examples_may_carry_their_own_graph():
    batch = toy_batch(examples=[Example(IMAGE, PICTURE, GRAPH)])
    assert batch["relevant"].all()
