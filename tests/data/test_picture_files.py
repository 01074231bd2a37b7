"""Which files are pictures or volumes, and what is left out of a folder."""

import pytest

from segue.data.picture_files import bare_name, is_dicom, is_volume, list_pictures, pictures_in
from segue.types import InputError


def test_what_is_left_out_of_a_folder_is_counted_and_named(tmp_path):
    """A telephone's HEIC, a scan and a file without ending among PNGs were left out without a word."""
    (tmp_path / "deep").mkdir()
    for name in ("a.png", "notes.txt", "IMG_1.HEIC", "scan.nii.gz", "IM0001", ".DS_Store", "deep/b.jpg", "deep/c.heic"):
        (tmp_path / name).touch()
    message = (
        r"5 of 6 are left out \(1 without ending, 1 \.heic, 1 folders, 1 \.txt, 1 \.gz\), such as IMG_1\.HEIC; convert"
    )
    with pytest.warns(UserWarning, match=message):
        assert pictures_in(tmp_path) == [tmp_path / "a.png"]
    with pytest.warns(UserWarning, match=r"5 of 7 are left out \(2 \.heic, "):
        assert pictures_in(tmp_path, deep=True) == [tmp_path / "a.png", tmp_path / "deep" / "b.jpg"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"no pictures there; .*, but 1 in formats that are not read, such as IMG_1"):
        pictures_in(tmp_path)


def test_hidden_files_are_no_pictures(tmp_path):
    """macOS leaves `._a.png` beside a.png on other file systems: it is no picture, and stopped whoever met it."""
    (tmp_path / "deep").mkdir()
    for name in ("a.png", "._a.png", "deep/b.JPG", "deep/._b.JPG", "deep/c.txt"):
        (tmp_path / name).touch()
    assert pictures_in(tmp_path) == list_pictures(tmp_path) == [tmp_path / "a.png"]
    assert pictures_in(tmp_path, deep=True) == [tmp_path / "a.png", tmp_path / "deep" / "b.JPG"]
    assert list_pictures(tmp_path / "none") == []
    with pytest.raises(InputError, match="no pictures there"):
        pictures_in(tmp_path / "none")


def test_a_file_is_dicom_by_its_ending_or_its_mark(tmp_path):
    assert is_dicom(tmp_path / "NOT-THERE.DCM") is True
    assert is_dicom(tmp_path / "not-there") is False
    for name, data, known in (
        ("marked", bytes(128) + b"DICM", True),
        ("early", bytes(127) + b"DICM", False),
        ("a.png", bytes(128) + b"DICM", False),
        ("a.nii.gz", bytes(128) + b"DICM", False),
    ):
        (tmp_path / name).write_bytes(data)
        assert is_dicom(tmp_path / name) is known, name
    assert is_volume(tmp_path / "a.nii.gz") is True
    assert is_volume(tmp_path / "a.png") is False


def test_names_keep_their_dots(tmp_path):
    names = ("1.2.840.1.dcm", "1.2.840.113619.2.55", "patient.v2.nii.gz", "a.b.NII", "photo.one.PNG", ".dcm", "x")
    stems = ("1.2.840.1", "1.2.840.113619.2.55", "patient.v2", "a.b", "photo.one", ".dcm", "x")
    assert tuple(bare_name(tmp_path / name) for name in names) == stems


def test_links_in_a_circle_are_one_thing_that_is_left_out(tmp_path):
    """Forty times the same files were counted."""
    (tmp_path / "a.png").touch()
    (tmp_path / "again").symlink_to(tmp_path)
    with pytest.warns(UserWarning, match=r"1 of 2 are left out \(1 folders\), such as again"):
        assert pictures_in(tmp_path, deep=True) == [tmp_path / "a.png"]
