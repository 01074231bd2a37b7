"""Flickr30k Entities: captions whose phrases are tied to boxes.

Expected: Sentences/ID.txt (a caption a line, `[/EN#12/people Two young guys] with ...`), Annotations/ID.xml (boxes; one
may belong to several entities, an entity may have several boxes or none), {train,val,test}.txt with the IDs of a split
or Karpathy's dataset_flickr30k.json, and the pictures in flickr30k-images/ or images/. Masks/ID.json, which
`segue data outline` writes, has the boxes' masks in their order: {"sam": source, "masks": [{size, counts}]}.
Format: github.com/BryanPlummer/flickr30k_entities
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from segue.data import rle
from segue.data.formats import karpathy
from segue.data.formats.files import SPLITS, corner_box, expecting, read_json
from segue.data.formats.lookup import list_places, locate, stem_of, tidy
from segue.data.images import read_image
from segue.data.lines import read_lines
from segue.data.problems import ReportProblem, raise_problem, reporting
from segue.data.records import read_text
from segue.types import InputError, Phrase, Picture, PictureSet, Region

EXPECTED = "Annotations/*.xml with Sentences/*.txt (Flickr30k Entities)"
MARK = re.compile(r"\[/EN#(\d+)/(\S+) ([^\]]*)\]")
NOT_VISUAL_ENTITY, MASKS = "0", "Masks"
Entities = dict[str, list[int]]  # entity id -> positions of its regions


def splits(root: Path) -> tuple[str, ...]:
    """The splits for which there is a list of IDs, or Karpathy's; without either all is "train"."""
    if not (root / "Sentences").is_dir() or not (root / "Annotations").is_dir():
        return ()
    listed = tuple(split for split in SPLITS if (root / f"{split}.txt").is_file())
    return listed or karpathy.splits(root) or ("train",)


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split: captions without their markup, regions labelled with the entity's type, phrases.

    Raises InputError for files that are not in this format.
    """
    ids = root / f"{split}.txt"
    if ids.is_file():
        numbers = [line.strip() for _, line in read_lines(ids) if line.strip()]
    elif karpathy.find(root):
        entries = karpathy.entries(root, split, report)
        numbers = [stem_of(entry["filename"]) for entry in entries]
    else:
        numbers = sorted(path.stem for path in (root / "Sentences").glob("*.txt"))
    located = locate(list_places(root, stems=True), numbers)
    pictures = []
    for number in numbers:
        if number not in located.found:
            code, problem = located.problem(number, f"no such picture in {root}, expected flickr30k-images/")
            report(code, f"{number}.jpg", problem)
        elif not (root / "Sentences" / f"{tidy(number)}.txt").is_file():
            report("missing-captions", number, "no such file in Sentences/")
        else:
            dangling = list[str]()
            with reporting(report, "bad-annotation", number):
                pictures.append(_picture(root, tidy(number), located.found[number], split, dangling))
            for entity in dangling:
                why = f"a caption marks the entity {entity}, which the XML does not name"
                report("dangling-entity", number, why)
    return PictureSet(pictures)


def _picture(root: Path, number: str, path: Path, split: str, dangling: list[str]) -> Picture:
    """dangling: gets the entities that a caption marks and the XML does not name."""
    captions, marks = list[str](), list[tuple[int, str, str, int, int]]()
    for _, line in read_lines(root / "Sentences" / f"{number}.txt"):
        if line.strip():
            text, found = parse(line.strip())
            marks += [(len(captions), *mark) for mark in found]
            captions.append(text)
    kinds = {entity: kind for _, entity, kind, _, _ in marks}
    regions, of, boxless = boxes(root / "Annotations" / f"{number}.xml", kinds)
    phrases = []
    for caption, entity, _, start, end in marks:
        if entity == NOT_VISUAL_ENTITY:
            continue
        if entity not in of and entity not in boxless:
            dangling.append(entity)
        phrases.append(Phrase(caption, start, end, tuple(of.get(entity, ()))))
    regions = _with_masks(regions, root / MASKS / f"{number}.json")
    load = partial(read_image, path)
    return Picture(
        number,
        load,
        None,
        split=split,
        captions=tuple(captions),
        regions=tuple(regions),
        phrases=tuple(phrases),
    )


def _with_masks(regions: list[Region], path: Path) -> list[Region]:
    """The regions with their masks, where there are any."""
    if not path.is_file():
        return regions
    with expecting(path, 'masks: [{"size": [H, W], "counts": ...}], one for each box'):
        found = read_json(path)["masks"]
        masks = [rle.from_json(one, (int(one["size"][0]), int(one["size"][1])), str(path)) for one in found]
    if len(masks) != len(regions):
        raise InputError(f"{path}: {len(masks)} masks of {len(regions)} boxes; delete it and run segue data outline")
    return [replace(region, mask=mask) for region, mask in zip(regions, masks, strict=True)]


def parse(line: str) -> tuple[str, list[tuple[str, str, int, int]]]:
    """A marked caption -> its text, and (entity id, type, start, end) of its phrases; of several types the first."""
    text, marks, at = "", [], 0
    for mark in MARK.finditer(line):
        text += line[at : mark.start()]
        if mark[3].strip():
            marks.append((mark[1], mark[2].split("/")[0].lower(), len(text), len(text) + len(mark[3])))
        text, at = text + mark[3], mark.end()
    return text + line[at:], marks


def boxes(path: Path, kinds: dict[str, str]) -> tuple[list[Region], Entities, set[str]]:
    """The regions of an XML file, the regions of each entity, and the entities that have no box or are the scene.

    Corners count from 1 and belong to the box: (1, 1, 2, 2) is four pixels.
    Raises InputError for a file that is no XML of this format.
    """
    regions, of, boxless = list[Region](), Entities(), set[str]()
    try:
        marks = ElementTree.parse(path).getroot().iter("object")
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: can't be read as XML ({error}); copy it again") from error
    with expecting(path, "Flickr30k Entities' XML: object with name and bndbox, or nobndbox, scene"):
        for mark in marks:
            names = [read_text({"name": name.text}, "name") for name in mark.findall("name")]
            if mark.find("bndbox") is None:
                boxless |= {*names}
                continue
            box = corner_box(mark)
            for name in names:
                of.setdefault(name, []).append(len(regions))
            label = next((kinds[name] for name in names if name in kinds), "other")
            regions.append(Region(label, box))
    return regions, of, boxless
