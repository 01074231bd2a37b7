"""Readers of the field's data formats as `segue.types`; `read_pictures` detects the format of a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.data.later import names_of
from segue.data.problems import ReportProblem, collecting, handle_problems
from segue.types import InputError, Picture, PictureSet


@dataclass(frozen=True)
class Format:
    """A data format. splits: of a folder, empty when it is not in this format. read: a split. expected: its files."""

    splits: Callable[[Path], tuple[str, ...]]
    read: Callable[[Path, str, ReportProblem], PictureSet]
    expected: str


READERS = {  # name of a format -> its module here; the first that fits is taken
    "flickr30k-entities": "flickr30k",
    "grandf": "grandf",
    "datasets": "saved_datasets",  # before Karpathy's dataset_NAME.json
    "karpathy": "karpathy",
    "coco": "coco",
    "visual-genome": "visual_genome",
    "ade20k": "ade20k",
    "cityscapes": "cityscapes",
    "pascal": "pascal",
    "imagenet-s": "imagenet_s",
    "camvid": "camvid",
    "caption-files": "caption_files",
    "webdataset": "shards",
}


@lru_cache
def get_format(name: str) -> Format:
    """A format of READERS, whose module is imported now."""
    module = import_module(f"{__name__}.{READERS[name]}")
    return Format(module.splits, module.read, module.EXPECTED)


@lru_cache
def pascal_context() -> Format:
    """Pascal Context, all 60 classes, also of a folder that has VOC's lists too, which is read as VOC."""
    pascal = import_module(f"{__name__}.pascal")
    return Format(pascal.context_splits, partial(pascal.read_context, background=True), pascal.EXPECTED)


def detect_format(root: Path) -> tuple[str, tuple[str, ...]]:
    """(name of the format, splits) of a folder. Raises InputError that lists the known formats when it is in none."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected one with a data set")
    for name in READERS:
        if there := get_format(name).splits(root):
            return name, there
    expected = "; ".join(f"{name}: {get_format(name).expected}" for name in READERS)
    raise InputError(
        f"{root}: no data set in a known format there. Looked for {expected}. (Images with notes in the LViT layout, "
        "Train_Folder/img, are read by segue.data.medical.lvit)"
    )


def read_pictures(root: Path, split: str, on_bad: str = "stop", *, form: Format | None = None) -> PictureSet:
    """A split of a data set in any known format; its pictures are read when asked for.

    form: the format, where it isn't the one that `detect_format` finds.
    on_bad: for entries that name missing files or can't be right. "stop" raises one InputError that counts and names
    them, "skip" leaves them out and warns with the same words; of pictures of one name the first stays. Raises
    InputError also for an unknown format or split.
    """
    name, there = detect_format(root)
    form, there = (get_format(name), there) if form is None else (form, form.splits(root))
    if split not in there:
        raise InputError(f"{root}: {name} without a split {split!r}; it has {', '.join(there)}")
    bad: list[str] = []
    found = form.read(root, split, collecting(bad))
    if twins := same_names(found):
        bad += [f"{one}: {count} pictures of one name" for one, count in twins.items()]
        first = {name: at for at, name in reversed([*enumerate(names_of(found.pictures))])}
        found = replace(found, pictures=[found.pictures[at] for at in sorted(first.values())])
    handle_problems(bad, f"{root}, {split}: {len(bad)} things can't be used", on_bad)
    if not found.pictures:
        raise InputError(f"{root}: {name}, but no picture of {split} can be used (`segue data check` says why)")
    return found


def same_names(pictures: PictureSet) -> dict[str, int]:
    """The names that several pictures have, and how many have them."""
    counts = Counter(names_of(pictures.pictures))
    return {name: count for name, count in counts.items() if count > 1}


def check_pictures(pictures: PictureSet, on_bad: str = "stop") -> PictureSet:
    """The set without bad pictures: every picture and label map is decoded, by several threads.

    on_bad: "stop" raises one InputError that counts and names all bad ones, "skip" warns with the same words.
    """
    checked = list(zip(pictures.pictures, find_problems(pictures), strict=True))
    bad = [problem for _, problem in checked if problem]
    handle_problems(bad, f"{len(bad)} of {len(checked)} pictures can't be read", on_bad)
    return replace(pictures, pictures=[picture for picture, problem in checked if not problem])


def find_problems(pictures: PictureSet) -> Iterator[str | None]:
    """For each picture what is wrong with its files, or None."""
    with ThreadPoolExecutor() as threads:
        yield from threads.map(find_problem, pictures.pictures)


def find_problem(picture: Picture, pixels: NDArray[np.uint8] | None = None) -> str | None:
    """What is wrong with a picture's files, or None: unreadable, of another size than annotated, a label map that
    does not fit.

    pixels: of the picture, when they have been read already.
    """
    try:
        height, width = (picture.load() if pixels is None else pixels).shape[:2]
        labels = picture.label_map() if picture.label_map else None
    except InputError as error:
        return str(error)
    if picture.size and picture.size != (width, height):
        turned = ": those of the picture before its EXIF turned it?" if picture.size == (height, width) else ""
        stated = f"its annotations say {picture.size[0]}x{picture.size[1]}"
        return f"{picture.name}: {width}x{height} pixels, {stated}{turned}"
    if labels is not None and labels.shape != (height, width):
        return f"{picture.name}: {width}x{height} pixels, its label map {labels.shape[1]}x{labels.shape[0]}"
    return None
