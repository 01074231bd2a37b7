import pytest

from data.formats.true_formats import paint, put
from segue.data.formats import detect_format, read_pictures
from segue.types import InputError


def test_pictures_are_found_by_their_number_or_address_and_the_others_told(tmp_path):
    put(tmp_path / "Train_GCC-training.tsv", "a dog\thttp://x/b%20c.jpg?w=1\na cat\thttp://x/z\na cow\thttp://x/q\n")
    put(tmp_path / "Validation_GCC-1.1.0-Validation.tsv", "a hen\thttp://x/000000001.jpg\n")
    paint(tmp_path / "images/b c.jpg")
    paint(tmp_path / "images/00000/000000001.jpg")
    assert detect_format(tmp_path) == ("caption-files", ("train", "val"))
    with pytest.raises(InputError, match=r"1 things .* line 3: images/ has not the picture of http://x/q"):
        read_pictures(tmp_path, "train")
    with pytest.warns(UserWarning, match="line 3"):
        found = read_pictures(tmp_path, "train", on_bad="skip").pictures
    assert [p.captions for p in found] == [("a dog",), ("a cat",)]
    assert found[0].load().shape == (8, 12, 3)
    assert read_pictures(tmp_path, "val").pictures[0].captions == ("a hen",)
