"""Scenes as files in the layouts of COCO, COCO-Stuff, Karpathy and Visual Genome, byte for byte reproducible.

    images/{split}/000000000001.jpg           JPEG of quality 92, as photographs come: a quarter of a PNG's bytes and
                                              written four times as fast, for grain that no PNG can shrink
    annotations/captions_{split}.json         COCO: five a picture
    annotations/instances_{split}.json        COCO: the things, their masks as run lengths; category ids with gaps
    annotations/panoptic_{split}.json         COCO: things and stuffs; PNGs in annotations/panoptic_{split}/
    stuffthingmaps/{split}/*_labelTrainIds.png  COCO-Stuff: 0..31 in the order of `world.CLASSES`, 255 unknown
    dataset_scenes.json                       Karpathy's
    objects_, attributes_, relationships_{split}.json   Visual Genome's, with COCO's picture ids
    phrases_{split}.json                      what each phrase of a caption names
    omitted_{split}.json                      what each caption leaves out

One numbering ties them: picture p, its owner k (stuffs first, then things) has the id 100 p + k as instance annotation,
as Visual Genome object, in phrases and in omissions; its caption j has the id 10 p + j everywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segue.data import rle
from segue.data.formats.panoptic import segment_colours, segment_info
from segue.synthetic.scenes.language.captions import SEEN, Fact, Told, attributes, captions, facts
from segue.synthetic.scenes.render import render
from segue.synthetic.scenes.sampling import close_up, sample_scene, world_of
from segue.synthetic.scenes.scene import ANIMALS, CLASSES, PEOPLE, STUFFS, THINGS, VEHICLES, Scene
from segue.types import InputError

SPLITS = ("train", "val", "test")
STYLES = ("photo", "synthetic")
VIEWS = ("wide", "close")
CAPTIONS = 5
UNKNOWN = 255
CATEGORY_IDS = {kind: 1 + i + i // 5 for i, kind in enumerate(THINGS)} | {
    kind: 92 + 3 * i + i // 3 for i, kind in enumerate(STUFFS)
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
    world: str
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
    world: str = "a",
    view: str = "wide",
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Write a data set of scenes, whole or not at all; the files are the same bytes whatever the number of workers.

    out must not be there yet, or be empty. size: the pictures' side in pixels. view: "wide", or "close", see
    `sample.close_up`. progress: show a bar. Raises InputError for a folder that is there, counts that make no data set,
    a size below 32, an unknown style, world or view.
    """
    counts = dict(zip(SPLITS, (train, val, test), strict=True))
    _check_request(out, seed, counts, size, style, world, view)
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        fresh.chmod(0o755)
        jobs = [
            _Job(fresh, split, 1 + i + k * 1_000_000, (seed, k, i), size, style, world, view)
            for k, (split, count) in enumerate(counts.items())
            for i in range(count)
        ]
        for split in (s for s in SPLITS if counts[s]):
            for folder in ("images/{}", "stuffthingmaps/{}", "annotations/panoptic_{}"):
                (fresh / folder.format(split)).mkdir(parents=True)
        records = list(_made(jobs, os.cpu_count() or 1 if workers is None else workers, progress))
        _write_json(fresh, records)
        if out.exists():
            out.rmdir()
        os.replace(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _check_request(out: Path, seed: int, counts: dict[str, int], size: int, style: str, world: str, view: str) -> None:
    world_of(world)
    if view not in VIEWS:
        raise InputError(f"view: got {view!r}, expected one of {', '.join(VIEWS)}")
    if style not in STYLES:
        raise InputError(f"style: got {style!r}, expected one of {', '.join(STYLES)}")
    if size < 32:
        raise InputError(f"size: got {size}, expected at least 32 pixels")
    if seed < 0:
        raise InputError(f"seed: got {seed}, expected zero or more")
    if min(counts.values()) < 0 or not any(counts.values()) or max(counts.values()) > 1_000_000:
        raise InputError(
            f"counts: got {counts}, expected none negative, one above zero and none above a million; change them"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; name a new folder, or remove it first")


def _made(jobs: list[_Job], workers: int, progress: bool) -> Iterator[Record]:
    """The records of all pictures in order, as they get ready."""
    if progress:
        from rich.console import Console
        from rich.progress import track

        made = _made(jobs, workers, False)
        yield from track(made, "Drawing", total=len(jobs), console=Console(stderr=True))
    elif workers <= 1 or len(jobs) < 64:  # starting processes costs more than so few pictures
        yield from map(_make, jobs)
    else:
        with get_context("spawn").Pool(workers) as pool:
            yield from pool.imap(_make, jobs, chunksize=16)


# ------------------------------------------------------------------------------------------------ one picture


def _make(job: _Job) -> Record:
    """Draw and tell one scene, write its pictures, and return what the json files say of it."""
    scene = sample_scene(job.seed, job.world)
    if job.view == "close":
        scene = close_up(scene, np.random.default_rng([*job.seed, VIEWS.index(job.view)]))
    drawn = render(scene, job.size, job.style)
    pixels = np.bincount(drawn.owner.ravel(), minlength=len(scene.stuffs) + len(scene.things))
    seen = pixels >= max(4, SEEN * job.size**2)
    told = captions(scene, np.where(seen, pixels / job.size**2, 0.0).tolist(), job.seed, CAPTIONS, job.world)
    Image.fromarray(drawn.image).save(job.folder / "images" / job.split / f"{job.name}.jpg", quality=92)
    labels = np.array([CLASSES.index(kind) for kind in _kinds(scene)], dtype=np.uint8)
    labels[~seen] = UNKNOWN
    _save(labels[drawn.owner], job.folder / "stuffthingmaps" / job.split / f"{job.name}_labelTrainIds.png")
    return {
        "split": job.split,
        "image": {"id": job.number, "file_name": f"{job.name}.jpg", "width": job.size, "height": job.size},
        "light": scene.light,
        **_regions(job, scene, drawn.owner, seen),
        "captions": [
            {"id": 10 * job.number + j, "image_id": job.number, "caption": t.text} for j, t in enumerate(told)
        ],
        "phrases": [
            {"caption_id": 10 * job.number + j, "image_id": job.number, "start": p.start, "end": p.end}
            | {"text": t.text[p.start : p.end], "owners": [100 * job.number + k for k in p.owners]}
            for j, t in enumerate(told)
            for p in t.phrases
        ],
        "omitted": [_omitted(job, scene, j, t) for j, t in enumerate(told)],
    }


def _kinds(scene: Scene) -> list[str]:
    return [s.kind for s in scene.stuffs] + [t.kind for t in scene.things]


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(pixels).save(path, compress_level=4)


def _regions(job: _Job, scene: Scene, owner: NDArray[np.uint8], seen: NDArray[np.bool_]) -> Record:
    """Instances, panoptic segments (with their PNG) and Visual Genome's objects and relations."""
    first, kinds, boxes = len(scene.stuffs), _kinds(scene), {}
    instances, objects, segments = [], [], []
    ids = np.zeros(len(kinds), dtype=np.int64)  # of the panoptic segment; 0: none
    for k in np.flatnonzero(seen).tolist():
        run = rle.encode(owner == k)
        boxes[k] = rle.box(run)
        ids[k] = ids[kinds.index(kinds[k])] if k < first else 0  # stretches of one stuff are one segment
        ids[k] = ids[k] or (64 * job.number + k + 1) * 0x9E3779 % 2**24
        objects.append(_object(job, scene, k, boxes[k]))
        if k >= first:
            instances.append(
                {"id": 100 * job.number + k, "image_id": job.number, "category_id": CATEGORY_IDS[kinds[k]]}
                | {"segmentation": rle.to_json(run), "area": rle.area(run), "bbox": list(boxes[k]), "iscrowd": 0}
            )
    panoptic = ids[owner]
    for number in dict.fromkeys(ids[ids > 0].tolist()):
        category = CATEGORY_IDS[kinds[int(np.flatnonzero(ids == number)[0])]]
        segments.append(segment_info(number, category, panoptic == number))
    _save(segment_colours(panoptic), job.folder / "annotations" / f"panoptic_{job.split}" / f"{job.name}.png")
    relations = [f for f in facts(scene) if f[0] in boxes and f[2] in boxes]
    related = [_relationship(job, kinds, boxes, r, f) for r, f in enumerate(relations)]
    return {"instances": instances, "segments": segments, "objects": objects, "relationships": related}


def _object(job: _Job, scene: Scene, k: int, box: Sequence[float]) -> Record:
    x, y, w, h = (int(v) for v in box)
    found: Record = {"object_id": 100 * job.number + k, "x": x, "y": y, "w": w, "h": h, "names": [_kinds(scene)[k]]}
    position = k - len(scene.stuffs)
    if position < 0:
        return found | {"attributes": []}
    thing = scene.things[position]
    return found | {"attributes": [getattr(thing, what) for what in attributes(scene, position)]}


def _relationship(job: _Job, kinds: list[str], boxes: dict[int, Any], number: int, fact: Fact) -> Record:
    def end(k: int) -> Record:
        x, y, w, h = (int(v) for v in boxes[k])
        return {"object_id": 100 * job.number + k, "x": x, "y": y, "w": w, "h": h, "names": [kinds[k]]}

    subject, predicate, object_ = fact
    found = {"relationship_id": 1000 * job.number + number, "predicate": predicate}
    return found | {"subject": end(subject), "object": end(object_)}


def _omitted(job: _Job, scene: Scene, j: int, told: Told) -> Record:
    """What caption j leaves out, by id and by name."""
    base, left, kinds, first = 100 * job.number, told.left_out, _kinds(scene), len(scene.stuffs)
    return {
        "caption_id": 10 * job.number + j,
        "image_id": job.number,
        "things": [{"id": base + k, "name": kinds[k]} for k in left.things],
        "stuffs": [{"id": base + k, "name": kinds[k]} for k in left.stuffs],
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
    info = {"description": "Segue's sketchbook: scenes", "version": "1.0"}
    images = [r["image"] for r in records]
    head = {"info": info, "licenses": [], "images": images}

    def gathered(key: str) -> list[Record]:
        return [one for r in records for one in r[key]]

    def by_picture(*keys: str) -> list[Record]:
        return [{"image_id": r["image"]["id"], **{key: r[key] for key in keys}} for r in records]

    notes = folder / "annotations"
    _dump(head | {"annotations": gathered("captions")}, notes / f"captions_{split}.json")
    things = [c for c in _categories() if c["isthing"]]
    of_things = [{k: c[k] for k in ("id", "name", "supercategory")} for c in things]
    _dump(head | {"annotations": gathered("instances"), "categories": of_things}, notes / f"instances_{split}.json")
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
    _dump(gathered("phrases"), folder / f"phrases_{split}.json")
    _dump(gathered("omitted"), folder / f"omitted_{split}.json")


def _categories() -> list[Record]:
    above = (
        dict.fromkeys(PEOPLE, "person")
        | dict.fromkeys(ANIMALS, "animal")
        | dict.fromkeys(VEHICLES, "vehicle")
        | dict.fromkeys(STUFFS, "stuff")
    )
    return [
        {
            "id": CATEGORY_IDS[kind],
            "name": kind,
            "supercategory": above.get(kind, "object"),
            "isthing": int(kind in THINGS),
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
