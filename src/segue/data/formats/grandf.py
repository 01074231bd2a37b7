"""GranDf, GLaMM's captions whose phrases are tied to masks, in its two forms.

`{NAME}_GCG_{train,val}.json` is either COCO-like (`flickr_mergedGT`: images [{id, file_name, caption}], annotations
[{image_id, bbox, tokens_positive [[start, end]], sam_mask}]) or a list (`OpenPsg`, `GranDf_HA`: [{file_name, caption,
groundings {words: {token_positives [start, end], rle_masks [...]}}}]). Format: github.com/mbzuai-oryx/groundingLMM
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from segue.data import rle
from segue.data.formats.files import SPLITS, ReportProblem, expecting, pictures_by_name, raise_problem, read_json
from segue.data.images import read_image
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
    there, pictures = pictures_by_name(root), []
    for path in find(root, split):
        with expecting(path, JSON):
            for at, (name, caption, groundings) in enumerate(_entries(read_json(path), report)):
                if Path(name).name not in there:
                    report("missing-picture", name, f"no such picture in {root}; copy it there")
                    continue
                regions, phrases, kept = list[Region](), list[Phrase](), caption.strip('"').strip()
                shift = caption.find(kept)  # spans count in the caption as it stands in the file
                for start, end, codes, box in groundings:
                    start, end = start - shift, end - shift
                    if not 0 <= start < end <= len(kept):
                        report("bad-span", name, f"tokens {start}..{end} of a caption with {len(kept)} characters")
                        continue
                    try:
                        mask = rle.union([_mask(code, name) for code in codes]) if codes else None
                    except InputError as error:
                        report("bad-mask", name, str(error))
                        continue
                    found = tuple(float(v) for v in box) if box else rle.box(mask) if mask else (0.0, 0.0, 0.0, 0.0)
                    phrases.append(Phrase(0, start, end, (len(regions),)))
                    regions.append(Region(kept[start:end].lower(), found, mask))  # type: ignore[arg-type]
                load = partial(read_image, there[Path(name).name])
                unique = f"{path.stem}/{at}/{Path(name).name}"  # one picture may stand in a file several times
                size = next(((r.mask.size[1], r.mask.size[0]) for r in regions if r.mask), None)
                pictures.append(Picture(unique, load, size, split, (kept,), tuple(regions), (), tuple(phrases)))
    return PictureSet(pictures)


def _entries(found: Any, report: ReportProblem) -> Iterator[tuple[str, str, list[Grounding]]]:
    """(file name, caption, groundings) of either form."""
    if isinstance(found, list):
        for entry in found:
            groundings = entry["groundings"].values()
            yield (
                str(entry["file_name"]),
                str(entry["caption"]),
                [(*map(int, g["token_positives"]), g["rle_masks"], None) for g in groundings],
            )
        return
    marks = defaultdict(list)
    for mark in found["annotations"]:
        codes = [mark["sam_mask"]] if mark.get("sam_mask") else []
        for start, end in mark["tokens_positive"]:
            marks[mark["image_id"]].append((int(start), int(end), codes, mark.get("bbox")))
    for image in found["images"]:
        yield str(image["file_name"]), str(image["caption"]), marks.pop(image["id"], [])
    for number in marks:
        report("dangling-image", str(number), "annotations of an image_id that is not in images")


def _mask(found: Any, where: str) -> RLE:
    with expecting(where, 'run lengths {"size": [H, W], "counts": ...}'):
        return rle.from_json(found, (int(found["size"][0]), int(found["size"][1])), where)
