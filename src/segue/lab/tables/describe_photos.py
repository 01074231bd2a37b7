"""The table `describe_photos`: the bundled describer of photographs beside the image-level captioner.

DIR/flickr8k/       captioned photographs with a split `val`, which have no regions
DIR/coco_tiny/      captioned photographs with instances; without splits those of `photo_splits`, of which `test`
DIR/detector.onnx   a YOLOX, or in its place DIR/detector/, a DETR

Experiments: "flickr8k": all pictures of val, around the object of the first noun of their captions among those that the
detector finds, where there is one; the references are all captions of a picture, as for a captioner. "coco_tiny given"
and "coco_tiny detected": the cases of `segue.evaluation.grounded_captions`, the first noun's box as the prompt, with
the picture's own regions as the graph, or the detector's.
Systems: "describe-photos"; "describe-photos, no graph": the same with one nameless object, the whole picture;
"captions-photos": the bundled captioner, which knows of no box and makes no masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from segue.api.captioner import load_captioner
from segue.api.describer import load_describer
from segue.api.models import find
from segue.api.photographs import load_photo_predictor
from segue.data.formats import read_pictures
from segue.evaluation.grounded_captions import Case, Describe, make_cases, score_cases
from segue.evaluation.photo_splits import read_photo_split
from segue.lab.engine import RequiredData, Row, Work
from segue.lab.tables.sgdiff_photos import detector_in
from segue.methods.sgdiff.graph import SceneGraph, build_graph, find_prompt_node
from segue.options import Decoding, DescribeOptions
from segue.recipes.describe_photos import linked, with_detections
from segue.recipes.sgdiff import with_named_regions
from segue.types import GroundedCaption, Picture

BUNDLED, CAPTIONER = "describe-photos", "captions-photos"
BATCH = 50  # pictures at a time
SYSTEMS = (BUNDLED, f"{BUNDLED}, no graph", CAPTIONER)
DATA = RequiredData("a folder with flickr8k/, coco_tiny/, and detector.onnx or detector/", ("flickr8k", "coco_tiny"))


def describe_photos_table() -> list[Row]:
    """The systems on each experiment; a captioner and the graph-blind describer are the same on given and detected."""
    rows = [Row("flickr8k", name, 0, partial(_flickr8k, name), DATA) for name in SYSTEMS]
    rows += [Row("coco_tiny given", name, 0, partial(_coco, name, False), DATA) for name in SYSTEMS]
    return [*rows, Row("coco_tiny detected", BUNDLED, 0, partial(_coco, BUNDLED, True), DATA)]


def _flickr8k(system: str, work: Work) -> dict[str, float]:
    data = DATA.folder(work.data)
    pictures = _detected(list(read_pictures(data / "flickr8k", "val").pictures), data, work.shared / "features")
    cases = [_whole_case(picture) for picture in pictures]
    made = {num: _in_batches(system, cases, num) for num in (1, 5)}
    place = {id(case): i for i, case in enumerate(cases)}
    return score_cases(lambda case, num, _: made[num][place[id(case)]], cases, masks=False, java=False)


def _in_batches(system: str, cases: Sequence[Case], num: int) -> list[list[GroundedCaption]]:
    """`num` captions of each case, without masks; many at a time, because one by one takes several times as long."""
    images = (case.picture.load() for case in cases)
    if system == CAPTIONER:
        captioned = load_captioner(CAPTIONER).caption_many(images, options=Decoding(num=num, beams=max(3, num)))
        return [[GroundedCaption(one.text, one.likelihood or 0.0) for one in some] for some in captioned]
    predictor, answers = load_photo_predictor(find(BUNDLED)), list[list[GroundedCaption]]()
    for at in range(0, len(cases), BATCH):
        part = cases[at : at + BATCH]
        read = [predictor.encode(image) for image in islice(images, BATCH)]
        graphs = [
            _graph(c.picture, r.size) if system == BUNDLED else _whole(c.picture, r.size)
            for c, r in zip(part, read, strict=True)
        ]
        prompts = [find_prompt_node(graph, case.box) for graph, case in zip(graphs, part, strict=True)]
        found = predictor.captions(read, graphs, prompts, DescribeOptions(num=num))
        answers += [[GroundedCaption(text, score) for text, score in some] for some in found]
    return answers


def _coco(system: str, detected: bool, work: Work) -> dict[str, float]:
    data = DATA.folder(work.data)
    pictures = with_named_regions(read_photo_split(data / "coco_tiny", "test", "skip"), "test")
    cases, seen = make_cases(pictures, "first"), dict[str, Picture]()
    if detected:
        bare = [replace(picture, regions=(), phrases=(), relations=()) for picture in pictures]
        seen = {picture.name: picture for picture in _detected(bare, data, work.shared / "features")}
    return score_cases(_describe(system, seen), cases, masks=system == BUNDLED, java=False)


def _detected(pictures: list[Picture], data: Path, cache: Path) -> list[Picture]:
    """The pictures with the detector's regions, which their captions' nouns are linked to."""
    found = with_detections(pictures, detector_in(data), cache)
    return [linked(found[picture.name]) for picture in pictures]


def _whole_case(picture: Picture) -> Case:
    """A picture with all of its captions as references; the prompt is the first noun's object, or the whole picture."""
    named = sorted((p.caption, p.start, p.regions[0]) for p in picture.phrases if p.regions)
    height, width = picture.load().shape[:2]
    box = picture.regions[named[0][2]].box if named else (0.0, 0.0, float(width), float(height))
    return Case(picture, box, list(picture.captions), ())


def _describe(system: str, seen: dict[str, Picture] | None = None) -> Describe:
    """seen: other regions than their own, by the pictures' names."""
    if system == CAPTIONER:
        captioner = load_captioner(CAPTIONER)

        def caption(case: Case, num: int, seed: int) -> list[GroundedCaption]:
            options = Decoding(num=num, beams=max(3, num), seed=seed)
            return [
                GroundedCaption(one.text, one.likelihood or 0.0)
                for one in captioner.caption(case.picture.load(), options=options)
            ]

        return caption
    describer = load_describer(BUNDLED)
    graph_of: Callable[[Picture, tuple[int, int]], SceneGraph] = _whole if system != BUNDLED else _graph

    def describe(case: Case, num: int, seed: int) -> list[GroundedCaption]:
        image, picture = case.picture.load(), (seen or {}).get(case.picture.name, case.picture)
        graph = graph_of(picture, (image.shape[1], image.shape[0]))
        return describer.describe(image, box=case.box, graph=graph, options=DescribeOptions(num=num, seed=seed))

    return describe


def _whole(picture: Picture, size: tuple[int, int]) -> SceneGraph:
    """One nameless node, the whole picture."""
    return SceneGraph(("",), np.array([[0, 0, *size]], np.float32), (), size)


def _graph(picture: Picture, size: tuple[int, int]) -> SceneGraph:
    """The graph of the picture's regions, or where it has none the whole picture's."""
    return build_graph(picture, size)[0] if picture.regions else _whole(picture, size)
