import pytest

from data.formats.true_formats import paint, put
from segue.data.formats import detect_format, read_pictures
from segue.types import InputError


def test_pictures_are_found_by_their_addresses_and_the_others_reported(tmp_path):
    put(tmp_path / "Train_GCC-training.tsv", "a dog\thttp://x/b%20c.jpg?w=1\na cat\thttp://x/z\na cow\thttp://x/q\n")
    put(tmp_path / "Validation_GCC-1.1.0-Validation.tsv", "a hen\thttp://x/000000001.jpg\n")
    paint(tmp_path / "images/b c.jpg")
    paint(tmp_path / "images/00000/000000001.jpg")
    assert detect_format(tmp_path) == ("caption-files", ("train", "val"))
    with pytest.raises(
        InputError, match=r"2 things .* line 2: images/ has not .* line 3: images/ has not the picture of http://x/q"
    ):
        read_pictures(tmp_path, "train")
    with pytest.warns(UserWarning, match="line 3"):
        found = read_pictures(tmp_path, "train", on_bad="skip").pictures
    assert [p.captions for p in found] == [("a dog",)]  # a picture that has a line's number is not its picture here
    assert found[0].load().shape == (8, 12, 3)
    assert read_pictures(tmp_path, "val").pictures[0].captions == ("a hen",)


def reds(root, on_bad="stop"):
    return [(p.captions[0], p.load()[0, 0].tolist()) for p in read_pictures(root, "train", on_bad).pictures]


def test_numbered_pictures_go_by_the_lines_and_not_by_an_address_that_ends_in_a_number(tmp_path):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    lines = ["a red thing\thttp://x/1.png", "a green thing\thttp://x/photo.png", "a blue thing\thttp://y/photo.png"]
    put(tmp_path / "train.tsv", "\n".join(lines))
    for at, colour in enumerate(colours):
        paint(tmp_path / f"images/{at}.png", colour=colour)
    assert reds(tmp_path) == [(line.split("\t")[0], list(c)) for line, c in zip(lines, colours, strict=True)]


def test_a_line_that_is_skipped_does_not_shift_the_others(tmp_path):
    put(tmp_path / "train.tsv", "caption\turl\na red thing\thttp://x/a\n\thttp://x/b\na blue thing\thttp://x/c\n")
    for at, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        paint(tmp_path / f"images/00000000{at}.png", colour=colour)
    with pytest.raises(InputError, match=r"1 things .*line 3: got an empty caption"):
        read_pictures(tmp_path, "train")
    with pytest.warns(UserWarning, match="line 3"):
        assert reds(tmp_path, "skip") == [("a red thing", [255, 0, 0]), ("a blue thing", [0, 0, 255])]


def test_two_addresses_of_one_name_are_reported(tmp_path):
    put(tmp_path / "train.tsv", "a red thing\thttp://a/photo.png\na green thing\thttp://b/photo.png\n")
    paint(tmp_path / "images/photo.png")
    with pytest.raises(InputError, match=r"2 things .*2 addresses end in photo.png, and there is one file"):
        read_pictures(tmp_path, "train")
    put(tmp_path / "train.tsv", "a red thing\thttp://a/photo.png\na thing\thttp://a/photo.png\n")
    assert len(read_pictures(tmp_path, "train").pictures) == 2  # two captions of one picture


def test_numbers_that_are_also_names_are_refused_where_they_differ(tmp_path):
    put(tmp_path / "train.tsv", "a red thing\thttp://a/1.png\na green thing\thttp://a/0.png\n")
    for at in range(2):
        paint(tmp_path / f"images/{at}.png", colour=at)
    with pytest.raises(InputError, match="fit the lines by their numbers and by their names, and not alike"):
        read_pictures(tmp_path, "train")
    put(tmp_path / "train.tsv", "a red thing\thttp://a/0.png\na green thing\thttp://a/1.png\n")
    assert [c for c, _ in reds(tmp_path)] == ["a red thing", "a green thing"]
    put(tmp_path / "val.tsv", "a blue thing\thttp://a/x\n")
    with pytest.raises(InputError, match=r"are numbered, and 2 files have such lines, train\.tsv, val\.tsv"):
        read_pictures(tmp_path, "train")


def test_names_before_captions_and_folders_of_pictures(tmp_path):
    put(tmp_path / "train.tsv", "cam1/1.png\ta red thing\ncam2/1.png\ta green thing\n")
    paint(tmp_path / "images/cam1/1.png", colour=(255, 0, 0))
    paint(tmp_path / "images/cam2/1.png", colour=(0, 255, 0))
    assert reds(tmp_path) == [("a red thing", [255, 0, 0]), ("a green thing", [0, 255, 0])]
