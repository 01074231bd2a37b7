"""Small data sets in the field's true formats, each with its traps, to be read and broken by the tests."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from segue.data import rle


def put(path: Path, value) -> Path:
    """Write JSON, text or bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
    path.write_bytes(data)
    return path


def paint(path: Path, size=(12, 8), colour=None) -> Path:
    """A picture of (width, height): noise that the file's name tells, or one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(str(path.name).encode()))
    pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels if colour is None else np.full_like(pixels, colour)).save(path)
    return path


def numbers(path: Path, values, palette=False) -> Path:
    """An index PNG; palette: as VOC saves it, where a careless reader gets colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.fromarray(np.asarray(values, np.uint8))
    if palette:
        made = made.convert("P")
        made.putdata(np.asarray(values, np.uint8).ravel().tolist())
        made.putpalette([v for i in range(256) for v in (255 - i, i, i // 2)])
    made.save(path)
    return path


def colours(ids) -> np.ndarray:
    """Panoptic ids -> (H, W, 3) colours, id = R + 256 G + 65536 B."""
    ids = np.asarray(ids, np.int64)
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)


THINGS = [{"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}, {"id": 90, "name": "toothbrush"}]  # gaps
STUFFS = [{"id": 119, "name": "flower"}, {"id": 187, "name": "sky-other-merged"}]
CROWD = np.zeros((8, 12), bool)
CROWD[6:, :5] = True
SEGMENTS = np.zeros((8, 12), np.int64)  # 0 on the last row: no segment
SEGMENTS[:3] = 70_000  # sky; 8 bits make 112 of it
SEGMENTS[3:7] = 300  # flower
SEGMENTS[3:5, 2:6] = 44  # person; 300 in 8 bits


def coco(root: Path, splits=("train", "val"), year="2017") -> Path:
    """COCO with everything beside it; one picture a split, and the ids of the pictures start at 139."""
    for at, split in enumerate(splits):
        number, name, end = 139 + at, f"{139 + at:012d}.jpg", f"_{split}{year}"
        paint(root / "images" / f"{split}{year}" / name)
        images = [{"id": number, "file_name": name, "width": 12, "height": 8}]
        captions = ["A man at\na stop sign. ", "A person by the sky."]
        annotations = root / "annotations"
        put(
            annotations / f"captions{end}.json",
            {
                "images": images,
                "annotations": [{"id": i, "image_id": number, "caption": c} for i, c in enumerate(captions)],
            },
        )
        polygons = [[2, 3, 6, 3, 6, 5, 2, 5]]
        crowd = {"size": [8, 12], "counts": runs(CROWD)}
        code = rle.to_json(rle.encode(np.eye(8, 12, dtype=bool)))
        marks = [(1, polygons, 0), (1, crowd, 1), (90, code, 0)]
        put(
            annotations / f"instances{end}.json",
            {
                "images": images,
                "categories": THINGS,
                "annotations": [
                    {
                        "id": i,
                        "image_id": number,
                        "category_id": c,
                        "segmentation": s,
                        "iscrowd": k,
                        "bbox": [2, 3, 4, 2],
                    }
                    for i, (c, s, k) in enumerate(marks)
                ],
            },
        )
        segments = [(70_000, 187, 0), (300, 119, 0), (44, 1, 1)]
        put(
            annotations / f"panoptic{end}.json",
            {
                "images": images,
                "categories": [c | {"isthing": 1} for c in THINGS] + [c | {"isthing": 0} for c in STUFFS],
                "annotations": [
                    {
                        "image_id": number,
                        "file_name": f"{number:012d}.png",
                        "segments_info": [{"id": i, "category_id": c, "iscrowd": k} for i, c, k in segments],
                    }
                ],
            },
        )
        png = annotations / f"panoptic{end}" / f"{number:012d}.png"
        png.parent.mkdir(parents=True)
        Image.fromarray(colours(SEGMENTS)).save(png)
        raw = np.full((8, 12), 255)
        raw[0, :4] = [0, 12, 89, 181]  # person, stop sign, toothbrush, wood
        numbers(root / "stuffthingmaps" / f"{split}{year}" / f"{number:012d}.png", raw)
    return root


def runs(mask: np.ndarray) -> list[int]:
    """Uncompressed run lengths: columns first, beginning with zeros."""
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, flat.size]).tolist()
    return [0, *counts] if flat[0] else counts


def scenes(root: Path) -> Path:
    """What `segue data make scenes` writes: COCO, Karpathy's captions, Visual Genome's relations, phrases."""
    coco(root, ("train", "val", "test"), "")
    entries = []
    for at, split in enumerate(("train", "val", "test")):
        number, name = 139 + at, f"{139 + at:012d}.jpg"
        captions = ["A man at\na stop sign. ", "A person by the sky."]
        sentences = [{"raw": c.strip(), "tokens": c.lower().split(), "sentid": i} for i, c in enumerate(captions)]
        entries.append(
            {"filepath": f"images/{split}", "filename": name, "cocoid": number, "split": split, "sentences": sentences}
        )
        person = {"object_id": 13902, "x": 2, "y": 3, "w": 4, "h": 2, "names": ["person"]}
        sky = {"object_id": 13900, "x": 0, "y": 0, "w": 12, "h": 1, "names": ["sky-other-merged"]}
        more = sky | {"object_id": 13901, "y": 2}  # another stretch of the same segment
        put(root / f"objects_{split}.json", [{"image_id": number, "objects": [sky, more, person]}])
        attributed = [person | {"attributes": ["red"]}, sky]
        put(root / f"attributes_{split}.json", [{"image_id": number, "attributes": attributed}])
        related = [{"predicate": "below", "subject": person, "object": more}]
        put(root / f"relationships_{split}.json", [{"image_id": number, "relationships": related}])
        said = {"caption_id": 1, "image_id": number, "start": 2, "end": 8, "text": "person", "object_ids": [13902]}
        whole = said | {"start": 12, "end": 19, "text": "the sky", "object_ids": [13900, 13901]}
        put(root / f"phrases_{split}.json", [said, whole])
    put(root / "dataset_scenes.json", {"dataset": "scenes", "images": entries})
    return root
