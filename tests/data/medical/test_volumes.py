"""Volumes: what is seen is upright, and what is written lies where it was read from."""

import itertools

import numpy as np
import pytest

from segue.data.images import read_image
from segue.data.medical.volumes import read_volume, write_like
from segue.types import InputError

nibabel = pytest.importorskip("nibabel", reason="the extra `medical` is not installed")
pydicom = pytest.importorskip("pydicom", reason="the extra `medical` is not installed")

SPACING = (0.7, 0.9, 5.0)


def nifti(path, codes=("R", "A", "S"), shape=(6, 8, 4)):
    """A body whose value tells the direction: brighter to the patient's left, more so to the back, most to the head."""
    ras = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1).astype(np.float32)
    values = -ras[..., 0] * 1 - ras[..., 1] * 10 + ras[..., 2] * 100
    picture = nibabel.Nifti1Image(values, np.diag([*SPACING, 1.0]))
    wanted = nibabel.orientations.axcodes2ornt(codes)
    turned = picture.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(picture.affine), wanted))
    nibabel.save(turned, path)
    return turned


ORIENTATIONS = [("R", "A", "S"), ("L", "P", "S"), ("P", "I", "R"), ("S", "L", "A")]


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_slices_look_the_same_however_the_file_is_laid_out(tmp_path, codes):
    nifti(tmp_path / "a.nii.gz", codes)
    slices = read_volume(tmp_path / "a.nii.gz").slices[..., 0].astype(int)
    assert slices.shape == (4, 8, 6)
    assert (np.diff(slices.mean((1, 2))) > 0).all()  # from feet to head
    assert (np.diff(slices.sum((0, 2))) > 0).all()  # down the picture is to the back
    assert (np.diff(slices.sum((0, 1))) > 0).all()  # to the picture's right is the patient's left


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_mask_goes_back_onto_the_native_grid_voxel_for_voxel(tmp_path, codes):
    original = nifti(tmp_path / "a.nii.gz", codes)
    volume = read_volume(tmp_path / "a.nii.gz")
    chosen = np.asarray(original.dataobj) > 150
    seen = volume.slices[..., 0] > np.percentile(volume.slices[..., 0], 100 * (1 - chosen.mean()))
    write_like(volume, seen, tmp_path / "mask.nii.gz")
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    assert mask.shape == original.shape
    np.testing.assert_allclose(mask.affine, original.affine)
    assert nibabel.aff2axcodes(mask.affine) == codes
    np.testing.assert_allclose(mask.header.get_zooms(), original.header.get_zooms(), rtol=1e-6)
    assert (np.asarray(mask.dataobj) > 0).sum() == seen.sum()
    assert ((np.asarray(mask.dataobj) > 0) == chosen).mean() > 0.97  # the rest is rounding to 8 bits


def test_one_voxel_comes_back_where_it_was(tmp_path):
    nifti(tmp_path / "a.nii.gz", ("L", "P", "S"))
    volume = read_volume(tmp_path / "a.nii.gz")
    seen = np.zeros(volume.slices.shape[:3], bool)
    seen[3, 0, 5] = True  # topmost slice, foremost row, leftmost of the patient
    write_like(volume, seen, tmp_path / "m.nii.gz")
    mask = nibabel.load(tmp_path / "m.nii.gz")
    (voxel,) = np.argwhere(np.asarray(mask.dataobj))
    x, y, z = nibabel.affines.apply_affine(mask.affine, voxel)
    assert (x, y, z) == pytest.approx((0.0, 7 * SPACING[1], 3 * SPACING[2]), abs=1e-5)


EVERY_ORIENTATION = [codes for axes in itertools.permutations(("LR", "PA", "IS")) for codes in itertools.product(*axes)]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_every_mask_comes_back_exactly_from_every_orientation_even_oblique(tmp_path, plane):
    rng = np.random.default_rng(0)
    tilt = np.deg2rad(11)
    oblique = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    for codes in EVERY_ORIENTATION:
        affine = nifti(tmp_path / "a.nii", codes, shape=(3, 4, 2)).affine
        affine[:3] = oblique @ affine[:3]
        inside = rng.random(nibabel.load(tmp_path / "a.nii").shape) > 0.5
        nibabel.save(nibabel.Nifti1Image(inside.astype(np.uint8), affine), tmp_path / "truth.nii")
        volume = read_volume(tmp_path / "truth.nii", window=(0.5, 1), plane=plane)
        write_like(volume, volume.slices[..., 0] > 127, tmp_path / "back.nii.gz")
        back = nibabel.load(tmp_path / "back.nii.gz")
        assert (np.asarray(back.dataobj) == inside).all()
        np.testing.assert_allclose(back.affine, affine, atol=1e-5)
        np.testing.assert_allclose(back.header.get_zooms(), nibabel.affines.voxel_sizes(affine), rtol=1e-5)


def test_coronal_and_sagittal_slices_have_the_head_at_the_top(tmp_path):
    nifti(tmp_path / "a.nii.gz", ("P", "I", "R"))
    for plane, shape in (("coronal", (8, 4, 6)), ("sagittal", (6, 4, 8))):
        slices = read_volume(tmp_path / "a.nii.gz", plane=plane).slices[..., 0].astype(int)
        assert slices.shape == shape
        assert (np.diff(slices.sum((0, 2))) < 0).all()  # brightest at the head


def test_numbers_that_are_none_do_not_darken_the_rest(tmp_path):
    values = np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)
    values[0, 0, :3] = np.nan, np.inf, -np.inf
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    seen = read_volume(tmp_path / "a.nii").slices
    assert len(np.unique(seen)) > 50
    nibabel.save(nibabel.Nifti1Image(values * np.nan, np.eye(4)), tmp_path / "b.nii")
    with pytest.raises(InputError, match=r"b\.nii: every value is infinite or no number"):
        read_volume(tmp_path / "b.nii")


def dicom(path, plane, position=(0.0, 0.0, 0.0), **tags):
    from pydicom.dataset import FileMetaDataset

    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data.SeriesInstanceUID = "1.2.3"
    data.Rows, data.Columns = plane.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = plane.shape[2] if plane.ndim == 3 else 1, "MONOCHROME2"
    data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 16
    data.PixelRepresentation = 0
    data.PixelSpacing, data.SliceThickness = [0.8, 0.5], 3
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], list(position)
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = plane.astype(np.uint8 if data.BitsAllocated == 8 else np.uint16).tobytes()
    data.HighBit = data.BitsStored - 1
    if "NumberOfFrames" in tags:
        data.SamplesPerPixel = 1
    data.save_as(path, enforce_file_format=True)


def test_a_dicom_series_is_sorted_by_position_and_keeps_its_geometry(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    for i, z in enumerate((6.0, 0.0, 3.0)):  # not in the order of the names
        dicom(folder / f"{i}.dcm", np.full((4, 5), 100 + 10 * z) + np.arange(5), (10.0, 20.0, z))
    volume = read_volume(folder)
    assert volume.slices.shape == (3, 4, 5, 3)
    assert (np.diff(volume.slices[..., 0].mean((1, 2))) > 0).all()
    mask = np.zeros((3, 4, 5), bool)
    mask[2, 1, 3] = True
    write_like(volume, mask, tmp_path / "m.nii.gz")
    written = nibabel.load(tmp_path / "m.nii.gz")
    (voxel,) = np.argwhere(np.asarray(written.dataobj))
    lps = (10 + 3 * 0.5, 20 + 1 * 0.8, 6.0)
    assert tuple(nibabel.affines.apply_affine(written.affine, voxel)) == pytest.approx((-lps[0], -lps[1], lps[2]))


def test_window_slope_and_inverted_greys_of_dicom(tmp_path):
    plane = np.array([[0, 1000], [1040, 3000]])
    dicom(tmp_path / "a.dcm", plane, RescaleIntercept=-1000, RescaleSlope=1, WindowCenter=40, WindowWidth=80)
    seen = read_volume(tmp_path / "a.dcm").slices[0, ..., 0]
    assert seen.tolist() == [[0, 0], [129, 255]]  # PS3.3 C.11.2.1.2.1: (40 - 39.5) / 79 + 0.5 of 255
    assert read_volume(tmp_path / "a.dcm", window=(0, 100)).slices[0, ..., 0].tolist() == [
        [0, 128],
        [230, 255],
    ]
    inverted = {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 1000, "WindowWidth": 80}
    dicom(tmp_path / "b.dcm", plane, **inverted)
    assert read_volume(tmp_path / "b.dcm").slices[0, ..., 0].tolist() == [[255, 126], [0, 0]]
    assert read_volume(tmp_path / "b.dcm", window=(500, 1000)).slices[0, ..., 0].tolist() == [[255, 0], [0, 0]]


@pytest.mark.parametrize("half", [{"WindowCenter": 40}, {"WindowWidth": 80}])
def test_half_a_window_is_no_window(tmp_path, half):
    plane = np.array([[0, 1000], [1040, 2000]])
    dicom(tmp_path / "a.dcm", plane, **half)
    dicom(tmp_path / "b.dcm", plane)
    a, b = (read_volume(tmp_path / name).slices for name in ("a.dcm", "b.dcm"))
    assert (a == b).all()
    assert len(np.unique(a)) > 2


def test_a_radiograph_without_geometry_is_one_upright_picture(tmp_path):
    plane = np.arange(20).reshape(4, 5) * 100
    dicom(tmp_path / "a.dcm", plane, ImageOrientationPatient=None, ImagePositionPatient=None)
    volume = read_volume(tmp_path / "a.dcm")
    assert volume.slices.shape == (1, 4, 5, 3)
    assert (np.diff(volume.slices[0, :, 0, 0].astype(int)) > 0).all()
    assert (np.diff(volume.slices[0, 0, :, 0].astype(int)) > 0).all()


@pytest.mark.parametrize(
    ("heights", "message"),
    [
        ((0, 3, 9, 12), r"slices lie 3\.00 to 6\.00 mm apart.*may be missing"),
        ((0, 3, 3), "two slices lie at one position"),
    ],
)
def test_a_series_that_no_grid_holds_is_refused(tmp_path, heights, message):
    for i, z in enumerate(heights):
        dicom(tmp_path / f"{i}.dcm", np.ones((4, 5)), (0.0, 0.0, float(z)))
    (tmp_path / ".DS_Store").write_bytes(b"left by another system")
    with pytest.raises(InputError, match=message):
        read_volume(tmp_path)


def test_a_single_slice_is_a_picture_and_a_volume_is_not(tmp_path):
    dicom(tmp_path / "a.dcm", np.arange(20).reshape(4, 5))
    assert read_image(tmp_path / "a.dcm").shape == (4, 5, 3)
    nifti(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"a\.nii\.gz: a volume of 4 slices, expected one picture"):
        read_image(tmp_path / "a.nii.gz")


def test_bad_volumes_are_reported(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"nonsense")
    (tmp_path / "a.dcm").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"a\.nii\.gz: can't be read as NIfTI"):
        read_volume(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"a\.dcm: can't be read as DICOM"):
        read_volume(tmp_path / "a.dcm")
    with pytest.raises(InputError, match="no such file"):
        read_volume(tmp_path / "b.nii")
    nifti(tmp_path / "c.nii")
    volume = read_volume(tmp_path / "c.nii")
    with pytest.raises(InputError, match=r"got shape \(1, 2, 3\), expected \(4, 8, 6\)"):
        write_like(volume, np.zeros((1, 2, 3), bool), tmp_path / "m.nii")
    with pytest.raises(InputError, match=r"let the name end in \.nii\.gz"):
        write_like(volume, np.zeros((4, 8, 6), bool), tmp_path / "m.png")
