import json

import numpy as np
import pytest
from PIL import Image

from data.lvit_folder import LEFT, RIGHT, write_book
from segue.data.medical.check import check, find_contradictions
from segue.data.medical.note_tables import read_notes
from segue.data.medical.notes import parse_note
from segue.types import InputError


def codes(report, level="error"):
    return {(f.code, f.name) for f in report.findings if f.level == level}


def test_a_sound_folder_has_no_findings(lvit):
    report = check(lvit)
    assert report.ok
    assert report.findings == []
    assert report.stats["splits"]["train"]["images"] == 4
    assert report.stats["text"]["distinct"] == 2


def test_everything_that_is_broken_is_named_at_once(lvit):
    train = lvit / "Train_Folder"
    (train / "img/covid_1.png").write_bytes(b"")
    (train / "img/covid_2.png").write_bytes((train / "img/covid_2.png").read_bytes()[:40])
    Image.fromarray(np.full((24, 32), 9, np.uint8)).save(train / "labelcol/mask_covid_3.png")
    Image.new("L", (31, 24)).save(train / "labelcol/mask_covid_4.png")
    (lvit / "Val_Folder/labelcol/mask_covid_5.png").unlink()
    (lvit / "Val_Folder/img/covid_6.png").unlink()
    report = check(lvit)
    assert not report.ok
    assert codes(report) >= {
        ("unreadable-image", "covid_1.png"),
        ("unreadable-image", "covid_2.png"),
        ("bad-mask", "mask_covid_3.png"),
        ("mask-size", "mask_covid_4.png"),
        ("image-without-mask", "covid_5.png"),
        ("mask-without-image", "mask_covid_6.png"),
    }


def test_notes_missing_double_empty_long_or_of_nothing(lvit):
    rows = read_notes(lvit / "Train_text.xlsx")
    long = "left " * 10_000
    write_book(
        lvit / "Train_text.xlsx",
        [rows[0], rows[0], (rows[1][0], ""), (rows[2][0], long), ("mask_covid_99.png", "x")],
    )
    report = check(lvit)
    assert codes(report) == {
        ("note-without-picture", "mask_covid_99.png"),
        ("missing-note", "covid_4.png"),
    }
    assert codes(report, "warning") == {
        ("duplicate-note", "mask_covid_1.png"),  # twice the same
        ("empty-note", "mask_covid_2.png"),
        ("long-note", "mask_covid_3.png"),
    }
    assert report.stats["text"]["truncated"] == 1


def test_a_note_that_says_the_other_side(lvit):
    rows = read_notes(lvit / "Train_text.xlsx")
    write_book(lvit / "Train_text.xlsx", [(rows[0][0], RIGHT), *rows[1:]])
    report = check(lvit)
    assert report.ok  # a contradiction is for people to decide
    assert codes(report, "warning") == {("contradiction", "mask_covid_1.png")}
    assert "covers nothing of that side" in report.findings[0].message


def box(rows, columns):
    mask = np.zeros((40, 40), bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


@pytest.mark.parametrize(
    ("note", "mask", "problem"),
    [
        (LEFT, box((5, 12), (25, 35)), None),
        (LEFT, box((5, 12), (5, 35)), "which the note does not name"),
        (LEFT, box((30, 36), (25, 35)), "says upper left, the mask lies in the lower part"),
        (RIGHT, box((2, 8), (5, 12)), "says lower right, the mask lies in the upper part"),
        (
            "Bilateral pulmonary infection, one infected area, all left lung and all right lung.",
            box((9, 30), (5, 35)),
            "counts 1",
        ),
        (LEFT, np.zeros((40, 40), bool), "covers nothing of that side"),
        (LEFT.replace("one", "two"), box((5, 12), (25, 35)), None),  # two that touch are one in the mask
        (LEFT.replace("one infected area", "four infected areas"), box((5, 12), (25, 35)), "counts 4 infected areas"),
        ("Infection of the left lung and all right lung.", box((9, 30), (5, 35)), None),
        ("Bilateral infection of the lungs.", box((5, 12), (25, 35)), "says bilateral, the mask covers the left side"),
        ("Unilateral infection of the lungs.", box((5, 12), (25, 35)), None),
    ],
)
def test_contradictions_are_reported_only_when_clear(note, mask, problem):
    contradictions = list(find_contradictions(parse_note(note), mask))
    assert (contradictions == []) if problem is None else any(problem in t for t in contradictions)


def test_one_patient_or_one_picture_on_both_sides_of_a_split(lvit):
    for split, name in (("Train", "scan-day1"), ("Val", "scan-day9")):
        folder = lvit / f"{split}_Folder"
        (folder / "labelcol" / f"mask_{name}.png").write_bytes((folder / "labelcol").iterdir().__next__().read_bytes())
        (folder / "img" / f"{name}.png").write_bytes((lvit / "Test_Folder/img/covid_7.png").read_bytes())
        rows = read_notes(lvit / f"{split}_text.xlsx")
        write_book(lvit / f"{split}_text.xlsx", [*rows, (f"mask_{name}.png", LEFT)])
    report = check(lvit)
    assert ("patient-in-two-splits", "scan") in codes(report)
    assert ("same-picture", "scan-day9.png") in codes(report)


def test_depth_and_transparency_are_reported(lvit):
    folder = lvit / "Train_Folder/img"
    Image.fromarray(np.arange(768, dtype=np.uint16).reshape(24, 32) * 80).save(folder / "covid_1.png")
    rgba = np.full((24, 32, 4), 90, np.uint8)
    Image.fromarray(rgba).save(folder / "covid_2.png")
    report = check(lvit)
    assert codes(report, "warning") == {("16-bit", "covid_1.png"), ("transparent", "covid_2.png")}
    assert "the middle 99% of its values are spread over 8 bits" in str(report)


def test_an_orientation_beside_a_mask_is_reported(lvit):
    """A picture that is stored upside down is read upright; its mask, drawn on the stored one, then lies elsewhere."""
    path = lvit / "Train_Folder/img/covid_1.png"
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(24, 32)).save(path, exif=exif)
    report = check(lvit)
    assert codes(report, "warning") == {("turned", "covid_1.png")}
    assert "its EXIF orientation is 3" in str(report)


def test_a_missing_workbook_is_an_error_of_its_split_and_the_others_are_checked(lvit):
    (lvit / "Val_text.xlsx").unlink()
    report = check(lvit)
    assert codes(report) == {("workbook", "Val_text.xlsx")}
    assert report.stats["splits"]["val"]["images"] == 2
    (lvit / "Val_Folder/img/covid_5.png").write_bytes(b"")
    assert ("unreadable-image", "covid_5.png") in codes(check(lvit))


def test_one_workbook_for_two_splits_has_no_rows_of_neither(lvit):
    rows = read_notes(lvit / "Train_text.xlsx") + read_notes(lvit / "Val_text.xlsx")
    for split in ("Train", "Val"):
        (lvit / f"{split}_text.xlsx").unlink()
    write_book(lvit / "Train_Val_text.xlsx", rows)
    assert check(lvit).findings == []
    write_book(lvit / "Train_Val_text.xlsx", [*rows, ("mask_covid_99.png", LEFT), (None, "a note of nothing")])
    assert codes(check(lvit)) == {
        ("note-without-picture", "mask_covid_99.png"),
        ("note-without-picture", "(no name)"),
    }


def test_two_pictures_of_one_name_are_reported(lvit):
    Image.new("L", (32, 24)).save(lvit / "Train_Folder/img/covid_1.jpg")
    report = check(lvit)
    assert codes(report) == {("layout", "Train_Folder")}
    assert "both covid_1.jpg and covid_1.png" in str(report)


def test_different_notes_of_one_picture_are_shown(lvit):
    rows = read_notes(lvit / "Train_text.xlsx")
    write_book(lvit / "Train_text.xlsx", [*rows, (rows[0][0], RIGHT)])
    (finding,) = check(lvit).findings
    assert finding.message == f"row 2, row 6: 2 rows, 2 different notes; the first is used: {LEFT!r}; {RIGHT!r}"


def test_a_note_at_odds_with_itself(lvit):
    rows = read_notes(lvit / "Train_text.xlsx")
    write_book(lvit / "Train_text.xlsx", [(rows[0][0], LEFT.replace("Unilateral", "Bilateral")), *rows[1:]])
    (finding,) = check(lvit).findings
    assert (finding.level, finding.code) == ("warning", "note-at-odds")
    assert finding.message.startswith("the note says bilateral and names left: ")


def test_the_fingerprint_of_the_text_counts_by_the_given_tokens(lvit):
    text = check(lvit, tokenize=list, max_tokens=67).stats["text"]
    assert (text["shortest"], text["longest"], text["limit"]) == (len(LEFT), len(RIGHT), 67)
    assert text["truncated"] == 4 * (len(LEFT) > 67) + 4 * (len(RIGHT) > 67)
    assert text["vocabulary"] == len(set((LEFT + " " + RIGHT).lower().replace(",", "").replace(".", "").split()))


def test_the_same_picture_saved_as_another_file_is_found(lvit):
    first = Image.open(lvit / "Train_Folder/img/covid_1.png")
    (lvit / "Test_Folder/img/covid_7.png").unlink()
    first.save(lvit / "Test_Folder/img/covid_7.bmp")
    report = check(lvit)
    assert ("same-picture", "covid_7.bmp") in codes(report)
    assert "pixel for pixel train covid_1.png" in str(report)


def test_a_folder_of_another_layout(tmp_path):
    with pytest.raises(InputError, match="no Train_Folder, Val_Folder or Test_Folder there"):
        check(tmp_path)


def test_the_command_tells_by_its_status_and_as_json(lvit, segue):
    status, output, _ = segue("data", "check", lvit, "--json")
    assert (status, json.loads(output)["ok"]) == (0, True)
    (lvit / "Train_Folder/img/covid_1.png").write_bytes(b"")
    status, output, _ = segue("data", "check", lvit)
    assert status == 1
    assert "error: unreadable-image (1)" in output


def test_pictures_of_a_kind_that_is_not_read_are_named(lvit):
    (lvit / "Train_Folder/img/covid_9.psd").write_bytes(b"x")
    found = [f for f in check(lvit).findings if f.code == "unread-picture"]
    assert [(f.level, f.split, f.name) for f in found] == [("warning", "train", "covid_9.psd")]
