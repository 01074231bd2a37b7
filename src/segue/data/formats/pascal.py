"""Pascal VOC (index PNGs, 0 background, 255 void; boxes in XML) and Pascal Context (59 classes, 60 with background).

Expected: JPEGImages/, ImageSets/Segmentation/{train,val}.txt with SegmentationClass/*.png and Annotations/*.xml, or
ImageSets/SegmentationContext/{train,val}.txt with SegmentationClassContext/*.png. Where both are there Context is read
when asked for by `read_context`. Formats: host.robots.ox.ac.uk/pascal/VOC, cs.stanford.edu/~roozbeh/pascal-context
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from segue.data.formats.classes import CONTEXT_59, VOC_21
from segue.data.formats.files import (
    SPLITS,
    ReportProblem,
    expecting,
    label_table,
    pictures_by_stem,
    pictures_with_labels,
    raise_problem,
)
from segue.data.lines import read_lines
from segue.types import InputError, PictureSet, Region

EXPECTED = "JPEGImages/ with ImageSets/Segmentation/SPLIT.txt (Pascal VOC) or SegmentationContext (Context)"
VOC_TABLE = label_table({value: value for value in range(21)})
CONTEXT_TABLE = label_table({0: 255} | {value: value - 1 for value in range(1, 60)})
CONTEXT_60_TABLE = label_table({value: value for value in range(60)})


def splits(root: Path) -> tuple[str, ...]:
    """The splits of VOC, or of Context where VOC's lists are not there."""
    return _splits(root, "Segmentation") or _splits(root, "SegmentationContext")


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split of VOC: label maps of 21 classes and the boxes of the XML files; of Context where VOC is not there.

    Raises InputError for files that are not in this format.
    """
    if not _splits(root, "Segmentation"):
        return read_context(root, split, report)
    found = _read(root, "Segmentation", "SegmentationClass", split, VOC_TABLE, report)
    pictures = [replace(p, regions=_boxes(_base(root) / "Annotations" / f"{p.name}.xml")) for p in found.pictures]
    return PictureSet(pictures, VOC_21)


def read_context(
    root: Path, split: str, report: ReportProblem = raise_problem, *, background: bool = False
) -> PictureSet:
    """A split of Context. background: class 0 of 60; otherwise it is ignored and the classes are 59."""
    table = CONTEXT_60_TABLE if background else CONTEXT_TABLE
    found = _read(root, "SegmentationContext", "SegmentationClassContext", split, table, report)
    return replace(found, classes=("background", *CONTEXT_59) if background else CONTEXT_59)


def _read(root: Path, lists: str, maps: str, split: str, table: tuple[int, ...], report: ReportProblem) -> PictureSet:
    base = _base(root)
    names = [line.strip() for _, line in read_lines(base / "ImageSets" / lists / f"{split}.txt") if line.strip()]
    images, labels = (pictures_by_stem(base / folder) for folder in ("JPEGImages", maps))
    for name in names:
        if name not in images:
            report("missing-picture", f"{name}.jpg", "the list names it, JPEGImages/ has it not")
        elif name not in labels:
            report("missing-map", f"{name}.png", f"the list names it, {maps}/ has it not")
    kept = {name: images[name] for name in names if name in images}
    return PictureSet(pictures_with_labels(kept, {n: labels[n] for n in kept if n in labels}, table, split, report))


def _boxes(path: Path) -> tuple[Region, ...]:
    """The objects of an XML file; corners count from 1 and belong to the box."""
    if not path.is_file():
        return ()
    try:
        marks = ElementTree.parse(path).getroot().findall("object")
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: can't be read as XML ({error}); copy it again") from error
    regions = []
    with expecting(path, "VOC's XML: object with name and bndbox"):
        for mark in marks:
            x0, y0, x1, y1 = (float(mark.findtext(f"bndbox/{k}") or "") for k in ("xmin", "ymin", "xmax", "ymax"))
            regions.append(Region(str(mark.findtext("name")), (x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1)))
    return tuple(regions)


def _splits(root: Path, lists: str) -> tuple[str, ...]:
    return tuple(split for split in SPLITS if (_base(root) / "ImageSets" / lists / f"{split}.txt").is_file())


def _base(root: Path) -> Path:
    """The folder of a year: the root itself, or the newest VOC20xx in it or in its VOCdevkit."""
    years = [p for p in (*root.glob("VOC20*"), *root.glob("VOCdevkit/VOC20*")) if (p / "ImageSets").is_dir()]
    return root if (root / "ImageSets").is_dir() else max(years, key=lambda p: p.name, default=root)
