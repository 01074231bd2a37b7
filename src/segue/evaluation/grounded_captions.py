"""How good stories are: their captions, their masks, and the ties between the two.

A case is a picture with one prompt: the box of the first noun's object of one of its captions (the paper's), or of any
object that some caption names (what a user does). Its truth is that caption's regions, and all captions of the picture
that name the prompt's object are its references.

    cider, bleu4, meteor        of the first story when one is asked for; these and all of masks are means over `draws`
                                of the noise that it begins with, which is another one for each case
    *_selected                  of the one that the model ranks first of `top`
    *_oracle5                   of the one of `top` that CIDEr-D likes best: an oracle, not a system
    distinct2                   distinct-2 among the `top` captions of a case, the mean over cases
    wording_gap                 how far the `top` captions' shares of each class's words (dog, puppy, hound) are from
                                the references': total variation, 0 to 1, the mean over classes by their mentions
    mask_iou, mask_iou_greedy   masks matched with the truth's, a true one without a partner counts 0
    mask_iou_strict             the first, where a mask that the truth lacks counts 0 too: outlining all doesn't pay
    map                         COCO's mask AP; a mask's class is that of the noun it is tied to, the truth is the
                                caption's regions
    link_accuracy               of the masks that fit a region (IoU .5 or more): the share tied to a noun of its class
    *_t5                        with 5 evaluations of the network, each story told once
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from segue.api.describer import Describer
from segue.data import rle
from segue.data.export import class_of
from segue.methods.sgdiff.lexicon import word_spans
from segue.methods.sgdiff.model import SGDiff
from segue.metrics.captions import distinct, score_captions
from segue.metrics.panoptic import mask_ap, match, matched_iou
from segue.metrics.ptb import tokenize_all
from segue.types import RLE, GroundedCaption, InputError, PhraseGrounding, Picture

Prompt = Literal["first", "any"]
Tell = Callable[["Case", int, int], list[GroundedCaption]]  # (case, how many, seed) -> stories, the likeliest first
DRAWS = 3
FEW = 20
CAPTIONS = {"CIDEr-D": "cider", "BLEU-4": "bleu4", "METEOR": "meteor", "SPICE": "spice"}


class Case(NamedTuple):
    """One prompt on one picture. told: the regions that its caption names."""

    picture: Picture
    box: tuple[float, float, float, float]
    references: list[str]
    told: tuple[int, ...]


def score_stories(
    model: SGDiff,
    pictures: Sequence[Picture],
    prompt: Prompt,
    *,
    top: int = 5,
    java: bool = True,
    outlines: bool = True,
    temperature: float = 0.0,
) -> dict[str, float]:
    """The scores above, of a model that is given each picture's own regions and relations as its graph.

    temperature: of the words; where they are written one by one, of the first story's alone.
    Those that the model can't have (of captions, of masks) or that can't run here are left out.
    """
    c, cases = model.config, cases_of(pictures, prompt)
    diffuses = c.tells and c.decoder == "diffusion"
    tell = partial(tell_by, Describer(model), sampled=not diffuses, temperature=temperature)
    found = score_cases(
        tell,
        cases,
        top=top,
        java=java,
        tells=c.tells,
        outlines=outlines and c.outlines,
        draws=DRAWS if diffuses and top > 1 else 1,
    )
    if diffuses and top > 1:
        few = score_cases(partial(tell, steps=5, tries=1), cases, top=top, java=False, outlines=False, draws=DRAWS)
        found |= {f"{name}_t5": few[name] for name in ("cider", "distinct2", "wording_gap") if name in few}
    return found


def tell_by(
    explainer: Describer, case: Case, count: int, seed: int, *, sampled: bool = False, **options: Any
) -> list[GroundedCaption]:
    """What an explainer tells of a case. sampled: it writes word by word, and searching makes one caption, not five."""
    known = case.picture
    options |= {"top": count, "seed": seed} | ({"temperature": 1.0} if sampled and count > 1 else {})
    return explainer.explain(known.load(), box=case.box, regions=known.regions, relations=known.relations, **options)


def score_cases(
    tell: Tell,
    cases: Sequence[Case],
    *,
    top: int = 5,
    java: bool = True,
    tells: bool = True,
    outlines: bool = True,
    draws: int = 1,
) -> dict[str, float]:
    """The scores of anything that tells stories. tells, outlines: whether it does. draws: of each case's first story.

    Each case and draw has a seed of its own: with one for all, all pictures would begin with the same noise, and its
    luck would be the score's (CIDEr differed by 20 between seeds).
    """
    if not cases:
        raise InputError("got no case to score, expected one or more; do the captions name regions?")
    first, many = list[list[GroundedCaption]](), list[list[GroundedCaption]]()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "this model doesn't know|no known object")  # the scores tell it
        for i, case in enumerate(cases):
            first.append([tell(case, 1, draws * i + draw)[0] for draw in range(draws)])
            many.append(tell(case, top, draws * i) if top > 1 and tells else [])
    scores, classes = list[dict[str, float]](), nouns_of([case.picture for case in cases])
    for stories in zip(*first, strict=True):
        found = _captions([story.caption for story in stories], cases, "", java) if tells else {}
        scores.append(found | (_masks(stories, cases, classes) if outlines else {}))
    means = {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}
    return means | (_of_many(many, cases, java) if tells and top > 1 else {})


# -------------------------------------------------------------------------------------------------- cases


def cases_of(pictures: Sequence[Picture], prompt: Prompt, seed: int = 0) -> list[Case]:
    """A case for each picture whose captions name regions; which caption and object, the seed and position decide."""
    return [
        _case(picture, prompt, np.random.default_rng([seed, i]))
        for i, picture in enumerate(pictures)
        if any(phrase.regions for phrase in picture.phrases)
    ]


def _case(picture: Picture, prompt: Prompt, rng: np.random.Generator) -> Case:
    named = sorted((p for p in picture.phrases if p.regions), key=lambda p: (p.caption, p.start))
    if prompt == "first":
        caption = int(rng.choice(sorted({p.caption for p in named})))
        asked = next(p for p in named if p.caption == caption).regions[0]
    elif prompt == "any":
        asked = int(rng.choice(sorted({r for p in named for r in p.regions})))
        caption = int(rng.choice(sorted({p.caption for p in named if asked in p.regions})))
    else:
        raise InputError(f"prompt: got {prompt!r}, expected 'first' (the first noun's object) or 'any' object")
    naming = sorted({p.caption for p in named if asked in p.regions})
    told = tuple(sorted({r for p in named if p.caption == caption for r in p.regions}))
    return Case(picture, picture.regions[asked].box, [picture.captions[i] for i in naming], told)


def nouns_of(pictures: Sequence[Picture], heads: bool = False) -> dict[str, str]:
    """Word -> the class that phrases with it name most often; words are looked up from a phrase's end.

    heads: the phrases' last words only.
    """
    counts: dict[str, Counter[str]] = {}
    for picture in pictures:
        for phrase in picture.phrases:
            labels = {picture.regions[r].label for r in phrase.regions}
            words = word_spans(picture.captions[phrase.caption][phrase.start : phrase.end])
            for word, _, _ in words[-1:] if heads else words:
                counts.setdefault(word, Counter()).update(labels)
    return {word: max(sorted(count), key=count.__getitem__) for word, count in counts.items()}


def said_class(link: PhraseGrounding, classes: dict[str, str]) -> str:
    """The class of the noun that a mask is tied to; "" for none that is known. Without a caption the mask's own."""
    if not link.end:
        return class_of(link)
    words = [word for word, _, _ in word_spans(link.phrase)]
    return next((classes[word] for word in reversed(words) if word in classes), "")


# ------------------------------------------------------------------------------------------------- scores


def _captions(said: Sequence[str], cases: Sequence[Case], suffix: str, java: bool) -> dict[str, float]:
    """Scores of one caption a case, named with the suffix."""
    found = score_captions(*_numbered(said, cases), with_java=java).corpus
    return {
        f"{short}{suffix}": score for name, short in CAPTIONS.items() if isinstance(score := found.get(name), float)
    }


def _numbered(said: Sequence[str], cases: Sequence[Case]) -> tuple[dict[str, str], dict[str, list[str]]]:
    return {str(i): text for i, text in enumerate(said)}, {str(i): c.references for i, c in enumerate(cases)}


def _of_many(many: Sequence[Sequence[GroundedCaption]], cases: Sequence[Case], java: bool) -> dict[str, float]:
    """What the model ranks first, the oracle's choice, and how much the captions of a case differ."""
    ranks = [[stories[k].caption for stories in many] for k in range(len(many[0]))]
    each = [score_captions(*_numbered(said, cases), with_java=False).each["CIDEr-D"] for said in ranks]
    best = np.argmax([[scores[str(i)] for i in range(len(cases))] for scores in each], axis=0)
    chosen = [ranks[k][i] for i, k in enumerate(best.tolist())]
    different = [distinct(tokenize_all([story.caption for story in stories]), 2) for stories in many]
    return {
        **_captions(ranks[0], cases, "_selected", java),
        **_captions(chosen, cases, "_oracle5", java),
        "distinct2": float(np.mean(different)),
        **_wording_gap([story.caption for stories in many for story in stories], cases),
    }


def _wording_gap(said: Sequence[str], cases: Sequence[Case]) -> dict[str, float]:
    """Over the classes that the references call by several words, and that both sides name FEW times or more."""
    classes = nouns_of([case.picture for case in cases], heads=True)
    told, true = (_wordings(texts, classes) for texts in (said, [text for case in cases for text in case.references]))
    gaps, weights = [], []
    for kind, words in true.items():
        mine = told.get(kind, Counter())
        if len(words) > 1 and min(words.total(), mine.total()) >= FEW:
            gaps.append(sum(abs(words[w] / words.total() - mine[w] / mine.total()) for w in words | mine) / 2)
            weights.append(words.total())
    return {"wording_gap": float(np.average(gaps, weights=weights))} if gaps else {}


def _wordings(captions: Sequence[str], classes: dict[str, str]) -> dict[str, Counter[str]]:
    """Class -> how often each of its words is said."""
    found: dict[str, Counter[str]] = {}
    for caption in captions:
        for word, _, _ in word_spans(caption):
            if word in classes:
                found.setdefault(classes[word], Counter())[word] += 1
    return found


def _masks(stories: Sequence[GroundedCaption], cases: Sequence[Case], classes: dict[str, str]) -> dict[str, float]:
    """mask_iou, its greedy and strict kin, map and link_accuracy over the cases whose regions have masks."""
    hungarian, greedy, strict, ties, truth, said = [], [], [], [], _Coco(), list[dict[str, Any]]()
    for number, (story, case) in enumerate(zip(stories, cases, strict=True), 1):
        guesses = [rle.encode(link.mask) for link in story.links]
        spoken = [said_class(link, classes) for link in story.links]
        known = [i for i in case.told if case.picture.regions[i].mask is not None]
        if not known:
            continue
        ious = rle.iou([_mask(case, i) for i in known], guesses)
        hungarian.append(matched_iou(ious))
        greedy.append(matched_iou(ious, "greedy"))
        strict.append(hungarian[-1] * len(known) / max(len(known), len(guesses)))
        ties += _ties(case, guesses, spoken)
        truth.add(number, case, known)
        for link, guess, label in zip(story.links, guesses, spoken, strict=True):
            where = {"image_id": number, "category_id": truth.category(label), "segmentation": rle.to_json(guess)}
            said.append(where | {"score": link.score})
    if not hungarian:
        return {}
    return {
        "mask_iou": float(np.mean(hungarian)),
        "mask_iou_greedy": float(np.mean(greedy)),
        "mask_iou_strict": float(np.mean(strict)),
        "map": mask_ap(truth.json(), said)["ap"],
        "link_accuracy": float(np.mean(ties)) if ties else 0.0,
    }


def _mask(case: Case, region: int) -> RLE:
    found = case.picture.regions[region].mask
    assert found is not None  # the callers ask for those that have one
    return found


def _ties(case: Case, guesses: Sequence[RLE], spoken: Sequence[str]) -> list[bool]:
    """Of each mask that fits a region of the picture: whether it is tied to a noun of the region's class."""
    there = [i for i, region in enumerate(case.picture.regions) if region.mask is not None]
    ious = rle.iou([_mask(case, i) for i in there], guesses)
    return [spoken[p] == case.picture.regions[there[g]].label for g, p in match(ious) if ious[g, p] >= 0.5]


class _Coco:
    """COCO's instances json as it grows."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.numbers: dict[str, int] = {}

    def category(self, label: str) -> int:
        return self.numbers.setdefault(label, len(self.numbers) + 1)

    def add(self, number: int, case: Case, known: Sequence[int]) -> None:
        size = _mask(case, known[0]).size
        self.images.append({"id": number, "height": size[0], "width": size[1]})
        for i in known:
            code = _mask(case, i)
            mark: dict[str, Any] = {
                "id": len(self.annotations) + 1,
                "image_id": number,
                "iscrowd": 0,
                "area": rle.area(code),
            }
            mark |= {"category_id": self.category(case.picture.regions[i].label), "bbox": list(rle.box(code))}
            self.annotations.append(mark | {"segmentation": rle.to_json(code)})

    def json(self) -> dict[str, Any]:
        categories = [{"id": number, "name": name} for name, number in self.numbers.items()]
        return {"images": self.images, "annotations": self.annotations, "categories": categories}
