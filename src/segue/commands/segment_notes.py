"""`segue segment` by notes: files and folders in; masks, overlays and numbers out."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from segue.api.answers import DESCRIBED, domain_to_dict, mask_as_grounded_caption, segmentation_to_dict
from segue.commands.domain import refuse_far
from segue.data.ahead import ahead
from segue.data.export import write_coco
from segue.data.images import read_image, write_image, write_mask, write_numbers
from segue.data.medical.note_tables import NameIndex, loose_name, read_notes
from segue.data.picture_files import (
    NIFTI_SUFFIXES,
    PICTURE_SUFFIXES,
    PictureWarning,
    bare_name,
    check_out_folder,
    is_volume,
    list_pictures,
    pictures_in,
    tell_left_out,
)
from segue.data.visualize import heat_map, outline
from segue.options import Dtype, SegmentOptions
from segue.types import InputError, LabelMap, Segmentation

if TYPE_CHECKING:  # `segue segment --labels` reads its folders by this module, and loads no segmenter by notes
    from segue.api.segmenter import Attribution, Segmenter

BATCH = 16
ATTRIBUTIONS = ("patches", "gradcam")
INSTANCES = "instances"


def segment_by_notes(
    image: Path,
    note: str | None,
    notes: Path | None,
    *,
    model: str,
    out: Path | None,
    attribution: bool,
    instances: bool,
    coco: Path | None,
    strict: bool,
    as_json: bool,
    device: str,
    dtype: Dtype,
    options: SegmentOptions,
) -> None:
    """The work of `segue segment` without labels; see there.

    Raises InputError for arguments that do not go together, and for a file that is not there.
    """
    from segue.api.segmenter import load_segmenter

    if note is not None and notes is not None:
        raise InputError("got both --note and --notes; give one note for all pictures, or a table of notes")
    if image.is_dir() or notes is not None:
        if attribution:
            raise InputError("--attribution takes one picture at a time")
        if out is not None:
            check_out_folder(out, image, "masks")
        works = _listed(image, note) if notes is None else _noted(image, notes)
        targets = mask_targets(works, out or Path("masks"))
        if coco is not None and any(work.volume for work in works):
            raise InputError("--coco takes flat pictures, and there are volumes; segment those apart")
        if instances and any(work.volume for work in works):
            raise InputError("--instances takes flat pictures, and there are volumes; segment those apart")
        counted = [_beside(target, INSTANCES) for target in targets] if instances else []
        check_targets([work.files for work in works], targets, extra=[coco, *counted], default=out is None)
        predictor = load_segmenter(model, device=device, dtype=dtype)
        _segment_folder(predictor, works, targets, as_json, options, coco, strict, instances)
        return
    if not image.exists():
        raise InputError(f"{image}: no such file; give a picture, a NIfTI or DICOM file, or a folder of such files")
    if is_volume(image):
        if coco is not None:
            raise InputError("--coco takes flat pictures; a volume's masks are written as NIfTI")
        if attribution or instances:
            option = "--attribution" if attribution else "--instances"
            raise InputError(f"{option} takes a flat picture; save the slice that you mean as PNG")
        target = out or Path(f"{bare_name(image)}.mask.nii.gz")
        check_targets([[image]], [target], default=out is None)
        check_ending(target, NIFTI_SUFFIXES)
        work = Work(image.name, (image,), note, volume=True)
        failed: list[str] = []
        _segment_volume(
            load_segmenter(model, device=device, dtype=dtype),
            work,
            read_work(work),
            target,
            options,
            as_json,
            strict,
            failed,
        )
        if failed:
            raise InputError(failed[0])
        return
    if attribution and note is None:
        raise InputError("--attribution shows which words counted: give a --note")
    target = out or Path(f"{bare_name(image)}.mask.png")
    drawn = [_beside(target, name) for name in (*ATTRIBUTIONS * attribution, *(INSTANCES,) * instances)]
    check_targets([[image]], [target], extra=[coco, *drawn], default=out is None)
    check_ending(target)
    predictor = load_segmenter(model, device=device, dtype=dtype, attribution=attribution)
    pixels = read_image(image)
    answer = predictor.segment(pixels, note, options=options)
    if refusal := refuse_far(image.name, answer.distance, strict=strict):
        raise InputError(refusal)
    found = _write(image.name, answer, target, predictor, instances)
    if attribution and note is not None:
        found |= _write_attribution(pixels, predictor.attribute(pixels, note), target)
    if coco is not None:
        write_answers(coco, [(image.name, answer)], (DESCRIBED,))
    _print(found, as_json)


@dataclass(frozen=True)
class Work:
    """One thing of a folder to segment. name: of the file inside the folder, or of a DICOM series.

    files: a picture, a volume (a folder with a series, too), or the slices of a series.
    """

    name: str
    files: tuple[Path, ...]
    note: str | None
    volume: bool


def read_work(work: Work) -> Any:
    """The `Volume` of a work that is one."""
    from segue.data.medical.volumes import read_volume

    return read_volume(work.files[0] if len(work.files) == 1 else work.files)


def check_targets(
    sources: Sequence[Sequence[Path]],
    targets: Sequence[Path],
    *,
    extra: Sequence[Path | None] = (),
    default: bool = False,
) -> None:
    """Check what would be written over, before anything is computed.

    sources: the files that are read for each answer. targets: its file, beside which lies its overlay. extra: further
    files that will be written. default: nobody named the targets.
    Raises InputError when two answers or overlays go to one file, one over a file that is read or to a folder, and for
    a default that is there already.
    """
    read, taken = {file.resolve() for files in sources for file in files}, dict[Path, Path]()
    more = [path for path in extra if path is not None]
    for file, target in [*((s[0], t) for s, t in zip(sources, targets, strict=True)), *((p, p) for p in more)]:
        if target.is_dir():
            raise InputError(f"{target}: a folder, expected the name of a file to write; name one in it")
        for written in (target, overlay_of(target)) if target not in more else (target,):
            if written.resolve() in read:
                raise InputError(f"{written}: would be written over a picture that is read; name another --out")
            if written in taken:
                names = " and ".join(dict.fromkeys([taken[written].name, file.name]))
                raise InputError(f"{written}: two answers would be written there, to {names}; segment them apart")
            if default and target not in more and written.exists():
                raise InputError(f"{written}: is there already; name another place by --out, or remove it")
            taken[written] = file


def check_ending(target: Path, endings: tuple[str, ...] = (".png",)) -> None:
    """Raise InputError for a name of a mask or a map that has none of the endings."""
    if not target.name.lower().endswith(endings):
        raise InputError(f"{target}: what is found is written as {endings[0]}; name it {bare_name(target)}{endings[0]}")


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


def _listed(folder: Path, note: str | None) -> list[Work]:
    """The pictures, NIfTI files, DICOM files and series of a folder; warns of everything else that is there."""
    from segue.data.medical.dicom import find_series

    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    flat = list_pictures(folder)
    scans = [path for path in files if path.name.lower().endswith(NIFTI_SUFFIXES)]
    series, _ = find_series([path for path in files if path not in {*flat, *scans}])
    works = [Work(path.name, (path,), note, volume=path in scans) for path in (*flat, *scans)]
    whole = sum(len(one.files) > 1 for one in series)
    for one in series:
        several = one.uid if whole > 1 else folder.resolve().name
        works.append(Work(several if len(one.files) > 1 else one.files[0].name, one.files, note, volume=True))
    if not works:
        pictures_in(folder)  # says what was expected
    tell_left_out(folder, [file for work in works for file in work.files])
    return works


def _noted(folder: Path, notes: Path) -> list[Work]:
    """What a table of notes names, with its notes.

    Warns of pictures that the table doesn't name. Raises InputError for names without a picture.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: --notes goes with a folder of pictures; give one picture a --note")
    rows = read_notes(notes)
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    index = NameIndex((path.name, path) for path in files)
    pairs = [(_named_file(folder, name, index), note) for name, note in rows]
    if missing := [name for (name, _), (path, _) in zip(rows, pairs, strict=True) if path is None]:
        raise InputError(
            f"{folder}: {len(missing)} of the {len(rows)} pictures that {notes.name} names are missing, such as "
            f"{', '.join(missing[:3])}"
        )
    found = [(path, note) for path, note in pairs if path is not None]
    used = {path for path, _ in found}
    pictures = (path for path in files if path.name.lower().endswith(PICTURE_SUFFIXES) or is_volume(path))
    if unnamed := [path for path in pictures if path not in used]:
        warnings.warn(
            f"{folder}: {len(unnamed)} pictures have no row in {notes.name} and are left out, such as "
            f"{unnamed[0].name}",
            stacklevel=2,
        )
    return [
        Work(path.relative_to(folder).as_posix(), (path,), note, volume=path.is_dir() or is_volume(path))
        for path, note in found
    ]


def _named_file(folder: Path, name: str, index: NameIndex[Path]) -> Path | None:
    """The picture (or folder with a series) that a table's name stands for; that of a mask (mask_x.png) is its
    picture's (x.png)."""
    path = folder / name.replace("\\", "/")
    if ".." in path.relative_to(folder).parts if path.is_relative_to(folder) else True:
        raise InputError(f"{name!r} lies outside {folder}; let the table name files inside it")
    if path.is_file() or (path.is_dir() and path != folder):
        return path
    return index.find(name) or index.find(loose_name(name).removeprefix("mask_"))


def mask_targets(works: Sequence[Work], out: Path) -> list[Path]:
    """The mask's file for each, which no other has.

    It is the picture's name, in the same subfolder, with another ending; where two names differ in their ending only,
    both keep theirs before it. That of a picture's second note ends in -2, and so on.
    """
    plain = [_target(work, out, bare_name(Path(work.name))) for work in works]
    names: dict[Path, set[str]] = {}
    for work, target in zip(works, plain, strict=True):
        names.setdefault(target, set()).add(work.name)
    found: list[Path] = []
    for work, target in zip(works, plain, strict=True):
        stem, number = bare_name(Path(work.name)) if len(names[target]) == 1 else Path(work.name).name, 1
        one = _target(work, out, stem)
        while one in found or (number > 1 and one in names):
            number += 1
            one = _target(work, out, f"{stem}-{number}")
        found.append(one)
    return found


def _target(work: Work, out: Path, stem: str) -> Path:
    return out / Path(work.name).parent / f"{stem}{'.nii.gz' if work.volume else '.png'}"


def _segment_folder(
    predictor: Segmenter,
    works: Sequence[Work],
    targets: Sequence[Path],
    as_json: bool,
    options: SegmentOptions,
    coco: Path | None,
    strict: bool,
    instances: bool,
) -> None:
    failed: list[str] = []
    found: list[tuple[str, Segmentation | LabelMap]] = []
    shown = sys.stderr.isatty()  # quiet besides: before rich 14 a bar that is not shown prints an empty line
    with Progress(console=Console(stderr=True, quiet=not shown), disable=not shown) as progress:
        bar = progress.add_task("segmenting", total=len(works))

        def answered() -> Iterator[tuple[Work, Segmentation, Path]]:
            flat = ((work, target) for work, target in zip(works, targets, strict=True) if not work.volume)
            readable = read_ahead(flat, failed)
            while part := list(islice(readable, BATCH)):
                answers = predictor.segment_many([p for _, p, _ in part], [w.note for w, _, _ in part], options=options)
                for (work, _, target), answer in zip(part, answers, strict=True):
                    progress.advance(bar)
                    if refusal := refuse_far(work.name, answer.distance, strict=strict):
                        failed.append(refusal)
                        continue
                    if coco is not None:
                        found.append((work.name, answer))
                    yield work, answer, target

        for written in ahead(lambda one: _write(one[0].name, one[1], one[2], predictor, instances), answered()):
            _print(written, as_json)
        deep = ((work, target) for work, target in zip(works, targets, strict=True) if work.volume)
        for work, volume, target in _readable((_attempt(*one, read_work) for one in deep), failed):
            _segment_volume(predictor, work, volume, target, options, as_json, strict, failed)
            progress.advance(bar)
    if coco is not None:
        write_answers(coco, found, (DESCRIBED,))
    if failed:
        raise InputError(f"{len(failed)} of {len(works)} pictures have no mask: " + "; ".join(failed))


def read_ahead(works: Iterable[tuple[Work, Path]], failed: list[str]) -> Iterator[tuple[Work, Any, Path]]:
    """Flat works with their pictures (H, W, 3), decoded by threads beside the caller's work; errors go to `failed`."""
    return _readable(ahead(lambda one: _attempt(*one, _read_picture), works), failed)


def _read_picture(work: Work) -> Any:
    return read_image(work.files[0])


def _attempt(work: Work, target: Path, read: Callable[[Work], Any]) -> tuple[Work, Any, Path]:
    """The work with what `read` made of it, or with its InputError."""
    try:
        return work, read(work), target
    except InputError as error:
        return work, error, target


def _readable(attempts: Iterable[tuple[Work, Any, Path]], failed: list[str]) -> Iterator[tuple[Work, Any, Path]]:
    """The works that could be read; the errors of the others are kept in `failed`."""
    for work, found, target in attempts:
        if isinstance(found, InputError):
            failed.append(str(found))
        else:
            yield work, found, target


def _segment_volume(
    predictor: Segmenter,
    work: Work,
    volume: Any,
    target: Path,
    options: SegmentOptions,
    as_json: bool,
    strict: bool,
    failed: list[str],
) -> None:
    """A volume's distance is the median of its slices': at its ends many show next to nothing."""
    from segue.data.medical.volumes import write_like

    answers = list(predictor.segment_many(volume.slices, [work.note] * len(volume.slices), options=options))
    distances = [answer.distance for answer in answers if answer.distance is not None]
    distance = median(distances) if distances else None
    if refusal := refuse_far(work.name, distance, strict=strict):
        failed.append(refusal)
        return
    write_like(volume, np.stack([a.mask for a in answers]), target)
    areas = [a.area for a in answers]
    about = {"image": work.name, "note": work.note, **domain_to_dict(distance)}
    _print(about | {"voxels": sum(areas), "area_by_slice": areas, "mask": str(target)}, as_json)


def _write(name: str, answer: Segmentation, target: Path, predictor: Segmenter, instances: bool) -> dict[str, Any]:
    """answer: of the segmenter, with its picture. instances: also number the objects."""
    overlay = overlay_of(target)
    for doubt in (doubts := predictor.note_doubts(answer.note)):
        warnings.warn(PictureWarning(f"{name}: {doubt}", "note"), stacklevel=2)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_mask(answer.mask, target)
    write_image(outline(cast(NDArray[np.uint8], answer.picture), answer.mask), overlay, quick=True)
    return {
        "image": name,
        **segmentation_to_dict(answer),
        **({"note_doubts": doubts} if doubts else {}),
        "mask": str(target),
        "overlay": str(overlay),
        **(_write_instances(answer, target) if instances else {}),
    }


def _write_instances(answer: Segmentation, target: Path) -> dict[str, Any]:
    numbers, path = answer.instances, _beside(target, INSTANCES)
    write_numbers(numbers, path)
    return {"instances": int(numbers.max()), "instance_map": str(path)}


def _write_attribution(pixels: np.ndarray, why: Attribution, target: Path) -> dict[str, Any]:
    files = {}
    for name, values in zip(ATTRIBUTIONS, (why.patches, why.gradcam), strict=True):
        path = _beside(target, name)
        write_image(heat_map(pixels, values), path)
        files[name] = str(path)
    return files | {"words": [[word, round(weight, 4)] for word, weight in why.words]}


def _beside(target: Path, name: str) -> Path:
    return target.with_name(f"{target.stem}.{name}.png")


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))
    else:
        print("  ".join(f"{key} {value}" for key, value in found.items() if value is not None))
