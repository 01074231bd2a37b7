"""What is asked and answered, as OpenAPI shows it. Pictures are PNG, JPEG or WebP files in base64."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Base64 = Annotated[str, Field(min_length=1, description="A PNG, JPEG or WebP file in base64; a data URL will do.")]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Form = Literal["rle", "png", "polygons"]
Masks = Annotated[Form, Field(description="COCO's run lengths, a PNG in base64, or COCO's polygons.")]
Model = Annotated[str | None, Field(max_length=200, description="One of /models; the job's first unless given.")]
Pixel = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Box = Annotated[tuple[Pixel, Pixel, Pixel, Pixel], Field(description="x, y, width, height in pixels")]
Point = tuple[Pixel, Pixel]
Size = Annotated[list[int], Field(min_length=2, max_length=2)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: Model = None


class ByNote(_Asked):
    """Outline what a note describes."""

    image: Base64
    note: Text | None = Field(None, description="None for the model's own guess.")
    threshold: float = Field(0.5, gt=0, lt=1, description="probability from which a pixel belongs to the mask")
    tta: bool = Field(False, description="Average with the mirrored picture, whose note has its sides swapped.")
    masks: Masks = "rle"


class ByLabels(_Asked):
    """Name every pixel with the likeliest of some labels."""

    image: Base64
    labels: list[Name] = Field(min_length=1, max_length=255)  # what a PNG holds
    card: Name | None = Field(
        None, description="A published protocol's sizes and threshold; the model's own unless given."
    )
    background: float | None = Field(None, ge=0, lt=1, description="score below which a pixel is background")
    masks: Masks = "rle"


class ToCaption(_Asked):
    """Tell in words what a picture shows."""

    image: Base64
    num: int = Field(1, ge=1, le=10)


class Thing(BaseModel):
    """An object of the picture."""

    model_config = ConfigDict(extra="forbid")
    label: Name
    box: Box
    thing: bool = Field(True, description="false for stuff: grass, sky and the like")


class Edge(BaseModel):
    """subject and object: positions in `regions`."""

    model_config = ConfigDict(extra="forbid")
    subject: int = Field(ge=0)
    predicate: Name
    object: int = Field(ge=0)


class ToExplain(_Asked):
    """Tell several stories around a place, with masks. Exactly one of box, point, scribble, mask and every."""

    image: Base64
    box: Box | None = None
    point: Point | None = None
    scribble: list[Point] | None = Field(None, min_length=1, max_length=1000)
    mask: Base64 | None = Field(None, description="A grey PNG of the picture's size, above 0 on what is meant.")
    every: bool = Field(
        False, description="Each object by itself; the answer has prompts, each a box with its stories."
    )
    regions: list[Thing] | None = Field(None, max_length=200, description="The objects; a detector's unless given.")
    relations: list[Edge] = Field([], max_length=1000)
    label: Name | None = Field(None, description="What box, scribble or mask is around, where no regions are known.")
    top: int = Field(5, ge=1, le=10)
    steps: int = Field(12, ge=1, le=50, description="evaluations of the network")
    temperature: float = Field(0, ge=0, le=10, description="of the words that are drawn; 0 takes the likeliest")
    tries: int = Field(4, ge=1, le=16, description="how often each is told; the likeliest stays")
    length: int | None = Field(None, ge=1, le=100, description="exactly so many words")
    include: list[Name] = Field([], max_length=8, description="words that the captions must have")
    seed: Seed = 0
    masks: Masks = "rle"


class ToDraw(_Asked):
    """Draw layouts of a sentence."""

    caption: Text
    num: int = Field(4, ge=1, le=8)
    image: Base64 | None = Field(None, description="A picture whose layout it is to be.")
    keep: Base64 | None = Field(None, description="A layout of which all but 255 is kept.")
    steps: int = Field(8, ge=1, le=64, description="rounds in which a layout is filled")
    guidance: float = Field(1.0, ge=0, le=20)
    temperature: float = Field(1.0, ge=0, le=10)
    tries: int = Field(4, ge=1, le=16, description="How often each is drawn; the best told one stays.")
    seed: Seed = 0


class ToTell(_Asked):
    """Tell a layout in words."""

    layout: Base64 = Field(description="An 8-bit PNG of class positions.")
    image: Base64 | None = None
    num: int = Field(1, ge=1, le=10)


class Answer(BaseModel):
    """What every answer says of itself; the job's own keys are beside it."""

    model_config = ConfigDict(extra="allow")
    model: str
    size: Size | None = Field(None, description="width, height of masks and maps, in pixels")


class Ready(BaseModel):
    """That the models are warm."""

    status: str
    cold: list[str] = Field([], description="Jobs of which a model refused the warming request; the log says why.")


class Wrong(BaseModel):
    """Why there is no answer, and what to do."""

    error: str
    where: list[Any] = []
