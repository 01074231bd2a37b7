"""Splits of photographs that come without any, such as coco_tiny's 220: parts of them in the order of their names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from segue.data.formats import detect_format, read_pictures
from segue.types import PictureSet

SPLIT_ENDS = (160, 180)  # positions where train and val end


def read_photo_split(root: Path, split: str, on_bad: str = "stop") -> PictureSet:
    """A split of a data set in any format; where it has no test split, a part of its "train".

    split: train, val or test. on_bad: as in `read_pictures`. Raises InputError as `read_pictures`.
    """
    if "test" in detect_format(root)[1]:
        return read_pictures(root, split, on_bad)
    whole = read_pictures(root, "train", on_bad)
    by_name = sorted(whole.pictures, key=lambda picture: picture.name)
    ends = (0, *SPLIT_ENDS, len(by_name))
    at = ("train", "val", "test").index(split)
    return replace(whole, pictures=by_name[ends[at] : ends[at + 1]])
