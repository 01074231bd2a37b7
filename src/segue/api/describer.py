"""From a place on a picture to stories, captions whose phrases are tied to masks: the predictor of the method `sgdiff`.

>>> model = segue.load("runs/sgdiff-scenes/best")
>>> for story in model.explain("street.png", box=(40, 60, 30, 50), graph="street.json"):
...     print(story.score, story.caption, [(link.phrase, link.score) for link in story.links])
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.api.hub import HubMixin
from segue.api.models import find
from segue.api.pictures import Picture as Image
from segue.api.pictures import pixels_of
from segue.data.boxes import box_intersection
from segue.data.formats.scene_graph import read_graph
from segue.methods.detectors import Detector, load_detector
from segue.methods.sgdiff.checkpoint import restore
from segue.methods.sgdiff.detector import detect_graph
from segue.methods.sgdiff.graph import Box, SceneGraph, graph_of, prompt_node
from segue.methods.sgdiff.inference import explain_all
from segue.methods.sgdiff.model import Encoded, SGDiff
from segue.methods.sgdiff.prompts import Point, every_box, prompt_box
from segue.methods.sgdiff.relations import RelationHead, load_relations
from segue.types import GroundedCaption, InputError, Picture, Region, Relation

Graph = str | Path | SceneGraph
TOGETHER = 16  # prompts in a batch, fewer where their masks (about MASKS a story) would need more than ROOM bytes
MASKS, ROOM = 8, 500_000_000
SLIGHT = 0.1  # of a prompt or its object, whichever is smaller: with less in common they are two things
KEPT = 4  # pictures whose features are remembered


def load_describer(
    name_or_path: str | Path, *, device: str = "cpu", detector: str | None = None, relations: str | Path | None = None
) -> Describer:
    """An explainer from a bundled name or a checkpoint folder.

    detector: for pictures that come without a scene graph: a DETR by its id on the hub or from a local folder, or a
    YOLOX as an .onnx file. relations: a folder of `segue train relations`, for pictures whose objects come without any.
    """
    folder = find(name_or_path, device)
    model = restore(folder)[0].to(device)
    head = None if relations is None else load_relations(find(relations, device)).to(device)
    explainer = Describer(model, None if detector is None else load_detector(detector, device), head)
    explainer.folder = folder
    return explainer


@dataclass
class _Seen:
    """A picture that was looked at: its features, and its objects when a detector found them."""

    encoded: Encoded
    found: SceneGraph | None = None


class Describer(HubMixin):
    """Tells stories around a prompt. The last few pictures stay encoded, so a further prompt costs little."""

    def __init__(self, model: SGDiff, detector: Detector | None = None, relations: RelationHead | None = None) -> None:
        self.model, self.detector, self.relations = model.eval(), detector, relations
        self._seen: dict[str, _Seen] = {}

    def explain(
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
        top: int = 5,
        **options: Any,
    ) -> list[GroundedCaption]:
        """`top` stories around one prompt, the likeliest first.

        image: a path, or (H, W, 3) uint8 RGB. Exactly one of box (x, y, width, height), point (x, y), mask (H, W) bool
        and scribble [(x, y), ...], in pixels. The picture's objects: graph (a SceneGraph, or a json file in Visual
        Genome's format or COCO's), or regions with relations between them, or what the detector finds; or label, the
        name of what the box, mask or scribble is around, as the only object that is known.
        options: steps, sampler, temperature, tries, length, include, seed, as in
        `segue.methods.sgdiff.inference.explain_all`.
        Raises InputError for a prompt outside the picture or empty, a picture without objects, a dangling edge, a
        length that can't be, words outside the vocabulary.
        """
        prompt: dict[str, Any] = {"box": box, "point": point, "mask": mask, "scribble": scribble}
        if label is not None:
            if graph is not None or regions is not None or point is not None:
                raise InputError("label: names what a box, mask or scribble is around; leave graph, regions, point out")
            height, width = pixels_of(image).shape[:2]
            regions = [Region(label, _named_place(label, (width, height), prompt))]
        encoded, known = self._look(image, graph, regions, relations)
        asked = prompt_box(known, **prompt)
        stories = explain_all(self.model, encoded, known, [asked], top=top, **options)[0]
        _warn_of_nothing_there(known, asked)
        return stories

    def explain_every(self, image: Image, **asked: Any) -> list[tuple[Box, list[GroundedCaption]]]:
        """All of `each_object`, whose arguments these are."""
        return list(self.each_object(image, **asked))

    def each_object(
        self,
        image: Image,
        *,
        graph: Graph | None = None,
        regions: Sequence[Region] | None = None,
        relations: Sequence[Relation] = (),
        top: int = 1,
        tries: int = 4,
        **options: Any,
    ) -> Iterator[tuple[Box, list[GroundedCaption]]]:
        """Each object's box with its stories; arguments as those of `explain`.

        One after the other, because the masks of all objects of a photograph can be gigabytes.
        """
        encoded, known = self._look(image, graph, regions, relations)
        boxes, story = every_box(known), known.size[0] * known.size[1] * MASKS
        rows = tries if isinstance(tries, int) and tries > 0 else 1  # of a story; else `explain_all` will refuse it
        some = max(1, min(TOGETHER // rows, ROOM // (story * max(top, 1))))
        for at in range(0, len(boxes), some):
            now = boxes[at : at + some]
            yield from zip(
                now, explain_all(self.model, encoded, known, now, top=top, tries=tries, **options), strict=True
            )

    def _look(
        self, image: Image, graph: Graph | None, regions: Sequence[Region] | None, relations: Sequence[Relation]
    ) -> tuple[Encoded, SceneGraph]:
        pixels = pixels_of(image)
        name = Path(image).name if isinstance(image, str | Path) else ""
        given = _given(name, (pixels.shape[1], pixels.shape[0]), graph, regions, relations, self.relations)
        if given is None and self.detector is None:
            raise InputError(
                "no scene graph: the picture's objects are not known and no detector is loaded. Give --graph (a json "
                "file in Visual Genome's format or COCO's instances), regions, --detector with a YOLOX "
                "(.onnx) or facebook/detr-resnet-50@no_timm, or --label with the name of what is in the box"
            )
        seen = self._remembered(pixels)
        known = self._fed(self._detected(pixels, seen) if given is None else given)
        self._warn_of_strangers(known)
        return seen.encoded, known

    def _warn_of_strangers(self, graph: SceneGraph) -> None:
        """Classes that the model hasn't learned are all one to it: its stories of them are guesses."""
        strangers = [name for name in graph.labels if not self.model.lexicon.class_number(name)]
        if strangers:
            names = ", ".join(sorted(set(strangers))[:5]) + (", ..." if len(set(strangers)) > 5 else "")
            warnings.warn(
                f"this model doesn't know {names}: unknown objects to it, {len(strangers)} of {len(graph.labels)}",
                stacklevel=4,
            )

    def _remembered(self, pixels: NDArray[np.uint8]) -> _Seen:
        """The picture's features, by its content; the picture that was asked for longest ago is forgotten."""
        key = hashlib.blake2b(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        seen = self._seen.pop(key, None) or _Seen(self.model.encode(pixels))
        self._seen[key] = seen
        if len(self._seen) > KEPT:
            del self._seen[next(iter(self._seen))]
        return seen

    def _detected(self, pixels: NDArray[np.uint8], seen: _Seen) -> SceneGraph:
        if seen.found is None:
            assert self.detector is not None  # `_look` asked
            seen.found = detect_graph(pixels, self.detector, self.relations)
        return seen.found

    def _fed(self, graph: SceneGraph) -> SceneGraph:
        """The graph without a detector's features where the model was built for none."""
        return graph if self.model.config.feature_width else replace(graph, features=None)


def _given(
    name: str,
    size: tuple[int, int],
    graph: Graph | None,
    regions: Sequence[Region] | None,
    relations: Sequence[Relation],
    head: RelationHead | None,
) -> SceneGraph | None:
    """The graph that the caller gave in one way or another, or None. head: relates objects that come without any."""
    if graph is not None and regions is not None:
        raise InputError("got both graph and regions, expected one of them")
    if regions is None and relations:
        raise InputError("got relations without regions, expected both; a graph has its own")
    if isinstance(graph, SceneGraph):
        return graph
    if graph is not None:
        if not name:
            raise InputError(f"{graph}: an array has no name to be found there by; give the picture's path, or regions")
        regions, relations = read_graph(Path(graph), name, size)
    if regions is None:
        return None
    picture = Picture(name or "picture", _nothing, size, regions=tuple(regions), relations=tuple(relations))
    found = graph_of(picture, size)[0]
    return found if relations or head is None else replace(found, relations=_related(found, head))


def _related(graph: SceneGraph, head: RelationHead) -> tuple[Relation, ...]:
    return tuple(head.relate(graph.labels, graph.boxes, graph.size))


def _warn_of_nothing_there(graph: SceneGraph, box: Box) -> None:
    node = prompt_node(graph, box)
    x, y, w, h = graph.boxes[node].tolist()
    shared = box_intersection(np.array([box], np.float32), graph.boxes[node : node + 1]).item()
    if shared < SLIGHT * min(box[2] * box[3], w * h):
        warnings.warn(
            f"no known object is at this place: the stories are of the nearest, {graph.labels[node]} at "
            f"{x:.0f},{y:.0f},{w:.0f},{h:.0f}; label tells what else is there",
            stacklevel=3,
        )


def _named_place(label: str, size: tuple[int, int], prompt: dict[str, Any]) -> Box:
    whole = np.array([[0, 0, *size]], np.float32)
    return prompt_box(SceneGraph((label,), whole, (), size), **prompt)


def _nothing() -> NDArray[np.uint8]:
    raise InputError("these pixels are with the caller")
