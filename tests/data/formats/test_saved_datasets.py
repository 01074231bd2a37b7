"""Folders laid out as `save_to_disk` of datasets 5 writes them, of which pyarrow makes the files here."""

import io
import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from data.formats.true_formats import paint, put
from segue.data.formats import check_pictures, detect_format, read_pictures
from segue.data.formats.saved_datasets import load
from segue.types import InputError, NotInstalled

pyarrow = pytest.importorskip("pyarrow")

CAPTION = {"dtype": "string", "_type": "Value"}
CAPTIONS = {"feature": CAPTION, "_type": "List"}


def png(seed):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 12, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def row(seed, **more):
    return {"image": {"bytes": png(seed), "path": None}} | more


def saved(folder, rows, kind=CAPTION, column="caption", files=1, image="image"):
    """A saved Dataset; its rows are dealt to so many files."""
    info = {"features": {image: {"_type": "Image"}, column: kind}}
    put(folder / "dataset_info.json", info)
    names = [f"data-{i:05d}-of-{files:05d}.arrow" for i in range(files)]
    put(folder / "state.json", {"_data_files": [{"filename": name} for name in names], "_split": None})
    each = -(-len(rows) // files)
    for i, name in enumerate(names):
        table = pyarrow.Table.from_pylist(rows[i * each : (i + 1) * each])
        with pyarrow.ipc.new_stream(str(folder / name), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    return folder


def test_a_saved_dataset_is_a_training_set(tmp_path):
    rows = [row(i, caption=f" caption {i}\n") for i in range(5)]
    saved(tmp_path / "photos", rows, files=2)
    assert detect_format(tmp_path / "photos") == ("datasets", ("train",))
    found = read_pictures(tmp_path / "photos", "train").pictures
    assert [one.name for one in found] == [f"photos/{i}" for i in range(5)]
    assert [one.captions for one in found] == [(f"caption {i}",) for i in range(5)]
    for i in (4, 0, 3):
        np.testing.assert_array_equal(found[i].load(), np.asarray(Image.open(io.BytesIO(png(i)))))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found[2])).load(), found[2].load())


def test_the_splits_of_a_dictionary_are_found_by_their_names(tmp_path):
    put(tmp_path / "dataset_dict.json", {"splits": ["train", "validation", "test"]})
    for i, name in enumerate(("train", "validation", "test")):
        saved(tmp_path / name, [row(i, captions=["a cow", "a hen"])], CAPTIONS, "captions")
    assert detect_format(tmp_path) == ("datasets", ("train", "val", "test"))
    (one,) = read_pictures(tmp_path, "val").pictures
    assert (one.name, one.split, one.captions) == ("validation/0", "val", ("a cow", "a hen"))
    np.testing.assert_array_equal(one.load(), np.asarray(Image.open(io.BytesIO(png(1)))))


def test_pictures_without_captions_or_beside_the_file_are_read_too(tmp_path):
    kept = paint(tmp_path / "set" / "a.png")
    saved(tmp_path / "set", [{"image": {"bytes": None, "path": "a.png"}, "note": "x"}], column="note")
    with pytest.warns(UserWarning, match="set: columns that are not read: note"):
        (one,) = read_pictures(tmp_path / "set", "train").pictures
    assert one.captions == ()
    np.testing.assert_array_equal(one.load(), np.asarray(Image.open(kept)))


def test_bad_rows_are_named(tmp_path):
    rows = [row(0, caption=None), row(1, caption="a cow"), {"image": {"bytes": b"x", "path": None}, "caption": "a hen"}]
    saved(tmp_path / "set", rows)
    with pytest.raises(InputError, match=r"1 things can't be used: .*set/0.*caption"):
        read_pictures(tmp_path / "set", "train")
    with pytest.warns(UserWarning, match="1 things can't be used"):
        found = read_pictures(tmp_path / "set", "train", "skip")
    with pytest.raises(InputError, match=r"1 of 2 pictures can't be read: .*arrow, row 2"):
        check_pictures(found)


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "b/../../a.png"])
def test_no_picture_outside_the_folder_is_read(tmp_path, name):
    paint(tmp_path / "a.png")
    path = saved(tmp_path / "set", [{"image": {"bytes": None, "path": name}, "caption": "x"}])
    with pytest.raises(InputError, match=r"named by a path outside the folder, .*save it with its bytes"):
        load(path / "data-00000-of-00001.arrow", 0, "image")


def test_a_row_without_a_picture_is_named(tmp_path):
    rows = [{"image": {"bytes": None, "path": None}, "caption": "a cow"}, {"image": None, "caption": "a hen"}]
    path = saved(tmp_path / "set", [row(0, caption="x"), *rows]) / "data-00000-of-00001.arrow"
    for number in (1, 2):
        with pytest.raises(InputError, match=f"row {number}: not laid out as expected"):
            load(path, number, "image")


def test_what_is_no_set_of_pictures_is_refused(tmp_path):
    (tmp_path / "half").mkdir()
    put(tmp_path / "half/state.json", {})
    with pytest.raises(InputError, match="half: no data set in a known format there"):
        read_pictures(tmp_path / "half", "train")
    saved(tmp_path / "texts", [{"caption": "a cow"}])
    put(tmp_path / "texts/dataset_info.json", {"features": {"caption": CAPTION}})
    with pytest.raises(InputError, match=r"texts: 0 columns of pictures \(none\), expected one"):
        read_pictures(tmp_path / "texts", "train")
    broken = saved(tmp_path / "broken", [row(0, caption="a cow")]) / "data-00000-of-00001.arrow"
    broken.write_bytes(b"no arrow")
    with pytest.raises(InputError, match=r"can't be read as Arrow"):
        read_pictures(tmp_path / "broken", "train")
    put(tmp_path / "broken/state.json", {})
    with pytest.raises(InputError, match=r"state\.json: not laid out as expected"):
        read_pictures(tmp_path / "broken", "train")


def test_without_pyarrow_its_extra_is_named(tmp_path, monkeypatch):
    saved(tmp_path / "set", [row(0, caption="a cow")])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(NotInstalled, match=r"saved datasets need pyarrow, which is missing: pip install"):
        read_pictures(tmp_path / "set", "train")
