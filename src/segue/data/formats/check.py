"""`segue data check` for the field's formats: all that is wrong with a data set, found before training.

Errors keep a training from being right; warnings deserve a look. Folders in the LViT layout go to
`segue.data.medical.check`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from segue.data.corpus import stream_captions
from segue.data.formats import detect_format, find_problem, get_format, same_names
from segue.data.images import Remark, remarks
from segue.data.medical import lvit
from segue.data.medical.check import CheckReport, Level
from segue.data.medical.check import check as check_lvit
from segue.data.outlines import is_empty
from segue.data.picture_files import UNSUPPORTED_SUFFIXES, list_pictures
from segue.data.problems import NOTES
from segue.types import InputError, Picture, PictureSet

LINE_BREAKS = (
    "\n",
    "\r",
    "\t",
    "\u2028",
    "\u2029",
    "\x85",
    "\x0b",
    "\x0c",
)  # what some readers take for the end of a line
MAX_CAPTION_WORDS = 77  # words; no text encoder of Segue reads more tokens


def check_any(place: Path, *, splits: Collection[str] = (), decode_at_most: int | None = None) -> CheckReport:
    """Check a folder in any known layout, or a file of captions. Raises InputError when it is none.

    splits: those whose pictures are looked at; () for all. decode_at_most: pictures are decoded in splits of at most
    so many; None for all.
    """
    if place.is_file():
        return check_captions(place)
    checked = check_lvit if lvit.splits(place) else check_folder
    return checked(place, splits=splits, decode_at_most=decode_at_most)


def check_folder(root: Path, *, splits: Collection[str] = (), decode_at_most: int | None = None) -> CheckReport:
    """Check a folder in one of READERS' formats: every file is read. splits, decode_at_most: as in `check_any`."""
    form, there = detect_format(root)
    report = CheckReport(str(root), stats={"format": form, "splits": {}, "decoded": True})
    if unread := list_pictures(root, deep=True, suffixes=UNSUPPORTED_SUFFIXES):
        message = f"{len(unread)} pictures of kinds that are not read; convert them to PNG"
        report.add("warning", "unread-picture", "", unread[0].name, message)
    pixels = dict[bytes, tuple[str, str]]()
    for split in (split for split in there if not splits or split in splits):
        try:
            found = get_format(form).read(root, split, partial(_report_problem, report, split))
        except InputError as error:
            report.add("error", "layout", split, root.name, str(error))
            continue
        _check_names(report, split, found)
        counts, labels = Counter[str](), set[str]()
        for picture in found.pictures:  # once: each may be made for this
            _count(picture, counts, labels)
            _check_texts(report, split, picture)
            _check_regions(report, split, picture)
        counts["classes"] = len(found.classes) or len(labels)
        report.stats["splits"][split] = {"pictures": len(found.pictures)} | {k: n for k, n in counts.items() if n}
        if decode_at_most is None or len(found.pictures) <= decode_at_most:
            _check_files(report, split, found, pixels)
        else:
            report.stats["decoded"] = False
    return report


def check_captions(path: Path) -> CheckReport:
    """Check a file of captions in any format of `segue.data.corpus`: how many, twins, long ones. It streams.

    Raises InputError when its name does not end like one.
    """
    report, distinct, words = CheckReport(str(path)), set[bytes](), Counter[int]()

    def tell(code: str, where: str, message: str) -> None:
        report.add("error", code, "", where.removeprefix(f"{path}, "), message)

    captions = stream_captions(path, split=None, report=tell)
    try:
        for caption in captions:
            distinct.add(hashlib.blake2b(caption.text.encode(), digest_size=8).digest())
            words[len(caption.text.split())] += 1
    except InputError as error:
        report.add("error", "unreadable-line", "", path.name, str(error).removeprefix(str(path)).lstrip(":, "))
    count = sum(words.values())
    if not count:
        report.add("error", "empty", "", path.name, "there is no caption in it")
    report.stats["text"] = {
        "captions": count,
        "distinct": len(distinct),
        "median_words": sorted(words.elements())[count // 2] if count else 0,
        "longest": max(words, default=0),
        "truncated": sum(n for length, n in words.items() if length > MAX_CAPTION_WORDS),
    }
    return report


def _count(picture: Picture, counts: Counter[str], labels: set[str]) -> None:
    """Count what a picture holds."""
    regions = picture.regions
    counts["captions"] += len(picture.captions)
    counts["regions"] += len(regions)
    counts["masks"] += len(regions) - [region.mask for region in regions].count(None)
    counts["crowds"] += [region.crowd for region in regions].count(True)
    counts["phrases"] += len(picture.phrases)
    counts["relations"] += len(picture.relations)
    counts["label_maps"] += picture.label_map is not None
    labels.update(region.label for region in regions)


def _report_problem(report: CheckReport, split: str, code: str, name: str, message: str) -> None:
    report.add("warning" if code in NOTES else "error", code, split, name, message)


def _check_names(report: CheckReport, split: str, found: PictureSet) -> None:
    for name, count in same_names(found).items():
        report.add("error", "same-name", split, name, f"{count} pictures of one name in a split")
    if not found.pictures:
        report.add("error", "no-pictures", split, split, "no picture of this split can be used")


def _check_texts(report: CheckReport, split: str, picture: Picture) -> None:
    add = partial(report.add, split=split, name=picture.name)
    for at, caption in enumerate(picture.captions):
        if not caption.isprintable() and (broken := [b for b in LINE_BREAKS if b in caption]):
            message = f"caption {at} holds {broken[0]!r}, at which careless readers cut it in two"
            add("warning", "line-break", message=message)
        if len(caption) > 2 * MAX_CAPTION_WORDS and (words := len(caption.split())) > MAX_CAPTION_WORDS:
            add(
                "warning",
                "long-caption",
                message=f"{words:,} words; a text encoder reads the first {MAX_CAPTION_WORDS}",
            )
    if len({*picture.captions}) < len(picture.captions):
        add("warning", "same-caption", message="a caption stands there twice")


def _check_regions(report: CheckReport, split: str, picture: Picture) -> None:
    add = partial(report.add, split=split, name=picture.name)
    if picture.size:
        _check_boxes(report, split, picture, picture.size)
    for at, region in enumerate(picture.regions):
        if region.mask is not None and is_empty(region.mask):
            add("warning", "empty-mask", message=f"region {at}, {region.label}: the mask has no pixel")


def _check_boxes(report: CheckReport, split: str, picture: Picture, size: tuple[int, int]) -> None:
    """Boxes that don't lie in a picture of (width, height): of another grid, or fractions of the picture."""
    add = partial(report.add, "warning", split=split, name=picture.name)
    for at, region in enumerate(picture.regions):
        x, y, w, h = region.box
        if x < -1 or y < -1 or x + w > size[0] + 1 or y + h > size[1] + 1:
            outside = f"the box {region.box} reaches out of the {size[0]}x{size[1]} picture"
            add("box-outside", message=f"region {at}, {region.label}: {outside}")
        elif w < 1 and h < 1:
            message = f"region {at}, {region.label}: the box {region.box} is smaller than a pixel; is it in fractions?"
            add("tiny-box", message=message)


def _check_files(report: CheckReport, split: str, found: PictureSet, pixels: dict[bytes, tuple[str, str]]) -> None:
    """Decode every picture and label map; report what can't be read, has another size, or occurs twice."""
    sizes = Counter[str]()
    with ThreadPoolExecutor() as threads:
        inspected = zip(found.pictures, threads.map(_inspect, found.pictures), strict=True)
        for picture, (problem, size, digest, noticed) in inspected:
            for remark in noticed:
                report.add("warning", remark.kind, split, picture.name, remark.message)
            if problem:
                report.add("error", "unreadable-picture", split, picture.name, problem)
            if not digest:
                continue
            sizes[f"{size[0]}x{size[1]}"] += 1
            if not picture.size:  # as in Flickr30k Entities and VOC
                _check_boxes(report, split, picture, size)
            where, twin = pixels.setdefault(digest, (split, picture.name))
            if where != split or _last(twin) != _last(picture.name):  # one file may serve two entries of a split
                level: Level = "error" if where != split else "warning"
                report.add(level, "same-picture", split, picture.name, f"pixel for pixel {where} {twin}")
    others = {"others": len(sizes) - 3} if len(sizes) > 3 else {}
    report.stats["splits"][split]["sizes"] = dict(sizes.most_common(3)) | others


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _inspect(picture: Picture) -> tuple[str | None, tuple[int, int], bytes, list[Remark]]:
    """What is wrong with a picture's files or None, its (width, height), a digest of its pixels (empty where
    unreadable), and what reading it changes; that it is turned upright only where something is drawn on its grid."""
    with remarks() as noticed:
        try:
            pixels = picture.load()
        except InputError as error:
            return str(error), (0, 0), b"", noticed
    drawn = bool(picture.regions or picture.label_map)
    noticed = [remark for remark in noticed if drawn or remark.kind != "turned"]
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
    return find_problem(picture, pixels), (pixels.shape[1], pixels.shape[0]), digest, noticed
