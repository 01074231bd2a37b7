"""`segue data check`: everything that is wrong with images with notes, found before training.

Errors keep a training from being right (files that can't be read, pairs that are missing, a patient on both sides of a
split); warnings deserve a look (a note that seems to contradict its mask); both name their file.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segue.data.images import read_image, read_mask, remarks
from segue.data.medical.lvit import LvitSplit, patient_of, shorten
from segue.data.medical.lvit import splits as lvit_splits
from segue.data.medical.note_tables import NoteRow
from segue.data.medical.notes import NoteClaims, count_areas, mask_sides, normalise, parse_note, swap_sides
from segue.types import InputError

Level = Literal["error", "warning"]
Tokenize = Callable[[str], list[Any]]
MAX_NOTE_WORDS = 77  # words; no text encoder of Segue reads more tokens


@dataclass(frozen=True)
class Finding:
    """One thing found. code names its kind, so that a program can count."""

    level: Level
    code: str
    split: str
    name: str
    message: str


@dataclass
class CheckReport:
    """What `check` found, and the figures of the data set."""

    root: str
    findings: list[Finding] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True when there are no errors; warnings are allowed."""
        return not any(f.level == "error" for f in self.findings)

    def add(self, level: Level, code: str, split: str, name: str, message: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(level, code, split, name, message))

    def to_json(self) -> dict[str, Any]:
        """ok, findings and stats as plain values."""
        return {
            "root": self.root,
            "ok": self.ok,
            "findings": [asdict(f) for f in self.findings],
            "stats": self.stats,
        }

    def __str__(self) -> str:
        lines = [self.root]
        for split, stats in self.stats.get("splits", {}).items():
            lines.append(f"  {split:6} " + ", ".join(f"{k} {v}" for k, v in stats.items()))
        for key, value in self.stats.get("text", {}).items():
            lines.append(f"  text   {key}: {', '.join(value) if isinstance(value, list) else value}")
        by_code = Counter((f.level, f.code) for f in self.findings)
        for (level, code), count in sorted(by_code.items()):
            lines.append(f"{level}: {code} ({count})")
            alike = [f for f in self.findings if (f.level, f.code) == (level, code)]
            lines += [f"    {f.split} {f.name}: {f.message}" for f in alike[:5]]
            lines += [f"    and {count - 5} more (--json lists all)"] if count > 5 else []
        errors = sum(f.level == "error" for f in self.findings)
        return "\n".join([*lines, f"{errors} errors, {len(self.findings) - errors} warnings"])


def check(
    root: Path,
    *,
    tokenize: Tokenize | None = None,
    max_tokens: int = MAX_NOTE_WORDS,
    splits: Collection[str] = (),
    decode_at_most: int | None = None,
) -> CheckReport:
    """Check a folder in the LViT layout. tokenize: a note -> its tokens, for the fingerprint; words by default.

    splits: those whose pictures are decoded, if there are at most `decode_at_most` in a split; all unless given.
    Raises InputError only when there is nothing to check; all else becomes a finding.
    """
    found = lvit_splits(root)
    if not found:
        raise InputError(f"{root}: no Train_Folder, Val_Folder or Test_Folder there; expected the LViT layout")
    report = CheckReport(str(root), stats={"splits": {}, "decoded": True})
    shared = _AcrossSplits()
    for split in found:
        try:
            layout = LvitSplit(root, split)
            layout.images, layout.masks  # noqa: B018  two files of one stem are found here, before they are paired
        except InputError as error:
            report.add("error", "layout", split, f"{split.title()}_Folder", str(error))
            continue
        for path in layout.unread:
            report.add(
                "warning", "unread-picture", split, path.name, "of a kind that is not read here; convert it to PNG"
            )
        notes_readable = _check_workbook(report, layout, shared)
        _check_pairs(report, layout)
        if splits and split not in splits:
            pass
        elif decode_at_most is None or len(layout.images) <= decode_at_most:
            report.stats["splits"][split] = _check_files(report, layout, notes_readable, shared)
        else:
            report.stats["decoded"] = False
        for stem in layout.images:
            shared.patients[patient_of(stem)][split].append(stem)
    _check_shared_workbook(report, shared)
    _check_patients(report, shared.patients)
    report.stats["text"] = _fingerprint(shared.notes, tokenize or str.split, max_tokens)
    return report


@dataclass
class _AcrossSplits:
    """What is compared across the splits of a data set."""

    notes: list[str] = field(default_factory=list)
    patients: dict[str, dict[str, list[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    pixels: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    strangers: list[set[tuple[str, str]]] = field(default_factory=list)  # (where, name) in the shared table, by split


def _check_workbook(report: CheckReport, layout: LvitSplit, shared: _AcrossSplits) -> bool:
    """Check the notes of a split; False when its table can't be read, so that notes can't be looked up."""
    try:
        table = layout.table
    except InputError as error:
        report.add("error", "workbook", layout.split, f"{layout.split.title()}_text.xlsx", str(error))
        return False
    add = partial(report.add, split=layout.split)
    for problem in table.problems:
        add("error", "unreadable-row", name=table.path.name, message=problem)
    if table.unread:
        sheets = ", ".join(table.unread)
        add("warning", "unread-sheet", name=table.path.name, message=f"only one sheet has notes, unread are: {sheets}")
    for name, problem in layout.row_problems:
        add("error", "duplicate-note", name=name, message=problem)
    if table.path.stem == "Train_Val_text":
        shared.strangers.append({(row.where, row.name) for row in layout.strangers})
    else:
        _check_strangers(report, layout.split, {(row.where, row.name) for row in layout.strangers})
    for rows in layout.notes.values():
        _check_rows(report, layout.split, rows)
    for stem in sorted(layout.unnamed):
        message = f"no row of {table.path.name} names it or its mask"
        add("error", "missing-note", name=layout.images[stem].name, message=message)
    shared.notes += filter(None, map(layout.note_of, layout.images))
    return True


def _check_strangers(report: CheckReport, split: str, rows: Iterable[tuple[str, str]]) -> None:
    """rows: (where, name) of those that name no picture."""
    for where, name in sorted(rows):
        message = "the table names a file that is not there" if name else "a note without a file name"
        report.add("error", "note-without-picture", split, name or "(no name)", f"{where}: {message}")


def _check_shared_workbook(report: CheckReport, shared: _AcrossSplits) -> None:
    """A row of Train_Val_text.xlsx may be of either split, but has to be of one."""
    if shared.strangers:
        _check_strangers(report, "train/val", set.intersection(*shared.strangers))


def _check_rows(report: CheckReport, split: str, rows: list[NoteRow]) -> None:
    """The notes of one picture, of which the first is used."""
    name, note, where = rows[0].name, rows[0].note, ", ".join(row.where for row in rows)
    if len(rows) > 1 and len({row.note for row in rows}) == 1:
        report.add("warning", "duplicate-note", split, name, f"{where}: {len(rows)} rows with the same note")
    if not note:
        report.add(
            "warning", "empty-note", split, name, f"{where}: the note is empty; the picture counts as one without"
        )
        return
    if (words := len(note.split())) > MAX_NOTE_WORDS:
        message = f"{words:,} words; a text encoder reads the first {MAX_NOTE_WORDS} at most"
        report.add("warning", "long-note", split, name, message)
    if problem := _self_contradiction(note):
        report.add("warning", "note-at-odds", split, name, problem)


def _self_contradiction(note: str) -> str | None:
    """How a note contradicts itself, or None."""
    claims = parse_note(note)
    if claims is None or claims.bilateral is None or not claims.sides or claims.bilateral == (len(claims.sides) == 2):
        return None
    kind = "bilateral" if claims.bilateral else "unilateral"
    return f"the note says {kind} and names {' and '.join(sorted(claims.sides))}: {shorten(note)}"


def _check_pairs(report: CheckReport, layout: LvitSplit) -> None:
    """Masks without a picture and pictures without a mask."""
    for stem in sorted(layout.masks.keys() - layout.images.keys()):
        name = layout.masks[stem].name
        report.add("error", "mask-without-image", layout.split, name, "no image of that name in img/")
    for stem in sorted(layout.images.keys() - layout.masks.keys()):
        name = layout.images[stem].name
        report.add("error", "image-without-mask", layout.split, name, "no mask of that name in labelcol/")


def _check_files(report: CheckReport, layout: LvitSplit, notes_readable: bool, shared: _AcrossSplits) -> dict[str, Any]:
    """Read every picture and mask of a split; its figures."""
    split, sizes, shares = layout.split, Counter[str](), []
    for stem in sorted(layout.masks.keys() - layout.images.keys()):
        _read(report, "bad-mask", split, layout.masks[stem], read_mask)
    for stem, path in layout.images.items():
        image = _read(report, "unreadable-image", split, path, read_image)
        mask_path = layout.masks.get(stem)
        mask = _read(report, "bad-mask", split, mask_path, read_mask) if mask_path else None
        if image is not None:
            sizes[_size(image)] += 1
            _check_twin(report, split, path, image, shared.pixels)
        if mask is None or mask_path is None:
            continue
        if image is not None and mask.shape != image.shape[:2]:
            message = f"{_size(mask)}, its image {_size(image)} (width x height); export the mask on the image's grid"
            report.add("error", "mask-size", split, mask_path.name, message)
            continue
        shares.append(float(mask.mean()))
        note = layout.note_of(stem) if notes_readable else None
        if note and (claims := parse_note(note)) is not None:
            for problem in find_contradictions(claims, mask):
                report.add("warning", "contradiction", split, mask_path.name, f"{problem}; the note: {shorten(note)}")
    return _figures(len(layout.images), sizes, shares)


def _figures(images: int, sizes: Counter[str], shares: list[float]) -> dict[str, Any]:
    """A split's figures. foreground: the mean share of a picture that its mask covers."""
    return {
        "images": images,
        "sizes": dict(sizes.most_common(3)) | ({"others": len(sizes) - 3} if len(sizes) > 3 else {}),
        "foreground": round(float(np.mean(shares)), 4) if shares else None,
        "foreground_range": [round(min(shares), 4), round(max(shares), 4)] if shares else None,
        "empty_masks": sum(share == 0 for share in shares),
    }


def _size(pixels: NDArray[Any]) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _read(
    report: CheckReport, code: str, split: str, path: Path, reader: Callable[[Path], NDArray[Any]]
) -> NDArray[Any] | None:
    """A picture or mask, or None; what reading it changes becomes a warning."""
    with remarks() as found:
        try:
            pixels = reader(path)
        except InputError as error:
            report.add("error", code, split, path.name, str(error).removeprefix(f"{path}: "))
            return None
    for remark in found:
        report.add("warning", remark.kind, split, path.name, remark.message)
    return pixels


def _check_twin(
    report: CheckReport, split: str, path: Path, image: NDArray[np.uint8], pixels: dict[bytes, tuple[str, str]]
) -> None:
    """Whether the same pixels stand elsewhere, in whatever kind of file."""
    digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
    where, twin = pixels.setdefault(digest, (split, path.name))
    if (where, twin) != (split, path.name):
        level: Level = "error" if where != split else "warning"
        report.add(level, "same-picture", split, path.name, f"pixel for pixel {where} {twin}")


def find_contradictions(claims: NoteClaims, mask: NDArray[np.bool_]) -> Iterator[str]:
    """Claims of a lung note that its mask clearly contradicts. Conservative: borders of zones and lungs are vague.

    An area that touches another is one in the mask, so that a note may count one more than the mask shows.
    """
    covered = mask_sides(mask, 0.05)
    for side in sorted(claims.sides - mask_sides(mask, 0.002)):
        yield f"the note names the {side} lung, the mask covers nothing of that side"
    if claims.sides:
        for side in sorted(covered - claims.sides):
            yield f"the mask covers the {side} side, which the note does not name"
    elif claims.bilateral is not None and covered and claims.bilateral != (len(covered) == 2):
        kind = "bilateral" if claims.bilateral else "unilateral"
        yield f"the note says {kind}, the mask covers the {' and the '.join(sorted(covered))} side"
    for side, zones in (("left", claims.left), ("right", claims.right)):
        if side in covered and zones and (problem := _zone_problem(mask, side, zones)):
            yield problem
    if claims.count is not None and claims.count < len(covered):
        yield f"the note counts {claims.count} infected areas, the mask has some on {len(covered)} sides"
    if claims.count is not None and mask.any() and claims.count > (shown := count_areas(mask, 0)) + 1:
        yield f"the note counts {claims.count} infected areas, the mask shows {shown}"


def _zone_problem(mask: NDArray[np.bool_], side: str, zones: frozenset[str]) -> str | None:
    """A mask wholly in the picture's upper half cannot be a lower zone, and the other way round."""
    middle = mask.shape[1] // 2
    half = mask[:, :middle] if side == "right" else mask[:, middle:]
    rows = np.nonzero(half.any(1))[0] / mask.shape[0]
    if zones == {"lower"} and rows.max() < 0.4:
        return f"the note says lower {side}, the mask lies in the upper part"
    if zones == {"upper"} and rows.min() > 0.6:
        return f"the note says upper {side}, the mask lies in the lower part"
    return None


def _check_patients(report: CheckReport, patients: dict[str, dict[str, list[str]]]) -> None:
    for patient, where in patients.items():
        if len(where) > 1:
            counts = ", ".join(f"{len(names)} in {split}" for split, names in where.items())
            report.add("error", "patient-in-two-splits", "/".join(where), patient, f"pictures of one patient: {counts}")


def _fingerprint(notes: list[str], tokenize: Tokenize, max_tokens: int) -> dict[str, Any]:
    """Counts of notes, of tokens in a note (shortest, median, longest, how many notes pass the limit), and of words."""
    if not notes:
        return {"notes": 0}
    lengths = [len(tokenize(note)) for note in notes]
    words = Counter(word for note in notes for word in normalise(note).replace(",", "").replace(".", "").split())
    return {
        "notes": len(notes),
        "distinct": len(set(notes)),
        "shortest": min(lengths),
        "median": int(np.median(lengths)),
        "longest": max(lengths),
        "limit": max_tokens,
        "truncated": sum(n > max_tokens for n in lengths),
        "vocabulary": len(words),
        "frequent": [word for word, _ in words.most_common(8)],
        "without_safe_mirror": sum(swap_sides(note) is None for note in notes),
    }
