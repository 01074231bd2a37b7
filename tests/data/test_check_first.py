"""The data check before work: errors stop it, warnings are one line, and nothing is checked twice."""

import json
import os
import warnings

import pytest
from PIL import Image

from data.lvit_folder import write_book
from segue.data import check_first as module
from segue.data.check_first import check_first
from segue.data.medical.note_tables import read_notes
from segue.types import InputError

NOTHING = {"errors": {}, "warnings": {}, "decoded": True}


@pytest.fixture
def checks(monkeypatch):
    """The (splits, decode_at_most) of the checks that were done, not taken from the cache."""
    done, check_any = [], module.check_any

    def counted(place, **asked):
        done.append(tuple(asked.values()))
        return check_any(place, **asked)

    monkeypatch.setattr(module, "check_any", counted)
    return done


def test_sound_data_is_checked_once_and_again_only_when_a_file_changes(lvit, checks):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_first(lvit, ("train", "val")) == check_first(lvit, ("train", "val")) == NOTHING
    assert len(checks) == 1
    check_first(lvit, ("test",))
    assert len(checks) == 2
    picture = lvit / "Train_Folder/img/covid_1.png"
    os.utime(picture, ns=(1, 1))
    check_first(lvit, ("train", "val"))
    assert len(checks) == 3


def test_the_report_of_the_command_is_used(lvit, checks, segue):
    assert segue("data", "check", lvit)[0] == 0
    check_first(lvit, ("train",))
    check_first(lvit, ("test",), decode_at_most=0)
    assert checks == []


def test_errors_are_refused_in_one_line_that_counts_and_names_them(lvit):
    for number in (1, 2, 3):
        (lvit / f"Train_Folder/img/covid_{number}.png").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"data check found 3 errors: train covid_1\.png: .*`segue data check .*skip"
    ) as e:
        check_first(lvit, ("train", "val"))
    assert "\n" not in str(e.value)
    assert check_first(lvit, ("test",)) == NOTHING  # of another split
    with pytest.warns(UserWarning, match=r"data check: 3 errors passed over \(unreadable-image 3\); `segue data check"):
        assert check_first(lvit, ("train",), "skip")["errors"] == {"unreadable-image": 3}


def test_many_errors_are_counted(lvit):
    write_book(lvit / "Train_text.xlsx", [(f"other_{i}.png", "x") for i in range(4)])
    with pytest.raises(InputError, match=r"found 8 errors: .*; and 3 more\. `segue data check"):
        check_first(lvit, ("train",))


def test_warnings_go_on_in_one_line(lvit):
    rows = read_notes(lvit / "Train_text.xlsx")
    write_book(lvit / "Train_text.xlsx", [(rows[0][0], None), *rows[1:]])
    with pytest.warns(UserWarning, match=r"data check: 1 warnings \(empty-note 1\); `segue data check") as warned:
        assert check_first(lvit, ("train",)) == {"errors": {}, "warnings": {"empty-note": 1}, "decoded": True}
    assert len(warned) == 1


def test_pictures_of_large_splits_are_not_decoded_and_that_is_reported(lvit):
    (lvit / "Train_Folder/img/covid_1.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="in splits of more than 3 pictures these are not decoded"):
        assert not check_first(lvit, ("train",), decode_at_most=3)["decoded"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_first(lvit, ("train",), decode_at_most=0)  # for work that needs no pixels


def test_a_cache_that_is_broken_or_can_not_be_written_changes_nothing(lvit, monkeypatch, tmp_path, checks):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    check_first(lvit, ("train",))
    (file,) = (tmp_path / "cache").rglob("*.json")
    for broken in ("", "{}", "[1]", json.dumps(json.loads(file.read_text()) | {"report": {"root": "x"}})):
        file.write_text(broken)
        assert check_first(lvit, ("train",)) == NOTHING
    (tmp_path / "cache").rename(tmp_path / "old")
    (tmp_path / "cache").write_text("a file")
    assert check_first(lvit, ("train",)) == NOTHING
    assert len(checks) == 6


def test_links_are_followed_once(lvit, checks, tmp_path):
    (lvit / "Train_Folder/loop").symlink_to(lvit)
    moved = tmp_path / "elsewhere"
    (lvit / "Train_Folder/img").rename(moved)
    (lvit / "Train_Folder/img").symlink_to(moved)
    check_first(lvit, ("train",))
    Image.new("L", (32, 24)).save(moved / "covid_1.png")
    check_first(lvit, ("train",))
    assert len(checks) == 2


def test_a_folder_that_is_not_there(tmp_path):
    """Its reader says what it expected there."""
    assert check_first(tmp_path / "none", ("train",))["errors"] == {}
