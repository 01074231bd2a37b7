"""Scores of drawn layouts and of captions of layouts, for each condition, and cycle consistency.

A drawn layout is compared with the picture's own layout (miou, accuracy; class_f1, area and boundary, whose mean is
vfs: our definition, as the paper has none), and with what its caption says: named_recall, the share of the classes that
it names which are there, and relation_accuracy, over all captions that say left, right, above or below. Captions leave
out some of the picture, so class_f1 of a layout drawn from a caption alone can't reach 1, and named_recall can.
Cycle consistency: caption -> layout -> caption, and layout -> caption -> layout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.api.illustrator import Illustrator
from segue.api.sentence_check import CaptionContent, Relation, caption_content
from segue.metrics import java
from segue.metrics.captions import score_captions
from segue.metrics.layouts import PREDICATES, best_of, class_f1, class_shares, fidelity, satisfies
from segue.metrics.panoptic import Confusion
from segue.metrics.ptb import tokenize_all
from segue.options import Decoding, DrawOptions
from segue.synthetic.scenes.scene import CLASSES

Labels = NDArray[np.uint8]  # (H, W) class positions, 255 for unknown
Image = NDArray[np.uint8]  # (H, W, 3)
Condition = Literal["caption", "caption+image", "mask", "mask+image"]
CONDITIONS: tuple[Condition, ...] = ("caption", "caption+image", "mask", "mask+image")
ONE_TRY = DrawOptions(best_of=1, check_sentence=False, silhouettes=False)  # the model alone
BATCH_SIZE = 50  # layouts drawn or captioned at a time
MIN_SHARE = 0.002  # of the known pixels, from which a class counts as present
INVERSE = dict(zip(PREDICATES, ("right of", "left of", "below", "above"), strict=True))


class LayoutExample(NamedTuple):
    """A test picture: its layout, its pixels, its captions."""

    layout: Labels
    image: Image
    captions: tuple[str, ...]


Draw = Callable[[Sequence[str], Sequence[Image], int], list[Labels]]  # captions, their images, seed -> layouts
Describe = Callable[[Sequence[Labels], Sequence[Image]], list[str]]  # layouts, their images -> captions


def content_of(caption: str, classes: Sequence[str]) -> CaptionContent:
    """The content of a caption of the synthetic scenes; empty for other classes, whose captions have no grammar."""
    return caption_content(caption, classes) if tuple(classes) == CLASSES else CaptionContent()


def relation_holds(layout: Labels, relation: Relation) -> bool:
    """Whether a relation holds for any of the classes that it may be of."""
    subjects, predicate, objects = relation
    return any(satisfies(layout, a, predicate, b) for a in subjects for b in objects)


def score_layouts(drawn: Sequence[Labels], truth: Sequence[Labels], classes: int) -> dict[str, float]:
    """RenderedScene layouts against the true ones, each in [0, 1]."""
    total = Confusion(np.zeros((classes, classes), np.int64))
    for a, b in zip(drawn, truth, strict=True):
        total += Confusion.of(a, b, classes)
    overlap = total.scores(empty="skip")
    parts = [fidelity(a, b, classes) for a, b in zip(drawn, truth, strict=True)]
    names = ("class_f1", "area", "boundary", "vfs")
    means = {name: float(np.mean([getattr(part, name) for part in parts])) for name in names}
    return {"miou": overlap["miou"], "accuracy": overlap["pixel_accuracy"]} | means


def score_caption_content(drawn: Sequence[Labels], captions: Sequence[str], classes: Sequence[str]) -> dict[str, float]:
    """Layouts against what their captions say; a metric that no caption allows to compute is left out."""
    named, relations = [], []
    for layout, caption in zip(drawn, captions, strict=True):
        content, present = content_of(caption, classes), class_shares(layout, len(classes)) >= MIN_SHARE
        named += [any(present[kind] for kind in kinds) for kinds in content.named]
        relations += [relation_holds(layout, relation) for relation in content.relations]
    found = {"named_recall": named, "relation_accuracy": relations}
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def score_drawing(
    draw: Draw, examples: Sequence[LayoutExample], others: Sequence[LayoutExample], classes: Sequence[str]
) -> dict[str, float]:
    """Layouts drawn from the first caption of each example, and from all captions, those of `others` too, that say a
    relation.
    """
    captions, images = [one.captions[0] for one in examples], [one.image for one in examples]
    drawn = draw(captions, images, 0)
    related = [(c, one.image) for one in (*examples, *others) for c in one.captions if _says_relation(c, classes)]
    scores = score_layouts(drawn, [one.layout for one in examples], len(classes))
    scores |= score_caption_content(drawn, captions, classes)
    if related:
        captions, images = [caption for caption, _ in related], [image for _, image in related]
        of_relations = score_caption_content(draw(captions, images, 100_000), captions, classes)
        scores["relation_accuracy"] = of_relations["relation_accuracy"]
    return scores


def _says_relation(caption: str, classes: Sequence[str]) -> bool:
    return bool(content_of(caption, classes).relations)


def score_layout_captions(describe: Describe, examples: Sequence[LayoutExample]) -> dict[str, float]:
    """Captions of layouts against each picture's own. METEOR is left out, with a message, where it can't run."""
    captions = describe([one.layout for one in examples], [one.image for one in examples])
    truth = {str(i): one.captions for i, one in enumerate(examples)}
    corpus = score_captions({str(i): text for i, text in enumerate(captions)}, truth, with_java=False).corpus
    scores = {"bleu4": float(corpus["BLEU-4"]), "cider": float(corpus["CIDEr-D"])}  # type: ignore[arg-type]
    meteor = java.meteor(tokenize_all(captions), [tokenize_all(list(c)) for c in truth.values()])
    if isinstance(meteor, java.NotComputed):
        print(f"meteor: {meteor}", flush=True)
        return scores
    return scores | {"meteor": meteor[0]}


def score_best_of(
    draw: Draw, examples: Sequence[LayoutExample], classes: int, counts: Sequence[int]
) -> dict[str, float]:
    """The best of k layouts drawn from each caption, by each metric for itself: NAME_best_K, means over pictures.

    miou of one picture is the mean over the classes that it or its layout has.
    """
    captions, images = [one.captions[0] for one in examples], [one.image for one in examples]
    tries = [draw(captions, images, 1000 * i) for i in range(max(counts))]
    values: dict[str, list[list[float]]] = {"miou": [], "class_f1": [], "vfs": []}
    for number, one in enumerate(examples):
        scores = [score_layouts([each[number]], [one.layout], classes) for each in tries]
        for name, rows in values.items():
            rows.append([score[name] for score in scores])
    return {
        f"{name}_best_{k}": float(np.mean([best_of(row, k) for row in rows]))
        for name, rows in values.items()
        for k in counts
    }


# --- cycle consistency


def score_caption_cycle(
    draw: Draw, describe: Describe, examples: Sequence[LayoutExample], classes: Sequence[str]
) -> dict[str, float]:
    """Caption -> layout -> caption: how much of the first caption's content the second one has.

    class_f1: of the classes that they name; two that share a class agree. relation_accuracy: the share of the first
    caption's relations that hold in the layout. relation_recall: the share that the second caption says too.
    """
    captions = [c for one in examples for c in one.captions if _says_relation(c, classes)] + [
        one.captions[0] for one in examples
    ]
    images = [examples[0].image] * len(captions)
    drawn = draw(captions, images, 0)
    second = [content_of(text, classes) for text in describe(drawn, images)]
    first = [content_of(caption, classes) for caption in captions]
    f1 = [_named_f1(a, b) for a, b in zip(first, second, strict=True)]
    repeated = [_says(b, relation) for a, b in zip(first, second, strict=True) for relation in a.relations]
    found = {"class_f1": float(np.mean(f1)), "relation_recall": float(np.mean(repeated)) if repeated else np.nan}
    scores = score_caption_content(drawn, captions, classes)
    found |= {"relation_accuracy": scores.get("relation_accuracy", np.nan)}
    return {name: value for name, value in found.items() if not np.isnan(value)}


def score_layout_cycle(
    draw: Draw, describe: Describe, examples: Sequence[LayoutExample], classes: Sequence[str]
) -> dict[str, float]:
    """Layout -> caption -> layout.

    class_f1: of the second layout by the first. named_recall: the share of the classes that the caption names which are
    in the first layout. relation_accuracy: of the relations that it says, in the first layout.
    """
    layouts, images = [one.layout for one in examples], [one.image for one in examples]
    captions = describe(layouts, images)
    drawn = draw([caption.strip() or "a picture" for caption in captions], images, 0)
    f1 = [class_f1(a, b, len(classes)) for a, b in zip(drawn, layouts, strict=True)]
    return {"class_f1": float(np.mean(f1))} | score_caption_content(layouts, captions, classes)


def _named_f1(a: CaptionContent, b: CaptionContent) -> float:
    if not a.named and not b.named:
        return 1.0
    hits = [sum(any(set(x) & set(y) for y in other.named) for x in one.named) for one, other in ((a, b), (b, a))]
    return sum(hits) / (len(a.named) + len(b.named))


def _says(content: CaptionContent, relation: Relation) -> bool:
    """Whether the content has the relation, or its inverse with the objects swapped."""
    a, predicate, b = relation
    same = [(x, y) for x, p, y in content.relations if p == predicate]
    same += [(y, x) for x, p, y in content.relations if p == INVERSE[predicate]]
    return any(set(a) & set(x) and set(b) & set(y) for x, y in same)


# --- models


def drawing(illustrator: Illustrator, with_image: bool, options: DrawOptions = ONE_TRY) -> Draw:
    """A trained model as a `Draw`."""

    def draw(captions: Sequence[str], images: Sequence[Image], seed: int) -> list[Labels]:
        drawn: list[Labels] = []
        for start in range(0, len(captions), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            texts, pictures = captions[part], images[part] if with_image else None
            seeds = range(seed + start, seed + start + len(texts))
            drawn += [one.labels for one in illustrator.draw_many(texts, pictures, seeds=seeds, options=options)]
        return drawn

    return draw


def describing(illustrator: Illustrator, with_image: bool) -> Describe:
    """A trained model as a `Describe`, by beam search."""

    def describe(layouts: Sequence[Labels], images: Sequence[Image]) -> list[str]:
        captions: list[str] = []
        for start in range(0, len(layouts), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            pictures = images[part] if with_image else None
            found = illustrator.caption_layouts(layouts[part], pictures, options=Decoding(beams=3))
            captions += [one[0].caption for one in found]
        return captions

    return describe


def score_illustrator(
    illustrator: Illustrator,
    condition: Condition,
    examples: Sequence[LayoutExample],
    others: Sequence[LayoutExample],
    options: DrawOptions = ONE_TRY,
) -> dict[str, float]:
    """The metrics of one condition. options: of drawing."""
    with_image = condition.endswith("+image")
    if condition.startswith("caption"):
        return score_drawing(drawing(illustrator, with_image, options), examples, others, illustrator.classes)
    return score_layout_captions(describing(illustrator, with_image), examples)
