"""From a place on a picture to grounded captions, whose phrases have masks: the predictor of the method `sgdiff`.

>>> model = segue.load("describe-photos")
>>> for caption in model.describe("street.jpg", box=(40, 60, 30, 50), label="dog"):
...     print(caption.score, caption.caption, [(one.phrase, one.score) for one in caption.groundings])
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from segue.api.hub import HubMixin
from segue.api.models import find
from segue.api.pictures import Picture as Image
from segue.api.pictures import pixels_of
from segue.data import rle
from segue.data.boxes import box_intersection, box_iou
from segue.data.formats.scene_graph import read_graph
from segue.methods.detectors import Detector, load_detector, move_detector
from segue.methods.sgdiff.checkpoint import restore
from segue.methods.sgdiff.detector import detect_graph
from segue.methods.sgdiff.graph import Box, SceneGraph, build_graph, check_box, find_prompt_node
from segue.methods.sgdiff.inference import SGDiffGenerator
from segue.methods.sgdiff.model import SGDiff
from segue.methods.sgdiff.photographs.checkpoint import is_of_photographs
from segue.methods.sgdiff.prompts import Point, object_boxes, points_box, prompt_box
from segue.methods.sgdiff.relations import RelationHead, load_relations
from segue.nn.devices import resolve_device
from segue.nn.stopping import steps
from segue.options import DescribeOptions
from segue.types import GroundedCaption, InputError, PhraseGrounding, Picture, Region, Relation

if TYPE_CHECKING:
    from segue.methods.mask_sources import MaskSource

Graph = str | Path | SceneGraph
MAX_ROWS = 16  # tries of captions in a batch
MASKS_OF_CAPTION, MAX_MASK_BYTES = 8, 500_000_000  # about how many masks a caption has; their bytes in a batch at most
MIN_OVERLAP = 0.1  # of the prompt or its object, whichever is smaller: below it the object is not what was meant
ROUNDING = 0.01  # pixels by which a box may reach out of the picture
CACHED_PICTURES = 4


def load_describer(
    name_or_path: str | Path,
    *,
    device: str = "auto",
    detector: str | None = None,
    relations: str | Path | None = None,
    masks: str | None = None,
) -> Describer:
    """A describer from a bundled name or a checkpoint folder.

    detector: for pictures that come without a scene graph: a DETR by its id on the hub or from a local folder, or a
    YOLOX as an .onnx file. relations: a folder of `segue train relations`, for pictures whose objects come without any.
    masks: a SAM or a Mask2Former by its id on the hub or from a folder, in the place of the model's own masks.
    Raises InputError when one of them can't be loaded.
    """
    device, folder = resolve_device(device), find(name_or_path)
    return Describer(
        _load_predictor(folder, device),
        None if detector is None else load_detector(detector, device),
        None if relations is None else load_relations(find(relations)).to(device),
        masks=None if masks is None else _load_masks(masks, device),
        folder=folder,
    )


def _load_predictor(folder: Path, device: str) -> SGDiff | Predictor:
    """A describer of photographs brings a captioner's modules along, which one of scenes does without."""
    if not is_of_photographs(folder):
        return restore(folder)[0].to(device)
    from segue.api.photographs import load_photo_predictor

    return load_photo_predictor(folder, device)


def _load_masks(source: str, device: str) -> MaskSource:
    from segue.methods.mask_sources import load_mask_source

    return load_mask_source(source, device)


def _move_masks(source: MaskSource, device: str) -> None:
    from segue.methods.mask_sources import move_mask_source

    move_mask_source(source, device)


@dataclass
class _CachedPicture:
    """A picture's features, its graph when a detector found it, and the masks of boxes from a mask source."""

    encoded: Any
    detected: SceneGraph | None = None
    masks: dict[Box, NDArray[np.bool_]] = field(default_factory=dict)


class Predictor(Protocol):
    """What a describer generates with.

    model: the network. feature_width: of a detector's features that it reads, 0 where it reads none.
    """

    model: Any
    feature_width: int

    def encode(self, image: NDArray[np.uint8]) -> Any:
        """A picture's features, (H, W, 3) uint8 RGB, which serve any number of prompts."""
        ...

    def generate(
        self, encoded: Any, graph: SceneGraph, boxes: Sequence[Sequence[float]], options: DescribeOptions
    ) -> list[list[GroundedCaption]]:
        """Captions around each box; see `Describer.describe`."""
        ...

    def to(self, device: str) -> object:
        """Move the networks to a device."""
        ...

    def knows(self, label: str) -> bool:
        """Whether it has learned the name of a class."""
        ...

    def measure_distances(self, images: Sequence[NDArray[np.uint8]]) -> list[float] | list[None]:
        """How far images lie from those that it learned from, above 1 is far; None where not measured."""
        ...


class ScenePredictor(SGDiffGenerator):
    """An SGDiff model as a `Predictor`."""

    def __init__(self, model: SGDiff) -> None:
        super().__init__(model.eval())
        self.encode, self.feature_width = model.encode, model.config.feature_width

    def to(self, device: str) -> object:
        """Move the network to a device."""
        return self.model.to(device)

    def knows(self, label: str) -> bool:
        """Whether the class is in the model's lexicon."""
        return bool(self.lexicon.class_id(label))

    def measure_distances(self, images: Sequence[NDArray[np.uint8]]) -> list[None]:
        """None: it is not measured."""
        return [None] * len(images)


class Describer(HubMixin):
    """Generates grounded captions around a prompt. The features of the last pictures are cached for further prompts.

    model: an SGDiff model, or another predictor. masks: makes the masks in its place. folder: the checkpoint that the
    model was loaded from.
    """

    def __init__(
        self,
        model: SGDiff | Predictor,
        detector: Detector | None = None,
        relations: RelationHead | None = None,
        *,
        masks: MaskSource | None = None,
        folder: Path | None = None,
    ) -> None:
        self.masks = masks
        self.generator: Predictor = ScenePredictor(model) if isinstance(model, SGDiff) else model
        self.model = self.generator.model
        self.detector, self.relations, self.folder = detector, relations, folder
        self._cache: dict[str, _CachedPicture] = {}

    def to(self, device: str) -> Self:
        """Move the networks to a device and return the describer. Raises InputError when the device is not there.

        A detector as ONNX stays on the CPU.
        """
        device = resolve_device(device)
        self.generator.to(device)
        move_detector(self.detector, device)
        if self.relations is not None:
            self.relations.to(device)
        if self.masks is not None:
            _move_masks(self.masks, device)
        self._cache.clear()
        return self

    def measure_distances(self, images: Sequence[Image]) -> list[float] | list[None]:
        """How far each picture lies from those that the model learned from, above 1 is far; None where not measured."""
        return self.generator.measure_distances([pixels_of(image) for image in images])

    def describe(
        self,
        image: Image,
        *,
        box: Sequence[float] | None = None,
        point: Point | None = None,
        mask: NDArray[np.bool_] | None = None,
        scribble: Sequence[Point] | None = None,
        graph: Graph | None = None,
        regions: Sequence[Region] | None = None,
        relations: Sequence[Relation] = (),
        label: str | None = None,
        options: DescribeOptions = DescribeOptions(),
    ) -> list[GroundedCaption]:
        """options.num grounded captions around one prompt, the likeliest first.

        image: a path or pixels (`pixels_of`). Exactly one of box (x, y, width, height), point (x, y), mask (H, W) bool
        and scribble [(x, y), ...], in pixels. The picture's objects: graph (a SceneGraph, or a json file in Visual
        Genome's format or COCO's), or regions with relations between them, or what the detector finds; or label, the
        name of what the box, mask or scribble is around, as the only object that is known.
        Warns of classes that the model doesn't know, of a box that reaches out of the picture, which is cut to it, and
        of a prompt where no known object is.
        Raises InputError for a prompt outside the picture or empty, a picture without objects, a relation to an object
        that is not there, a length above the model's, words outside its vocabulary.
        """
        name, pixels = _named(image)
        prompt: dict[str, Any] = {"box": box, "point": point, "mask": mask, "scribble": scribble}
        if label is not None:
            if graph is not None or regions is not None or point is not None:
                raise InputError("label: names what a box, mask or scribble is around; leave graph, regions, point out")
            height, width = pixels.shape[:2]
            if not label.strip():
                raise InputError(f"label: got {label!r}, expected the name of what is there, such as dog")
            regions = [Region(label, _labelled_box(label, (width, height), prompt))]
        encoded, known = self._encode(name, pixels, graph, regions, relations)
        place = prompt_box(known, **prompt)
        if box is not None:
            _warn_if_cut("box", box, place)
        if scribble is not None:
            _warn_if_cut("scribble: its box", points_box(scribble), place)
        captions = self._finished(pixels, known, self.generator.generate(encoded, known, [place], options)[0])
        _warn_if_no_object(known, place)
        return captions

    __call__ = describe

    def describe_many(
        self,
        images: Iterable[Image],
        prompts: Iterable[Mapping[str, Any]],
        *,
        options: DescribeOptions = DescribeOptions(),
    ) -> Iterator[list[GroundedCaption]]:
        """The captions around a prompt in each of some pictures, one after another, in their order.

        prompts: for each picture the further arguments of `describe`, such as {"box": (40, 60, 30, 50), "label": "x"}.
        Raises InputError as `describe` does, and ValueError for another number of prompts than of pictures.
        """
        for image, prompt in zip(images, prompts, strict=True):
            yield self.describe(image, options=options, **prompt)

    def describe_objects(
        self,
        image: Image,
        *,
        graph: Graph | None = None,
        regions: Sequence[Region] | None = None,
        relations: Sequence[Relation] = (),
        options: DescribeOptions = DescribeOptions(num=1),
    ) -> Iterator[tuple[Box, list[GroundedCaption]]]:
        """Each object's box with its grounded captions; arguments and errors as those of `describe`.

        An iterator, because the masks of all objects of a photograph can be gigabytes.
        """
        name, pixels = _named(image)
        encoded, known = self._encode(name, pixels, graph, regions, relations)
        boxes, caption_bytes = object_boxes(known), known.size[0] * known.size[1] * MASKS_OF_CAPTION
        count = max(1, min(MAX_ROWS // options.best_of, MAX_MASK_BYTES // (caption_bytes * options.num)))
        parts = [boxes[at : at + count] for at in range(0, len(boxes), count)]
        for number in steps(len(parts)):
            found = self.generator.generate(encoded, known, parts[number], options)
            finished = (self._finished(pixels, known, captions) for captions in found)
            yield from zip(parts[number], finished, strict=True)

    def _encode(
        self,
        name: str,
        pixels: NDArray[np.uint8],
        graph: Graph | None,
        regions: Sequence[Region] | None,
        relations: Sequence[Relation],
    ) -> tuple[Any, SceneGraph]:
        """The picture's features and its graph, given or detected. name: of its file, empty for pixels."""
        given = self._given_graph(name, (pixels.shape[1], pixels.shape[0]), graph, regions, relations)
        if given is None and self.detector is None:
            raise InputError(
                "no scene graph: the picture's objects are not known and no detector is loaded. Give --graph (a json "
                "file in Visual Genome's format or COCO's instances), regions, --detector with a YOLOX "
                "(.onnx) or facebook/detr-resnet-50@no_timm, or --label with the name of what is in the box"
            )
        cached = self._cached(pixels)
        known = self._detect(pixels, cached) if given is None else given
        if not self.generator.feature_width:  # the model was built for graphs without a detector's features
            known = replace(known, features=None)
        self._warn_of_unknown_classes(known)
        return cached.encoded, known

    def _finished(
        self, pixels: NDArray[np.uint8], graph: SceneGraph, captions: Sequence[GroundedCaption]
    ) -> list[GroundedCaption]:
        """The captions with their picture, and with masks of the mask source, where there is one; no empty masks."""
        if self.masks is None:
            return [replace(caption, picture=pixels) for caption in captions]
        made, answers = self._cached(pixels).masks, []
        nodes = [[_node_of(one, graph) for one in caption.groundings] for caption in captions]
        boxes = {check_box(graph.boxes[node].tolist(), graph.size) for some in nodes for node in some}
        if missing := sorted(boxes - set(made)):
            made |= dict(zip(missing, self.masks(pixels, missing), strict=True))
        for caption, some in zip(captions, nodes, strict=True):
            masks = [made[check_box(graph.boxes[node].tolist(), graph.size)] for node in some]
            kept = [replace(g, mask=mask) for g, mask in zip(caption.groundings, masks, strict=True) if mask.any()]
            answers.append(replace(caption, groundings=tuple(kept), picture=pixels))
        return answers

    def _given_graph(
        self,
        name: str,
        size: tuple[int, int],
        graph: Graph | None,
        regions: Sequence[Region] | None,
        relations: Sequence[Relation],
    ) -> SceneGraph | None:
        """The graph that the caller gave in one way or another, or None."""
        if graph is not None and regions is not None:
            raise InputError("got both graph and regions, expected one of them")
        if regions is None and relations:
            raise InputError("got relations without regions, expected both; a graph has its own")
        if isinstance(graph, SceneGraph):
            return graph
        if graph is not None:
            if not name:
                raise InputError(
                    f"{graph}: an array has no name to be found there by; give the picture's path, or regions"
                )
            regions, relations = read_graph(Path(graph), name, size)
        if regions is None:
            return None
        picture = Picture(name or "picture", _no_pixels, size, regions=tuple(regions), relations=tuple(relations))
        built = build_graph(picture, size)[0]
        if relations or self.relations is None:
            return built
        return replace(built, relations=tuple(self.relations.predict(built.labels, built.boxes, built.size)))

    def _warn_of_unknown_classes(self, graph: SceneGraph) -> None:
        """All classes that the model hasn't learned are the same to it, so its captions of them are guesses."""
        unknown = [name for name in graph.labels if not self.generator.knows(name)]
        if unknown:
            names = ", ".join(sorted(set(unknown))[:5]) + (", ..." if len(set(unknown)) > 5 else "")
            warnings.warn(
                f"this model doesn't know {names}: unknown objects to it, {len(unknown)} of {len(graph.labels)}",
                stacklevel=4,
            )

    def _cached(self, pixels: NDArray[np.uint8]) -> _CachedPicture:
        """The picture's features, found by its content; the picture that was used longest ago leaves the cache."""
        key = hashlib.blake2b(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        cached = self._cache.pop(key, None) or _CachedPicture(self.generator.encode(pixels))
        self._cache[key] = cached
        if len(self._cache) > CACHED_PICTURES:
            del self._cache[next(iter(self._cache))]
        return cached

    def _detect(self, pixels: NDArray[np.uint8], cached: _CachedPicture) -> SceneGraph:
        if cached.detected is None:
            assert self.detector is not None  # `_encode` checks it
            cached.detected = detect_graph(pixels, self.detector, self.relations)
        return cached.detected


def _node_of(grounding: PhraseGrounding, graph: SceneGraph) -> int:
    """The node that a grounding's mask is of: of those of its class the one whose box fits best."""
    own = np.array([rle.box(rle.encode(grounding.mask))], np.float32)
    overlap = box_iou(own, graph.boxes)[0]
    return max(range(len(graph.labels)), key=lambda i: (graph.labels[i] == grounding.label, overlap[i], -i))


def _warn_if_cut(name: str, box: Sequence[float], place: Box) -> None:
    if np.abs(np.subtract(box, place)).max() > ROUNDING:
        given, left = (",".join(f"{v:g}" for v in one) for one in (box, place))
        warnings.warn(f"{name} {given} reaches out of the picture: it was cut to {left}", stacklevel=3)


def _warn_if_no_object(graph: SceneGraph, box: Box) -> None:
    node = find_prompt_node(graph, box)
    x, y, w, h = graph.boxes[node].tolist()
    shared = box_intersection(np.array([box], np.float32), graph.boxes[node : node + 1]).item()
    if shared < MIN_OVERLAP * min(box[2] * box[3], w * h):
        warnings.warn(
            f"no known object is at this place: the captions are of the nearest, {graph.labels[node]} at "
            f"{x:.0f},{y:.0f},{w:.0f},{h:.0f}; label names what else is there",
            stacklevel=3,
        )


def _labelled_box(label: str, size: tuple[int, int], prompt: dict[str, Any]) -> Box:
    whole = np.array([[0, 0, *size]], np.float32)
    return prompt_box(SceneGraph((label,), whole, (), size), **prompt)


def _named(image: Image) -> tuple[str, NDArray[np.uint8]]:
    """The name of a picture's file, empty for anything else, and its pixels."""
    return Path(image).name if isinstance(image, str | Path) else "", pixels_of(image)


def _no_pixels() -> NDArray[np.uint8]:
    raise InputError("these pixels are with the caller")
