"""Scenes as files in the layouts of COCO, COCO-Stuff, Karpathy and Visual Genome, byte for byte reproducible.

    images/{split}/000000000001.jpg           JPEG of quality 92, as photographs: a quarter of a PNG's bytes
    annotations/captions_{split}.json         COCO: five a picture
    annotations/instances_{split}.json        COCO: the things, their masks as run lengths; category ids with gaps
    annotations/panoptic_{split}.json         COCO: things and stuff; PNGs in annotations/panoptic_{split}/
    stuffthingmaps/{split}/*_labelTrainIds.png  COCO-Stuff: 0..31 in the order of `scene.CLASSES`, 255 unknown
    dataset_scenes.json                       Karpathy's
    objects_, attributes_, relationships_{split}.json   Visual Genome's, with COCO's picture ids
    phrases_{split}.json                      the objects that each phrase of a caption names
    omitted_{split}.json                      what each caption leaves out

All files use the same ids: segment k of picture p (stuff first, then things) is 100 p + k as instance annotation, as
Visual Genome's object, in phrases and in omissions; caption j is 10 p + j.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segue.data import rle
from segue.data.formats.panoptic import segment_colours, segment_info
from segue.synthetic.output import check_request, new_folder, run_jobs
from segue.synthetic.scenes.language.captions import (
    MIN_VISIBLE_SHARE,
    SceneCaption,
    SegmentRelation,
    caption_scene,
    describable_attributes,
    scene_relations,
)
from segue.synthetic.scenes.render import render
from segue.synthetic.scenes.sampling import close_up, find_domain, sample_scene
from segue.synthetic.scenes.scene import ANIMALS, CLASSES, PEOPLE, STUFF_CLASSES, THING_CLASSES, VEHICLES, Scene
from segue.types import InputError

SPLITS = ("train", "val", "test")
STYLES = ("photo", "synthetic")
VIEWS = ("wide", "close")
MAX_PICTURES = 1_000_000  # of a split; ids of pictures leave room for so many
CAPTIONS = 5
UNKNOWN = 255
CATEGORY_IDS = {kind: 1 + i + i // 5 for i, kind in enumerate(THING_CLASSES)} | {
    kind: 92 + 3 * i + i // 3 for i, kind in enumerate(STUFF_CLASSES)
}
Record = dict[str, Any]


@dataclass(frozen=True)
class _Job:
    """A picture to make. seed: (data set's, split's, picture's). number: its id."""

    folder: Path
    split: str
    number: int
    seed: tuple[int, int, int]
    size: int
    style: str
    domain: str
    view: str

    @property
    def name(self) -> str:
        return f"{self.number:012d}"


def make_scenes(
    out: Path,
    *,
    seed: int = 0,
    train: int = 8000,
    val: int = 500,
    test: int = 1000,
    size: int = 128,
    style: str = "photo",
    domain: str = "a",
    view: str = "wide",
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Write a data set of scenes, whole or not at all; the files are the same bytes whatever the number of workers.

    out must not be there yet, or be empty. size: the pictures' side in pixels. view: "wide", or "close", see
    `sampling.close_up`. workers: processes; None: as many as CPUs. progress: show a bar. Raises InputError for a folder
    that holds something, bad counts, a size below 32, an unknown style, domain or view.
    """
    counts = dict(zip(SPLITS, (train, val, test), strict=True))
    _check_options(seed, counts, style, domain, view)
    check_request(out, counts, size)
    with new_folder(out) as fresh:
        jobs = [
            _Job(fresh, split, 1 + i + k * MAX_PICTURES, (seed, k, i), size, style, domain, view)
            for k, (split, count) in enumerate(counts.items())
            for i in range(count)
        ]
        for split in (s for s in SPLITS if counts[s]):
            for folder in ("images/{}", "stuffthingmaps/{}", "annotations/panoptic_{}"):
                (fresh / folder.format(split)).mkdir(parents=True)
        made = run_jobs(_make, jobs, workers)
        _write_json(fresh, list(_with_bar(made, len(jobs)) if progress else made))


def _check_options(seed: int, counts: dict[str, int], style: str, domain: str, view: str) -> None:
    find_domain(domain)
    if view not in VIEWS:
        raise InputError(f"view: got {view!r}, expected one of {', '.join(VIEWS)}")
    if style not in STYLES:
        raise InputError(f"style: got {style!r}, expected one of {', '.join(STYLES)}")
    if seed < 0:
        raise InputError(f"seed: got {seed}, expected zero or more")
    if max(counts.values()) > MAX_PICTURES:
        raise InputError(f"counts: got {counts}, expected none above {MAX_PICTURES:,}")


def _with_bar(made: Iterator[Record], count: int) -> Iterator[Record]:
    from rich.console import Console
    from rich.progress import track

    yield from track(made, "Drawing", total=count, console=Console(stderr=True))


# ------------------------------------------------------------------------------------------------ one picture


def _make(job: _Job) -> Record:
    """Draw and caption one scene, write its pictures, and return its entries of the json files."""
    scene = sample_scene(job.seed, job.domain)
    if job.view == "close":
        scene = close_up(scene, np.random.default_rng([*job.seed, VIEWS.index(job.view)]))
    drawn = render(scene, job.size, job.style)
    pixels = np.bincount(drawn.segments.ravel(), minlength=len(scene.stuff) + len(scene.things))
    visible = pixels >= max(4, MIN_VISIBLE_SHARE * job.size**2)
    captions = caption_scene(
        scene, np.where(visible, pixels / job.size**2, 0.0).tolist(), job.seed, CAPTIONS, job.domain
    )
    Image.fromarray(drawn.image).save(job.folder / "images" / job.split / f"{job.name}.jpg", quality=92)
    labels = np.array([CLASSES.index(kind) for kind in _kinds(scene)], dtype=np.uint8)
    labels[~visible] = UNKNOWN
    _save(labels[drawn.segments], job.folder / "stuffthingmaps" / job.split / f"{job.name}_labelTrainIds.png")
    return {
        "split": job.split,
        "image": {"id": job.number, "file_name": f"{job.name}.jpg", "width": job.size, "height": job.size},
        "light": scene.light,
        **_regions(job, scene, drawn.segments, visible),
        "captions": [
            {"id": 10 * job.number + j, "image_id": job.number, "caption": c.text} for j, c in enumerate(captions)
        ],
        "phrases": [
            {"caption_id": 10 * job.number + j, "image_id": job.number, "start": p.start, "end": p.end}
            | {"text": c.text[p.start : p.end], "object_ids": [100 * job.number + k for k in p.segments]}
            for j, c in enumerate(captions)
            for p in c.phrases
        ],
        "omitted": [_omitted(job, scene, j, c) for j, c in enumerate(captions)],
    }


def _kinds(scene: Scene) -> list[str]:
    return [s.kind for s in scene.stuff] + [t.kind for t in scene.things]


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(pixels).save(path, compress_level=4)


def _regions(job: _Job, scene: Scene, drawn: NDArray[np.uint8], visible: NDArray[np.bool_]) -> Record:
    """Instances, panoptic segments (with their PNG) and Visual Genome's objects and relations."""
    first, kinds, boxes = len(scene.stuff), _kinds(scene), {}
    instances, objects, segments = [], [], []
    ids = np.zeros(len(kinds), dtype=np.int64)  # of the panoptic segment; 0: none
    for k in np.flatnonzero(visible).tolist():
        mask = rle.encode(drawn == k)
        boxes[k] = rle.box(mask)
        ids[k] = ids[kinds.index(kinds[k])] if k < first else 0  # stretches of one stuff are one segment
        ids[k] = ids[k] or (64 * job.number + k + 1) * 0x9E3779 % 2**24
        objects.append(_object(job, scene, k, boxes[k]))
        if k >= first:
            instances.append(
                {"id": 100 * job.number + k, "image_id": job.number, "category_id": CATEGORY_IDS[kinds[k]]}
                | {"segmentation": rle.to_json(mask), "area": rle.area(mask), "bbox": list(boxes[k]), "iscrowd": 0}
            )
    panoptic = ids[drawn]
    for number in dict.fromkeys(ids[ids > 0].tolist()):
        category = CATEGORY_IDS[kinds[int(np.flatnonzero(ids == number)[0])]]
        segments.append(segment_info(number, category, panoptic == number))
    _save(segment_colours(panoptic), job.folder / "annotations" / f"panoptic_{job.split}" / f"{job.name}.png")
    relations = [r for r in scene_relations(scene) if r[0] in boxes and r[2] in boxes]
    related = [_relationship(job, kinds, boxes, i, r) for i, r in enumerate(relations)]
    return {"instances": instances, "segments": segments, "objects": objects, "relationships": related}


def _object(job: _Job, scene: Scene, k: int, box: Sequence[float]) -> Record:
    x, y, w, h = (int(v) for v in box)
    found: Record = {"object_id": 100 * job.number + k, "x": x, "y": y, "w": w, "h": h, "names": [_kinds(scene)[k]]}
    position = k - len(scene.stuff)
    if position < 0:
        return found | {"attributes": []}
    thing = scene.things[position]
    return found | {"attributes": [getattr(thing, what) for what in describable_attributes(scene, position)]}


def _relationship(job: _Job, kinds: list[str], boxes: dict[int, Any], number: int, relation: SegmentRelation) -> Record:
    def end(k: int) -> Record:
        x, y, w, h = (int(v) for v in boxes[k])
        return {"object_id": 100 * job.number + k, "x": x, "y": y, "w": w, "h": h, "names": [kinds[k]]}

    subject, predicate, object_ = relation
    found = {"relationship_id": 1000 * job.number + number, "predicate": predicate}
    return found | {"subject": end(subject), "object": end(object_)}


def _omitted(job: _Job, scene: Scene, j: int, caption: SceneCaption) -> Record:
    """What caption j leaves out, by id and by name."""
    base, left, kinds, first = 100 * job.number, caption.omissions, _kinds(scene), len(scene.stuff)
    return {
        "caption_id": 10 * job.number + j,
        "image_id": job.number,
        "things": [{"id": base + k, "name": kinds[k]} for k in left.things],
        "stuff": [{"id": base + k, "name": kinds[k]} for k in left.stuff],
        "attributes": [
            {"id": base + k, "attribute": what, "value": getattr(scene.things[k - first], what)}
            for k, what in left.attributes
        ],
        "relations": [{"subject": base + s, "predicate": p, "object": base + o} for s, p, o in left.relations],
        "light": scene.light if left.light else None,
    }


# ------------------------------------------------------------------------------------------------ json files


def _write_json(folder: Path, records: list[Record]) -> None:
    for split in SPLITS:
        there = [r for r in records if r["split"] == split]
        if there:
            _write_split(folder, split, there)
    images = [image for i, r in enumerate(records) if (image := _karpathy(i, r))]
    _dump({"images": images, "dataset": "scenes"}, folder / "dataset_scenes.json")


def _write_split(folder: Path, split: str, records: list[Record]) -> None:
    info = {"description": "Segue's synthetic scenes", "version": "1.0"}
    images = [r["image"] for r in records]
    head = {"info": info, "licenses": [], "images": images}

    def joined(key: str) -> list[Record]:
        return [one for r in records for one in r[key]]

    def by_picture(*keys: str) -> list[Record]:
        return [{"image_id": r["image"]["id"], **{key: r[key] for key in keys}} for r in records]

    notes = folder / "annotations"
    _dump(head | {"annotations": joined("captions")}, notes / f"captions_{split}.json")
    things = [c for c in _categories() if c["isthing"]]
    of_things = [{k: c[k] for k in ("id", "name", "supercategory")} for c in things]
    _dump(head | {"annotations": joined("instances"), "categories": of_things}, notes / f"instances_{split}.json")
    panoptic = [
        {"image_id": r["image"]["id"], "file_name": f"{r['image']['id']:012d}.png", "segments_info": r["segments"]}
        for r in records
    ]
    _dump(head | {"annotations": panoptic, "categories": _categories()}, notes / f"panoptic_{split}.json")
    plain = [
        {
            "image_id": r["image"]["id"],
            "objects": [{k: v for k, v in o.items() if k != "attributes"} for o in r["objects"]],
        }
        for r in records
    ]
    _dump(plain, folder / f"objects_{split}.json")
    _dump(
        [{"image_id": r["image"]["id"], "attributes": r["objects"]} for r in records],
        folder / f"attributes_{split}.json",
    )
    _dump(by_picture("relationships"), folder / f"relationships_{split}.json")
    _dump(joined("phrases"), folder / f"phrases_{split}.json")
    _dump(joined("omitted"), folder / f"omitted_{split}.json")


def _categories() -> list[Record]:
    above = (
        dict.fromkeys(PEOPLE, "person")
        | dict.fromkeys(ANIMALS, "animal")
        | dict.fromkeys(VEHICLES, "vehicle")
        | dict.fromkeys(STUFF_CLASSES, "stuff")
    )
    return [
        {
            "id": CATEGORY_IDS[kind],
            "name": kind,
            "supercategory": above.get(kind, "object"),
            "isthing": int(kind in THING_CLASSES),
        }
        for kind in CLASSES
    ]


def _karpathy(position: int, record: Record) -> Record:
    """A picture as Karpathy's json has it; tokens are the words in lower case without punctuation."""
    sentences = [
        {
            "tokens": c["caption"].lower().replace(",", "").replace(".", "").split(),
            "raw": c["caption"],
            "imgid": position,
            "sentid": c["id"],
        }
        for c in record["captions"]
    ]
    return {
        "filepath": f"images/{record['split']}",
        "filename": record["image"]["file_name"],
        "imgid": position,
        "cocoid": record["image"]["id"],
        "split": record["split"],
        "sentids": [s["sentid"] for s in sentences],
        "sentences": sentences,
    }


def _dump(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value, separators=(",", ":")), encoding="utf-8")
