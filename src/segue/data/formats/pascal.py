"""Pascal VOC (index PNGs, 0 background, 255 void; boxes in XML) and Pascal Context (59 classes, 60 with background).

Expected: JPEGImages/, ImageSets/Segmentation/{train,val}.txt with SegmentationClass/*.png and Annotations/*.xml, or
ImageSets/SegmentationContext/{train,val}.txt with SegmentationClassContext/*.png. Where both are there Context is read
when asked for by `read_context`. Formats: host.robots.ox.ac.uk/pascal/VOC, cs.stanford.edu/~roozbeh/pascal-context
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from segue.data.formats.classes import CONTEXT_59, VOC_21
from segue.data.formats.files import SPLITS, corner_box, label_table, pictures_with_labels
from segue.data.formats.lookup import list_places, locate, tidy
from segue.data.lines import read_lines
from segue.data.problems import ReportProblem, raise_problem, reporting
from segue.data.records import read_text
from segue.types import Picture, PictureSet, Region

EXPECTED = "JPEGImages/ with ImageSets/Segmentation/SPLIT.txt (Pascal VOC) or SegmentationContext (Context)"
VOC_TABLE = label_table({value: value for value in range(21)})
CONTEXT_TABLE = label_table({0: 255} | {value: value - 1 for value in range(1, 60)})
CONTEXT_60_TABLE = label_table({value: value for value in range(60)})


def splits(root: Path) -> tuple[str, ...]:
    """The splits of VOC, or of Context where VOC's lists are not there."""
    return _splits(root, "Segmentation") or context_splits(root)


def context_splits(root: Path) -> tuple[str, ...]:
    """The splits of Context."""
    return _splits(root, "SegmentationContext")


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split of VOC: label maps of 21 classes and the boxes of the XML files; of Context where VOC is not there.

    Raises InputError for files that are not in this format.
    """
    if not _splits(root, "Segmentation"):
        return read_context(root, split, report)
    found = _read(root, "Segmentation", "SegmentationClass", split, VOC_TABLE, report)
    marks = _base(root) / "Annotations"
    without = [name for name in found if marks.is_dir() and not (marks / f"{tidy(name)}.xml").is_file()]
    if without and len(without) < len(found):
        message = f"{len(without)} of {len(found)} pictures have no XML in Annotations/, so no boxes"
        report("left-out", f"{without[0]}.xml", message)
    pictures = [replace(p, regions=_boxes(marks / f"{tidy(name)}.xml", report)) for name, p in found.items()]
    return PictureSet(pictures, VOC_21)


def read_context(
    root: Path, split: str, report: ReportProblem = raise_problem, *, background: bool = False
) -> PictureSet:
    """A split of Context. background: class 0 of 60; otherwise it is ignored and the classes are 59."""
    table = CONTEXT_60_TABLE if background else CONTEXT_TABLE
    found = _read(root, "SegmentationContext", "SegmentationClassContext", split, table, report)
    return PictureSet([*found.values()], ("background", *CONTEXT_59) if background else CONTEXT_59)


def _read(
    root: Path, lists: str, maps: str, split: str, table: tuple[int, ...], report: ReportProblem
) -> dict[str, Picture]:
    """The pictures that a list names, by its names."""
    base = _base(root)
    lines = [line.strip() for _, line in read_lines(base / "ImageSets" / lists / f"{split}.txt") if line.strip()]
    names = [*dict.fromkeys(lines)]
    located = locate(list_places(base / "JPEGImages", stems=True), names)
    for name in (name for name in names if name not in located.found):
        code, problem = located.problem(name, "the list names it, JPEGImages/ has it not")
        report(code, f"{name}.jpg", problem)
    images = {name: [located.found[name]] for name in sorted(located.found)}
    labels = list_places(base / maps, stems=True)
    listed = locate(labels, images)
    mine = {*listed.found.values()} | listed.passed  # the other maps are of other lists
    labels = {key: paths for key, paths in labels.items() if not mine.isdisjoint(paths)}
    found = pictures_with_labels(images, labels, table, split, report)
    return {name: found[path] for name, (path,) in images.items()}


def _boxes(path: Path, report: ReportProblem) -> tuple[Region, ...]:
    """The objects of an XML file; corners count from 1 and belong to the box."""
    marks: list[Element] = []
    if path.is_file():
        try:
            marks = ElementTree.parse(path).getroot().findall("object")
        except (OSError, ElementTree.ParseError) as error:
            report("bad-annotation", path.name, f"can't be read as XML ({error}); copy it again")
    regions = list[Region]()
    for at, mark in enumerate(marks):
        with reporting(report, "bad-annotation", f"object {at} of {path.name}"):
            regions.append(Region(read_text({"name": mark.findtext("name")}, "name"), corner_box(mark)))
    return tuple(regions)


def _splits(root: Path, lists: str) -> tuple[str, ...]:
    return tuple(split for split in SPLITS if (_base(root) / "ImageSets" / lists / f"{split}.txt").is_file())


def _base(root: Path) -> Path:
    """The folder of a year: the root itself, or the newest VOC20xx in it or in its VOCdevkit."""
    years = [p for p in (*root.glob("VOC20*"), *root.glob("VOCdevkit/VOC20*")) if (p / "ImageSets").is_dir()]
    return root if (root / "ImageSets").is_dir() else max(years, key=lambda p: p.name, default=root)
