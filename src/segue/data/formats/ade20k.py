"""ADE20K's SceneParse150 with captions from Localized Narratives.

Expected: images/{training,validation}/*.jpg, annotations/{training,validation}/*.png (0 is "other" and ignored, 1..150
are the classes), and anywhere above them ade20k_{train,validation}*.jsonl, one {image_id, caption} a line.
Formats: ADEChallengeData2016; google.github.io/localized-narratives
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from segue.data.formats.classes import ADE_150
from segue.data.formats.files import (
    ReportProblem,
    expecting,
    label_table,
    pictures_by_stem,
    pictures_with_labels,
    raise_problem,
)
from segue.data.lines import read_lines
from segue.types import PictureSet

EXPECTED = "images/training with annotations/training (ADE20K)"
FOLDERS = {"train": "training", "val": "validation"}
TABLE = label_table({0: 255} | {value: value - 1 for value in range(1, 151)})


def splits(root: Path) -> tuple[str, ...]:
    """The splits that a folder has, or its ADEChallengeData2016."""
    base = _base(root)
    return tuple(
        s for s, f in FOLDERS.items() if (base / "images" / f).is_dir() and (base / "annotations" / f).is_dir()
    )


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split, with the narratives of its pictures where they are there."""
    base, captions = _base(root), narratives(root, split)
    images, maps = (pictures_by_stem(base / kind / FOLDERS[split]) for kind in ("images", "annotations"))
    for name in sorted(captions.keys() - images.keys()):
        report("dangling-caption", name, "a narrative of a picture that is not there")
    pictures = pictures_with_labels(images, maps, TABLE, split, report)
    return PictureSet([replace(p, captions=tuple(captions.get(p.name, ()))) for p in pictures], ADE_150)


def narratives(root: Path, split: str) -> dict[str, list[str]]:
    """Picture -> its captions, of all files of Localized Narratives of a split."""
    found = defaultdict(list)
    for path in sorted(p for p in root.rglob("ade20k_*.jsonl*") if split in p.name):  # validation holds "val"
        for number, line in read_lines(path, 100_000_000):  # a line also holds the mouse's trace
            with expecting(f"{path} line {number}", "Localized Narratives: {image_id, caption}"):
                entry = json.loads(line)
                found[Path(str(entry["image_id"])).stem].append(str(entry["caption"]).strip())
    return found


def _base(root: Path) -> Path:
    return root / "ADEChallengeData2016" if (root / "ADEChallengeData2016").is_dir() else root
