"""Situations from public bug reports, tried on Segue: the table situation -> what happens.

    python tools/bug_cases.py                               # all of them; a few minutes
    python tools/bug_cases.py --only 9 10 11
    python tools/bug_cases.py --page docs/reliability.md    # fills the table of the page

Each makes its own small input in a new folder, and asserts what is right: a value that a standard or another library
gives (pydicom, SimpleITK), or one clear sentence that says what is wrong. The exit status is 1 when one is neither.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import importlib
import io
import json
import logging
import os
import shutil
import struct
import sys
import tarfile
import tempfile
import threading
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms

from pages import fill_block

LONG = 110  # characters of a refusal in the table
NOTES = ("Unilateral pulmonary infection, one infected area, upper left lung.", "Bilateral infection, two areas.")
RED, GREEN, BLUE, BLACK = (250, 20, 20), (20, 250, 20), (20, 20, 250), (0, 0, 0)


class Case(NamedTuple):
    """run: gets an empty folder, returns what happens in a few words, raises AssertionError for what is wrong."""

    situation: str
    run: Callable[[Path], str]


CASES: list[Case] = []


def case(situation: str) -> Callable[[Callable[[Path], str]], Callable[[Path], str]]:
    """Add a situation to the table, in order."""

    def add(run: Callable[[Path], str]) -> Callable[[Path], str]:
        CASES.append(Case(situation, run))
        return run

    return add


class Told(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    error: str


def segue(*words: object) -> Told:
    """Run a command in this process. A traceback goes up."""
    from segue.cli import main

    out, error = io.StringIO(), io.StringIO()
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error), warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            status = int(end.code or 0)
    return Told(status, out.getvalue(), error.getvalue())


def refused(work: Callable[[], object] | Told, *words: str) -> str:
    """Assert that it is refused by one sentence with these words; returns the sentence."""
    from segue.types import InputError

    if isinstance(work, Told):
        assert work.status, f"was not refused: {work.out[:200]}"
        lines = [line for line in work.error.splitlines() if "warning" not in line and line.startswith("segue: ")]
        assert len(lines) == 1, f"{len(lines)} sentences: {work.error[:300]}"
        message = lines[0].removeprefix("segue: ")
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = work()
        except InputError as error:
            message = str(error)
        else:
            raise AssertionError(f"was not refused: {found!r:.200}")
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"
    return message


def done(ended: Told) -> Told:
    """Assert that a command ended well."""
    assert ended.status == 0, ended.error
    return ended


@contextlib.contextmanager
def noting() -> Iterator[list[str]]:
    """The warnings inside, as text."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield found
    found.extend(str(one.message) for one in caught)


def warned(found: list[str], *words: str) -> None:
    """Assert that a warning has these words."""
    for word in words:
        assert any(word in one for one in found), f"no warning of {word!r}: {found}"


def save(path: Path, picture: Any, **options: Any) -> Path:
    """A picture file: of an array, or of one colour (16 x 12)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, tuple):
        picture = np.full((12, 16, 3), picture, np.uint8)
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return path


def put(path: Path, value: Any) -> Path:
    """A json file, or a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8", newline="")
    return path


def grey(seed: int = 0, side: int = 32) -> np.ndarray:
    """A grey picture of noise on a slope."""
    noise = np.random.default_rng(seed).integers(0, 60, (side, side))
    return (noise + np.linspace(0, 190, side)[None]).astype(np.uint8)


def alike(a: Any, b: Any) -> float:
    """The correlation of two pictures' greys."""
    x, y = (np.asarray(one, np.float64) for one in (a, b))
    x, y = (one.mean(-1) if one.ndim == 3 and one.shape[-1] == 3 else one for one in (x, y))
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])


def colour(picture: Any) -> str:
    """Which of the colours above a loaded picture has."""
    pixel = np.asarray(picture.load() if hasattr(picture, "load") else picture)[4, 4]
    names = dict(zip(("red", "green", "blue", "black"), (RED, GREEN, BLUE, BLACK), strict=True))
    return min(names, key=lambda name: int(np.abs(pixel.astype(int) - names[name]).sum()))


def read(folder: Path, on_bad: str = "stop", split: str = "train") -> list[Any]:
    """The pictures of a data set."""
    from segue.data.formats import read_pictures

    return list(read_pictures(folder, split, on_bad).pictures)


def checked(place: Path, level: str = "error") -> list[str]:
    """The errors (or warnings) that `segue data check` finds."""
    from segue.data.formats.check import check_any

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [str(one) for one in check_any(place).findings if one.level == level]


# ------------------------------------------------------------------------------------------------ tables of notes


def _notes(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "notes.csv"
    folder.mkdir(exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def _read_notes(path: Path) -> list[Any]:
    from segue.data.medical.note_tables import read_notes

    return read_notes(path)


@case("notes CSV written by hand, a note with commas that is not quoted")
def _unquoted(folder: Path) -> str:
    path = _notes(folder, f"image,note\nc0.png,{NOTES[0]}\nc1.png,two areas\n")
    quoted = _notes(folder / "quoted", f'image,note\nc0.png,"{NOTES[0]}"\n')
    assert _read_notes(quoted) == [("c0.png", NOTES[0])]
    return refused(lambda: _read_notes(path), "line 2")


@case("notes CSV, a quote that is never closed")
def _unbalanced(folder: Path) -> str:
    return refused(lambda: _read_notes(_notes(folder, 'image,note\nc0.png,"one area\nc1.png,two\nc2.png,three\n')))


@case("notes CSV, a row too short, a note of 200,000 characters, a line end of other systems inside a note")
def _short(folder: Path) -> str:
    refused(lambda: _read_notes(_notes(folder, "note,image\nsome note\n")), "line 2")
    refused(lambda: _read_notes(_notes(folder, f"image,note\na.png,{'word ' * 40_000}\n")), "131072")
    (_, note), *more = _read_notes(_notes(folder, "image,note\na.png,upper\x0cleft\u2028lung\n"))
    assert "lung" in note
    assert not more
    return "refused with the line; the note with the odd line ends stays whole"


@case("notes CSV: empty rows at the end, `Image,Note`, `image, note`, a name with a blank behind it")
def _spreadsheets(folder: Path) -> str:
    for text in (
        "image,note\na.png,one area\n,\n,\n", "Image,Note\na.png,one area\n", "image, note\na.png, one area\n",
        "image,note\na.png ,one area\n",
    ):  # fmt: skip
        assert _read_notes(_notes(folder, text)) == [("a.png", "one area")], text
    return "all read"


@case("notes CSV: BOM, UTF-16, semicolons")
def _encodings(folder: Path) -> str:
    text = "image,note\na.png,one area\n"
    for encoding in ("utf-8-sig", "utf-16"):
        assert _read_notes(_notes(folder, text, encoding)) == [("a.png", "one area")]
    assert _read_notes(_notes(folder, text.replace(",", ";"))) == [("a.png", "one area")]
    return "all read"


def library(name: str) -> Any:
    """A package without types."""
    return importlib.import_module(name)


def _set_unit(unit: str, image: Any) -> None:
    image.header.set_xyzt_units(unit)


def _book(path: Path, rows: list[tuple[str, str]], second: list[tuple[str, str]] | None = None) -> None:
    from openpyxl import Workbook

    book: Any = Workbook()
    sheets: list[tuple[Any, list[tuple[str, str]]]] = [(book.active, rows)]
    if second:
        sheets.append((book.create_sheet(), second))
    for sheet, some in sheets:
        for row in [("Image", "Description"), *some]:
            sheet.append(row)
    book.save(path)


def _lvit(root: Path, name: Callable[[int], str], count: int = 4, rows: int | None = None, second: int = 0) -> Path:
    """A folder in the LViT layout, of a patient a picture, whose workbooks call the masks by `name`."""
    for start, split in ((0, "Train"), (100, "Val"), (200, "Test")):
        for i in range(start, start + count):
            save(root / f"{split}_Folder/img/covid_{i}.png", grey(i))
            mask = np.zeros((32, 32), np.uint8)
            mask[4:12, 4:12] = 255
            save(root / f"{split}_Folder/labelcol/mask_covid_{i}.png", mask)
        numbers = range(start, start + (count if rows is None else rows))
        found = [(name(i), f"One infected area, number {i}.") for i in numbers]
        _book(root / f"{split}_text.xlsx", found[second:], found[:second] or None)
    return root


@case("workbook names without ending, `.jpg`, `labelcol\\x.png`, in upper case, on a second sheet")
def _lvit_names(folder: Path) -> str:
    from segue.data.medical.lvit import read_lvit

    names: dict[str, Callable[[int], str]] = {
        "stem": lambda i: f"mask_covid_{i}", "jpg": lambda i: f"mask_covid_{i}.jpg",
        "windows": lambda i: f"labelcol\\mask_covid_{i}.png", "upper": lambda i: f"MASK_COVID_{i}.PNG",
    }  # fmt: skip
    for kind, name in names.items():
        notes = [one.note for one in read_lvit(_lvit(folder / kind, name), "test")]
        assert notes == [f"One infected area, number {i}." for i in range(200, 204)], (kind, notes)
    half = _lvit(folder / "sheets", lambda i: f"mask_covid_{i}.png", second=2)
    said = refused(lambda: read_lvit(half, "test"), "Test_text.xlsx", "sheets")
    return f"every picture has its note; rows on two sheets: {said}"


@case("the workbook has rows for half of the pictures, or for none of them: training, evaluation")
def _half_the_notes(folder: Path) -> str:
    half = _lvit(folder / "half", lambda i: f"mask_covid_{i}.png", rows=2)
    train = ("train", "reclmis", "--out", folder / "run", "--steps", 1, "--data")
    message = refused(segue(*train, half), "no row of Train_text.xlsx names it")
    refused(segue("eval", "reclmis-chest", "--data", half, "--split", "test"), "no row of Test_text.xlsx names it")
    none = _lvit(folder / "none", lambda i: f"another_{i}.png")
    refused(segue(*train, none), "Train_text.xlsx")
    return message


# ------------------------------------------------------------------------------------------------ medical pictures


def _dicom(path: Path, pixels: np.ndarray, **elements: Any) -> Any:
    """A DICOM file of a slice; elements: further ones by keyword, None leaves one out."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    bits = 8 * pixels.dtype.itemsize
    given: dict[str, Any] = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID, "Modality": "CT",
        "PatientID": "1", "Rows": pixels.shape[0], "Columns": pixels.shape[1], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1,
        "PixelRepresentation": 0, **elements,
    }  # fmt: skip
    for name, value in given.items():
        if value is not None:
            setattr(data, name, value)
    data.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.save_as(path, enforce_file_format=True)
        return pydicom.dcmread(path)


def _series(folder: Path, count: int = 3, ending: str = ".dcm", **elements: Any) -> Path:
    from pydicom.uid import generate_uid

    uid = generate_uid()
    for i in range(count):
        _dicom(
            folder / f"{i}{ending}", (grey(i).astype(np.uint16) * 8), SeriesInstanceUID=uid, InstanceNumber=i + 1,
            ImagePositionPatient=[0, 0, 2 * i], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[1, 1],
            **elements,
        )  # fmt: skip
    return folder


def _volume(path: Path) -> np.ndarray:
    """The slices of a volume as they are shown, (N, H, W, 3); warnings are not."""
    from segue.data.medical.volumes import read_volume

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_volume(path).slices


def _segment(*words: object) -> Told:
    return segue("segment", *words, "--note", "One infected area.", "--json")


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in that folder."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@case("volumes whose names have dots (DICOM UIDs, `patient.v2.nii.gz`), one after another")
def _dotted(folder: Path) -> str:
    for i in (1, 2):
        _dicom(folder / f"1.2.840.{i}.dcm", grey(i))
        save(folder / f"scan.{i}.png", grey(i))
    with inside(folder):
        for name in ("1.2.840.1.dcm", "1.2.840.2.dcm", "scan.1.png", "scan.2.png"):
            done(_segment(name))
        refused(_segment("scan.1.png"), "is there already")
    made = {path.name for path in folder.iterdir() if "mask" in path.name}
    assert {"1.2.840.1.mask.nii.gz", "1.2.840.2.mask.nii.gz", "scan.1.mask.png", "scan.2.mask.png"} <= made, made
    return "each has its own mask; one that is there is not written over"


@case("DICOM with PALETTE COLOR (ultrasound)")
def _palette_colour(folder: Path) -> str:
    pixels = library("pydicom.pixels")

    table = np.linspace(65535, 0, 256).astype(np.uint16)
    tables: dict[str, Any] = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in ("Red", "Green", "Blue")}
    tables |= {f"{c}PaletteColorLookupTableData": table.tobytes() for c in ("Red", "Green", "Blue")}
    data = _dicom(folder / "palette.dcm", grey(), PhotometricInterpretation="PALETTE COLOR", **tables)
    expected = pixels.apply_color_lut(data.pixel_array, data)
    found = alike(_volume(folder / "palette.dcm")[0], expected)
    assert found > 0.999, found
    return "the colours of pydicom's apply_color_lut"


@case("DICOM with a Modality LUT, or a VOI LUT sequence")
def _lut_sequences(folder: Path) -> str:
    from pydicom.dataset import Dataset

    pixels = library("pydicom.pixels")
    from pydicom.sequence import Sequence

    for name, apply in (("ModalityLUTSequence", pixels.apply_modality_lut), ("VOILUTSequence", pixels.apply_voi_lut)):
        item = Dataset()
        item.add_new(0x00283002, "US", [256, 0, 16])
        item.add_new(0x00283006, "OW", np.linspace(65535, 0, 256).astype(np.uint16).tobytes())
        if name == "ModalityLUTSequence":
            item.ModalityLUTType = "US"
        data = _dicom(folder / f"{name}.dcm", grey(), **{name: Sequence([item])})
        found = alike(_volume(folder / f"{name}.dcm")[0], apply(data.pixel_array, data))
        assert found > 0.999, (name, found)
    return "the greys of pydicom's apply_modality_lut and apply_voi_lut"


@case("DICOM with a RescaleSlope or a WindowCenter that is there and empty")
def _empty_elements(folder: Path) -> str:
    plain = _dicom(folder / "plain.dcm", grey()) and _volume(folder / "plain.dcm")
    for i, elements in enumerate(({"RescaleSlope": ""}, {"WindowCenter": "", "WindowWidth": ""})):
        _dicom(folder / f"{i}.dcm", grey(), **elements)
        assert np.array_equal(_volume(folder / f"{i}.dcm"), plain), elements
    return "as if it were absent"


@case("DICOM with MONOCHROME1")
def _monochrome1(folder: Path) -> str:
    _dicom(folder / "one.dcm", grey(), PhotometricInterpretation="MONOCHROME1")
    found = alike(_volume(folder / "one.dcm")[0], grey())
    assert found < -0.999, found
    return "its low values are white"


@case("DICOM with several frames")
def _frames(folder: Path) -> str:
    _dicom(folder / "frames.dcm", np.stack([grey(i) for i in range(5)]), Rows=32, Columns=32, NumberOfFrames=5)
    return refused(lambda: _volume(folder / "frames.dcm"), "5")


@case("a DICOM series: a slope of its own in each slice, several windows, a window of width 0")
def _slopes(folder: Path) -> str:
    pixels = library("pydicom.pixels")

    for i, slope in enumerate((1, 2, 4)):
        place = {"ImagePositionPatient": [0, 0, i], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        values = (np.arange(1024).reshape(32, 32) // slope).astype(np.uint16)
        _dicom(
            folder / f"s/{i}.dcm", values, SeriesInstanceUID="1.2.3", RescaleSlope=slope, RescaleIntercept=0,
            PixelSpacing=[1, 1], **place,
        )  # fmt: skip
    slices = _volume(folder / "s").astype(int)
    assert abs(slices - slices[0]).max() <= 2, abs(slices - slices[0]).max()
    data = _dicom(folder / "two.dcm", grey(), WindowCenter=[60, 200], WindowWidth=[100, 50])
    assert alike(_volume(folder / "two.dcm")[0], pixels.apply_voi_lut(data.pixel_array, data, index=0)) > 0.999
    _dicom(folder / "zero.dcm", grey(), WindowCenter=60, WindowWidth=0)
    assert alike(_volume(folder / "zero.dcm")[0], grey()) > 0.99
    return "rescaled each; the first window, as pydicom does; as if there were no window"


@case("DICOM without ending, a folder with a DICOM series, from the command line")
def _no_ending(folder: Path) -> str:
    nibabel = library("nibabel")

    _series(folder / "series", ending="")
    _dicom(folder / "IM0001", grey())
    done(_segment(folder / "IM0001", "-o", folder / "one.nii.gz"))
    ended = done(_segment(folder / "series", "-o", folder / "masks"))
    (mask,) = (folder / "masks").glob("*.nii.gz")
    assert nibabel.load(mask).shape == (32, 32, 3), ended
    return "both are read; the series is one volume"


@case("a folder with a PNG, a DICOM and a NIfTI file")
def _mixed(folder: Path) -> str:
    nibabel = library("nibabel")

    save(folder / "in/a.png", grey())
    _dicom(folder / "in/b.dcm", grey())
    nibabel.Nifti1Image(np.stack([grey()] * 2, -1), np.eye(4)).to_filename(folder / "in/c.nii.gz")
    put(folder / "in/readme.xyz", "what else lies there")
    ended = done(_segment(folder / "in", "-o", folder / "out"))
    assert [json.loads(line)["image"] for line in ended.out.splitlines()] == ["a.png", "c.nii.gz", "b.dcm"], ended.out
    assert "readme.xyz" in ended.error
    return "all three are done, and what is left out is told"


def _nifti(path: Path, change: Callable[[Any], None] = lambda image: None, affine: Any = None) -> Path:
    nibabel = library("nibabel")

    values = np.stack([grey(i) for i in range(3)], -1)
    image = nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine)
    change(image)
    image.to_filename(path)
    return path


def _masked(path: Path) -> Path:
    target = path.with_name(f"mask-{path.name}")
    done(_segment(path, "-o", target))
    return target


def _place(path: Path) -> tuple[Any, ...]:
    SimpleITK = library("SimpleITK")

    image = SimpleITK.ReadImage(str(path))
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


def _same_place(path: Path) -> None:
    scan, mask = _place(path), _place(_masked(path))
    assert scan[0] == mask[0], (scan, mask)
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(scan, mask, strict=True)), (scan, mask)


@case("NIfTI in micrometres or metres")
def _units(folder: Path) -> str:
    for unit in ("micron", "meter", "mm"):
        _same_place(_nifti(folder / f"{unit}.nii.gz", partial(_set_unit, unit)))
    return "SimpleITK reads scan and mask at one place"


@case("NIfTI flipped, oblique, with a qform unlike its sform")
def _directions(folder: Path) -> str:
    nibabel = library("nibabel")

    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]]

    def other_qform(image: Any) -> None:
        image.set_qform(np.diag([3, 3, 3, 1]), 1)
        image.set_sform(np.diag([-1, 1, 2, 1]), 2)

    for name, path in {
        "flipped": _nifti(folder / "flipped.nii.gz", affine=np.diag([-1.0, 1, 2, 1])),
        "oblique": _nifti(folder / "oblique.nii.gz", affine=turn),
        "qform": _nifti(folder / "qform.nii.gz", other_qform),
    }.items():
        scan, mask = nibabel.load(path), nibabel.load(_masked(path))
        assert scan.shape == mask.shape, name
        assert np.allclose(scan.affine, mask.affine, atol=1e-5), name
        assert np.allclose(scan.get_qform(), mask.get_qform(), atol=1e-5), name
    return "the mask lies on the scan's grid, by nibabel, with both forms"


@case("NIfTI with a NaN or zero affine, or none")
def _affines(folder: Path) -> str:
    nibabel = library("nibabel")

    said = []
    for name, affine in (("nan", np.full((4, 4), np.nan)), ("zero", np.zeros((4, 4))), ("none", None)):

        def change(image: Any, affine: Any = affine) -> None:
            image.header["sform_code"] = 0 if affine is None else 1
            image.header["qform_code"] = 0
            if affine is not None:
                for i, row in enumerate("xyz"):
                    image.header[f"srow_{row}"] = affine[i]

        path = folder / f"{name}.nii.gz"
        values = np.stack([grey(i) for i in range(3)], -1)
        image = nibabel.Nifti1Image(values, None)
        change(image)
        image.header["sform_code"] = 0 if affine is None else 1
        image.to_filename(path)
        ended = _segment(path, "-o", folder / f"mask-{name}.nii.gz")
        if ended.status:
            said.append(refused(ended, name))
        else:
            _same_shape(path, folder / f"mask-{name}.nii.gz")
            said.append("read")
    return "; ".join(dict.fromkeys(said))


def _same_shape(scan: Path, mask: Path) -> None:
    nibabel = library("nibabel")

    assert nibabel.load(scan).shape == nibabel.load(mask).shape


@case("NIfTI of RGB voxels")
def _rgb_nifti(folder: Path) -> str:
    nibabel = library("nibabel")

    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(np.zeros((8, 8, 3), kind), np.eye(4)).to_filename(folder / "rgb.nii.gz")
    return refused(lambda: _volume(folder / "rgb.nii.gz"), "RGB")


@case("NIfTI: complex, 4D, 5D of ones, cut `.gz`, `.NII.GZ`, NaN voxels, all one value")
def _odd_nifti(folder: Path) -> str:
    nibabel = library("nibabel")

    def write(name: str, values: np.ndarray) -> Path:
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(folder / "x.nii.gz")
        return (folder / "x.nii.gz").rename(folder / name)

    base = np.stack([grey(i) for i in range(3)], -1).astype(np.float32)
    refused(lambda: _volume(write("complex.nii.gz", base.astype(np.complex64))), "complex")
    refused(lambda: _volume(write("4d.nii.gz", np.stack([base] * 4, -1))), "4")
    assert _volume(write("5d.nii.gz", base[..., None, None])).shape == (3, 32, 32, 3)
    cut = write("cut.nii.gz", base)
    cut.write_bytes(cut.read_bytes()[:-200])
    refused(lambda: _volume(cut), "cut.nii.gz")
    assert _volume(write("UPPER.NII.GZ", base)).shape == (3, 32, 32, 3)
    holes = base.copy()
    holes[:8] = np.nan
    assert alike(_volume(write("nan.nii.gz", holes))[1][:, :20], _volume(write("full.nii.gz", base))[1][:, :20]) > 0.99
    assert _volume(write("flat.nii.gz", np.ones_like(base))).std() == 0
    return "complex and 4D are refused, so is a cut file; the others are read"


# ------------------------------------------------------------------------------------------------ picture files


def _image(path: Path) -> np.ndarray:
    from segue.data.images import read_image

    return read_image(path)


@case("TIFF of 16 bits, WhiteIsZero")
def _white_is_zero(folder: Path) -> str:
    values = grey().astype(np.uint16) * 256
    save(folder / "white.tif", Image.fromarray(values), tiffinfo={262: 0})
    import tifffile

    tifffile.imwrite(folder / "white.tif", values, photometric="miniswhite")
    found = alike(_image(folder / "white.tif"), values)
    assert found < -0.999, found
    return "0 is white (TIFF 6.0, tag 262)"


@case("a picture of 16 bits with one hot pixel")
def _hot_pixel(folder: Path) -> str:
    values = grey().astype(np.uint16) * 9
    plain = _image(save(folder / "plain.png", Image.fromarray(values)))
    values[0, 0] = 65535
    found = _image(save(folder / "hot.png", Image.fromarray(values)))
    assert abs(found.mean() - plain.mean()) < 5, (found.mean(), plain.mean())
    assert alike(found[1:], plain[1:]) > 0.99
    return "as without it, by percentiles"


@case("a TIFF stack, an animated PNG, an animated WebP")
def _pages(folder: Path) -> str:
    many = [Image.fromarray(grey(i)) for i in range(3)]
    for ending in ("tif", "png", "webp"):
        path = folder / f"stack.{ending}"
        many[0].save(path, save_all=True, append_images=many[1:])
        with noting() as found:
            _image(path)
        warned(found, "stack")
    ended = done(_segment(folder / "stack.tif", "-o", folder / "mask.png"))
    assert "warning" in ended.error
    return "the first page, with a warning of the others"


@case("black lines on a transparent ground")
def _transparent(folder: Path) -> str:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[4:6, :, 3] = 255
    path = save(folder / "drawing.png", pixels)
    with noting() as found:
        picture = _image(path)
    if picture.std() > 0:
        return "the drawing on white"
    warned(found, "transparent")
    return "a warning that what is transparent is lost"


@case("CMYK, progressive JPEG, palette, LAB, 16-bit grey, signed, float and planar TIFF, a JPEG named .png")
def _kinds_of_pictures(folder: Path) -> str:
    base = Image.fromarray(np.stack([grey(i) for i in range(3)], -1))
    srgb, lab_space = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.applyTransform(base, ImageCms.buildTransform(srgb, lab_space, "RGB", "LAB"))
    assert lab is not None
    kinds: tuple[tuple[str, Image.Image, dict[str, Any]], ...] = (
        ("cmyk.jpg", base.convert("CMYK"), {}), ("progressive.jpg", base, {"progressive": True}),
        ("palette.png", base.convert("P"), {}), ("lab.tif", lab, {}),
        ("grey16.png", Image.fromarray(grey().astype(np.uint16) * 256), {}),
        ("int.tif", Image.fromarray(grey().astype(np.int32)), {}),
        ("float.tif", Image.fromarray(grey().astype(np.float32)), {}),
    )  # fmt: skip
    for name, picture, options in kinds:
        picture.save(folder / name, **options)
        expected = base if picture.mode in ("RGB", "CMYK", "P", "LAB") else Image.fromarray(grey())
        assert alike(_image(folder / name), np.asarray(expected)) > 0.8, name
    base.save(folder / "x.jpg")
    (folder / "x.jpg").rename(folder / "named.png")
    assert alike(_image(folder / "named.png"), np.asarray(base)) > 0.9
    return "all read"


@case("a cut JPEG, 400 megapixels, a float64 TIFF, masks of 0 and 65535, a JPEG as a mask")
def _broken_pictures(folder: Path) -> str:
    from segue.data.images import read_mask

    jpeg = save(folder / "cut.jpg", grey(side=200))
    jpeg.write_bytes(jpeg.read_bytes()[:2000])
    refused(lambda: _image(jpeg), "cut.jpg")
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    refused(lambda: _image(folder / "huge.png"), "huge.png")
    import tifffile

    tifffile.imwrite(folder / "double.tif", grey().astype(np.float64))
    refused(lambda: _image(folder / "double.tif"), "double.tif")
    mask = np.zeros((16, 16), np.uint16)
    mask[4:8] = 65535
    save(folder / "deep.png", Image.fromarray(mask))
    refused(lambda: read_mask(folder / "deep.png"), "deep.png", "65535")
    save(folder / "lossy.jpg", np.kron(np.eye(2, dtype=np.uint8) * 255, np.ones((9, 9), np.uint8)))
    message = refused(lambda: read_mask(folder / "lossy.jpg"), "lossy.jpg")
    return f"each is named and refused, such as: {message}"


@case("names with blanks, emoji, `;`, `'`, `%20`, `#`, `?`; pictures of 1x1 and 3000x1")
def _names(folder: Path) -> str:
    odd = ("a b.png", "😀.png", "a;b'c.png", "a%20b.png", "a#b?.png", "é.png")
    for name in odd:
        save(folder / "in" / name, grey())
    save(folder / "in/one.png", np.zeros((1, 1), np.uint8))
    save(folder / "in/line.png", np.zeros((1, 3000), np.uint8))
    ended = done(_segment(folder / "in", "-o", folder / "out"))
    assert {json.loads(line)["image"] for line in ended.out.splitlines()} == {*odd, "one.png", "line.png"}
    assert all((folder / "out" / name).exists() for name in odd)
    return "all done, masks of the same names"


# ------------------------------------------------------------------------------------------------ data sets


def _coco(root: Path, images: list[Any], annotations: list[Any], categories: Any = None, captions: Any = None) -> Path:
    base = {"area": 16, "iscrowd": 0, "category_id": 1, "bbox": [1, 1, 4, 4]}
    images = [{"width": 16, "height": 12, **one} for one in images]
    found = [{"id": i + 1, **base, **one} for i, one in enumerate(annotations)]
    classes = [{"id": 1, "name": "dog"}] if categories is None else categories
    put(
        root / "annotations/instances_train.json",
        {"images": images, "annotations": found, "categories": classes},
    )
    if captions is not None:
        put(root / "annotations/captions_train.json", {"images": images, "annotations": captions})
    return root


@case("COCO: `cam1/0001.png` and `cam2/0001.png`")
def _coco_folders(folder: Path) -> str:
    for name, fill in (("cam1", RED), ("cam2", BLUE)):
        save(folder / f"images/{name}/0001.png", fill)
    images = [{"id": i, "file_name": f"cam{i}/0001.png"} for i in (1, 2)]
    root = _coco(folder, images, [{"image_id": 1}, {"image_id": 2, "bbox": [2, 2, 5, 5]}])
    assert [(colour(one), one.regions[0].box[0]) for one in read(root)] == [("red", 1), ("blue", 2)]
    root = _coco(folder, images[:1], [{"image_id": 1}])
    assert [colour(one) for one in read(root)] == ["red"]
    return "each entry has its own picture"


@case("label maps in `seq1/0001.png` and `seq2/0001.png`")
def _map_folders(folder: Path) -> str:
    put(folder / "classes.txt", "sky\ngrass\n")
    for i, fill in ((1, RED), (2, BLUE)):
        save(folder / f"train/images/seq{i}/0001.png", fill)
        save(folder / f"train/masks/seq{i}/0001.png", np.full((12, 16), i - 1, np.uint8))
    found = {colour(one): int(one.label_map()[0, 0]) for one in read(folder)}
    assert found == {"red": 0, "blue": 1}, found
    (folder / "train/masks/seq1/0001.png").unlink()
    said = refused(lambda: read(folder), "no label map")
    return f"each picture has its own map; without one: {said}"


@case("COCO: two images of one id")
def _coco_ids(folder: Path) -> str:
    for name, fill in (("a", RED), ("b", BLUE)):
        save(folder / f"images/{name}.png", fill)
    images = [{"id": 1, "file_name": f"{name}.png"} for name in "ab"]
    root = _coco(folder, images, [{"image_id": 1}])
    assert checked(root)
    return refused(lambda: read(root), "1")


@case('`"caption": null`, `"raw": null`, a category `name: null`')
def _nulls(folder: Path) -> str:
    from segue.data.corpus import read_corpus

    save(folder / "coco/images/a.png", RED)
    captions = [{"id": 1, "image_id": 1, "caption": None}, {"id": 2, "image_id": 1, "caption": "a dog"}]
    root = _coco(folder / "coco", [{"id": 1, "file_name": "a.png"}], [{"image_id": 1}], captions=captions)
    message = refused(lambda: read(root), "caption")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [one.captions for one in read(root, "skip")] == [("a dog",)]
    path = put(folder / "captions.json", {"annotations": captions, "images": []})
    refused(lambda: read_corpus(path), "caption")
    sentences = [{"raw": None}, {"raw": "a dog"}]
    path = put(folder / "k.json", {"images": [{"filename": "a.png", "split": "train", "sentences": sentences}]})
    refused(lambda: read_corpus(path))
    save(folder / "named/images/a.png", RED)
    root = _coco(folder / "named", [{"id": 1, "file_name": "a.png"}], [{"image_id": 1}], [{"id": 1, "name": None}])
    refused(lambda: read(root), "name")
    return message


def _one_bad(folder: Path, bad: dict[str, Any], size: bool = True) -> str:
    """A set of two annotations, of which one is bad: refused, and skipped when allowed."""
    save(folder / "images/a.png", RED)
    image = {"id": 1, "file_name": "a.png"} | ({} if size else {"width": None, "height": None})
    root = _coco(folder, [image], [{"image_id": 1}, {"image_id": 1, **bad}])
    if size:
        message = refused(lambda: read(root), "annotation 2")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (picture,) = read(root, "skip")
            assert len(picture.regions) == 1
        return message
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(read(root, "skip")) <= 1
    return ""


@case("COCO: `bbox: []` or null, no category_id, an image without a size")
def _empty_boxes(folder: Path) -> str:
    message = _one_bad(folder / "empty", {"bbox": []})
    _one_bad(folder / "null", {"bbox": None})
    _one_bad(folder / "class", {"category_id": None})
    _one_bad(folder / "size", {"segmentation": [[1, 1, 5, 1, 5, 5]]}, size=False)
    return f"skipped when allowed, else: {message}"


def _genome(folder: Path, objects: list[Any]) -> Path:
    save(folder / "VG_100K/1.jpg", RED)
    put(folder / "image_data.json", [{"image_id": 1, "width": 16, "height": 12, "url": "https://x.example/1.jpg"}])
    put(folder / "objects.json", [{"image_id": 1, "objects": objects}])
    put(folder / "relationships.json", [{"image_id": 1, "relationships": []}])
    return folder


@case("Visual Genome: an object without names")
def _nameless(folder: Path) -> str:
    box = {"x": 1, "y": 1, "w": 4, "h": 4}
    root = _genome(folder, [{"object_id": 1, **box, "names": []}, {"object_id": 2, **box, "names": ["dog"]}])
    message = refused(lambda: read(root), "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [one.label for one in read(root, "skip")[0].regions] == ["dog"]
    return f"skipped when allowed, else: {message}"


def _graph(folder: Path, box: Any, name: str = "a.png", **entry: Any) -> Path:
    image = {"id": 1, "file_name": name, "width": 16, "height": 12, **entry}
    found = [{"id": i, "image_id": 1, "category_id": 1, "bbox": one} for i, one in enumerate(([1, 1, 5, 5], box), 1)]
    categories = [{"id": 1, "name": "dog"}]
    return put(folder / "graph.json", {"images": [image], "annotations": found, "categories": categories})


def _read_graph(picture: Path, graph: Path) -> Any:
    from segue.data.formats.scene_graph import read_graph

    return read_graph(graph, picture.name, (16, 12))


@case("boxes of NaN, of no size, of negative size")
def _odd_boxes(folder: Path) -> str:
    nan = float("nan")
    for i, box in enumerate(([nan, 1, 4, 4], [9, 9, -8, -8], [3, 3, 0, 0])):
        place = folder / f"{i}"
        said = _one_bad(place, {"bbox": box})
        assert checked(place), box
        refused(partial(_read_graph, place / "images/a.png", _graph(folder, box)))
    return said


@case('ids as text, ids like "64ab", sizes as text')
def _text_ids(folder: Path) -> str:
    save(folder / "images/a.png", RED)
    for number in ("1", "64ab"):
        image = {"id": number, "file_name": "a.png", "width": "16", "height": "12"}
        root = _coco(folder, [image], [{"image_id": number}])
        assert [len(one.regions) for one in read(root)] == [1], number
    root = _coco(folder, [{"id": "1", "file_name": "a.png"}], [{"image_id": 1}])
    assert [len(one.regions) for one in read(root)] == [1]
    graph = _graph(folder, [3, 3, 4, 4], width="16", height="12")
    assert len(_read_graph(folder / "images/a.png", graph)[0]) == 2
    return "read"


@case("COCO written on Windows: `images\\sub\\a.png`")
def _windows(folder: Path) -> str:
    save(folder / "images/sub/a.png", RED)
    for name in ("images\\sub\\a.png", "sub\\a.png"):
        assert [colour(one) for one in read(_coco(folder, [{"id": 1, "file_name": name}], [{"image_id": 1}]))] == [
            "red"
        ]
    return "the picture is found"


@case("a name decomposed (NFD) on disk and composed (NFC) in the json")
def _unicode_forms(folder: Path) -> str:
    save(folder / "images" / unicodedata.normalize("NFD", "café.png"), RED)
    root = _coco(folder, [{"id": 1, "file_name": unicodedata.normalize("NFC", "café.png")}], [{"image_id": 1}])
    assert [colour(one) for one in read(root)] == ["red"]
    return "the picture is found"


def _turned(folder: Path, direction: int, size: tuple[int, int]) -> Path:
    exif = Image.Exif()
    exif[274] = direction
    picture = Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8))
    save(folder / "images/a.jpg", picture, exif=exif)
    width, height = size
    image = {"id": 1, "file_name": "a.jpg", "width": width, "height": height}
    return _coco(folder, [image], [{"image_id": 1}])


@case("EXIF orientation 6, sizes as stored")
def _exif_6(folder: Path) -> str:
    from segue.data.formats import find_problem

    (picture,) = read(_turned(folder, 6, (16, 12)))
    message = find_problem(picture)
    assert "EXIF" in str(message), message
    return str(message).partition(": ")[2]


@case("EXIF orientation 3, or 6 on a square picture, boxes of the stored grid")
def _exif_3(folder: Path) -> str:
    for name, direction, size in (("3", 3, (16, 12)), ("6", 6, (16, 16))):
        found = checked(_turned(folder / name, direction, size), "warning")
        assert any("EXIF" in one for one in found), found
    return "`segue data check` warns of it"


@case("COCO: RLE of another size, polygons of two points, ids from 0, ids as floats, BOM and UTF-16 json")
def _runs(folder: Path) -> str:
    said = _one_bad(folder / "rle", {"segmentation": {"size": [16, 12], "counts": [192]}, "iscrowd": 1})
    _one_bad(folder / "two", {"segmentation": [[1, 1, 2, 2]]})
    save(folder / "ids/images/a.png", RED)
    for number in (0, 1.0):
        root = _coco(folder / "ids", [{"id": number, "file_name": "a.png"}], [{"image_id": number}])
        assert len(read(root)[0].regions) == 1
    path = root / "annotations/instances_train.json"
    text = path.read_text()
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_bytes(text.encode(encoding))
        assert len(read(root)[0].regions) == 1
    return f"bad masks are named ({said}); the others are read"


@case("Roboflow's export, `train/_annotations.coco.json`")
def _roboflow(folder: Path) -> str:
    save(folder / "train/a.png", RED)
    _coco(folder / "x", [{"id": 1, "file_name": "a.png"}], [{"image_id": 1}])
    (folder / "x/annotations/instances_train.json").rename(folder / "train/_annotations.coco.json")
    shutil.rmtree(folder / "x")
    assert [(colour(one), len(one.regions)) for one in read(folder)] == [("red", 1)]
    return "read"


# ------------------------------------------------------------------------------------------------ captions


def _pairs(folder: Path, lines: list[tuple[str, str]], pictures: dict[str, tuple[int, int, int]]) -> Path:
    for name, fill in pictures.items():
        save(folder / "images" / name, fill)
    put(folder / "train.tsv", "".join("\t".join(line) + "\n" for line in lines))
    return folder


@case("CC3M's kind: addresses that end in `/1.png` beside pictures numbered by line; two addresses of one base name")
def _numbered(folder: Path) -> str:
    lines = [(f"a {name} thing", f"http://a.example/{i}.png") for i, name in ((1, "red"), (2, "green"), (0, "blue"))]
    root = _pairs(folder / "num", lines, {"0.png": RED, "1.png": GREEN, "2.png": BLUE})
    said = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for one in read(root):
                assert one.captions == (f"a {colour(one)} thing",), one
        said.append("each picture has its own line's caption")
    except ValueError as error:
        said.append(str(error))
    lines = [("a red thing", "http://a.example/photo.png"), ("a blue thing", "http://b.example/photo.png")]
    root = _pairs(folder / "same", lines, {"photo.png": RED})
    said.append(refused(lambda: read(root), "photo.png"))
    return "; ".join(said)


def _captions(path: Path) -> list[str]:
    from segue.data.corpus import read_corpus

    return list(read_corpus(path).captions)


@case("captions: CC12M (address first), a TSV with a head, a TSV of name and caption")
def _caption_tables(folder: Path) -> str:
    rows = [("http://a.example/1.jpg", "a dog runs"), ("http://a.example/2.jpg", "a cat sits on a mat")]
    for name, lines in {
        "cc12m.tsv": rows, "cc3m.tsv": [row[::-1] for row in rows],
        "head.tsv": [("caption", "url"), *(row[::-1] for row in rows)],
        "named.tsv": [("1.jpg", "a dog runs"), ("2.jpg", "a cat sits on a mat")],
    }.items():  # fmt: skip
        path = put(folder / name, "".join("\t".join(line) + "\n" for line in lines))
        assert _captions(path) == [row[1] for row in rows], name
    return "the captions, and nothing else, by every command"


@case("captions: Flickr8k.token.txt, Kaggle's captions.txt")
def _flickr_files(folder: Path) -> str:
    said = "A child in a pink dress is climbing up stairs ."
    token = f"1000268201_693b08cb0e.jpg#0\t{said}\n1000268201_693b08cb0e.jpg#1\tA girl going in .\n"
    kaggle = f'image,caption\n1000268201_693b08cb0e.jpg,{said}\n1001773457_577c3a7d70.jpg,"A dog, a cat ."\n'
    assert _captions(put(folder / "Flickr8k.token.txt", token)) == [said, "A girl going in ."]
    assert _captions(put(folder / "captions.txt", kaggle)) == [said, "A dog, a cat ."]
    return "the captions without the pictures' names"


@case("captions with a newline, U+2028, a carriage return, emoji")
def _line_ends(folder: Path) -> str:
    odd = ["a dog\u2028on grass", "a cat\x85here", "a bird 😀", "one\nline"]
    (found,) = [_captions(put(folder / "c.jsonl", "".join(json.dumps({"caption": x}) + "\n" for x in odd)))]
    assert [" ".join(x.split()) for x in found] == [" ".join(x.split()) for x in odd], found
    assert len(_captions(put(folder / "c.txt", "a dog\u2028on grass\na cat\x85here\r\na bird 😀\n"))) == 3
    return "one caption each"


def _tar(path: Path, members: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, value in members.items():
            if isinstance(value, tuple):
                buffer = io.BytesIO()
                Image.fromarray(np.full((12, 16, 3), value, np.uint8)).save(buffer, "PNG")
                value = buffer.getvalue()
            content = value.encode() if isinstance(value, str) else value
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path.parent


@case("tar shards: `0001.depth.png` beside `0001.png`")
def _depth(folder: Path) -> str:
    root = _tar(folder / "00000.tar", {"0001.depth.png": BLACK, "0001.png": RED, "0001.txt": "a red thing"})
    with noting() as found:
        assert [(colour(one), one.captions) for one in read(root)] == [("red", ("a red thing",))]
    warned(found, "depth")
    return "webdataset's picture, and a note of the other"


@case("tar shards: `22.05.png`, `22.06.png`")
def _dotted_members(folder: Path) -> str:
    members: dict[str, Any] = {"22.05.png": RED, "22.05.txt": "a red", "22.06.png": BLUE, "22.06.txt": "a blue"}
    root = _tar(folder / "00000.tar", members)
    assert checked(root)
    return refused(lambda: read(root), "22")


@case("tar shards made on macOS: `._0001.png`")
def _apple(folder: Path) -> str:
    root = _tar(folder / "00000.tar", {"._0001.png": b"Mac OS X", "0001.png": RED, "0001.txt": "a red thing"})
    assert [(colour(one), one.captions) for one in read(root)] == [("red", ("a red thing",))]
    return "read as webdataset does"


@case("tar shards: `contest-00000.tar`, a picture and its text far apart, latin-1, `caption: null`")
def _odd_shards(folder: Path) -> str:
    from segue.data.formats import detect_format

    root = _tar(folder / "split/contest-00000.tar", {"0001.png": RED, "0001.txt": "a red thing"})
    assert detect_format(root)[1] == ("train",), detect_format(root)
    apart = _tar(folder / "apart/0.tar", {"1.png": RED, "2.png": BLUE, "1.txt": "a red thing", "2.txt": "a blue"})
    refused(lambda: read(apart), "0.tar/1: only .txt")
    refused(lambda: read(_tar(folder / "latin/0.tar", {"1.png": RED, "1.txt": "caf\xe9".encode("latin-1")})), "0.tar")
    null = json.dumps({"caption": None})
    message = refused(lambda: read(_tar(folder / "null/0.tar", {"1.png": RED, "1.json": null})), "0.tar")
    return f"train; the others refused, such as: {message}"


# ------------------------------------------------------------------------------------------------ scores


def _said(path: Path, rows: list[tuple[Any, str]]) -> Path:
    return put(path, [{"image_id": name, "caption": text} for name, text in rows])


@case("`segue caption DIR -o`: `cam1/0001.png`, `cam2/0001.png`, `1.png`")
def _caption_ids(folder: Path) -> str:
    from segue.commands.caption import image_id

    assert len({image_id(name) for name in ("cam1/0001.png", "cam2/0001.png", "1.png")}) == 3
    assert image_id("COCO_val2014_000000000042.jpg") == 42
    return "each has an id of its own; COCO's 12 digits stay COCO's number"


def _karpathy(folder: Path, names: list[str], numbers: list[int]) -> Path:
    images = [
        {
            "filename": name, "imgid": number, "split": "test",
            "sentences": [{"raw": f"a picture that shows the {name[:-4]} number {number} ."}],
        }
        for name, number in zip(names, numbers, strict=True)
    ]  # fmt: skip
    return put(folder / "dataset_mine.json", {"images": images, "dataset": "mine"})


@case("a Karpathy json of one's own: numeric names, imgid by sorting")
def _numeric_names(folder: Path) -> str:
    names = ["10.png", "2.png", "1.png"]
    refs = _karpathy(folder, names, [1, 2, 0])
    rows = [
        (name, f"a picture that shows the {name[:-4]} number {n} .") for name, n in zip(names, (1, 2, 0), strict=True)
    ]
    ended = done(segue("score", "captions", "--refs", refs, "--preds", _said(folder / "p.json", rows), "--json"))
    found = json.loads(ended.out)
    assert abs(_metric(found, "bleu1") - 1) < 1e-6, found
    return "perfect captions score BLEU-1 1.0: pictures are matched by name first"


def _metric(found: Any, name: str) -> float:
    flat = found.get("scores", found)
    key = next(key for key in flat if key.lower().replace("_", "").replace("-", "") == name)
    return float(flat[key])


@case("Flickr30k: captions by `segue caption`, references by Karpathy's json")
def _flickr30k(folder: Path) -> str:
    from segue.commands.caption import image_id

    names = ["1000092795.jpg", "10002456.jpg", "1000268201.jpg"]
    refs = _karpathy(folder, names, [0, 1, 2])
    rows = [(image_id(name), f"a picture that shows the {name[:-4]} number {i} .") for i, name in enumerate(names)]
    ended = done(segue("score", "captions", "--refs", refs, "--preds", _said(folder / "p.json", rows), "--json"))
    assert abs(_metric(json.loads(ended.out), "bleu1") - 1) < 1e-6
    return "scored"


@case("words that the Stanford tokeniser treats in its own way: `-LRB-`, roman numerals, circled digits, addresses")
def _tokens(folder: Path) -> str:
    from segue.metrics.ptb import tokenize

    expected = {  # the answers of Stanford's PTBTokenizer as pycocoevalcap calls it
        "A dog (small), isn't it?": "a dog -lrb- small -rrb- is n't it",
    }
    for text, words in expected.items():
        assert tokenize(text) == words, tokenize(text)
    return "equal to Stanford's on awkward sentences (tests/metrics/test_ptb.py)"


@case("`-o` is a link, a fifo, a device")
def _targets(folder: Path) -> str:
    from segue.files import write_text

    real = put(folder / "real/out.json", "old")
    link = folder / "link.json"
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    os.mkfifo(folder / "fifo")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((folder / "fifo").read_text()))
    reader.start()
    write_text(folder / "fifo", "through")
    reader.join(10)
    assert got == ["through"]
    assert (folder / "fifo").is_fifo()
    write_text(Path("/dev/null"), "gone")
    assert Path("/dev/null").is_char_device()
    return "the link stays and what it leads to is written; a fifo and a device get the bytes"


# ------------------------------------------------------------------------------------------------ the server


@contextlib.contextmanager
def _client() -> Iterator[Any]:
    from fastapi.testclient import TestClient

    import segue as package
    from segue.serving.app import create_app

    logging.getLogger("segue").setLevel(logging.ERROR)
    with TestClient(create_app({"reclmis-chest": package.load("reclmis-chest")})) as client:
        yield client


def _base64(picture: Any = None, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(grey()) if picture is None else picture).save(buffer, form)
    return buffer.getvalue()


@case("server: base64 with line ends, also one at the end")
def _base64_lines(folder: Path) -> str:
    with _client() as client:
        for text in (base64.encodebytes(_base64()), base64.b64encode(_base64()) + b"\r\n"):
            answer = client.post("/segment/note", json={"image": text.decode(), "note": "one area"})
            assert answer.status_code == 200, answer.text
    return "200 (RFC 2045, 6.8)"


@case("server: data URL, 16 bit, EXIF, emoji, NaN, a lone surrogate, an empty body, too big a picture")
def _server_bodies(folder: Path) -> str:
    deep = base64.b64encode(_base64(Image.fromarray(grey().astype(np.uint16) * 256))).decode()
    good = base64.b64encode(_base64()).decode()
    huge = struct.pack(">II", 60_000, 60_000)
    head = _base64()
    bomb = base64.b64encode(head[:16] + huge + head[24:]).decode()
    with _client() as client:
        ask = partial(client.post, "/segment/note")
        assert ask(json={"image": f"data:image/png;base64,{good}", "note": "😀 area"}).status_code == 200
        assert ask(json={"image": deep}).status_code == 200
        for body in (b"", b"{", b'{"image": NaN}', b'{"image": "\\ud800"}', json.dumps({"image": bomb}).encode()):
            answer = ask(content=body, headers={"content-type": "application/json"})
            assert answer.status_code in (400, 413, 422), (body, answer.text)
            assert answer.json()["error"], body
    return "200 for pictures, 400, 413 or 422 with one sentence for the others"


@case("server: HEIC, GIF, multipart, text/plain, a gzip body")
def _server_kinds(folder: Path) -> str:
    gif = base64.b64encode(_base64(form="GIF")).decode()
    heic = base64.b64encode(b"\0\0\0\x18ftypheic" + b"\0" * 64).decode()
    with _client() as client:
        ask = partial(client.post, "/segment/note")
        answers = [ask(json={"image": one}) for one in (gif, heic)]
        answers.append(ask(files={"image": _base64()}))
        answers.append(ask(content="hello", headers={"content-type": "text/plain"}))
        answers.append(ask(content=b"\x1f\x8b\x08", headers={"content-type": "application/json"}))
        for answer in answers:
            assert answer.status_code in (400, 415, 422), answer.text
            assert answer.json()["error"], answer.text
    return "422 with one sentence"


# ------------------------------------------------------------------------------------------------ training


def _train(data: Path, out: Path, *more: object) -> Told:
    words = ("--data", data, "--out", out, "--batch-size", 1, "--image-size", 32, "--evaluations", 1)
    return segue("train", "reclmis", *words, *more)


@case("training: one example, batch 1, blanks and accents in paths, batch 0, masks missing, out = data")
def _small_trainings(folder: Path) -> str:
    data = _lvit(folder / "a folder é", lambda i: f"mask_covid_{i}.png", count=1)
    done(_train(data, folder / "a run é", "--steps", 2))
    refused(_train(data, folder / "run", "--steps", 2, "--batch-size", 0), "batch")
    done(_train(data, data, "--steps", 2))
    assert _image(data / "Train_Folder/img/covid_0.png").std() > 0
    shutil.rmtree(data / "Train_Folder/labelcol")
    return refused(_train(data, folder / "other", "--steps", 2), "mask")


@case("training: three patients and no Val_Folder")
def _few_patients(folder: Path) -> str:
    data = _lvit(folder / "data", lambda i: f"mask_covid_{i}.png", count=3)
    for split in ("Val", "Test"):
        shutil.rmtree(data / f"{split}_Folder")
        (data / f"{split}_text.xlsx").unlink()
    ended = _train(data, folder / "run", "--steps", 1)
    if ended.status:
        message = refused(ended)
        assert "fold" not in message, message
        return message
    return "a third is held out"


@case("training: `--resume` with more steps")
def _longer(folder: Path) -> str:
    data = _lvit(folder / "data", lambda i: f"mask_covid_{i}.png", count=2)
    done(_train(data, folder / "run", "--steps", 2))
    done(_train(data, folder / "run", "--steps", 4, "--resume"))
    steps = [json.loads(line) for line in (folder / "run/history.jsonl").read_text().splitlines()]
    assert max(one.get("step", 0) for one in steps) == 4, steps
    return "goes on to the new number of steps"


@case("scoring: references with PNG and TIF, `A.PNG` beside `a.png`")
def _mask_endings(folder: Path) -> str:
    mask = np.zeros((12, 16), np.uint8)
    mask[2:6] = 255
    for place in ("refs", "preds"):
        for name in ("a.png", "A.PNG", "b.tif"):
            save(folder / place / name, mask)
    ended = done(segue("score", "masks", "--refs", folder / "refs", "--preds", folder / "preds", "--json"))
    assert "3" in ended.out, ended.out
    return "all are scored"


# ------------------------------------------------------------------------------------------------ the table


def outcome(one: Case) -> str:
    """What happens, as a cell of the table; begins with WRONG where it is neither right nor refused clearly."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        try:
            found = one.run(folder)
        except AssertionError as error:
            return f"WRONG: {error}"
        except Exception as error:  # noqa: BLE001  a traceback, which is what the table is about
            return f"WRONG: {type(error).__name__}: {error}"
        found = found.replace(f"{folder}/", "").replace(str(folder), "FOLDER").replace("|", "\\|").replace("\n", " ")
        return found if len(found) <= LONG else found[:LONG].rsplit(" ", 1)[0] + " ..."


def table(numbers: list[int]) -> str:
    """The outcomes as Markdown, each on standard error as soon as it is known."""
    rows = ["| # | situation | what happens |", "|---|---|---|"]
    for number in numbers:
        found = outcome(CASES[number - 1])
        rows.append(f"| {number} | {CASES[number - 1].situation} | {found} |")
        print(number, found, file=sys.stderr, flush=True)
    return "\n".join(rows)


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="*", type=int, default=[*range(1, len(CASES) + 1)])
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    found = table(given.only)
    print(found)
    if given.page is not None:
        fill_block(given.page, "bug cases", found)
    sys.exit("WRONG" in found)


if __name__ == "__main__":
    main()
