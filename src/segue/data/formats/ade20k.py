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
from segue.data.formats.files import label_table, pictures_with_labels, split_of
from segue.data.formats.lookup import list_places, locate
from segue.data.lines import read_lines
from segue.data.problems import ReportProblem, raise_problem, reporting
from segue.data.records import read_text
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
    base, found = _base(root), narratives(root, split, report)
    images, maps = (list_places(base / kind / FOLDERS[split], stems=True) for kind in ("images", "annotations"))
    located, captions = locate(images, found), defaultdict[Path, list[str]](list)
    for name, texts in sorted(found.items()):
        if name in located.found:
            captions[located.found[name]] += texts
        else:
            report("dangling-caption", name, located.problem(name, "a narrative of a picture that is not there")[1])
    pictures = pictures_with_labels(images, maps, TABLE, split, report)
    return PictureSet([replace(p, captions=tuple(captions[path])) for path, p in pictures.items()], ADE_150)


def narratives(root: Path, split: str, report: ReportProblem = raise_problem) -> dict[str, list[str]]:
    """Picture -> its captions, of all files of Localized Narratives of a split."""
    found = defaultdict(list)
    for path in sorted(p for p in root.rglob("ade20k_*.jsonl*") if split_of(Path(p.name)) == split):
        for number, line in read_lines(path, 100_000_000):  # a line also holds the mouse's trace
            with reporting(report, "bad-caption", f"{path} line {number}"):
                entry = json.loads(line)
                found[read_text(entry, "image_id").removesuffix(".jpg")].append(read_text(entry, "caption"))
    return found


def _base(root: Path) -> Path:
    return root / "ADEChallengeData2016" if (root / "ADEChallengeData2016").is_dir() else root
