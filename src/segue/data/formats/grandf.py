"""GranDf, GLaMM's captions whose phrases are tied to masks, in its two forms.

`{NAME}_GCG_{train,val}.json` is either COCO-like (`flickr_mergedGT`: images [{id, file_name, caption}], annotations
[{image_id, bbox, tokens_positive [[start, end]], sam_mask}]) or a list (`OpenPsg`, `GranDf_HA`: [{file_name, caption,
groundings {words: {token_positives [start, end], rle_masks [...]}}}]). Format: github.com/mbzuai-oryx/groundingLMM
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from segue.data import rle
from segue.data.formats.files import SPLITS, expecting, read_json, read_records
from segue.data.formats.lookup import list_places, locate
from segue.data.images import read_image
from segue.data.problems import ReportProblem, raise_problem, reporting
from segue.data.records import Id, by_id, field, read_id, read_text, shown, to_box
from segue.types import RLE, InputError, Phrase, Picture, PictureSet, Region

EXPECTED = "NAME_GCG_SPLIT.json (GranDf)"
JSON = "GranDf: annotations with tokens_positive and sam_mask, or a list with groundings"
Grounding = tuple[int, int, list[Any], Any]  # start, end, run lengths, box or None


def find(root: Path, split: str) -> list[Path]:
    """The files of a split."""
    folders = ("", "annotations/", "annotations/*/", "GranDf/annotations/*/")
    return sorted({path for folder in folders for path in root.glob(f"{folder}*_GCG_{split}.json")})


def splits(root: Path) -> tuple[str, ...]:
    """The splits that a folder has."""
    return tuple(split for split in SPLITS if find(root, split))


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split of all GranDf files in a folder; a phrase's words are its region's label."""
    places, pictures = list_places(root), []
    for path in find(root, split):
        found = [*_entries(path, report)]
        located = locate(places, (name for name, _, _ in found))
        for at, (name, caption, groundings) in enumerate(found):
            if name not in located.found:
                code, problem = located.problem(name, f"no such picture in {root}; copy it there")
                report(code, name, problem)
                continue
            kept = caption.strip().strip('"').strip()
            regions, phrases = _grounded(name, caption, kept, groundings, report)
            unique = f"{path.stem}/{at}/{PurePosixPath(name).name}"  # one picture may stand in a file several times
            size = next(((r.mask.size[1], r.mask.size[0]) for r in regions if r.mask), None)
            load = partial(read_image, located.found[name])
            pictures.append(
                Picture(
                    unique,
                    load,
                    size,
                    split=split,
                    captions=(kept,),
                    regions=tuple(regions),
                    phrases=tuple(phrases),
                )
            )
    return PictureSet(pictures)


def _grounded(
    name: str, caption: str, kept: str, groundings: list[Grounding], report: ReportProblem
) -> tuple[list[Region], list[Phrase]]:
    """The regions and phrases of a caption. kept: the caption without quotes; spans count in it as the file has it."""
    regions, phrases, shift = list[Region](), list[Phrase](), caption.find(kept)
    for at, (start, end, codes, box) in enumerate(groundings):
        start, end = start - shift, end - shift
        with reporting(report, "bad-grounding", f"grounding {at} of {name}"):
            if not 0 <= start < end <= len(kept):
                raise InputError(f"tokens {start}..{end} of a caption with {len(kept)} characters")
            mask = rle.union([_mask(code, name) for code in codes]) if codes else None
            found = to_box(box if box is not None or mask is None else rle.box(mask))
            regions.append(Region(kept[start:end].lower(), found, mask))
            phrases.append(Phrase(0, start, end, (len(regions) - 1,)))
    return regions, phrases


def _entries(path: Path, report: ReportProblem) -> Iterator[tuple[str, str, list[Grounding]]]:
    """(file name, caption, groundings) of either form."""
    found, marks = read_json(path), defaultdict[Id, list[Grounding]](list)
    if not isinstance(found, list):
        for at, mark in enumerate(read_records(path, found, "annotations", JSON)):
            with reporting(report, "bad-annotation", f"annotation {at} (0 is the first) of {path.name}"):
                codes = [mark["sam_mask"]] if field(mark, "sam_mask", "bbox") and mark.get("sam_mask") else []
                spans = [(int(start), int(end)) for start, end in field(mark, "tokens_positive")]
                marks[read_id(mark, "image_id")] += [(*span, codes, mark.get("bbox")) for span in spans]
    rows = found if isinstance(found, list) else read_records(path, found, "images", JSON)
    counts = Counter(shown(entry.get("id")) for entry in rows if isinstance(entry, dict))
    for at, entry in enumerate(rows):
        made: tuple[str, str, list[Grounding]] | None = None
        with reporting(report, "bad-image", f"entry {at} (0 is the first) of {path.name}"):
            caption, name = read_text(entry, "caption").strip('"').strip(), read_text(entry, "file_name")
            if not caption:
                raise InputError("caption: got an empty text; write one or delete the entry")
            if isinstance(found, list):
                groundings = [_grounding(one) for one in field(entry, "groundings").values()]
            else:
                groundings = marks.pop(read_id(entry, "id"), [])
                if counts[shown(entry["id"])] > 1:
                    raise InputError(f"several images have the id {entry['id']}; give each its own")
            made = name, entry["caption"], groundings
        if made:
            yield made
    for number in sorted(marks, key=by_id):
        report("dangling-image", str(number), "annotations of an image_id that is not in images")


def _grounding(found: Any) -> Grounding:
    start, end = map(int, found["token_positives"])
    return start, end, found["rle_masks"], None


def _mask(found: Any, where: str) -> RLE:
    with expecting(where, 'run lengths {"size": [H, W], "counts": ...}'):
        return rle.from_json(found, (int(found["size"][0]), int(found["size"][1])), where)
