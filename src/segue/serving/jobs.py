"""The jobs: what each asks for, which predictor does it, and how a batch of requests becomes answers."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from segue.api import Captioner, Describer, Illustrator, Labeller, Segmenter
from segue.api.answers import MASKS, of_layout, of_map, of_segmentation, of_story
from segue.data.images import index_png_bytes
from segue.data.layouts import palette as layout_colours
from segue.data.visualize import palette as label_colours
from segue.serving import schemas, uploads
from segue.types import GroundedCaption, InputError, Region, Relation

Told = dict[str, Any]


class Request(NamedTuple):
    """One request: what was asked, and the files of its pictures by field, heads checked."""

    asked: Any
    files: dict[str, bytes]

    def picture(self, field: str = "image") -> NDArray[np.uint8] | None:
        """The decoded picture of a field, None where none was sent."""
        return uploads.picture(self.files[field], field) if field in self.files else None

    def layout(self, field: str) -> NDArray[np.uint8] | None:
        """The decoded layout of a field, None where none was sent."""
        return uploads.layout(self.files[field], field) if field in self.files else None


class Job(NamedTuple):
    """work: (predictor, requests) -> an answer for each. batch: how many requests it likes at a time."""

    asked: type[BaseModel]
    predictor: type
    pictures: tuple[str, ...]
    work: Callable[[Any, Sequence[Request]], list[Told]]
    batch: int = 1


def by_note(model: Segmenter, requests: Sequence[Request]) -> list[Told]:
    """Requests of one threshold, all mirrored too or none, are segmented in one batch."""
    told: dict[int, Told] = {}

    def how(i: int) -> tuple[float, bool]:
        return requests[i].asked.threshold, requests[i].asked.tta

    for (threshold, tta), group in groupby(sorted(range(len(requests)), key=how), key=how):
        some = list(group)
        images = [_must(requests[i].picture()) for i in some]
        answers = model.segment_many(images, [requests[i].asked.note for i in some], threshold=threshold, tta=tta)
        for i, answer in zip(some, answers, strict=True):
            mask = MASKS[requests[i].asked.masks](answer.mask)
            told[i] = {"size": _size(answer.mask), **of_segmentation(answer), "mask": mask}
    return [told[i] for i in range(len(requests))]


def by_labels(model: Labeller, requests: Sequence[Request]) -> list[Told]:
    """The map comes as a PNG with a palette and as a mask for each name."""
    told = []
    for request in requests:
        asked = request.asked
        answer = model.segment(_must(request.picture()), asked.labels, card=asked.card, background=asked.background)
        classes = of_map(answer)
        for one in classes:
            one["mask"] = MASKS[asked.masks](answer.index == one["value"])
        drawn = _index(answer.index, label_colours(len(answer.names)))
        told.append({"size": _size(answer.index), "classes": classes, "map": drawn})
    return told


def to_caption(model: Captioner, requests: Sequence[Request]) -> list[Told]:
    """Requests for one number of captions are read in one batch."""
    told: dict[int, Told] = {}
    order = sorted(range(len(requests)), key=lambda i: requests[i].asked.num)
    for num, group in groupby(order, key=lambda i: requests[i].asked.num):
        some = list(group)
        images = [_must(requests[i].picture()) for i in some]
        for i, captions in zip(some, model.caption_many(images, num), strict=True):
            told[i] = {"captions": [{"text": c.text, "score": round(c.score, 4)} for c in captions]}
    return [told[i] for i in range(len(requests))]


def to_explain(model: Describer, requests: Sequence[Request]) -> list[Told]:
    """Ranked stories, of one place or of every object by its box; each link has its mask."""
    told = []
    for request in requests:
        asked, pixels = request.asked, _must(request.picture())
        prompt = {name: given for name in ("box", "point", "scribble") if (given := getattr(asked, name)) is not None}
        if (drawn := request.layout("mask")) is not None:
            prompt["mask"] = drawn > 0
        if len(named := [*prompt, *["every"] * asked.every]) != 1:
            raise InputError(
                f"prompt: got {', '.join(named) or 'nothing'}, expected one of box, point, scribble, mask, every"
            )
        if asked.every and asked.label is not None:
            raise InputError("label: names what one place is around; with every give regions")
        regions = None
        if asked.regions is not None:
            regions = [Region(one.label, tuple(one.box), thing=one.thing) for one in asked.regions]
        relations = [_relation(edge, len(regions or [])) for edge in asked.relations]
        options: Told = {"regions": regions, "relations": relations, "include": tuple(asked.include)}
        options |= {name: getattr(asked, name) for name in ("top", "steps", "temperature", "tries", "length", "seed")}
        found: Told
        if asked.every:
            each = model.each_object(pixels, **options)  # encoded one by one: all their masks could be gigabytes
            found = {
                "prompts": [{"prompt": {"box": box}, "stories": _stories(some, asked.masks)} for box, some in each]
            }
        else:
            found = {"stories": _stories(model.explain(pixels, **prompt, label=asked.label, **options), asked.masks)}
        told.append({"size": _size(pixels), **found})
    return told


def _stories(stories: Sequence[GroundedCaption], form: str) -> list[Told]:
    found = []
    for story in stories:
        one = of_story(story)
        for link, mask in zip(one["links"], story.links, strict=True):
            link["mask"] = MASKS[form](mask.mask)
        found.append(one)
    return found


def _relation(edge: schemas.Edge, there: int) -> Relation:
    if max(edge.subject, edge.object) >= there:
        raise InputError(f"relation {edge.subject}-{edge.object}: there are {there} regions, counted from 0")
    return Relation(edge.subject, edge.predicate, edge.object)


def to_draw(model: Illustrator, requests: Sequence[Request]) -> list[Told]:
    """Each layout is a PNG of class positions with a palette."""
    told = []
    for request in requests:
        asked = request.asked
        layouts = model.draw(
            asked.caption, num=asked.num, image=request.picture(), keep=request.layout("keep"), seed=asked.seed,
            steps=asked.steps, guidance=asked.guidance, temperature=asked.temperature, tries=asked.tries,
        )  # fmt: skip
        found = [of_layout(one) | {"layout": _index(one.labels, layout_colours(len(one.classes)))} for one in layouts]
        unseen = model.unseen_words(asked.caption)
        colours = layout_colours(len(model.classes)).tolist()
        classes = [{"name": name, "colour": colours[i]} for i, name in enumerate(model.classes)]
        told.append({"size": _size(layouts[0].labels), "layouts": found, "classes": classes, "unseen_words": unseen})
    return told


def to_tell(model: Illustrator, requests: Sequence[Request]) -> list[Told]:
    """Captions of a layout, the likeliest first."""
    told = []
    for request in requests:
        captions = model.tell(_must(request.layout("layout")), num=request.asked.num, image=request.picture())
        told.append({"captions": [{"text": c.caption, "score": round(c.score, 4)} for c in captions]})
    return told


JOBS = {
    "segment/note": Job(schemas.ByNote, Segmenter, ("image",), by_note, 8),
    "segment/labels": Job(schemas.ByLabels, Labeller, ("image",), by_labels),
    "caption": Job(schemas.ToCaption, Captioner, ("image",), to_caption, 8),
    "explain": Job(schemas.ToExplain, Describer, ("image", "mask"), to_explain),
    "draw": Job(schemas.ToDraw, Illustrator, ("image", "keep"), to_draw),
    "tell": Job(schemas.ToTell, Illustrator, ("layout", "image"), to_tell),
}


def _must(found: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    assert found is not None  # the schema requires the field
    return found


def _size(array: NDArray[Any]) -> tuple[int, int]:
    return array.shape[1], array.shape[0]


def _index(values: NDArray[Any], colours: NDArray[np.uint8]) -> str:
    return base64.b64encode(index_png_bytes(values.astype(np.uint8), colours)).decode("ascii")
