"""How well sentences are drawn and layouts told, under each condition, and what survives the way there and back.

A drawing is measured against the picture's own layout (miou, accuracy; class_f1, area and boundary, whose mean is vfs:
our definition, the paper has none), and against what its caption says: named, the share of the things and stuffs that
it names which are there, and relation_accuracy, over all captions that say left, right, above or below. Captions leave
out what is in the picture, so class_f1 of a drawing from a caption alone can't reach 1, and named can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.api.illustrator import Illustrator
from segue.metrics import java
from segue.metrics.captions import score_captions
from segue.metrics.layouts import PREDICATES, best_of, class_f1, fidelity, holds, shares
from segue.metrics.panoptic import Confusion
from segue.metrics.ptb import tokenize_all
from segue.options import Decoding
from segue.synthetic.scenes.language.parser import parse
from segue.synthetic.scenes.scene import CLASSES

Labels = NDArray[np.uint8]
Image = NDArray[np.uint8]
Kinds = tuple[int, ...]  # classes of which one is enough: a "person" is a man, a woman or a child
Condition = Literal["caption", "caption+image", "mask", "mask+image"]
CONDITIONS: tuple[Condition, ...] = ("caption", "caption+image", "mask", "mask+image")
STEPS = 8  # of parallel drawing
PART = 50  # layouts drawn or told at a time
LEAST = 0.002  # of the pixels, from which a class counts as there


class Case(NamedTuple):
    """A test picture: its layout, its pixels, its captions."""

    layout: Labels
    image: Image
    captions: tuple[str, ...]


Draw = Callable[[Sequence[str], Sequence[Image], int], list[Labels]]  # captions, their images, seed -> layouts
Tell = Callable[[Sequence[Labels], Sequence[Image]], list[str]]


@dataclass(frozen=True)
class Said:
    """What a caption says of a layout: the kinds that it names, and (subject, predicate, object) of PREDICATES."""

    named: tuple[Kinds, ...] = ()
    relations: tuple[tuple[Kinds, str, Kinds], ...] = ()


def said_by(caption: str, classes: Sequence[str]) -> Said:
    """What a caption of the scenes says; nothing of other worlds' captions, which are not understood here."""
    if tuple(classes) != CLASSES:
        return Said()
    request = parse(caption, strict=False)
    kinds = [tuple(CLASSES.index(kind) for kind in thing.kinds) for thing in request.things]
    told = [(kinds[a], names[0], kinds[b]) for a, names, b in request.relations if len(names) == 1]
    stuffs = [(CLASSES.index(stuff),) for stuff in request.stuff]
    return Said(tuple(dict.fromkeys([*kinds, *stuffs])), tuple(r for r in told if r[1] in PREDICATES))


def related(layout: Labels, relation: tuple[Kinds, str, Kinds]) -> bool:
    """Whether a relation holds for some of the kinds that it may be of."""
    subjects, predicate, objects = relation
    return any(holds(layout, a, predicate, b) for a in subjects for b in objects)


def score_layouts(drawn: Sequence[Labels], truth: Sequence[Labels], classes: int) -> dict[str, float]:
    """Drawings against the layouts that were meant."""
    table = Confusion(np.zeros((classes, classes), np.int64))
    for a, b in zip(drawn, truth, strict=True):
        table += Confusion.of(a, b, classes)
    overlap = table.scores(empty="skip")
    parts = [fidelity(a, b, classes) for a, b in zip(drawn, truth, strict=True)]
    names = ("class_f1", "area", "boundary", "vfs")
    means = {name: float(np.mean([getattr(part, name) for part in parts])) for name in names}
    return {"miou": overlap["miou"], "accuracy": overlap["pixel_accuracy"]} | means


def score_said(drawn: Sequence[Labels], captions: Sequence[str], classes: Sequence[str]) -> dict[str, float]:
    """Drawings against what their captions say; a metric that no caption has anything for is left out."""
    named, related_ = [], []
    for layout, caption in zip(drawn, captions, strict=True):
        said, there = said_by(caption, classes), shares(layout, len(classes)) >= LEAST
        named += [any(there[kind] for kind in kinds) for kinds in said.named]
        related_ += [related(layout, relation) for relation in said.relations]
    found = {"named": named, "relation_accuracy": related_}
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def score_drawing(draw: Draw, told: Sequence[Case], others: Sequence[Case], classes: Sequence[str]) -> dict[str, float]:
    """Drawings from the first caption of each of `told`, and of all captions of `others` that say a relation."""
    said, images = [one.captions[0] for one in told], [one.image for one in told]
    drawn = draw(said, images, 0)
    placed = [(c, one.image) for one in (*told, *others) for c in one.captions if said_by(c, classes).relations]
    found = score_layouts(drawn, [one.layout for one in told], len(classes)) | score_said(drawn, said, classes)
    if placed:
        captions, pictures = [c for c, _ in placed], [i for _, i in placed]
        again = score_said(draw(captions, pictures, 100_000), captions, classes)
        found["relation_accuracy"] = again["relation_accuracy"]
    return found


def score_telling(tell: Tell, told: Sequence[Case]) -> dict[str, float]:
    """Captions against each picture's own. METEOR is left out, and that is said, where it can't run."""
    said = dict(enumerate(tell([one.layout for one in told], [one.image for one in told])))
    truth = {str(i): one.captions for i, one in enumerate(told)}
    corpus = score_captions({str(i): text for i, text in said.items()}, truth, with_java=False).corpus
    found = {"bleu4": float(corpus["BLEU-4"]), "cider": float(corpus["CIDEr-D"])}  # type: ignore[arg-type]
    meteor = java.meteor(tokenize_all(list(said.values())), [tokenize_all(list(c)) for c in truth.values()])
    if isinstance(meteor, java.NotComputed):
        print(f"meteor: {meteor}", flush=True)
        return found
    return found | {"meteor": meteor[0]}


def score_best(draw: Draw, told: Sequence[Case], classes: int, counts: Sequence[int]) -> dict[str, float]:
    """The best of k drawings of each caption, by each measure for itself: NAME_best_K, means over pictures.

    miou of one picture is the mean over the classes that it or its drawing has.
    """
    said, images = [one.captions[0] for one in told], [one.image for one in told]
    tries = [draw(said, images, 1000 * i) for i in range(max(counts))]
    values: dict[str, list[list[float]]] = {"miou": [], "class_f1": [], "vfs": []}
    for number, one in enumerate(told):
        scores = [score_layouts([each[number]], [one.layout], classes) for each in tries]
        for name, rows in values.items():
            rows.append([score[name] for score in scores])
    return {
        f"{name}_best_{k}": float(np.mean([best_of(row, k) for row in rows]))
        for name, rows in values.items()
        for k in counts
    }


# ---------------------------------------------------------------------------------------------- round trips


def caption_round_trip(draw: Draw, tell: Tell, told: Sequence[Case], classes: Sequence[str]) -> dict[str, float]:
    """Caption -> mask -> caption: what the second caption still says of what the first said.

    class_f1: of the kinds that they name; two that share a class agree. relation_accuracy: the share of the first one's
    relations that the layout between them shows. said_again: the share that the second caption says too.
    """
    captions = [c for one in told for c in one.captions if said_by(c, classes).relations] + [
        one.captions[0] for one in told
    ]
    images = [told[0].image] * len(captions)
    drawn = draw(captions, images, 0)
    again = [said_by(text, classes) for text in tell(drawn, images)]
    first = [said_by(caption, classes) for caption in captions]
    f1 = [_named_f1(a, b) for a, b in zip(first, again, strict=True)]
    kept = [_agrees(r, b.relations) for a, b in zip(first, again, strict=True) for r in a.relations]
    found = {"class_f1": float(np.mean(f1)), "said_again": float(np.mean(kept)) if kept else np.nan}
    scores = score_said(drawn, captions, classes)
    found |= {"relation_accuracy": scores.get("relation_accuracy", np.nan)}
    return {name: value for name, value in found.items() if not np.isnan(value)}


def mask_round_trip(draw: Draw, tell: Tell, told: Sequence[Case], classes: Sequence[str]) -> dict[str, float]:
    """Mask -> caption -> mask. class_f1: of the second layout by the first. named: the share of what the caption names
    that is in the first layout. relation_accuracy: of the relations that it says there; none is said, none is counted.
    """
    masks, images = [one.layout for one in told], [one.image for one in told]
    captions = tell(masks, images)
    drawn = draw([caption.strip() or "a picture" for caption in captions], images, 0)
    f1 = [class_f1(a, b, len(classes)) for a, b in zip(drawn, masks, strict=True)]
    return {"class_f1": float(np.mean(f1))} | score_said(masks, captions, classes)


def _named_f1(a: Said, b: Said) -> float:
    if not a.named and not b.named:
        return 1.0
    hits = [sum(any(set(x) & set(y) for y in other.named) for x in one.named) for one, other in ((a, b), (b, a))]
    return sum(hits) / (len(a.named) + len(b.named))


def _agrees(relation: tuple[Kinds, str, Kinds], others: Sequence[tuple[Kinds, str, Kinds]]) -> bool:
    turned = dict(zip(PREDICATES, ("right of", "left of", "below", "above"), strict=True))
    a, predicate, b = relation
    same = [(x, y) for x, p, y in others if p == predicate] + [(y, x) for x, p, y in others if p == turned[predicate]]
    return any(set(a) & set(x) and set(b) & set(y) for x, y in same)


# ------------------------------------------------------------------------------------------------ systems


def drawer(illustrator: Illustrator, with_image: bool, tries: int = 1) -> Draw:
    """A trained model as one that draws, its seeds counted from the batch's. tries: see `Illustrator.draw`."""

    def draw(captions: Sequence[str], images: Sequence[Image], seed: int) -> list[Labels]:
        found: list[Labels] = []
        for at in range(0, len(captions), PART):
            part = slice(at, at + PART)
            said = captions[part]
            drawn = illustrator.draw_many(
                said, images[part] if with_image else None, seeds=range(seed + at, seed + at + len(said)),
                steps=STEPS, tries=tries,
            )  # fmt: skip
            found += [one.labels for one in drawn]
        return found

    return draw


def teller(illustrator: Illustrator, with_image: bool) -> Tell:
    """A trained model as one that tells, by beam search."""
    options = Decoding(max_tokens=illustrator.max_words, beams=3)

    def tell(layouts: Sequence[Labels], images: Sequence[Image]) -> list[str]:
        found: list[str] = []
        for at in range(0, len(layouts), PART):
            part = slice(at, at + PART)
            pictures = images[part] if with_image else None
            told = illustrator.tell_many(layouts[part], pictures, decoding=options)
            found += [one[0].caption for one in told]
        return found

    return tell


def score_illustrator(
    illustrator: Illustrator, condition: Condition, told: Sequence[Case], others: Sequence[Case], tries: int = 1
) -> dict[str, float]:
    """The metrics of one condition. tries: of drawing."""
    seen = condition.endswith("+image")
    if condition.startswith("caption"):
        return score_drawing(drawer(illustrator, seen, tries), told, others, illustrator.classes)
    return score_telling(teller(illustrator, seen), told)
