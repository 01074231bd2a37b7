"""`segue data outline`: boxes of Flickr30k Entities become masks."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from segue.types import InputError, PictureSet


def outline(
    folder: Positional[Path],
    /,
    sam: str = "facebook/sam-vit-base",
    on_bad: Literal["stop", "skip"] = "stop",
    device: str = "auto",
    json: bool = False,
) -> None:
    """Turn the boxes of Flickr30k Entities into masks by a SAM; a run that was stopped resumes.

    Args:
        folder: Flickr30k Entities; the masks go into its folder Masks, a file a picture.
        sam: a SAM of transformers by its id on the hub or from a folder.
        on_bad: what to do with pictures and boxes that can't be read: stop before computing, or skip and name them.
        device: auto (a GPU where there is one), cpu, cuda, cuda:1, ...
        json: print one JSON object.
    """
    from segue.nn.devices import resolve_device

    outlined = outline_folder(folder, sam, resolve_device(device), on_bad)
    print(dumps({"data": str(folder), "outlined": outlined}) if json else f"{folder}: {outlined} pictures outlined")


def outline_folder(folder: Path, sam: str, device: str = "cpu", on_bad: str = "stop") -> int:
    """Write Masks/ID.json, the masks of a picture's boxes, where there is none yet; returns how many were written.

    Each is written whole or not at all, so a run that was stopped goes on where it was.
    Raises InputError before the first is computed for pictures that can't be read, unless on_bad is "skip".
    """
    from rich.console import Console
    from rich.progress import track

    from segue.data import rle
    from segue.data.formats import check_pictures, flickr30k, read_pictures
    from segue.data.formats.flickr30k import MASKS
    from segue.files import write_text
    from segue.methods.sam import load_sam, outline_boxes

    splits = flickr30k.splits(folder)
    if not splits:
        raise InputError(f"{folder}: expected {flickr30k.EXPECTED}, whose boxes become masks")
    pictures = {p.name: p for split in splits for p in read_pictures(folder, split, on_bad).pictures}
    waiting = [p for name, p in sorted(pictures.items()) if not (folder / MASKS / f"{name}.json").is_file()]
    waiting = list(check_pictures(PictureSet(waiting), on_bad).pictures)
    if not waiting:
        return 0
    model, shown = load_sam(sam, device), sys.stderr.isatty()
    console = Console(stderr=True, quiet=not shown)  # before rich 14 a bar that is not shown prints an empty line
    for picture in track(waiting, "outlining", console=console, disable=not shown):
        masks = outline_boxes(picture.load(), [region.box for region in picture.regions], model)
        found = {"sam": sam, "masks": [rle.to_json(rle.encode(mask)) for mask in masks]}
        write_text(folder / MASKS / f"{picture.name}.json", dumps(found))
    return len(waiting)
