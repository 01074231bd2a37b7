"""The table `sgdiff_real`: grounded captions of photographs.

DIR/coco_tiny/      captioned photographs with instances, in COCO's format; without splits those of `photographs`
DIR/detector.onnx   a YOLOX, or in its place DIR/detector/, a DETR

Experiments: given, the picture's own instances are its graph; detected, a detector finds them. Both share a training,
on the given graphs. Metrics are those of `segue.evaluation.grounded_captions`, the first noun's box as the prompt;
undetected is the share of prompts on pictures in which the detector finds nothing, which count as an empty caption
without masks.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from segue.api.describer import Describer
from segue.evaluation.grounded_captions import DRAWS, Case, Prompt, make_cases, score_cases, score_model
from segue.evaluation.photo_splits import read_photo_split
from segue.lab.engine import RequiredData, Row, Work
from segue.lab.trained import train_once
from segue.methods.detectors import Detector, load_detector
from segue.methods.sgdiff.checkpoint import restore
from segue.methods.sgdiff.detector import graph_from_detections
from segue.methods.sgdiff.graph import SceneGraph
from segue.options import DescribeOptions
from segue.recipes.sgdiff import SGDIFF, SGDiffSettings, train_on_pictures, with_named_regions
from segue.types import GroundedCaption, InputError, Picture

SEEDS = (0, 1, 2)
PROMPT: Prompt = "first"
NOTHING = GroundedCaption("", 0.0, ())
REAL = replace(
    SGDIFF,
    widths=(16, 32, 64, 96),
    channels=32,
    width=128,
    blocks=2,
    caption_steps=250,
    steps=250,
    min_count=2,
    evaluations=2,
    on_bad="skip",
)


DATA = RequiredData("a folder with coco_tiny/, and detector.onnx or detector/", ("coco_tiny",))


def sgdiff_real_table(base: SGDiffSettings = REAL) -> list[Row]:
    """The full system by 3 seeds, on given and on detected graphs. `base`: the settings that the rows share."""
    rows = []
    for seed in SEEDS:
        one = replace(base, seed=seed)
        rows.append(Row("given", "full", seed, partial(_given, one), DATA))
        rows.append(Row("detected", "full", seed, partial(_detected, one), DATA))
    return rows


def detector_in(data: Path) -> str:
    """The detector of a folder of data, as `load_detector` takes it. Raises InputError when there is none."""
    places = (data / "detector.onnx", data / "detector")
    found = next((path for path in places if path.exists()), None)
    if found is None:
        raise InputError(f"--data {data}: no detector.onnx (a YOLOX) and no detector/ (a DETR) in it; copy one there")
    return str(found)


def _given(settings: SGDiffSettings, work: Work) -> dict[str, float]:
    settings = replace(settings, data=DATA.folder(work.data) / "coco_tiny")
    model = restore(_trained(settings, work))[0]
    return score_model(model, _pictures(settings), PROMPT)


def _detected(settings: SGDiffSettings, work: Work) -> dict[str, float]:
    data = DATA.folder(work.data)
    detector, settings = load_detector(detector_in(data)), replace(settings, data=data / "coco_tiny")
    describer = Describer(restore(_trained(settings, work))[0])
    cases = make_cases(_pictures(settings), PROMPT)
    graphs = {case.picture.name: _graph(detector, case) for case in cases}
    undetected = sum(graphs[case.picture.name] is None for case in cases) / len(cases)
    return score_cases(partial(_describe, describer, graphs), cases, draws=DRAWS) | {"undetected": undetected}


def _graph(detector: Detector, case: Case) -> SceneGraph | None:
    image = case.picture.load()
    found = detector(image)
    return graph_from_detections(found, (image.shape[1], image.shape[0])) if found.labels else None


def _describe(
    describer: Describer, graphs: dict[str, SceneGraph | None], case: Case, num: int, seed: int
) -> list[GroundedCaption]:
    graph = graphs[case.picture.name]
    if graph is None:
        return [NOTHING] * num
    options = DescribeOptions(num=num, seed=seed)
    return describer.describe(case.picture.load(), box=case.box, graph=graph, options=options)


def _pictures(settings: SGDiffSettings) -> list[Picture]:
    return with_named_regions(read_photo_split(settings.data, "test", settings.on_bad), "test")


def _trained(settings: SGDiffSettings, work: Work) -> Path:
    """The best weights of a seed's training: started by the first row that needs it, resumed if it was stopped."""

    def train(own: SGDiffSettings) -> None:
        train_on_pictures(own, *(read_photo_split(own.data, split, own.on_bad) for split in ("train", "val")))

    return train_once(replace(settings, out=work.table / f"shared-{settings.seed}"), train).parent / "best"
