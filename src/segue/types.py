"""Data types shared by all packages, validated on construction.

Axis order is (row, column) = (y, x), the origin is the top left pixel, and images are RGB.
"Left" in a note is the patient's left unless a reader says otherwise; no type here interprets it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # NumPy is imported by what computes: `segue --help` does without
    import numpy as np
    import pandas
    import supervision
    from numpy.typing import NDArray
    from PIL.Image import Image

SOURCES = Path(__file__).parents[2] / "pyproject.toml"  # there where Segue runs from its own folder


class InputError(ValueError):
    """Bad input from the user. The message says what was got, what was expected and how to mend it.

    The command line prints it on one line and exits with status 2; a line break, from a library's own message, becomes
    a space.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(" ".join(str(message).split("\n")).strip())


class NotInstalled(InputError):
    """A package of one of Segue's extras is needed and isn't there; the message ends with `to_install`."""


def to_install(extra: str) -> str:
    """How to install an optional dependency group of Segue, as text for the end of an error message.

    From Segue's folder where it runs from there, because Segue is on no package index; pip finds an installed one.
    """
    if SOURCES.exists():
        return f'pip install ".[{extra}]" in Segue\'s folder'
    return f'pip install "segue[{extra}]"'


def check_image(image: NDArray[np.uint8], where: str = "image") -> None:
    """Check that image is an (H, W, 3) uint8 RGB array with H, W >= 1; raises InputError that begins with `where`."""
    import numpy as np

    if not isinstance(image, np.ndarray):
        raise InputError(
            f"{where}: got {type(image).__name__}, expected an (H, W, 3) uint8 array; "
            "read a file with segue.data.images.read_image"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(
            f"{where}: got an array of shape {image.shape} and type {image.dtype}, expected (H, W, 3) uint8; "
            "convert a grey picture with np.repeat(grey[..., None], 3, axis=2)"
        )


def check_mask(mask: NDArray[np.bool_], where: str = "mask") -> None:
    """Check that mask is an (H, W) bool array with H, W >= 1; raises InputError that begins with `where`."""
    import numpy as np

    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2 or 0 in mask.shape:
        shape, kind = getattr(mask, "shape", "none"), getattr(mask, "dtype", type(mask).__name__)
        raise InputError(
            f"{where}: got shape {shape} and type {kind}, expected an (H, W) bool array; "
            "threshold it first, for instance mask > 127"
        )


@dataclass(frozen=True)
class Example:
    """One medical picture with its annotation.

    image: (H, W, 3) uint8, RGB. mask: (H, W) bool, True on what the note describes, or None when unlabelled.
    note: the text that describes the mask, or None. name: unique within its split.
    group: what must not be divided between splits (the patient); equals name when unknown.
    Raises InputError when an array has another shape or type, or image and mask differ in size.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    note: str | None
    name: str
    group: str = ""

    def __post_init__(self) -> None:
        check_image(self.image, f"{self.name}: image")
        if self.mask is not None:
            check_mask(self.mask, f"{self.name}: mask")
            if self.mask.shape != self.image.shape[:2]:
                raise InputError(
                    f"{self.name}: the mask is {_size(self.mask)} and the image {_size(self.image)} (width x height); "
                    "they must have the same size: export the mask on the image's own grid"
                )
        if not self.group:
            object.__setattr__(self, "group", self.name)


def _answers() -> Any:
    """What draws and writes answers: it lies above this module, and is asked for by its name when one is shown."""
    return import_module("segue.api.answers")


@dataclass(frozen=True, repr=False)
class Answer:
    """What the answers with masks or layouts have in common: they draw themselves, and become numbers and files.

    picture: the (H, W, 3) uint8 RGB picture that the answer is of, itself and no copy; None where there was none.
    """

    picture: NDArray[np.uint8] | None = field(default=None, kw_only=True, compare=False)

    def plot(self) -> Image:
        """The picture with the answer drawn on it, RGB; on black without a picture. A layout is drawn by itself.

        Raises InputError where the picture is of another size, and where neither a picture nor a mask gives a size.
        """
        made: Image = _answers().plot(self)
        return made

    def show(self) -> None:
        """Open `plot` in a window, or below the cell of a notebook."""
        self.plot().show()

    def save(self, path: str | Path) -> None:
        """Write `plot` as a .png or `to_json` as a .json, whole or not at all.

        Raises InputError for other endings, and as `plot` does.
        """
        _answers().save(self, Path(path))

    def to_dict(self) -> dict[str, Any]:
        """Numbers and words, as `--json` prints them and the server answers; masks are in `to_coco`."""
        made: dict[str, Any] = _answers().to_dict(self)
        return made

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_coco(self) -> list[dict[str, Any]]:
        """COCO's annotations of the masks that are not empty, with polygons, of the picture with image_id 1.

        category_id: from 1, in the order of a label map's names or a layout's classes; its name is the category_name
        beside it: a note's mask is "described". score: 1 for a layout.
        """
        made: list[dict[str, Any]] = _answers().to_coco(self)
        return made

    def to_pandas(self) -> pandas.DataFrame:
        """A table of the masks that are not empty, in the order of `to_coco`, with the same columns for every answer.

        label: the mask's class. phrase: its words; of a note's mask the note. score: in [0, 1], 1 for a layout. area:
        pixels. share: of the picture, in (0, 1]. x, y, width, height: the smallest box around it, in pixels.
        Raises NotInstalled where the package pandas is missing.
        """
        made: pandas.DataFrame = _answers().to_pandas(self)
        return made

    def to_supervision(self) -> supervision.Detections:
        """The masks that are not empty, in the order of `to_coco`, for the annotators and metrics of `supervision`.

        xyxy: (N, 4) float32, edges in pixels. mask: (N, H, W) bool. confidence: (N,) float32, the scores. class_id:
        (N,) positions in a label map's names or a layout's classes, else in the classes found, sorted. data:
        "class_name" and "phrase", (N,) texts.
        Raises NotInstalled where the package supervision is missing.
        """
        made: supervision.Detections = _answers().to_supervision(self)
        return made

    @property
    def polygons(self) -> list[list[list[float]]]:
        """The outlines [[x, y, x, y, ...], ...] of each mask in pixels, in the order of `to_coco`."""
        return [one["segmentation"] for one in self.to_coco()]

    @property
    def boxes(self) -> tuple[LayoutBox, ...]:
        """The smallest box around each mask, in the order of `to_coco`. A layout has those it was drawn from."""
        return tuple(LayoutBox(one["category_name"], tuple(one["bbox"])) for one in self.to_coco())

    def _repr_html_(self) -> str:
        """What a notebook shows: `plot` and a table of the largest masks."""
        made: str = _answers().to_html(self)
        return made

    def _repr_png_(self) -> bytes:
        """What is shown where there is no HTML: `plot` as a PNG."""
        buffer = io.BytesIO()
        self.plot().save(buffer, format="PNG")
        return buffer.getvalue()

    def __repr__(self) -> str:
        made: str = _answers().summary(self)
        return made


@dataclass(frozen=True, repr=False)
class Segmentation(Answer):
    """The answer of a segmenter for one picture and one note.

    probability: (H, W) float32 in [0, 1], calibrated, on the picture's own grid.
    distance: of the picture from those that the model learned from, above 1 where it is far; None where not measured.
    mask: (H, W) bool, probability >= threshold, which is of this picture unless it was given
    (`segue.metrics.calibration.choose_threshold`).
    Raises InputError when the probability has another shape, or values that are not finite or outside [0, 1].
    """

    probability: NDArray[np.float32]
    note: str | None = None
    threshold: float = 0.5
    distance: float | None = None
    mask: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        import numpy as np

        p = self.probability
        if p.ndim != 2 or 0 in p.shape or not np.isfinite(p).all() or p.min() < 0 or p.max() > 1:
            raise InputError(f"probability: got shape {p.shape}, expected a finite (H, W) array with values in [0, 1]")
        object.__setattr__(self, "mask", p >= self.threshold)

    @property
    def area(self) -> int:
        """Pixels in the mask."""
        import numpy as np

        return int(np.count_nonzero(self.mask))

    @property
    def centroid(self) -> tuple[float, float] | None:
        """(x, y) of the mask's centre of mass in pixels, or None when the mask is empty."""
        import numpy as np

        if not self.area:
            return None
        x, y = (float(counts @ np.arange(len(counts)) / self.area) for counts in (self.mask.sum(0), self.mask.sum(1)))
        return x, y

    @property
    def instances(self) -> NDArray[np.int32]:
        """(H, W) int32: the objects of the mask told apart, 0 outside, else the object's number from 1.

        Objects that touch are cut at their necks, whatever they are (`segue.data.instances.split_touching`).
        """
        made: NDArray[np.int32] = import_module("segue.data.instances").split_touching(self.mask)
        return made

    @property
    def score(self) -> float:
        """Mean probability inside the mask; the highest probability anywhere when the mask is empty."""
        return float(self.probability[self.mask].mean() if self.area else self.probability.max())


@dataclass(frozen=True, repr=False)
class LabelMap(Answer):
    """What open-vocabulary segmentation answers, on the picture's own grid.

    index: (H, W) uint8, or uint16 from 256 names on; positions in `names`, and the type's highest value (255 or 65535)
    where there is background. scores: (H, W) float32 in [0, 1] of the best name. image_similarity: (C,) float32 in
    [-1, 1], the cosine of every name with the whole picture. distance: of the picture from those that the model learned
    from, above 1 where it is far; None where that is not measured. shown: (C,) float32, the probability that the
    picture shows a name, where as many names are shown as not; None from models that weren't calibrated.
    """

    names: tuple[str, ...]
    index: NDArray[np.unsignedinteger]
    scores: NDArray[np.float32]
    image_similarity: NDArray[np.float32]
    distance: float | None = None
    shown: NDArray[np.float32] | None = None

    @property
    def background(self) -> int:
        """The value of background in `index`."""
        import numpy as np

        return int(np.iinfo(self.index.dtype).max)


@dataclass(frozen=True, slots=True)
class RLE:
    """A mask as COCO's compressed run-length encoding, see `segue.data.rle`. size: (height, width) in pixels."""

    size: tuple[int, int]
    counts: bytes


@dataclass(frozen=True, slots=True)
class Region:
    """One annotated region of a picture: an object, stuff, or what a phrase of a caption names.

    label: the name of its class, singular and in lower case. box: (x, y, width, height) in pixels, x and y of the top
    left corner, as in COCO. mask: None when only the box is known. thing: False for stuff (grass, sky).
    crowd: one region that stands for many objects (COCO's iscrowd). attributes: "red", "small", ...
    """

    label: str
    box: tuple[float, float, float, float]
    mask: RLE | None = None
    thing: bool = True
    crowd: bool = False
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relation:
    """(subject, predicate, object); subject and object are positions in the picture's regions, from 0."""

    subject: int
    predicate: str
    object: int


@dataclass(frozen=True)
class Phrase:
    """A phrase of a caption and the regions that it names.

    caption: position among the picture's captions. start, end: the phrase is caption[start:end]. regions: positions in
    the picture's regions.
    """

    caption: int
    start: int
    end: int
    regions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a data set with its annotations; its pixels are read when needed.

    name: unique within its data set. load: reads the (H, W, 3) uint8 RGB picture. size: (width, height) in pixels when
    the annotations have it. split: "train", "val" or "test". label_map: reads the (H, W) map of positions in the set's
    classes, uint8 (uint16 from 256 classes on), the type's highest value where nothing is known; None when there is
    none. Both functions can be pickled.
    Raises InputError when a relation or a phrase points to a region or a caption that is not there.
    """

    name: str
    load: Callable[[], NDArray[np.uint8]]
    size: tuple[int, int] | None = None
    split: str = "train"
    captions: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    relations: tuple[Relation, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    label_map: Callable[[], NDArray[np.unsignedinteger]] | None = None

    def __post_init__(self) -> None:
        there = len(self.regions)
        for relation in self.relations:
            if not (0 <= relation.subject < there and 0 <= relation.object < there):
                raise InputError(f"{self.name}: {relation} points outside its {there} regions (0 is the first)")
        for phrase in self.phrases:
            if not 0 <= phrase.caption < len(self.captions) or any(not 0 <= r < there for r in phrase.regions):
                raise InputError(
                    f"{self.name}: {phrase} points outside its {len(self.captions)} captions or {there} regions"
                )
            if not 0 <= phrase.start < phrase.end <= len(self.captions[phrase.caption]):
                raise InputError(
                    f"{self.name}: {phrase} is no stretch of its caption, which has "
                    f"{len(self.captions[phrase.caption])} characters"
                )


@dataclass(frozen=True)
class PictureSet:
    """The pictures of one split, and the class names that the values of their label maps stand for, in order."""

    pictures: Sequence[Picture]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PhraseGrounding:
    """A phrase of a caption grounded in a mask.

    start, end: the phrase is caption[start:end]. phrase: its words. mask: (H, W) bool on the picture's own grid.
    score: in [0, 1], the mask's mean probability times the probability that the phrase is the mask's. label: the
    mask's class, or "". Without a caption, start and end are 0 and the phrase is the class.
    """

    start: int
    end: int
    phrase: str
    mask: NDArray[np.bool_] = field(repr=False)
    score: float
    label: str = ""


@dataclass(frozen=True, repr=False)
class GroundedCaption(Answer):
    """A caption of a picture whose phrases are grounded in masks.

    caption: text; empty from a model that only segments. score: in [0, 1], the better the higher. groundings: of its
    phrases, several where a phrase names several objects. calibrated: whether the score is the probability that people
    accept the caption; else it is how likely that is to the model, which compares captions of one prompt only.
    Raises InputError when a grounding's phrase is not at its place in the caption, or the masks differ in size.
    """

    caption: str
    score: float
    groundings: tuple[PhraseGrounding, ...] = ()
    calibrated: bool = False

    def __post_init__(self) -> None:
        for grounding in self.groundings:
            check_mask(grounding.mask, f"{grounding.phrase!r}: mask")
            if self.caption and self.caption[grounding.start : grounding.end] != grounding.phrase:
                raise InputError(
                    f"grounding {grounding.start}..{grounding.end}: got the phrase {grounding.phrase!r}, but the "
                    f"caption has {self.caption[grounding.start : grounding.end]!r} there"
                )
        if len({grounding.mask.shape for grounding in self.groundings}) > 1:
            raise InputError(f"{self.caption!r}: its masks differ in size; they must be of one picture")

    @property
    def worth(self) -> dict[str, float | None]:
        """The score as "score" where it is calibrated, else as "likelihood"; the other is None. Four significant
        digits, because a likelihood may be as low as 0.00001.
        """
        value = float(f"{self.score:.4g}")
        return {"score": value, "likelihood": None} if self.calibrated else {"score": None, "likelihood": value}


@dataclass(frozen=True)
class LayoutBox:
    """A box of a layout, or around a mask. label: its class. box: (x, y, width, height) in pixels, y down."""

    label: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True, repr=False)
class Layout(Answer):
    """A drawn layout.

    labels: (H, W) uint8 positions in `classes`, 255 where unknown. caption: what it was drawn from. seed: of its draw.
    condition: "caption" or "caption+image", with "+boxes" where boxes were given. boxes: those from which it was drawn,
    a later one over the earlier ones; none where it was drawn from a picture.
    """

    labels: NDArray[np.uint8]
    classes: tuple[str, ...]
    caption: str
    seed: int
    condition: str
    boxes: tuple[LayoutBox, ...] = ()

    @property
    def areas(self) -> dict[str, float]:
        """The share of the layout that each class covers, in (0, 1], the largest first; absent classes are left out."""
        import numpy as np

        counts = np.bincount(self.labels.ravel(), minlength=256)[: len(self.classes)] / self.labels.size
        order = np.argsort(-counts, kind="stable")
        return {self.classes[i]: float(counts[i]) for i in order if counts[i] > 0}


def _size(array: NDArray[Any]) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
