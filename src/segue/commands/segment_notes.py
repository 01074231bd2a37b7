"""`segue segment` by notes: files and folders in; masks, overlays and numbers out."""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from segue.api.answers import DESCRIBED, mask_as_grounded_caption, segmentation_to_dict
from segue.api.open_vocabulary import LabelMap
from segue.api.segmenter import Attribution, Segmenter, load_segmenter
from segue.data.export import write_coco
from segue.data.images import VOLUME_SUFFIXES, list_pictures, pictures_in, read_image, write_image, write_mask
from segue.data.medical.note_tables import NameIndex, loose_name, read_notes
from segue.data.visualize import heat_map, outline
from segue.options import SegmentOptions
from segue.types import InputError, Segmentation

BATCH = 16


def segment_by_notes(
    image: Path,
    note: str | None,
    notes: Path | None,
    *,
    model: str,
    out: Path | None,
    attribution: bool,
    coco: Path | None,
    as_json: bool,
    device: str,
    options: SegmentOptions,
) -> None:
    """The work of `segue segment` without labels; see there."""
    if note is not None and notes is not None:
        raise InputError("got both --note and --notes; give one note for all pictures, or a table of notes")
    if image.is_dir() or notes is not None:
        if attribution:
            raise InputError("--attribution takes one picture at a time")
        pairs = _pairs(image, note, notes)
        predictor = load_segmenter(model, device=device)
        _segment_folder(predictor, pairs, out or Path("masks"), as_json, options, coco)
        return
    if not image.exists():
        raise InputError(f"{image}: no such file; give a picture, a NIfTI or DICOM file, or a folder of pictures")
    if image.name.lower().endswith(VOLUME_SUFFIXES):
        if coco is not None:
            raise InputError("--coco takes flat pictures; a volume's masks are written as NIfTI")
        if attribution:
            raise InputError("--attribution takes a flat picture; save the slice that you mean as PNG")
        _segment_volume(load_segmenter(model, device=device), image, note, out, as_json, options)
        return
    if attribution and note is None:
        raise InputError("--attribution shows which words counted: give a --note")
    predictor = load_segmenter(model, device=device, attribution=attribution)
    target = out or Path(f"{image.stem}.mask.png")
    check_targets([image], [target])
    pixels = read_image(image)
    answer = predictor.segment(pixels, note, options=options)
    found = _write(image.name, pixels, answer, target)
    if attribution and note is not None:
        found |= _write_attribution(pixels, predictor.attribute(pixels, note), target)
    if coco is not None:
        write_answers(coco, [(image.name, answer)], (DESCRIBED,))
    _print(found, as_json)


def check_targets(files: Sequence[Path], targets: Sequence[Path]) -> None:
    """Raises InputError when two answers or overlays go to one file, or one over a picture that is read."""
    read, taken = {file.resolve() for file in files}, dict[Path, Path]()
    for file, target in zip(files, targets, strict=True):
        for written in (target, overlay_of(target)):
            if written.resolve() in read:
                raise InputError(f"{written}: would be written over a picture that is read; name another --out")
            if written in taken:
                names = " and ".join(dict.fromkeys([taken[written].name, file.name]))
                raise InputError(f"{written}: two answers would be written there, to {names}; segment them apart")
            taken[written] = file


def overlay_of(target: Path) -> Path:
    """Where the overlay of a mask lies."""
    return target.with_name(target.stem + ".overlay.png")


def write_answers(
    coco: Path, answers: Sequence[tuple[str, Segmentation | LabelMap]], categories: Sequence[str]
) -> None:
    """One COCO file of the answers to pictures by their file names."""
    sizes = [(a.mask if isinstance(a, Segmentation) else a.index).shape for _, a in answers]
    found = [(name, [mask_as_grounded_caption(answer)]) for name, answer in answers]
    write_coco(coco, found, categories, sizes=[(h, w) for h, w in sizes])


def _pairs(folder: Path, note: str | None, notes: Path | None) -> list[tuple[Path, str | None]]:
    """The pictures of a folder with the note of all, or those that a table names, with its notes.

    Warns of pictures that the table doesn't name. Raises InputError for names without a picture.
    """
    if notes is None:
        return [(path, note) for path in pictures_in(folder)]
    if not folder.is_dir():
        raise InputError(f"{folder}: --notes goes with a folder of pictures; give one picture a --note")
    rows = read_notes(notes)
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    index = NameIndex((path.name, path) for path in files)
    pairs = [(_named_file(folder, name, index), said) for name, said in rows]
    if missing := [name for (name, _), (path, _) in zip(rows, pairs, strict=True) if path is None]:
        raise InputError(
            f"{folder}: {len(missing)} of the {len(rows)} pictures that {notes.name} names are missing, such as "
            f"{', '.join(missing[:3])}"
        )
    found = [(path, said) for path, said in pairs if path is not None]
    if unnamed := sorted({*list_pictures(folder)} - {path for path, _ in found}):
        warnings.warn(
            f"{folder}: {len(unnamed)} pictures have no row in {notes.name} and are left out, such as "
            f"{unnamed[0].name}",
            stacklevel=2,
        )
    return found


def _named_file(folder: Path, name: str, index: NameIndex[Path]) -> Path | None:
    """The picture that a table's name stands for; that of a mask (mask_x.png) is its picture's (x.png)."""
    path = folder / name.replace("\\", "/")
    if path.is_file():
        return path
    return index.find(name) or index.find(loose_name(name).removeprefix("mask_"))


def _segment_folder(
    predictor: Segmenter,
    pairs: list[tuple[Path, str | None]],
    out: Path,
    as_json: bool,
    options: SegmentOptions,
    coco: Path | None,
) -> None:
    targets = _targets([path for path, _ in pairs], out)
    check_targets([path for path, _ in pairs], targets)
    out.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    found: list[tuple[str, Segmentation | LabelMap]] = []
    readable = _readable(pairs, targets, failed)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("segmenting", total=len(pairs))
        while part := list(islice(readable, BATCH)):
            answers = predictor.segment_many([p for _, p, _, _ in part], [n for _, _, n, _ in part], options=options)
            for (path, pixels, _, target), answer in zip(part, answers, strict=True):
                _print(_write(path.name, pixels, answer, target), as_json)
                if coco is not None:
                    found.append((path.name, answer))
                progress.advance(bar)
    if coco is not None:
        write_answers(coco, found, (DESCRIBED,))
    if failed:
        raise InputError(f"{len(failed)} of {len(pairs)} pictures could not be read: " + "; ".join(failed))


def _targets(files: Sequence[Path], out: Path) -> list[Path]:
    """The mask's file for each; that of a picture's second note ends in -2, and so on."""
    seen: Counter[Path] = Counter()
    found = []
    for file in files:
        seen[file] += 1
        found.append(out / f"{file.stem}{f'-{seen[file]}' if seen[file] > 1 else ''}.png")
    return found


def _readable(
    pairs: list[tuple[Path, str | None]], targets: Sequence[Path], failed: list[str]
) -> Iterator[tuple[Path, Any, str | None, Path]]:
    """Pictures one by one; those that can't be read are kept in `failed`, and the others go on."""
    for (path, note), target in zip(pairs, targets, strict=True):
        try:
            yield path, read_image(path), note, target
        except InputError as error:
            failed.append(str(error))


def _segment_volume(
    predictor: Segmenter, path: Path, note: str | None, out: Path | None, as_json: bool, options: SegmentOptions
) -> None:
    from segue.data.medical.volumes import read_volume, write_like

    volume = read_volume(path)
    answers = list(predictor.segment_many(volume.slices, [note] * len(volume.slices), options=options))
    target = out or Path(path.name.split(".")[0] + ".mask.nii.gz")
    write_like(volume, np.stack([a.mask for a in answers]), target)
    areas = [a.area for a in answers]
    found = {"image": path.name, "note": note, "voxels": sum(areas), "area_by_slice": areas, "mask": str(target)}
    _print(found, as_json)


def _write(name: str, pixels: np.ndarray, answer: Segmentation, target: Path) -> dict[str, Any]:
    overlay = overlay_of(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_mask(answer.mask, target)
    write_image(outline(pixels, answer.mask), overlay)
    return {
        "image": name,
        **segmentation_to_dict(answer),
        "mask": str(target),
        "overlay": str(overlay),
    }


def _write_attribution(pixels: np.ndarray, why: Attribution, target: Path) -> dict[str, Any]:
    files = {}
    for name, values in (("patches", why.patches), ("gradcam", why.gradcam)):
        path = target.with_name(f"{target.stem}.{name}.png")
        write_image(heat_map(pixels, values), path)
        files[name] = str(path)
    return files | {"words": [[word, round(weight, 4)] for word, weight in why.words]}


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))
    else:
        print("  ".join(f"{key} {value}" for key, value in found.items() if value is not None))
