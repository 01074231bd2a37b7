import hashlib

import numpy as np
import pytest
from scipy import ndimage

from segue.data.medical.lvit import read_lvit
from segue.data.medical.notes import ZONES, parse_note
from segue.synthetic.chest import draw_chest, make_chest
from segue.types import InputError

PHANTOMS = [draw_chest(seed, 128) for seed in range(40)]


def digest(folder):
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).digest() for p in folder.rglob("*") if p.is_file()}


def test_the_same_bytes_whatever_the_workers(tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        make_chest(tmp_path / name, seed=3, train=60, val=3, test=2, size=32, workers=workers)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    make_chest(tmp_path / "other", seed=4, train=2, val=0, test=0, size=32)
    assert not set(digest(tmp_path / "other").values()) & set(digest(tmp_path / "one").values())


def test_the_layout_is_read_like_real_data(tmp_path):
    make_chest(tmp_path / "d", train=3, val=2, test=1, size=48)
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        records = read_lvit(tmp_path / "d", split)
        assert len(records) == count
        assert all(parse_note(r.note) for r in records)
        assert all(r.load().mask.any() for r in records)


def test_a_split_is_not_moved_by_the_size_of_another(tmp_path):
    make_chest(tmp_path / "a", train=1, val=0, test=2, size=32)
    make_chest(tmp_path / "b", train=3, val=0, test=2, size=32)
    first, second = (read_lvit(tmp_path / n, "test") for n in "ab")
    assert [r.note for r in first] == [r.note for r in second]


def test_notes_and_masks_agree_on_sides():
    for phantom in PHANTOMS:
        said, middle = parse_note(phantom.note), phantom.mask.shape[1] // 2
        assert bool(said.left) == bool(phantom.mask[:, middle + 8 :].any())  # the patient's left: the picture's right
        assert bool(said.right) == bool(phantom.mask[:, : middle - 8].any())


def test_notes_count_the_areas_of_the_mask():
    for phantom in PHANTOMS:
        assert parse_note(phantom.note).count == ndimage.label(phantom.mask)[1]


def test_zones_go_down_the_picture():
    height = {zone: [] for zone in ZONES}
    for phantom in PHANTOMS:
        said = parse_note(phantom.note)
        for named, columns in ((said.left, slice(64, None)), (said.right, slice(None, 64))):
            if len(named) == 1:
                height[next(iter(named))].append(np.nonzero(phantom.mask[:, columns])[0].mean() / 128)
    upper, middle, lower = (height[z] for z in ZONES)
    assert max(upper) < min(middle)
    assert max(middle) < min(lower)


def test_decoys_are_common_lie_apart_and_only_the_note_tells_them():
    with_decoys = [p for p in PHANTOMS if p.decoy_note]
    assert 0.5 < len(with_decoys) / len(PHANTOMS) < 0.9
    for phantom in with_decoys:
        assert not (phantom.mask & phantom.decoy_mask).any()
        here, there = parse_note(phantom.note), parse_note(phantom.decoy_note)
        assert not here.left & there.left
        assert not here.right & there.right
    rise = {"infected": [], "decoy": []}
    for phantom in with_decoys:
        grey = phantom.image[..., 0].astype(float)
        rise["infected"].append(grey[phantom.mask].mean())
        rise["decoy"].append(grey[phantom.decoy_mask].mean())
    assert abs(np.mean(rise["infected"]) - np.mean(rise["decoy"])) < 0.5 * np.std(rise["infected"])


def test_styles_share_anatomy_and_note_and_look_different():
    for seed in range(5):
        a, b = draw_chest(seed, 96), draw_chest(seed, 96, style="b")
        assert a.note == b.note
        assert not (a.image == b.image).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "c"}, "got 'c', expected one of a, b"),
        ({"size": 16}, "got 16, expected at least 32 pixels"),
        ({"train": -1}, "expected none negative and one above zero"),
        ({"train": 0, "val": 0, "test": 0}, "expected none negative and one above zero"),
    ],
)
def test_bad_requests(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        make_chest(tmp_path / "d", **({"train": 1, "val": 0, "test": 0, "size": 32} | options))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already; name a new folder"):
        make_chest(tmp_path, train=1, val=0, test=0, size=32)
    assert (tmp_path / "mine.txt").read_text() == "mine"
