"""`segue data check`: everything that is wrong with noted pictures, found before training, not during it.

Errors keep a training from being right (files that can't be read, pairs that are missing, a patient on both sides of a
split); warnings deserve a look (a note that seems to contradict its mask); both name their file.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segue.data.images import read_image, read_mask
from segue.data.lvit import Layout, patient_of, splits
from segue.data.notes import NoteFacts, facts, normalise, sides_seen, swap_sides
from segue.types import InputError

Tokenize = Callable[[str], list[Any]]
LONG_NOTE = 77  # words; no text tower of Segue's reads more tokens


@dataclass(frozen=True)
class Finding:
    """One thing found. code names its kind, so that a program can count."""

    level: Literal["error", "warning"]
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

    def add(self, level: Literal["error", "warning"], code: str, split: str, name: str, message: str) -> None:
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
        lines += [f"  text   {k}: {v}" for k, v in self.stats.get("text", {}).items()]
        by_code = Counter((f.level, f.code) for f in self.findings)
        for (level, code), count in sorted(by_code.items()):
            lines.append(f"{level}: {code} ({count})")
            told = [f for f in self.findings if (f.level, f.code) == (level, code)]
            lines += [f"    {f.split} {f.name}: {f.message}" for f in told[:5]]
            lines += [f"    and {count - 5} more (--json lists all)"] if count > 5 else []
        errors = sum(f.level == "error" for f in self.findings)
        return "\n".join([*lines, f"{errors} errors, {len(self.findings) - errors} warnings"])


def check(root: Path, *, tokenize: Tokenize | None = None, max_tokens: int = LONG_NOTE) -> CheckReport:
    """Check a folder in the LViT layout. tokenize: a note -> its tokens, for the fingerprint; words by default."""
    report = CheckReport(str(root))
    found = splits(root)
    if not found:
        raise InputError(f"{root}: no Train_Folder, Val_Folder or Test_Folder there; expected the LViT layout")
    notes: list[str] = []
    patients: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    bytes_seen: dict[str, tuple[str, str]] = {}
    report.stats["splits"] = {}
    for split in found:
        try:
            layout = Layout(root, split)
            rows = layout.rows
        except InputError as error:
            report.add("error", "workbook", split, f"{split}_text.xlsx", str(error))
            continue
        notes += _check_notes(report, layout, rows)
        report.stats["splits"][split] = _check_files(report, layout, bytes_seen)
        for stem in layout.images:
            patients[patient_of(stem)][split].append(stem)
    _check_patients(report, patients)
    report.stats["text"] = _fingerprint(notes, tokenize or str.split, max_tokens)
    return report


def _check_notes(report: CheckReport, layout: Layout, rows: list[tuple[str, str]]) -> list[str]:
    """Pairing of notes with files, and notes that are missing, empty, double or too long; the notes that are used."""
    split, known = (
        layout.split,
        {p.name for p in layout.masks.values()} | {p.name for p in layout.images.values()},
    )
    by_name: dict[str, list[str]] = defaultdict(list)
    shared = layout.workbook.name == "Train_Val_text.xlsx"
    for name, note in rows:
        by_name[name].append(note)
        if name not in known and not shared:
            report.add("error", "note-without-picture", split, name, "the workbook names a file that is not there")
    for name in known & by_name.keys():
        said = by_name[name]
        if len(said) > 1:
            report.add(
                "error",
                "duplicate-note",
                split,
                name,
                f"{len(said)} rows, {len(set(said))} different notes; the first is used",
            )
        if not said[0]:
            report.add("error", "empty-note", split, name, "the note is empty; write one or delete the row")
        elif (words := len(said[0].split())) > LONG_NOTE:
            report.add(
                "warning",
                "long-note",
                split,
                name,
                f"{words:,} words; a text tower reads the first {LONG_NOTE} at most",
            )
    for stem, image in layout.images.items():
        mask = layout.masks.get(stem)
        if not any(p is not None and p.name in by_name for p in (mask, image)):
            report.add("error", "missing-note", split, image.name, f"no row of {layout.workbook.name} names its mask")
    return [said[0] for name, said in by_name.items() if name in known and said[0]]


def _check_files(report: CheckReport, layout: Layout, bytes_seen: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Read every picture and mask of a split; its figures."""
    split, sizes, shares, empty = layout.split, Counter[str](), [], 0
    for stem in sorted(layout.masks.keys() - layout.images.keys()):
        report.add("error", "mask-without-image", split, layout.masks[stem].name, "no image of that name in img/")
    for stem, path in layout.images.items():
        image = _read(report, "unreadable-image", split, path, read_image)
        mask_path = layout.masks.get(stem)
        mask = None
        if mask_path is None:
            report.add("error", "image-without-mask", split, path.name, "no mask of that name in labelcol/")
        else:
            mask = _read(report, "bad-mask", split, mask_path, read_mask)
        if image is None:
            continue
        sizes[f"{image.shape[1]}x{image.shape[0]}"] += 1
        _check_picture(report, split, path, bytes_seen)
        if mask is None or mask_path is None:
            continue
        if mask.shape != image.shape[:2]:
            told = f"{mask.shape[1]}x{mask.shape[0]}, its image {image.shape[1]}x{image.shape[0]} (width x height)"
            report.add("error", "mask-size", split, mask_path.name, told)
            continue
        shares.append(float(mask.mean()))
        empty += not mask.any()
        note = layout.notes.get(mask_path.name) or layout.notes.get(path.name)
        if note and (said := facts(note)) is not None:
            for problem in contradictions(said, mask):
                report.add("warning", "contradiction", split, mask_path.name, f"{problem}; the note: {note}")
    return {
        "images": len(layout.images),
        "sizes": dict(sizes.most_common(3)) | ({"others": len(sizes) - 3} if len(sizes) > 3 else {}),
        "foreground": round(float(np.mean(shares)), 4) if shares else None,
        "empty_masks": empty,
    }


def _read(
    report: CheckReport, code: str, split: str, path: Path, reader: Callable[[Path], NDArray]
) -> NDArray[Any] | None:
    try:
        return reader(path)
    except InputError as error:
        report.add("error", code, split, path.name, str(error).removeprefix(f"{path}: "))
        return None


def _check_picture(report: CheckReport, split: str, path: Path, bytes_seen: dict[str, tuple[str, str]]) -> None:
    """Depth and transparency, and whether the same bytes stand elsewhere."""
    with Image.open(path) as picture:
        if picture.mode[0] in "IF":
            report.add(
                "warning",
                "16-bit",
                split,
                path.name,
                f"mode {picture.mode}: stretched from its own range to 8 bits",
            )
        elif picture.has_transparency_data:
            report.add("warning", "transparent", split, path.name, f"mode {picture.mode}: laid on black")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest in bytes_seen:
        where, twin = bytes_seen[digest]
        level: Literal["error", "warning"] = "error" if where != split else "warning"
        report.add(level, "same-picture", split, path.name, f"the very bytes of {where} {twin}")
    else:
        bytes_seen[digest] = (split, path.name)


def contradictions(said: NoteFacts, mask: NDArray[np.bool_]) -> Iterator[str]:
    """What a lung note claims and its mask clearly denies. Conservative: borders of zones and lungs are vague."""
    named = {side for side, zones in (("left", said.left), ("right", said.right)) if zones}
    seen = sides_seen(mask, 0.05)
    for side in sorted(named - sides_seen(mask, 0.002)):
        yield f"the note names the {side} lung, the mask covers nothing of that side"
    if named:
        for side in sorted(seen - named):
            yield f"the mask covers the {side} side, which the note does not name"
    for side, zones in (("left", said.left), ("right", said.right)):
        if side in seen and zones and (problem := _zone_problem(mask, side, zones)):
            yield problem
    if said.count is not None and named and said.count < len(seen):
        yield f"the note counts {said.count} infected areas, the mask has some on {len(seen)} sides"


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
            told = ", ".join(f"{len(names)} in {split}" for split, names in where.items())
            report.add("error", "patient-in-two-splits", "/".join(where), patient, f"pictures of one patient: {told}")


def _fingerprint(notes: list[str], tokenize: Tokenize, max_tokens: int) -> dict[str, Any]:
    """Counts of notes, tokens and words."""
    if not notes:
        return {"notes": 0}
    lengths = [len(tokenize(note)) for note in notes]
    words = Counter(word for note in notes for word in normalise(note).replace(",", "").replace(".", "").split())
    return {
        "notes": len(notes),
        "distinct": len(set(notes)),
        "tokens": f"{min(lengths)} to {max(lengths)}, median {int(np.median(lengths))}",
        "truncated": sum(n > max_tokens for n in lengths),
        "vocabulary": len(words),
        "frequent": ", ".join(word for word, _ in words.most_common(8)),
        "without_safe_mirror": sum(swap_sides(note) is None for note in notes),
    }
