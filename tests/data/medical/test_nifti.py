"""A mask's header is its scan's, so that every program finds both at one place; broken headers end in one line."""

import gzip
import warnings

import numpy as np
import pytest

from data.medical.test_volumes import nibabel
from segue.data.medical.volumes import read_volume, write_like
from segue.data.picture_files import PictureWarning
from segue.types import InputError

AFFINE = np.array([[-0.7, 0, 0.2, 10], [0, 0, 2.5, -3], [0, 0.9, 0, 4], [0, 0, 0, 1.0]])
KEPT = ("xyzt_units", "qform_code", "sform_code", "pixdim", "quatern_b", "quatern_c", "quatern_d", "dim")
KEPT += ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "dim_info")


def save(path, change=None, values=None, kind="Nifti1Image"):
    """A small volume; `change` edits the header as it stands in the file, unchecked."""
    values = np.arange(5 * 6 * 4, dtype=np.int16).reshape(5, 6, 4) if values is None else values
    picture = getattr(nibabel, kind)(values, np.diag([1.0, 2.0, 3.0, 1.0]))
    data = bytearray(picture.to_bytes())
    header = type(picture.header)(bytes(data[: picture.header.sizeof_hdr]), check=False)
    if change is not None:
        change(header)
    data[: picture.header.sizeof_hdr] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(data)) if path.name.endswith(".gz") else bytes(data))


def mask_of(path):
    """The mask of every second voxel, written beside the scan; and the scan."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PictureWarning)
        volume = read_volume(path)
    chosen = np.indices(volume.slices.shape[:3]).sum(0) % 2 == 0
    write_like(volume, chosen, path.with_name("mask.nii.gz"))
    return nibabel.load(path.with_name("mask.nii.gz")), nibabel.load(path)


def two_forms(header):
    header["xyzt_units"] = 3 | 8
    header.set_qform(np.diag([2.0, 2, 2, 1]), 1)
    header.set_sform(AFFINE, 4)


CHANGES = {
    "metre": lambda header: header.set_xyzt_units("meter", "sec"),
    "micron": lambda header: header.set_xyzt_units("micron"),
    "no unit": lambda header: header.set_xyzt_units(0),
    "qform and another sform": two_forms,
    "qform alone": lambda header: (header.set_sform(None, 0), header.set_qform(np.diag([-1.0, 2, 3, 1]), 1)),
    "neither": lambda header: (header.set_sform(None, 0), header.set_qform(None, 0)),
    "slope": lambda header: header.set_slope_inter(2, -100),
    "names": lambda header: (header.__setitem__("descrip", b"Anna Example"), header.__setitem__("intent_code", 1002)),
}


@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_mask_lies_where_its_scan_does_for_every_program(tmp_path, change, kind):
    """Units were always written as mm: ITK, which scales by them, found scan and mask a factor of 1000 apart."""
    save(tmp_path / "scan.nii", CHANGES[change], kind=kind)
    mask, scan = mask_of(tmp_path / "scan.nii")
    for name in KEPT:
        np.testing.assert_array_equal(mask.header[name], scan.header[name], name)
    assert type(mask) is type(scan)
    assert sorted(np.unique(mask.dataobj).tolist()) == [0, 1]
    assert mask.get_data_dtype() == np.uint8
    assert bytes(mask.header["descrip"]).strip(b"\0") == b""
    assert mask.header["intent_code"] == 0


@pytest.mark.parametrize("change", CHANGES)
def test_simpleitk_finds_scan_and_mask_at_one_place(tmp_path, change):
    itk = pytest.importorskip("SimpleITK", reason="the extra `dev` is not installed")
    save(tmp_path / "scan.nii", CHANGES[change])
    mask_of(tmp_path / "scan.nii")
    scan, mask = (itk.ReadImage(str(tmp_path / name)) for name in ("scan.nii", "mask.nii.gz"))
    for fact in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, fact)() == getattr(scan, fact)(), fact


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 4, 1), (5, 6, 1, 1, 1), (5, 6, 1)])
def test_a_mask_has_its_scans_shape(tmp_path, shape):
    save(tmp_path / "scan.nii", values=np.arange(np.prod(shape), dtype=np.int16).reshape(shape))
    assert mask_of(tmp_path / "scan.nii")[0].shape == shape


def test_a_file_without_direction_is_reported(tmp_path):
    save(tmp_path / "scan.nii", CHANGES["neither"])
    with pytest.warns(PictureWarning, match=r"scan\.nii: neither qform nor sform says how it lies"):
        read_volume(tmp_path / "scan.nii")


RGB = np.zeros((5, 6, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RGB, "RGB colours, expected one number a voxel"),
        (np.zeros((5, 6, 4), np.complex64), "complex numbers, expected one number a voxel"),
        (np.zeros((5, 6, 4, 3), np.int16), r"got 4 dimensions \(5, 6, 4, 3\), expected 3"),
        (np.zeros(5, np.int16), r"got 1 dimensions \(5,\), expected 3"),
    ],
)
def test_what_is_no_volume_of_greys_is_refused(tmp_path, values, message):
    save(tmp_path / "scan.nii", values=values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=rf"scan\.nii: {message}"):
            read_volume(tmp_path / "scan.nii")


BROKEN = {
    "an affine of no number": ("srow_x", np.nan),
    "a quaternion past 1": ("quatern_b", 5),
    "negative dimension": ("dim", [3, -5, 6, 4, 1, 1, 1, 1]),
    "more than memory": ("dim", [3, 32767, 32767, 32767, 1, 1, 1, 1]),
    "more than the file holds": ("dim", [3, 5, 600, 400, 1, 1, 1, 1]),
    "nine dimensions": ("dim", [9, 5, 6, 4, 1, 1, 1, 1]),
    "an unknown unit": ("xyzt_units", 7),
    "an unknown type": ("datatype", 77),
    "one bit a voxel": ("datatype", 1),
    "data before the beginning": ("vox_offset", -5),
    "data past the end": ("vox_offset", 1e30),
    "another magic": ("magic", b"abc"),
}


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_header_ends_in_one_line(tmp_path, name, broken):
    field, value = BROKEN[broken]

    def change(header):
        header[field] = value
        if field == "quatern_b":
            header["qform_code"], header["sform_code"] = 1, 0

    save(tmp_path / name, change)
    with pytest.raises(InputError, match=rf"{name}: ") as refusal:
        read_volume(tmp_path / name)
    assert "\n" not in str(refusal.value)


def test_random_headers_end_in_one_line(tmp_path):
    save(tmp_path / "scan.nii")
    whole = (tmp_path / "scan.nii").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        broken = bytearray(whole)
        for at in rng.integers(0, 348, 4):
            broken[at] = rng.integers(0, 256)
        (tmp_path / "b.nii").write_bytes(broken)
        message = ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                mask_of(tmp_path / "b.nii")
            except InputError as error:
                message = str(error)
        assert "\n" not in message
