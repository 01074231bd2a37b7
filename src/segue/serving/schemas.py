"""Requests and answers, as OpenAPI shows them. Pictures are PNG, JPEG or WebP files in base64."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StrictBool, create_model

from segue.options import Decoding, DescribeOptions, DrawOptions, LabelOptions, Options, SegmentOptions, option_text


def _number(value: Any) -> Any:
    """The value, where JSON has no other type for it: pydantic makes 1 of true and of "1"."""
    if isinstance(value, bool | str):
        raise ValueError(f"got {json.dumps(value)[:60]}, expected a number")
    return value


Number = BeforeValidator(_number)
Base64 = Annotated[str, Field(min_length=1, description="A PNG, JPEG or WebP file in base64; a data URL will do.")]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Form = Literal["rle", "png", "polygons"]
Masks = Annotated[Form, Field(description="COCO's run lengths, a PNG in base64, or COCO's polygons.")]
Model = Annotated[str | None, Field(max_length=200, description="One of /models; the job's first unless given.")]
Pixel = Annotated[float, Number, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Box = Annotated[tuple[Pixel, Pixel, Pixel, Pixel], Field(description="x, y, width, height in pixels")]
Point = tuple[Pixel, Pixel]
Size = Annotated[list[int], Field(min_length=2, max_length=2)]
Seed = Annotated[int, Number, Field(ge=0, lt=2**31)]
OptionsT = TypeVar("OptionsT", bound=Options)


class ModelRequest(BaseModel):
    """What every request for a job may name."""

    model_config = ConfigDict(extra="forbid")
    model: Model = None


def with_options(base: type[BaseModel], options: Options, **most: float) -> type[Any]:
    """The request `base` with the options of the command line and the Python API as further fields.

    Types, bounds and descriptions are those of `segue.options`, defaults the values of `options`; fields that `base`
    has stay as they are. most: the largest value of an option that the server takes.
    """
    made: dict[str, Any] = {}
    for field in fields(options):
        if field.name not in base.model_fields:
            hint, limit = get_type_hints(type(options), include_extras=True)[field.name], most.get(field.name)
            text = option_text(type(options), field.name)
            if {int, float} & _types(hint):
                hint = Annotated[hint, Number]
            elif bool in _types(hint):
                hint = Annotated[hint, Strict()]
            made[field.name] = (hint, Field(getattr(options, field.name), description=text, le=limit))
    return create_model(base.__name__, __base__=base, __module__=base.__module__, __doc__=base.__doc__, **made)


def _types(hint: Any) -> set[Any]:
    """A type, or those of a union, whatever is annotated to them."""
    return {hint}.union(*(_types(part) for part in get_args(hint)))


def options_of(request: BaseModel, options: type[OptionsT]) -> OptionsT:
    """The options among a request's fields."""
    return options(**{field.name: getattr(request, field.name) for field in fields(options)})


class NoteRequest(ModelRequest):
    """Outline what a note describes."""

    image: Base64
    note: Text | None = Field(None, description="None for the model's own guess.")
    probability: StrictBool = Field(False, description="Also each pixel's probability: a grey PNG, 255 for 1.")
    words: StrictBool = Field(
        False, description="Also for each word of the note the pixels that are lost and gained when it is left out."
    )
    masks: Masks = "rle"


class LabelRequest(ModelRequest):
    """Name every pixel with the likeliest of some labels."""

    image: Base64
    labels: list[Name] = Field(min_length=1, max_length=255)  # what a PNG holds
    protocol: Name | None = Field(None, description="evaluation protocol; the model's own unless given")
    prompt: Name | None = Field(None, description="text with {} for the name")
    masks: Masks = "rle"


class CaptionRequest(ModelRequest):
    """Caption a picture."""

    image: Base64
    words: StrictBool = Field(
        False,
        description="Also for each word of the captions which parts of the picture it rests on: by how much the "
        "logarithm of its probability falls where they are covered, on a grid, top row first.",
    )


class Thing(BaseModel):
    """An object of the picture."""

    model_config = ConfigDict(extra="forbid")
    label: Name
    box: Box
    thing: StrictBool = Field(True, description="false for stuff: grass, sky and the like")


class Edge(BaseModel):
    """subject and object: positions in `regions`."""

    model_config = ConfigDict(extra="forbid")
    subject: Annotated[int, Number] = Field(ge=0)
    predicate: Name
    object: Annotated[int, Number] = Field(ge=0)


class DescribeRequest(ModelRequest):
    """Describe a place in several captions with masks. Exactly one of box, point, scribble, mask and every."""

    image: Base64
    box: Box | None = None
    point: Point | None = None
    scribble: list[Point] | None = Field(None, min_length=1, max_length=1000)
    mask: Base64 | None = Field(None, description="A grey PNG of the picture's size, above 0 on what is meant.")
    every: StrictBool = Field(
        False, description="Each object by itself; the answer has prompts, each a box with its captions."
    )
    regions: list[Thing] | None = Field(None, max_length=200, description="The objects; a detector's unless given.")
    relations: list[Edge] = Field([], max_length=1000)
    label: Name | None = Field(None, description="What box, scribble or mask is around, where no regions are known.")
    include: tuple[Name, ...] = Field((), max_length=8, description="words that every caption has")
    seed: Seed = 0
    masks: Masks = "rle"


class Place(BaseModel):
    """A class and its box, in pixels of the layout."""

    model_config = ConfigDict(extra="forbid")
    label: Name
    box: Box


class DrawRequest(ModelRequest):
    """Draw layouts of a sentence."""

    caption: Text
    image: Base64 | None = Field(None, description="A picture whose layout it is to be.")
    keep: Base64 | None = Field(None, description="A layout of which all but 255 is kept.")
    boxes: list[Place] | None = Field(
        None, max_length=100, description="What is where, a later box over the earlier; the model's own unless given."
    )
    seed: Seed = 0


class LayoutRequest(ModelRequest):
    """Caption a layout."""

    layout: Base64 = Field(description="An 8-bit PNG of class positions.")
    image: Base64 | None = None


ByNote = with_options(NoteRequest, SegmentOptions(), window=8192)
ByLabels = with_options(LabelRequest, LabelOptions())
ToCaption = with_options(CaptionRequest, Decoding(beams=3), num=10, beams=16, no_repeat=100, max_tokens=1000)
ToDescribe = with_options(DescribeRequest, DescribeOptions(), num=10, steps=50, best_of=16, length=100)
ToDraw = with_options(DrawRequest, DrawOptions(), num=8, steps=64, guidance=20, temperature=10, best_of=16)
ToCaptionLayout = with_options(LayoutRequest, Decoding(beams=4), num=10, beams=16, no_repeat=100, max_tokens=1000)


class Answer(BaseModel):
    """What every answer says of itself; the job's own keys are beside it."""

    model_config = ConfigDict(extra="allow")
    model: str
    size: Size | None = Field(None, description="width, height of masks and maps, in pixels")
    domain_distance: float | None = Field(
        None, description="of the picture from those that the model learned from; null where that is not measured"
    )
    out_of_domain: bool | None = Field(None, description="whether that is far, above 1: the answer may be wrong")


class Ready(BaseModel):
    """That the models are warm."""

    status: str
    cold: list[str] = Field([], description="Jobs of which a model refused the warming request; the log says why.")


class Wrong(BaseModel):
    """Why there is no answer, and what to do."""

    error: str
    where: list[Any] = []
