"""Scores of grounded captions, on captions made up from the truth of a few scenes."""

from dataclasses import replace

import pytest
import torch

from methods.sgdiff.toys import TINY
from recipes.quick_sgdiff import draw_scenes
from segue.data import rle
from segue.data.formats import read_pictures
from segue.evaluation import grounded_captions
from segue.evaluation.grounded_captions import grounded_class, make_cases, noun_classes, score_cases
from segue.methods.sgdiff.lexicon import build_lexicon
from segue.methods.sgdiff.model import SGDiff
from segue.methods.sgdiff.quality import FEATURES
from segue.metrics import acceptance
from segue.metrics.captions import score_captions
from segue.recipes.sgdiff import with_named_regions
from segue.types import GroundedCaption, InputError, Phrase, PhraseGrounding, Region


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    scenes = draw_scenes(tmp_path_factory.mktemp("data") / "scenes")
    return with_named_regions(read_pictures(scenes, "test"), "test")


def truthful(case, num, seed):
    """Captions that are the truth itself."""
    picture, caption = case.picture, case.references[0]
    number = picture.captions.index(caption)
    phrases = [p for p in picture.phrases if p.caption == number and p.regions]
    groundings = [
        PhraseGrounding(p.start, p.end, caption[p.start : p.end], rle.decode(picture.regions[r].mask), 0.9, "")
        for p in phrases
        for r in p.regions
    ]
    return [GroundedCaption(caption, 1.0, tuple(groundings))] * num


def test_the_truth_scores_full_marks(pictures):
    """The first reference, scored against the regions that it names."""
    cases = [c._replace(references=[c.references[0]]) for c in make_cases(pictures, "first")]
    numbers = [c.picture.captions.index(c.references[0]) for c in cases]
    cases = [
        c._replace(named=tuple(sorted({r for p in c.picture.phrases if p.caption == n for r in p.regions})))
        for c, n in zip(cases, numbers, strict=True)
    ]
    found = score_cases(truthful, cases, num=2, java=False)
    assert found["bleu4"] == pytest.approx(1, abs=1e-6)
    assert found["mask_iou"] == found["mask_iou_greedy"] == found["mask_iou_strict"] == 1
    assert found["grounding_accuracy"] > 0.8  # a noun that names two classes has one of them
    assert found["map"] > 0.6
    assert found["cider"] == found["cider_selected"] == found["cider_oracle5"]


def test_the_oracle_takes_the_best_and_missing_masks_count_nothing(pictures):
    cases = make_cases(pictures, "any")

    def describe(case, num, seed):
        texts = ["nothing at all here", case.references[-1]][:num]
        return [GroundedCaption(text, 0.5) for text in texts]

    found = score_cases(describe, cases, num=2, java=False)
    truth = {str(i): c.references for i, c in enumerate(cases)}
    best = {str(i): c.references[-1] for i, c in enumerate(cases)}
    assert found["cider_oracle5"] == pytest.approx(score_captions(best, truth, with_java=False).corpus["CIDEr-D"])
    assert found["cider_oracle5"] > found["cider"] == found["cider_selected"]
    assert found["mask_iou"] == found["map"] == found["grounding_accuracy"] == 0
    assert found["distinct2"] == 1
    assert (found["broken"], found["broken_selected"], found["broken_oracle5"]) == (0, 0, 0)


def test_the_single_caption_is_not_the_one_ranked_first_of_several(pictures):
    cases = make_cases(pictures, "any")

    def describe(case, num, seed):
        single, *several = case.references[-1], "nothing at all here", case.references[-1]
        return [GroundedCaption(text, 0.5) for text in ([single] if num == 1 else several)]

    found = score_cases(describe, cases, num=2, java=False, masks=False)
    assert found["cider"] == found["cider_oracle5"] > found["cider_selected"] == pytest.approx(0, abs=1e-3)


def test_each_case_and_draw_has_a_seed_of_its_own_and_scores_are_means_of_draws(pictures):
    cases, seeds = make_cases(pictures, "any"), []

    def describe(case, num, seed):
        seeds.append(seed)
        return [GroundedCaption(case.references[-1] if seed % 2 else "nothing at all here", 0.5)] * num

    found = score_cases(describe, cases, num=1, java=False, masks=False, draws=2)
    assert len(seeds) == len(set(seeds)) == 2 * len(cases)
    right = score_cases(
        lambda case, *_: [GroundedCaption(case.references[-1], 1)], cases, num=1, java=False, masks=False
    )
    assert found["cider"] == pytest.approx(right["cider"] / 2, rel=1e-3)


def test_the_wording_gap_is_between_the_shares_of_a_classs_words(pictures, monkeypatch):
    monkeypatch.setattr(grounded_captions, "MIN_MENTIONS", 1)
    dog = Region("dog", (1, 1, 9, 9))
    captions = ("a dog", "a puppy", "a puppy", "a puppy")
    phrases = tuple(Phrase(i, 0, len(text), (0,)) for i, text in enumerate(captions))
    dogs = replace(pictures[0], captions=captions, regions=(dog,), relations=(), phrases=phrases)
    (case,) = make_cases([dogs], "any")

    def gap(*texts):
        captions = [GroundedCaption(text, 0.5) for text in texts]
        found = score_cases(lambda _, num, seed: (captions * num)[:num], [case], num=4, java=False, masks=False)
        return found["wording_gap"]

    assert gap("a dog", "a puppy", "the puppy", "big puppy") == 0
    assert gap("a dog", "a dog", "a dog", "a dog") == 0.75
    assert gap("a dog", "a dog", "a puppy", "a puppy") == pytest.approx(0.25)


def test_prompts(pictures):
    for prompt in ("first", "any"):
        for case in make_cases(pictures, prompt):
            boxes = [region.box for region in case.picture.regions]
            prompt_region = boxes.index(case.box)
            naming = {p.caption for p in case.picture.phrases if prompt_region in p.regions}
            assert set(case.references) == {case.picture.captions[i] for i in naming}
            assert prompt_region in case.named
    first = make_cases(pictures, "first")[0]
    starts = {
        caption: min((p.start, p.regions[0]) for p in first.picture.phrases if p.caption == caption and p.regions)[1]
        for caption in {p.caption for p in first.picture.phrases if p.regions}
    }
    assert first.box in [first.picture.regions[r].box for r in starts.values()]
    with pytest.raises(InputError, match="prompt: got 'last'"):
        make_cases(pictures, "last")
    with pytest.raises(InputError, match="no case to score"):
        score_cases(truthful, [])


def test_a_wrong_noun_is_a_wrong_grounding(pictures):
    classes = noun_classes(pictures)
    case = make_cases(pictures, "first")[0]
    region = case.picture.regions[case.named[0]]
    wrong = next(word for word, label in classes.items() if label != region.label)
    mask = rle.decode(region.mask)
    right = next(word for word, label in classes.items() if label == region.label)
    for word, expected in ((right, 1.0), (wrong, 0.0)):
        caption = GroundedCaption(word, 1.0, (PhraseGrounding(0, len(word), word, mask, 0.9),))
        found = score_cases(lambda _, num, seed, c=caption: [c] * num, [case], num=1, java=False)
        assert found["grounding_accuracy"] == expected
        assert (found["map"] > 0) == bool(expected)
    assert grounded_class(PhraseGrounding(0, 5, "zzzzz", mask, 1.0), classes) == ""
    assert grounded_class(PhraseGrounding(0, 0, "dog", mask, 1.0, "dog"), classes) == "dog"


def test_extra_masks_count_in_the_strict_figure_only(pictures):
    case = next(c for c in make_cases(pictures, "first") if len(c.named) < len(c.picture.regions))
    masks = [rle.decode(region.mask) for region in case.picture.regions]
    caption = GroundedCaption("", 1.0, tuple(PhraseGrounding(0, 0, "", mask, 0.9) for mask in masks))
    found = score_cases(lambda *_: [caption], [case], num=1, java=False, captions=False)
    assert found["mask_iou"] == 1
    assert found["mask_iou_strict"] == pytest.approx(len(case.named) / len(masks))


def test_scores_are_fitted_to_what_references_accept(pictures, monkeypatch):
    torch.manual_seed(0)
    model = SGDiff(replace(TINY, max_words=20), build_lexicon(pictures)).eval()
    given = []
    monkeypatch.setattr(grounded_captions, "fit_acceptance", lambda *args: given.append(args))
    monkeypatch.setattr(acceptance, "ACCEPTED", 0.02)
    grounded_captions.fit_scores(model, pictures)
    features, accepted, at_most = given[0]
    assert {FEATURES[i]: most < 0 for i, most in at_most.items()} == {
        "faults": True,
        "broken": False,
        "contradictions": False,
    }
    assert features.shape == (5 * len(make_cases(pictures, "first")), len(FEATURES))
    assert accepted.shape == (len(features),)
    assert (features[:, 0] < 0).all()  # log-probabilities
    assert (features[:, 3] == (features[:, 2] > 0)).all()  # broken, where there are faults
