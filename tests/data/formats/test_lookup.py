"""Which file a name stands for: paths before base names, and twins are told."""

import unicodedata

import pytest

from data.formats.true_formats import paint
from segue.data.formats.lookup import list_places, locate, short_names, stem_of, tidy


def located(folder, *names, stems=False):
    return locate(list_places(folder, stems=stems), names)


def rel(found, folder):
    return {name: path.relative_to(folder).as_posix() for name, path in found.items()}


def test_two_pictures_of_one_base_name_are_told_apart_by_their_folders(tmp_path):
    for name in ("cam1/1.png", "cam2/1.png", "2.png"):
        paint(tmp_path / name)
    found = located(tmp_path, "cam1/1.png", "cam2\\1.png", "images/2.png", "C:\\data\\cam1\\1.png").found
    assert rel(found, tmp_path) == {
        "cam1/1.png": "cam1/1.png",
        "cam2\\1.png": "cam2/1.png",
        "images/2.png": "2.png",
    }
    found = located(tmp_path, "1.png")
    assert found.found == {}
    assert found.problem("1.png", "missing")[0] == "ambiguous-picture"


def test_another_folders_picture_is_never_taken(tmp_path):
    paint(tmp_path / "cam2/1.png")
    found = located(tmp_path, "cam1/1.png")
    assert found.found == {}
    problem = ("missing-picture", "no such picture; cam2/1.png is called so, in another folder")
    assert found.problem("cam1/1.png", "no such picture") == problem
    assert rel(located(tmp_path, "1.png").found, tmp_path) == {"1.png": "cam2/1.png"}


def test_one_file_is_not_the_picture_of_two_names(tmp_path):
    paint(tmp_path / "1.png")
    found = located(tmp_path, "cam1/1.png", "cam2/1.png")
    assert found.found == {}
    assert "would also be the picture of" in found.doubtful["cam1/1.png"]
    found = located(tmp_path, "1.png", "cam2/1.png")
    assert [*found.found] == ["1.png"]  # its whole path
    assert [*found.doubtful] == ["cam2/1.png"]
    assert [*located(tmp_path, "./1.png", ".\\1.png").found] == ["./1.png", ".\\1.png"]  # one name in two spellings


def test_stems_with_two_endings_are_doubtful(tmp_path):
    paint(tmp_path / "a.png")
    paint(tmp_path / "a.jpg")
    assert located(tmp_path, "a", stems=True).found == {}
    assert len(located(tmp_path, "a.png", "a.jpg").found) == 2


@pytest.mark.parametrize(("disk", "name"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFC", "NFC")])
def test_an_accent_may_be_written_in_two_ways(tmp_path, disk, name):
    paint(tmp_path / unicodedata.normalize(disk, "café.png"))
    assert len(located(tmp_path, unicodedata.normalize(name, "café.png")).found) == 1


def test_two_files_that_differ_in_an_accents_spelling_are_each_their_own(tmp_path):
    names = [unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD")]
    for name in names:
        paint(tmp_path / name)
    if len([*tmp_path.iterdir()]) == 2:  # some file systems keep one only
        found = located(tmp_path, *names).found
        assert [found[name].name for name in names] == names


def test_names_are_tidied():
    assert tidy("C:\\data\\images\\a.png") == "data/images/a.png"
    assert tidy("../../up/./a.png") == "up/a.png"
    assert tidy("a/../b/c.png") == "b/c.png"
    assert (stem_of("x/2.5.a.png"), stem_of(".."), stem_of("x/.b")) == ("x/2.5.a", "", "x/.b")
    assert short_names(["a/1.png", "b/1.png", "b/2.png"]) == {
        "a/1.png": "a/1.png",
        "b/1.png": "b/1.png",
        "b/2.png": "2.png",
    }
