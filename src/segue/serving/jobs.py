"""The jobs: the request that each takes, the predictor that does it, and how a batch of requests becomes answers."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from segue.api import Captioner, Describer, Illustrator, Segmenter
from segue.api.answers import (
    MASKS,
    domain_to_dict,
    grounded_caption_to_dict,
    label_map_to_dict,
    layout_to_dict,
    segmentation_to_dict,
)
from segue.api.label_segmenter import LabelSegmenter
from segue.data.class_colours import palette as layout_colours
from segue.data.images import index_png_bytes, png_bytes
from segue.data.visualize import layout_picture
from segue.data.visualize import palette as label_colours
from segue.options import Decoding, DescribeOptions, DrawOptions, LabelOptions, SegmentOptions
from segue.serving import schemas, uploads
from segue.types import GroundedCaption, InputError, LayoutBox, Region, Relation

Answer = dict[str, Any]
GREYS = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)


class Request(NamedTuple):
    """One request: its body, and the files of its pictures by field, heads checked."""

    body: Any
    files: dict[str, bytes]

    def picture(self, field: str = "image") -> NDArray[np.uint8] | None:
        """The decoded picture of a field, None where none was sent."""
        return uploads.picture(self.files[field], field) if field in self.files else None

    def layout(self, field: str) -> NDArray[np.uint8] | None:
        """The decoded layout of a field, None where none was sent."""
        return uploads.layout(self.files[field], field) if field in self.files else None


class Job(NamedTuple):
    """work: (predictor, requests) -> an answer for each. batch: how many requests it likes at a time."""

    body: type[BaseModel]
    predictor: type | UnionType
    pictures: tuple[str, ...]
    work: Callable[[Any, Sequence[Request]], list[Answer]]
    batch: int = 1


def by_note(model: Segmenter, requests: Sequence[Request]) -> list[Answer]:
    """Requests with the same options are segmented in one batch."""
    answers: dict[int, Answer] = {}
    for options, some in _grouped(requests, SegmentOptions).items():
        images = [_must(requests[i].picture()) for i in some]
        notes = [requests[i].body.note for i in some]
        for i, answer in zip(some, model.segment_many(images, notes, options=options), strict=True):
            mask = MASKS[requests[i].body.masks](answer.mask)
            about = {**segmentation_to_dict(answer), "note_doubts": model.note_doubts(answer.note)}
            answers[i] = {"size": _size(answer.mask), **about, "mask": mask}
            if requests[i].body.probability:
                answers[i]["probability"] = _index(np.round(255 * answer.probability), GREYS)
        for i, image in zip(some, images, strict=True):
            if requests[i].body.words:
                answers[i]["words"] = _note_words(model, image, requests[i].body, options)
    return [answers[i] for i in range(len(requests))]


def _note_words(
    model: Segmenter, image: NDArray[np.uint8], body: schemas.NoteRequest, options: SegmentOptions
) -> list[Answer]:
    if body.note is None:
        raise InputError("words: there is no note whose words could be left out; give a note")
    draw, found = MASKS[body.masks], []
    for word in model.attribute_words(image, body.note, options=options):
        masks = {"lost": draw(word.lost), "gained": draw(word.gained)}
        found.append({"word": body.note[word.start : word.end], **word.to_dict(), **masks})
    return found


def by_labels(model: LabelSegmenter, requests: Sequence[Request]) -> list[Answer]:
    """The map comes as a PNG with a palette and as a mask for each name."""
    answers = []
    for request in requests:
        body = request.body
        answer = model.segment(_must(request.picture()), body.labels, options=schemas.options_of(body, LabelOptions))
        classes = label_map_to_dict(answer)
        for one in classes:
            one["mask"] = MASKS[body.masks](answer.index == one["value"])
        drawn = _index(answer.index, label_colours(len(answer.names)))
        about = {"size": _size(answer.index), **domain_to_dict(answer.distance)}
        answers.append({**about, "classes": classes, "map": drawn})
    return answers


def to_caption(model: Captioner, requests: Sequence[Request]) -> list[Answer]:
    """Requests with the same options are captioned in one batch."""
    answers: dict[int, Answer] = {}
    for options, some in _grouped(requests, Decoding).items():
        images = [_must(requests[i].picture()) for i in some]
        for i, captions in zip(some, model.caption_many(images, options=options), strict=True):
            found = [caption.to_dict() for caption in captions]
            answers[i] = {**domain_to_dict(captions[0].distance), "captions": found}
        for i, image in zip(some, images, strict=True):
            if requests[i].body.words:
                texts = [one["text"] for one in answers[i]["captions"]]
                for one, words in zip(answers[i]["captions"], model.attribute_words(image, texts), strict=True):
                    one["words"] = [{"word": one["text"][w.start : w.end], **w.to_dict()} for w in words]
    return [answers[i] for i in range(len(requests))]


def to_describe(model: Describer, requests: Sequence[Request]) -> list[Answer]:
    """Grounded captions, of one place or of every object by its box; each phrase has its mask.

    Raises InputError unless a request has exactly one prompt, and for a name of every object.
    """
    answers = []
    for request in requests:
        body, pixels = request.body, _must(request.picture())
        prompt = {name: given for name in ("box", "point", "scribble") if (given := getattr(body, name)) is not None}
        if (drawn := request.layout("mask")) is not None:
            prompt["mask"] = drawn > 0
        if len(named := [*prompt, *["every"] * body.every]) != 1:
            raise InputError(
                f"prompt: got {', '.join(named) or 'nothing'}, expected one of box, point, scribble, mask, every"
            )
        if body.every and body.label is not None:
            raise InputError("label: names what one place is around; with every give regions")
        regions = None
        if body.regions is not None:
            regions = [Region(one.label, tuple(one.box), thing=one.thing) for one in body.regions]
        relations = [_relation(edge, len(regions or [])) for edge in body.relations]
        options = schemas.options_of(body, DescribeOptions)
        found: Answer
        if body.every:
            each = model.describe_objects(  # encoded one by one: all their masks could be gigabytes
                pixels, regions=regions, relations=relations, options=options
            )
            found = {
                "prompts": [{"prompt": {"box": box}, "captions": _grounded(some, body.masks)} for box, some in each]
            }
        else:
            captions = model.describe(
                pixels, **prompt, regions=regions, relations=relations, label=body.label, options=options
            )
            found = {"captions": _grounded(captions, body.masks)}
        answers.append({"size": _size(pixels), **_domain(model, pixels), **found})
    return answers


def _domain(model: Describer | Illustrator, image: NDArray[np.uint8] | None) -> Answer:
    """How far the picture lies from those that the model learned from; nothing where there is no picture."""
    return {} if image is None else domain_to_dict(model.measure_distances([image])[0])


def _grounded(captions: Sequence[GroundedCaption], form: str) -> list[Answer]:
    found = []
    for caption in captions:
        one = grounded_caption_to_dict(caption)
        for grounding, phrase in zip(one["groundings"], caption.groundings, strict=True):
            grounding["mask"] = MASKS[form](phrase.mask)
        found.append(one)
    return found


def _relation(edge: schemas.Edge, regions: int) -> Relation:
    if max(edge.subject, edge.object) >= regions:
        raise InputError(f"relation {edge.subject}-{edge.object}: there are {regions} regions, counted from 0")
    return Relation(edge.subject, edge.predicate, edge.object)


def to_draw(model: Illustrator, requests: Sequence[Request]) -> list[Answer]:
    """Each layout is a PNG of class positions with a palette, and a picture to look at, with a legend."""
    answers = []
    for request in requests:
        body, image = request.body, request.picture()
        layouts = model.draw(
            body.caption, image=image, keep=request.layout("keep"),
            boxes=None if body.boxes is None else [LayoutBox(one.label, one.box) for one in body.boxes],
            options=schemas.options_of(body, DrawOptions),
        )  # fmt: skip
        found = [
            layout_to_dict(one)
            | {
                "layout": _index(one.labels, layout_colours(one.classes)),
                "picture": base64.b64encode(png_bytes(layout_picture(one.labels, one.classes))).decode("ascii"),
            }
            for one in layouts
        ]
        colours = layout_colours(model.classes).tolist()
        classes = [{"name": name, "colour": colours[i]} for i, name in enumerate(model.classes)]
        about = {"size": _size(layouts[0].labels), **_domain(model, image)}
        said = {"unseen_words": model.unseen_words(body.caption), "caption_doubts": model.caption_doubts(body.caption)}
        answers.append({**about, "layouts": found, "classes": classes, **said})
    return answers


def to_caption_layout(model: Illustrator, requests: Sequence[Request]) -> list[Answer]:
    """Captions, the likeliest first; of layouts with the same options, with or without pictures, in one batch."""
    answers: dict[int, Answer] = {}
    for options, some in _grouped(requests, Decoding).items():
        for pictured in (False, True):
            if not (part := [i for i in some if ("image" in requests[i].files) == pictured]):
                continue
            images = [_must(requests[i].picture()) for i in part] if pictured else None
            distances = [{}] * len(part) if images is None else map(domain_to_dict, model.measure_distances(images))
            layouts = [_must(requests[i].layout("layout")) for i in part]
            captions = model.caption_layouts(layouts, images, options=options)
            for i, distance, each in zip(part, distances, captions, strict=True):
                found = [{"text": c.caption, "likelihood": round(c.likelihood, 4)} for c in each]
                answers[i] = {**distance, "captions": found}
    return [answers[i] for i in range(len(requests))]


JOBS = {
    "segment/note": Job(schemas.ByNote, Segmenter, ("image",), by_note, 8),
    "segment/labels": Job(schemas.ByLabels, LabelSegmenter, ("image",), by_labels),
    "caption": Job(schemas.ToCaption, Captioner, ("image",), to_caption, 8),
    "describe": Job(schemas.ToDescribe, Describer, ("image", "mask"), to_describe),
    "draw": Job(schemas.ToDraw, Illustrator, ("image", "keep"), to_draw),
    "caption-layout": Job(schemas.ToCaptionLayout, Illustrator, ("layout", "image"), to_caption_layout, 8),
}


def _grouped(requests: Sequence[Request], options: type[schemas.OptionsT]) -> dict[schemas.OptionsT, list[int]]:
    """The positions of the requests with the same options, by these."""
    groups: dict[schemas.OptionsT, list[int]] = {}
    for i, request in enumerate(requests):
        groups.setdefault(schemas.options_of(request.body, options), []).append(i)
    return groups


def _must(found: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    assert found is not None  # the schema requires the field
    return found


def _size(array: NDArray[Any]) -> tuple[int, int]:
    return array.shape[1], array.shape[0]


def _index(values: NDArray[Any], colours: NDArray[np.uint8]) -> str:
    return base64.b64encode(index_png_bytes(values.astype(np.uint8), colours)).decode("ascii")
