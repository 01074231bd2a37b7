"""`segue caption`: pictures in; captions out, as lines, as JSON, and as COCO's results json."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segue.api.captioner import Caption, load_captioner
from segue.data.images import pictures_in, read_image
from segue.files import write_text
from segue.options import Decoding
from segue.types import InputError

_NUMBERED = re.compile(r"(?:COCO_\w+_)?(\d+)")


def caption_files(
    image: Path,
    num: int,
    model: str,
    pair: str | None,
    support: Path | None,
    objects: Sequence[str] | None,
    detector: str | None,
    retrieve: bool,
    options: Decoding,
    as_json: bool,
    out: Path | None,
    device: str,
) -> None:
    """See `segue.cli.caption`, whose arguments these are. A folder's bad pictures are named after the others' captions.

    Raises InputError when a picture can't be read; the captions of the others are told and written first.
    """
    paths = _paths(image)
    captioner = load_captioner(model, device=device, pair=pair, support=support, detector=detector)
    rows, failed = [], list[str]()
    size = captioner.batch_size
    for start in range(0, len(paths), size):
        good = _readable(paths[start : start + size], failed)
        given = None if objects is None else [objects] * len(good)
        told = captioner.caption_many(
            (pixels for _, pixels in good), num, objects=given, retrieve=retrieve, options=options
        )
        for (path, _), captions in zip(good, told, strict=True):
            name = path.relative_to(image).as_posix() if image.is_dir() else path.name
            _tell(name, captions, as_json)
            rows.append({"image_id": image_id(name), "caption": captions[0].text})
    if out is not None:
        _write(rows, out)
    if failed:
        raise InputError(f"{len(failed)} of {len(paths)} pictures could not be read: " + "; ".join(failed))


def image_id(name: str) -> int | str:
    """COCO's number when a file is named by it ("000000000042.jpg", "COCO_val2014_000000000042.jpg"), else its name."""
    number = _NUMBERED.fullmatch(Path(name).stem)
    return int(number[1]) if number else name


def _paths(image: Path) -> list[Path]:
    if not image.exists():
        raise InputError(f"{image}: no such file; give a picture or a folder of pictures")
    if not image.is_dir():
        return [image]
    return pictures_in(image, deep=True)


def _readable(paths: Sequence[Path], failed: list[str]) -> list[tuple[Path, Any]]:
    """Pictures with their pixels; what is wrong with the others is added to `failed`."""
    good = []
    for path in paths:
        try:
            good.append((path, read_image(path)))
        except InputError as error:
            failed.append(str(error))
    return good


def _tell(name: str, captions: Sequence[Caption], as_json: bool) -> None:
    if as_json:
        told = [{"text": c.text, "score": round(c.score, 4)} for c in captions]
        print(json.dumps({"image": name, "captions": told}, ensure_ascii=False))
    else:
        print("\n".join(f"{name}  {c.text}  ({c.score:.2f})" for c in captions))
    sys.stdout.flush()


def _write(rows: list[dict[str, Any]], out: Path) -> None:
    write_text(out, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
