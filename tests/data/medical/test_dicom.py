"""Greys of DICOM are pydicom's answers; what has several meanings is refused or told."""

import warnings

import numpy as np
import pytest

from data.medical.test_volumes import dicom, nibabel, pydicom
from segue.data.images import read_image
from segue.data.medical.dicom import find_series
from segue.data.medical.volumes import read_volume, write_like
from segue.data.picture_files import PictureWarning, is_dicom
from segue.types import InputError

PLANE = np.add.outer(np.arange(32), np.arange(40)) * 50  # 0..3500
apply_color_lut, apply_modality_lut, apply_voi_lut = (
    getattr(pydicom.pixels, name) for name in ("apply_color_lut", "apply_modality_lut", "apply_voi_lut")
)


def lut(entries, bits, first=0, kind="US"):
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    words = np.asarray(entries, "<u2")
    item.add_new("LUTData", kind, words.tolist() if kind == "US" else words.tobytes())
    return item


def seen(path, **more):
    return read_volume(path, **more).slices[0, ..., 0]


def answer(path):
    """What pydicom says before the presentation: rows x columns."""
    data = pydicom.dcmread(path)
    return np.asarray(apply_voi_lut(apply_modality_lut(data.pixel_array, data), data), float)


FALLING = np.linspace(65535, 0, 4096).astype(int)


@pytest.mark.parametrize(
    "elements",
    [
        {"ModalityLUTSequence": [lut(FALLING, 16)], "WindowCenter": 30000, "WindowWidth": 9000},
        {"ModalityLUTSequence": [lut(FALLING, 16, kind="OW")], "WindowCenter": 30000, "WindowWidth": 9000},
        {"VOILUTSequence": [lut(FALLING, 16)]},
        {"VOILUTSequence": [lut(FALLING, 16)], "WindowCenter": 40, "WindowWidth": 80},
        {"VOILUTSequence": [lut(FALLING[:500], 16, first=700)], "RescaleSlope": 1, "RescaleIntercept": -100},
        {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": [1500, 3], "WindowWidth": [3000, 9]},
        {"WindowCenter": 1500, "WindowWidth": 3000, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 1500, "WindowWidth": 700, "VOILUTFunction": "SIGMOID"},
    ],
)
def test_greys_are_what_pydicom_says(tmp_path, elements):
    dicom(tmp_path / "a.dcm", PLANE, **elements)
    said = answer(tmp_path / "a.dcm")
    table = "VOILUTSequence" in elements
    slope, base = (elements.get(name, usual) for name, usual in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    low, high = (0, 65535) if table else (base, 65535 * slope + base)
    np.testing.assert_allclose(seen(tmp_path / "a.dcm"), (said - low) / (high - low) * 255, atol=0.51)


def test_a_falling_slope_keeps_its_direction(tmp_path):
    dicom(tmp_path / "a.dcm", PLANE, RescaleSlope=-1, RescaleIntercept=4000, WindowCenter=2500, WindowWidth=2001)
    expected = ((4000 - PLANE - 2499.5) / 2000 + 0.5).clip(0, 1) * 255
    np.testing.assert_allclose(seen(tmp_path / "a.dcm"), expected, atol=0.51)


@pytest.mark.parametrize("packed", [False, True])
def test_tables_of_8_bits_are_longer_than_256(tmp_path, packed):
    """pydicom 3.0 counts positions in the entries' type: the brighter part of a 12-bit picture came out wrong."""
    entries = np.linspace(255, 0, 4096).astype(np.uint8)
    item = lut(entries, 8)
    if packed:
        item.add_new("LUTData", "OW", entries.tobytes())
    dicom(tmp_path / "a.dcm", PLANE, VOILUTSequence=[item])
    assert (seen(tmp_path / "a.dcm") == entries[PLANE]).all()


def test_a_modality_lut_of_12_bits(tmp_path):
    dicom(tmp_path / "a.dcm", PLANE, ModalityLUTSequence=[lut(4095 - np.arange(4096), 12)])
    assert np.corrcoef(seen(tmp_path / "a.dcm").ravel(), PLANE.ravel())[0, 1] < -0.999


def test_palette_colours(tmp_path):
    """Positions in the palette were taken as greys: black and white changed places."""
    rng = np.random.default_rng(0)
    positions, colours = rng.integers(0, 256, (32, 40)), rng.integers(0, 2**16, (3, 256))
    names = [f"{c}PaletteColorLookupTable" for c in ("Red", "Green", "Blue")]
    for bits, kind in ((16, "<u2"), (8, "u1")):
        table = colours >> (16 - bits)
        elements = {f"{name}Descriptor": [256, 0, bits] for name in names}
        elements |= {f"{name}Data": one.astype(kind).tobytes() for name, one in zip(names, table, strict=True)}
        dicom(tmp_path / "a.dcm", positions, PhotometricInterpretation="PALETTE COLOR", **elements)
        data = pydicom.dcmread(tmp_path / "a.dcm")
        said = apply_color_lut(data.pixel_array, data)
        np.testing.assert_allclose(read_image(tmp_path / "a.dcm"), said / (2**bits - 1) * 255, atol=0.51)


def test_colours_are_shown_in_colour(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (32, 40, 3))
    dicom(tmp_path / "a.dcm", colours, PhotometricInterpretation="RGB", BitsAllocated=8, BitsStored=8)
    assert (read_image(tmp_path / "a.dcm") == colours).all()
    dicom(tmp_path / "b.dcm", colours, PhotometricInterpretation="YBR_FULL", BitsAllocated=8, BitsStored=8)
    said = pydicom.pixels.pixel_array(pydicom.dcmread(tmp_path / "b.dcm"))
    assert (read_image(tmp_path / "b.dcm") == said).all()
    assert (said != colours).any()


@pytest.mark.parametrize(
    ("elements", "turned"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        ({"PresentationLUTShape": "INVERSE"}, True),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, True),  # of a DX image
        ({"PresentationLUTShape": "IDENTITY"}, False),
        ({"PresentationLUTSequence": [lut(65535 - 257 * np.arange(256), 16)]}, True),
        ({"PresentationLUTSequence": [lut(255 - np.arange(256), 8)]}, True),
    ],
)
def test_presentation_turns_greys_round_once(tmp_path, elements, turned):
    window = {"WindowCenter": 1500, "WindowWidth": 3001, "VOILUTFunction": "LINEAR"}
    dicom(tmp_path / "plain.dcm", PLANE, **window)
    dicom(tmp_path / "a.dcm", PLANE, **window, **elements)
    plain, found = (seen(tmp_path / name).astype(int) for name in ("plain.dcm", "a.dcm"))
    assert (found == (255 - plain if turned else plain)).all()


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("limit", [None, 64_000])
def test_padding_is_black_and_takes_no_part_in_the_window(tmp_path, kind, limit):
    plane = PLANE.copy()
    plane[:, :10] = 63_536  # -2000 as some scanners write it, as unsigned
    more = (
        {"PixelPaddingValue": 63_536}
        if limit is None
        else {"PixelPaddingValue": limit, "PixelPaddingRangeLimit": 63_000}
    )
    dicom(tmp_path / "a.dcm", plane, PhotometricInterpretation=kind, **more)
    found = seen(tmp_path / "a.dcm").astype(int)
    assert (found[:, :10] == 0).all()
    low, high = np.percentile(PLANE[:, 10:], (0.5, 99.5))
    expected = ((PLANE[:, 10:] - low) / (high - low)).clip(0, 1) * 255
    np.testing.assert_allclose(found[:, 10:], 255 - expected if kind == "MONOCHROME1" else expected, atol=0.51)


def test_padding_written_as_unsigned_beside_signed_pixels(tmp_path):
    plane = PLANE.astype(np.int16)
    plane[:, :10] = -2000
    dicom(tmp_path / "a.dcm", plane, PixelRepresentation=1)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    data.add_new("PixelPaddingValue", "US", 63_536)
    data.save_as(tmp_path / "a.dcm")
    assert (seen(tmp_path / "a.dcm")[:, :10] == 0).all()
    assert len(np.unique(seen(tmp_path / "a.dcm")[:, 10:])) > 50


EMPTY = ["RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape"]
EMPTY += ["PixelPaddingValue", "ModalityLUTSequence", "VOILUTSequence", "PixelSpacing", "SliceThickness"]


@pytest.mark.parametrize("name", EMPTY)
def test_an_element_that_is_empty_counts_as_absent(tmp_path, name):
    """A type-2 element may be there without a value: float(None) was a traceback."""
    dicom(tmp_path / "a.dcm", PLANE)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    if name in data:
        delattr(data, name)
    data.save_as(tmp_path / "without.dcm")
    kind = "US" if name == "PixelPaddingValue" else pydicom.datadict.dictionary_VR(name)
    data.add_new(name, kind, [] if kind == "SQ" else None)
    data.save_as(tmp_path / "empty.dcm")
    found, expected = (read_volume(tmp_path / f"{one}.dcm") for one in ("empty", "without"))
    assert (found.slices == expected.slices).all()
    assert (found.affine == expected.affine).all()


def test_a_window_that_is_none_is_reported(tmp_path):
    dicom(tmp_path / "a.dcm", PLANE, WindowCenter=40, WindowWidth=0)
    dicom(tmp_path / "b.dcm", PLANE)
    with pytest.warns(PictureWarning, match=r"a\.dcm: its window of width 0.0 is no window; percentiles are taken"):
        found = seen(tmp_path / "a.dcm")
    assert (found == seen(tmp_path / "b.dcm")).all()


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"ShutterShape": "CIRCULAR"}, "its display shutter is not applied"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "its values are for processing, not for viewing"),
        ({"PixelPresentation": "COLOR"}, "its supplemental palette is not used"),
    ],
)
def test_what_a_viewer_would_show_otherwise_is_reported(tmp_path, elements, message):
    dicom(tmp_path / "a.dcm", PLANE, **elements)
    with pytest.warns(PictureWarning, match=message):
        read_volume(tmp_path / "a.dcm")


def test_overlays_are_reported(tmp_path):
    dicom(tmp_path / "a.dcm", PLANE)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    data.add_new(0x60003000, "OW", b"\0" * 160)
    data.save_as(tmp_path / "a.dcm")
    with pytest.warns(PictureWarning, match="its overlays are not drawn"):
        read_volume(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("letters", "flips"), [(["L", "F"], ()), (["R", "F"], (1,)), (["L", "H"], (0,)), (["RA", "H"], (0, 1))]
)
def test_a_radiograph_is_turned_by_its_patient_orientation(tmp_path, letters, flips):
    """Without it a mirrored radiograph was shown mirrored, and the sides of its note were the wrong ones."""
    plain = {"ImageOrientationPatient": None, "ImagePositionPatient": None}
    dicom(tmp_path / "a.dcm", PLANE, **plain, PatientOrientation=letters)
    dicom(tmp_path / "b.dcm", PLANE, **plain)
    assert (seen(tmp_path / "a.dcm") == np.flip(seen(tmp_path / "b.dcm"), flips)).all()
    volume, mask = read_volume(tmp_path / "a.dcm"), np.zeros((1, 32, 40), bool)
    mask[0, :16, :20] = True  # the patient's upper right
    write_like(volume, mask, tmp_path / "m.nii.gz")
    native = np.asarray(nibabel.load(tmp_path / "m.nii.gz").dataobj)[..., 0].T  # rows x columns, as stored
    assert (np.flip(native, flips) == mask[0]).all()


def test_files_that_no_volume_holds_are_refused_by_name(tmp_path):
    frames = np.stack([PLANE] * 5)
    dicom(tmp_path / "frames.dcm", frames, NumberOfFrames=5, Rows=32, Columns=40)
    dicom(tmp_path / "tilted.dcm", PLANE, ImageOrientationPatient=[1, 0, 0, 0, 0, 0])
    dicom(tmp_path / "flat.dcm", PLANE, PixelSpacing=[0, 1])
    dicom(tmp_path / "text.dcm", PLANE)
    data = pydicom.dcmread(tmp_path / "text.dcm")
    del data.PixelData
    data.save_as(tmp_path / "text.dcm")
    for name, message in (
        ("frames", r"frames\.dcm: a multi-frame file of 5 frames, expected one slice a file"),
        ("tilted", r"tilted\.dcm: its orientation .* is no pair of directions"),
        ("flat", r"flat\.dcm: pixels of 0\.0 x 1\.0 mm"),
        ("text", r"text\.dcm: a DICOM file without a picture \(CT Image Storage\)"),
    ):
        with pytest.raises(InputError, match=message):
            read_volume(tmp_path / f"{name}.dcm")


def series(folder, heights=(0.0, 3.0, 6.0), **more):
    folder.mkdir(exist_ok=True)
    for i, z in enumerate(heights):
        dicom(folder / f"IM{i:04d}", PLANE + i, (0.0, 0.0, z), **more)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "last and IM0000 differ in orientation"),
        ({"PixelSpacing": [2, 2]}, "last and IM0000 differ in pixel spacing"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "slices of 2 kinds of pixels"),
        ({"position": (9.0, 0.0, 9.0)}, "beside one line"),
    ],
)
def test_slices_that_differ_are_reported_by_name(tmp_path, elements, message):
    series(tmp_path)
    dicom(tmp_path / "last", PLANE, **{"position": (0.0, 0.0, 9.0), **elements})
    with pytest.raises(InputError, match=message):
        read_volume(tmp_path)


def test_windows_that_differ_in_a_series_are_reported(tmp_path):
    for i in range(3):
        dicom(tmp_path / f"{i}", PLANE, (0.0, 0.0, 3.0 * i), WindowCenter=1000 + i, WindowWidth=2000)
    with pytest.warns(PictureWarning, match="its slices have 3 different windows; all are shown by the first one's"):
        volume = read_volume(tmp_path)
    assert (volume.slices == volume.slices[:1]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_volume(tmp_path, window=(1000, 2000))


def test_series_are_told_apart_and_other_files_are_left_out(tmp_path):
    series(tmp_path / "one")
    (tmp_path / "one" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "one" / "notes.txt").touch()
    with pytest.warns(UserWarning, match=r"one: 2 of 5 are left out \(1 without ending, 1 \.txt\), such as DICOMDIR"):
        assert len(read_volume(tmp_path / "one").slices) == 3
    dicom(tmp_path / "one" / "other", PLANE, SeriesInstanceUID="1.9")
    with pytest.raises(InputError, match=r"one: 2 DICOM series \(IM0000: 3 files, other: 1 files\), expected one"):
        read_volume(tmp_path / "one")
    dicom(tmp_path / "one" / "xray", PLANE, ImagePositionPatient=None)
    found, others = find_series(sorted((tmp_path / "one").iterdir()))
    assert [[file.name for file in one.files] for one in found] == [["IM0000", "IM0001", "IM0002"], ["other"], ["xray"]]
    assert [file.name for file in others] == ["DICOMDIR", "notes.txt"]


def test_a_mask_of_a_series_lies_where_pydicom_says_its_pixel_does(tmp_path):
    """Also for a tilted gantry, whose grid is no box: then there is a matrix and no quaternion."""
    for name, drift, codes in (("straight", 0.0, (1, 1)), ("tilted", 1.0, (0, 1))):
        folder = tmp_path / name
        folder.mkdir()
        for i in range(3):
            dicom(folder / str(i), PLANE, (10.0, 20.0 + drift * i, 3.0 * i))
        mask = np.zeros((3, 32, 40), bool)
        mask[2, 1, 3] = True
        write_like(read_volume(folder), mask, tmp_path / "m.nii.gz")
        written = nibabel.load(tmp_path / "m.nii.gz")
        (voxel,) = np.argwhere(np.asarray(written.dataobj))
        lps = (10 + 3 * 0.5, 20 + drift * 2 + 1 * 0.8, 6.0)
        assert tuple(nibabel.affines.apply_affine(written.affine, voxel)) == pytest.approx((-lps[0], -lps[1], lps[2]))
        assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == codes
        assert written.header.get_xyzt_units()[0] == "mm"


def test_dicom_is_known_by_its_mark(tmp_path):
    dicom(tmp_path / "1.2.840.113619.2.55", PLANE)
    (tmp_path / "notes").write_bytes(b"x" * 200)
    assert is_dicom(tmp_path / "1.2.840.113619.2.55")
    assert not is_dicom(tmp_path / "notes")
    assert read_image(tmp_path / "1.2.840.113619.2.55").shape == (32, 40, 3)


def test_a_number_of_odd_length_ends_in_one_line(tmp_path):
    length = b"\x02\x00\x00\x00UL" + (683).to_bytes(2, "little") + bytes(683)  # of the group, of four bytes
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + length)
    with pytest.raises(InputError, match=r"a\.dcm: can't be read as DICOM \(Expected total bytes"):
        read_volume(tmp_path / "a.dcm")


def test_broken_files_end_in_one_line(tmp_path):
    dicom(tmp_path / "a.dcm", PLANE, RescaleSlope=1, RescaleIntercept=0, WindowCenter=1, WindowWidth=2)
    whole = (tmp_path / "a.dcm").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(whole[: len(whole) if rng.random() < 0.7 else int(rng.integers(100, len(whole)))])
        for at in rng.integers(128, min(len(broken), 900), 3):
            broken[at] = rng.integers(0, 256)
        (tmp_path / "b.dcm").write_bytes(broken)
        message = ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_volume(tmp_path / "b.dcm")
            except InputError as error:
                message = str(error)
        assert "\n" not in message
