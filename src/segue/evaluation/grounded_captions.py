"""Scores of grounded captions: of the texts, of the masks, and of the groundings between the two.

A case is a picture with one prompt: the box of the first noun's object of one of its captions (the paper's), or of any
object that some caption names (a user's). Its truth is that caption's regions, and all captions of the picture that
name the prompt's object are its references.

    cider, bleu4, meteor        of a single caption, generated with num=1; these and all of masks are means over `draws`
                                of the initial noise, which is another one for each case
    *_selected                  of the caption that the model ranks first of `num`
    *_oracle5                   of the one of `num` with the best CIDEr-D: an upper bound, not a system
    distinct2                   distinct-2 among the `num` captions of a case, the mean over cases
    wording_gap                 how far the captions' shares of each class's words (dog, puppy, hound) are from the
                                references': total variation, 0 to 1, the mean over classes by their mentions
    mask_iou, mask_iou_greedy   masks matched with the true ones, a true one without a partner counts 0
    mask_iou_strict             the first, where a mask without a true one counts 0 too: it penalises extra masks
    map                         COCO's mask AP; a mask's class is that of the noun it is grounded in, the truth is the
                                caption's regions
    grounding_accuracy          of the masks that fit a region (IoU .5 or more): the share grounded in a noun of its
                                class
    broken, broken_selected     the share of these captions that a judge by rule finds broken
    *_t5                        with 5 denoising steps and one try of each caption
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from segue.api.describer import Describer, ScenePredictor
from segue.data import rle
from segue.data.english import word_spans
from segue.data.export import class_of
from segue.data.sentence_faults import find_faults
from segue.methods.sgdiff.model import SGDiff
from segue.methods.sgdiff.quality import AT_MOST
from segue.metrics.acceptance import Acceptance, fit_acceptance, judge_captions
from segue.metrics.captions import distinct_n, score_captions
from segue.metrics.panoptic import mask_ap, match, matched_iou
from segue.metrics.ptb import tokenize_all
from segue.options import DescribeOptions
from segue.types import RLE, GroundedCaption, InputError, PhraseGrounding, Picture

Prompt = Literal["first", "any"]
Describe = Callable[["Case", int, int], list[GroundedCaption]]  # (case, num, seed) -> captions, the likeliest first
DRAWS = 3
MIN_MENTIONS = 20  # of a class, on both sides, to count in wording_gap
CAPTION_METRICS = {"CIDEr-D": "cider", "BLEU-4": "bleu4", "METEOR": "meteor", "SPICE": "spice"}


class Case(NamedTuple):
    """One prompt on one picture. named: the positions of the regions that its caption names."""

    picture: Picture
    box: tuple[float, float, float, float]
    references: list[str]
    named: tuple[int, ...]


def score_model(
    model: SGDiff,
    pictures: Sequence[Picture],
    prompt: Prompt,
    *,
    num: int = 5,
    java: bool = True,
    masks: bool = True,
    temperature: float | None = None,
) -> dict[str, float]:
    """The scores above, of a model that is given each picture's own regions and relations as its graph.

    temperature: of the tokens, None for the decoder's own. java: METEOR and SPICE too.
    Scores that the model can't have (of captions, of masks) or that can't be computed here are left out.
    Raises InputError when no picture has captions that name regions.
    """
    c, cases = model.config, make_cases(pictures, prompt)
    diffuses = c.generates_captions and c.decoder == "diffusion"
    options = DescribeOptions(temperature=temperature)
    describe = partial(describe_case, Describer(model))
    found = score_cases(
        partial(describe, options=options),
        cases,
        num=num,
        java=java,
        captions=c.generates_captions,
        masks=masks and c.generates_masks,
        draws=DRAWS if diffuses and num > 1 else 1,
    )
    if diffuses and num > 1:
        short = partial(describe, options=replace(options, steps=5, best_of=1))
        few = score_cases(short, cases, num=num, java=False, masks=False, draws=DRAWS)
        found |= {f"{name}_t5": few[name] for name in ("cider", "distinct2", "wording_gap") if name in few}
    return found


def describe_case(
    describer: Describer,
    case: Case,
    num: int,
    seed: int,
    options: DescribeOptions = DescribeOptions(),
) -> list[GroundedCaption]:
    """`num` captions of a case, from the picture's own regions and relations."""
    picture = case.picture
    options = replace(options, num=num, seed=seed)
    found = describer.describe(
        picture.load(), box=case.box, regions=picture.regions, relations=picture.relations, options=options
    )
    return [replace(caption, picture=None) for caption in found]  # the pixels of thousands of cases are gigabytes


def score_cases(
    describe: Describe,
    cases: Sequence[Case],
    *,
    num: int = 5,
    java: bool = True,
    captions: bool = True,
    masks: bool = True,
    draws: int = 1,
) -> dict[str, float]:
    """The scores of anything that generates grounded captions.

    captions, masks: whether it does. draws: how many single captions of each case are scored.
    Each case and draw has its own seed: with one for all, all pictures would begin with the same noise, and the score
    would depend on its luck (CIDEr differed by 20 between seeds).
    Raises InputError when there is no case.
    """
    if not cases:
        raise InputError("got no case to score, expected one or more; do the captions name regions?")
    single, several = list[list[GroundedCaption]](), list[list[GroundedCaption]]()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "this model doesn't know|no known object")  # the scores show it
        for i, case in enumerate(cases):
            single.append([describe(case, 1, draws * i + draw)[0] for draw in range(draws)])
            several.append(describe(case, num, draws * i) if num > 1 and captions else [])
    scores, classes = list[dict[str, float]](), noun_classes([case.picture for case in cases])
    for one_draw in zip(*single, strict=True):
        found = _caption_scores([one.caption for one in one_draw], cases, "", java) if captions else {}
        scores.append(found | (_mask_scores(one_draw, cases, classes) if masks else {}))
    means = {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}
    return means | (_scores_of_several(several, cases, java) if captions and num > 1 else {})


def fit_scores(model: SGDiff, pictures: Sequence[Picture]) -> Acceptance:
    """The regression by which the model's scores are probabilities that people accept a caption.

    It is fitted to five captions of each picture, one try each, which the gate has not chosen yet. Raises InputError
    when all of them or none are accepted.
    """
    cases, generator = make_cases(pictures, "first"), ScenePredictor(model)
    judged = generator.judged = []
    describer = Describer(generator)
    for i, case in enumerate(cases):
        describe_case(describer, case, 5, 5 * i, options=DescribeOptions(best_of=1))
    accepted = np.zeros(len(judged), np.bool_)
    for k in range(5):
        texts = [judged[5 * i + k][0] for i in range(len(cases))]
        accepted[k::5] = judge_captions(texts, [case.references for case in cases])
    return fit_acceptance(np.array([features for _, features in judged]), accepted, AT_MOST)


# -------------------------------------------------------------------------------------------------- cases


def make_cases(pictures: Sequence[Picture], prompt: Prompt, seed: int = 0) -> list[Case]:
    """A case for each picture whose captions name regions; the seed and its position choose caption and object.

    Raises InputError for another `prompt`.
    """
    return [
        _case(picture, prompt, np.random.default_rng([seed, i]))
        for i, picture in enumerate(pictures)
        if any(phrase.regions for phrase in picture.phrases)
    ]


def _case(picture: Picture, prompt: Prompt, rng: np.random.Generator) -> Case:
    naming = sorted((p for p in picture.phrases if p.regions), key=lambda p: (p.caption, p.start))
    if prompt == "first":
        caption = int(rng.choice(sorted({p.caption for p in naming})))
        region = next(p for p in naming if p.caption == caption).regions[0]
    elif prompt == "any":
        region = int(rng.choice(sorted({r for p in naming for r in p.regions})))
        caption = int(rng.choice(sorted({p.caption for p in naming if region in p.regions})))
    else:
        raise InputError(f"prompt: got {prompt!r}, expected 'first' (the first noun's object) or 'any' object")
    references = sorted({p.caption for p in naming if region in p.regions})
    named = tuple(sorted({r for p in naming if p.caption == caption for r in p.regions}))
    return Case(picture, picture.regions[region].box, [picture.captions[i] for i in references], named)


def noun_classes(pictures: Sequence[Picture], heads: bool = False) -> dict[str, str]:
    """Word -> the class that phrases with it name most often. heads: the phrases' last words only."""
    counts: dict[str, Counter[str]] = {}
    for picture in pictures:
        for phrase in picture.phrases:
            labels = {picture.regions[r].label for r in phrase.regions}
            words = word_spans(picture.captions[phrase.caption][phrase.start : phrase.end])
            for word, _, _ in words[-1:] if heads else words:
                counts.setdefault(word, Counter()).update(labels)
    return {word: max(sorted(count), key=count.__getitem__) for word, count in counts.items()}


def grounded_class(grounding: PhraseGrounding, classes: dict[str, str]) -> str:
    """The class of the phrase's last noun with a known one, else ""; without a caption the mask's own class.

    classes: as from `noun_classes`.
    """
    if not grounding.end:
        return class_of(grounding)
    words = [word for word, _, _ in word_spans(grounding.phrase)]
    return next((classes[word] for word in reversed(words) if word in classes), "")


# ------------------------------------------------------------------------------------------------- scores


def _caption_scores(texts: Sequence[str], cases: Sequence[Case], suffix: str, java: bool) -> dict[str, float]:
    """Scores of one caption a case, named with the suffix."""
    found = score_captions(*_by_number(texts, cases), with_java=java).corpus
    broken = {f"broken{suffix}": float(np.mean([bool(find_faults(text)) for text in texts]))}
    return broken | {
        f"{short}{suffix}": score
        for name, short in CAPTION_METRICS.items()
        if isinstance(score := found.get(name), float)
    }


def _by_number(texts: Sequence[str], cases: Sequence[Case]) -> tuple[dict[str, str], dict[str, list[str]]]:
    return {str(i): text for i, text in enumerate(texts)}, {str(i): c.references for i, c in enumerate(cases)}


def _scores_of_several(
    several: Sequence[Sequence[GroundedCaption]], cases: Sequence[Case], java: bool
) -> dict[str, float]:
    """Scores of the caption that the model ranks first and of the best one, and how much a case's captions differ."""
    ranks = [[captions[k].caption for captions in several] for k in range(len(several[0]))]
    each = [score_captions(*_by_number(texts, cases), with_java=False).each["CIDEr-D"] for texts in ranks]
    best = np.argmax([[scores[str(i)] for i in range(len(cases))] for scores in each], axis=0)
    chosen = [ranks[k][i] for i, k in enumerate(best.tolist())]
    different = [distinct_n(tokenize_all([one.caption for one in captions]), 2) for captions in several]
    return {
        **_caption_scores(ranks[0], cases, "_selected", java),
        **_caption_scores(chosen, cases, "_oracle5", java),
        "distinct2": float(np.mean(different)),
        **_wording_gap([one.caption for captions in several for one in captions], cases),
    }


def _wording_gap(texts: Sequence[str], cases: Sequence[Case]) -> dict[str, float]:
    """Over the classes that the references name by several words, with MIN_MENTIONS or more on both sides."""
    classes = noun_classes([case.picture for case in cases], heads=True)
    ours = _word_counts(texts, classes)
    truth = _word_counts([text for case in cases for text in case.references], classes)
    gaps, weights = [], []
    for name, words in truth.items():
        mine = ours.get(name, Counter())
        if len(words) > 1 and min(words.total(), mine.total()) >= MIN_MENTIONS:
            gaps.append(sum(abs(words[w] / words.total() - mine[w] / mine.total()) for w in words | mine) / 2)
            weights.append(words.total())
    return {"wording_gap": float(np.average(gaps, weights=weights))} if gaps else {}


def _word_counts(captions: Sequence[str], classes: dict[str, str]) -> dict[str, Counter[str]]:
    """Class -> how often each of its words occurs."""
    found: dict[str, Counter[str]] = {}
    for caption in captions:
        for word, _, _ in word_spans(caption):
            if word in classes:
                found.setdefault(classes[word], Counter())[word] += 1
    return found


def _mask_scores(
    captions: Sequence[GroundedCaption], cases: Sequence[Case], classes: dict[str, str]
) -> dict[str, float]:
    """The scores of masks and groundings over the cases whose regions have masks."""
    hungarian, greedy, strict, right = [], [], [], list[bool]()
    truth, detections = _CocoTruth(), list[dict[str, Any]]()
    for number, (caption, case) in enumerate(zip(captions, cases, strict=True), 1):
        masks = [rle.encode(grounding.mask) for grounding in caption.groundings]
        labels = [grounded_class(grounding, classes) for grounding in caption.groundings]
        known = [i for i in case.named if case.picture.regions[i].mask is not None]
        if not known:
            continue
        ious = rle.iou([_mask(case, i) for i in known], masks)
        hungarian.append(matched_iou(ious))
        greedy.append(matched_iou(ious, "greedy"))
        strict.append(hungarian[-1] * len(known) / max(len(known), len(masks)))
        right += _grounded_right(case, masks, labels)
        truth.add(number, case, known)
        for grounding, mask, label in zip(caption.groundings, masks, labels, strict=True):
            place = {"image_id": number, "category_id": truth.category(label), "segmentation": rle.to_json(mask)}
            detections.append(place | {"score": grounding.score})
    if not hungarian:
        return {}
    return {
        "mask_iou": float(np.mean(hungarian)),
        "mask_iou_greedy": float(np.mean(greedy)),
        "mask_iou_strict": float(np.mean(strict)),
        "map": mask_ap(truth.json(), detections)["ap"],
        "grounding_accuracy": float(np.mean(right)) if right else 0.0,
    }


def _mask(case: Case, region: int) -> RLE:
    found = case.picture.regions[region].mask
    assert found is not None  # the callers pass regions that have one
    return found


def _grounded_right(case: Case, masks: Sequence[RLE], labels: Sequence[str]) -> list[bool]:
    """Of each mask that fits a region of the picture: whether it is grounded in a noun of the region's class."""
    with_mask = [i for i, region in enumerate(case.picture.regions) if region.mask is not None]
    ious = rle.iou([_mask(case, i) for i in with_mask], masks)
    return [labels[p] == case.picture.regions[with_mask[g]].label for g, p in match(ious) if ious[g, p] >= 0.5]


class _CocoTruth:
    """The true regions as COCO's instances json, built case by case."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.categories: dict[str, int] = {}

    def category(self, label: str) -> int:
        """The id of a class, a new one where it is new."""
        return self.categories.setdefault(label, len(self.categories) + 1)

    def add(self, number: int, case: Case, known: Sequence[int]) -> None:
        """Add the regions `known` of a case as image `number`."""
        height, width = _mask(case, known[0]).size
        self.images.append({"id": number, "height": height, "width": width})
        for i in known:
            code = _mask(case, i)
            mark: dict[str, Any] = {"id": len(self.annotations) + 1, "image_id": number, "iscrowd": 0}
            mark |= {"area": rle.area(code), "bbox": list(rle.box(code)), "segmentation": rle.to_json(code)}
            self.annotations.append(mark | {"category_id": self.category(case.picture.regions[i].label)})

    def json(self) -> dict[str, Any]:
        """The whole object."""
        categories = [{"id": number, "name": name} for name, number in self.categories.items()]
        return {"images": self.images, "annotations": self.annotations, "categories": categories}
