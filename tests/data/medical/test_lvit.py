import numpy as np
import pytest
from PIL import Image

from data.lvit_folder import write_book
from segue.data.medical.lvit import patient_of, read_lvit, splits
from segue.data.medical.note_batches import load_examples
from segue.data.medical.note_tables import read_notes
from segue.types import InputError


def test_qata_names_pair_by_the_masks_name(lvit):
    records = read_lvit(lvit, "train")
    assert splits(lvit) == ("train", "val", "test")
    assert [r.name for r in records] == ["covid_1", "covid_2", "covid_3", "covid_4"]
    assert records[0].mask.name == "mask_covid_1.png"
    assert "left" in records[0].note
    example = records[0].load()
    assert example.image.shape == (24, 32, 3)
    assert example.mask.sum() == 48


@pytest.mark.parametrize(
    ("image", "mask", "stem"),
    [
        ("sub-S03044_ses-E1_cr.png", "mask_sub-S03044_ses-E1_cr.png", "sub-S03044_ses-E1_cr"),
        ("Jun_coronacases_003_12.png", "Jun_coronacases_003_12.png", "Jun_coronacases_003_12"),
        ("TCGA-18-5592.tif", "TCGA-18-5592.png", "TCGA-18-5592"),
    ],
)
def test_the_other_sets_names(tmp_path, image, mask, stem):
    for kind, name, mode in (("img", image, "RGB"), ("labelcol", mask, "L")):
        folder = tmp_path / "Test_Folder" / kind
        folder.mkdir(parents=True)
        Image.new(mode, (8, 8)).save(folder / name)
    (tmp_path / "Test_Folder/img/notes.json").write_text("{}")
    write_book(tmp_path / "Test_text.xlsx", [(mask, "a note")])
    (record,) = read_lvit(tmp_path, "test")
    assert (record.name, record.note, record.mask.name) == (stem, "a note", mask)
    assert not record.load().mask.any()


def test_one_workbook_for_training_and_validation(lvit):
    rows = read_notes(lvit / "Train_text.xlsx") + read_notes(lvit / "Val_text.xlsx")
    for split in ("Train", "Val"):
        (lvit / f"{split}_text.xlsx").unlink()
    write_book(lvit / "Train_Val_text.xlsx", rows, heads=(" image ", "DESCRIPTION"))
    assert all(r.note for split in ("train", "val") for r in read_lvit(lvit, split))
    (lvit / "Test_text.xlsx").unlink()
    with pytest.raises(InputError, match=r"no workbook of notes for test; expected Test_text\.xlsx"):
        read_lvit(lvit, "test")


def test_an_unlabelled_image_keeps_its_note(lvit):
    (lvit / "Test_Folder/labelcol/mask_covid_7.png").unlink()
    record = read_lvit(lvit, "test")[0]
    assert record.mask is None
    assert "left" in record.note
    assert record.load().mask is None


def test_what_lies_beside_the_pictures_is_passed_over_and_twins_are_not(lvit):
    folder = lvit / "Train_Folder/img"
    (folder / "._covid_1.png").write_bytes(b"left by another system")
    (folder / "covid_1.json").write_text("{}")
    assert len(read_lvit(lvit, "train")) == 4
    Image.new("L", (32, 24)).save(folder / "covid_1.jpg")
    with pytest.raises(InputError, match=r"both covid_1\.jpg and covid_1\.png, expected one picture of a name"):
        read_lvit(lvit, "train")


def test_a_missing_workbook(lvit):
    (lvit / "Train_text.xlsx").unlink()
    with pytest.raises(
        InputError, match=r"no workbook of notes for train; expected Train_text\.xlsx or Train_Val_text"
    ):
        read_lvit(lvit, "train")


def test_a_wrong_column(lvit):
    write_book(lvit / "Train_text.xlsx", [("mask_covid_1.png", "x")], heads=("Image", "Text"))
    with pytest.raises(InputError, match="got the columns Image, Text, expected Image and Description"):
        read_lvit(lvit, "train")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"<html>"])
def test_a_workbook_that_is_none(lvit, content):
    (lvit / "Train_text.xlsx").write_bytes(content)
    with pytest.raises(InputError, match=r"Train_text\.xlsx: can't be read as a workbook"):
        read_lvit(lvit, "train")


def test_a_mask_of_another_size(lvit):
    Image.new("L", (30, 24)).save(lvit / "Train_Folder/labelcol/mask_covid_1.png")
    with pytest.raises(InputError, match="covid_1: the mask is 30x24 and the image 32x24"):
        read_lvit(lvit, "train")[0].load()


def test_all_bad_files_are_reported_before_anything_is_computed(lvit):
    (lvit / "Train_Folder/img/covid_2.png").write_bytes(b"")
    Image.fromarray(np.full((24, 32), 7, np.uint8)).save(lvit / "Train_Folder/labelcol/mask_covid_3.png")
    with pytest.raises(InputError, match=r"2 of 4 examples can't be used: .*covid_2.*mask_covid_3.*--on-bad skip"):
        load_examples(read_lvit(lvit, "train"))
    with pytest.warns(UserWarning, match="skipped: 2 of 4 examples"):
        kept = load_examples(read_lvit(lvit, "train"), on_bad="skip")
    assert [e.name for e in kept] == ["covid_1", "covid_4"]


def test_pictures_without_a_mask_are_left_out_where_masks_are_needed(lvit):
    (lvit / "Train_Folder/labelcol/mask_covid_2.png").unlink()
    records = read_lvit(lvit, "train")
    assert len(load_examples(records)) == 4
    with pytest.raises(InputError, match=r"1 of 4 examples can't be used: .*covid_2\.png: no mask of that name"):
        load_examples(records, labelled=True)
    with pytest.warns(UserWarning, match="skipped: 1 of 4 examples"):
        assert len(load_examples(records, on_bad="skip", labelled=True)) == 3


def test_a_folder_that_is_not_of_this_layout(tmp_path):
    with pytest.raises(InputError, match=r"no such folder; expected the LViT layout: Train_Folder/img"):
        read_lvit(tmp_path, "train")
    with pytest.raises(InputError, match="got 'training', expected one of train, val, test"):
        read_lvit(tmp_path, "training")


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("sub-S03044_ses-E06_run-1_cr", "sub-S03044"),
        ("Morozov_study_0255_17", "Morozov_study_0255"),
        ("Jun_coronacases_case3_12", "Jun_coronacases_case3"),
        ("TCGA-21-5784-01Z-00-DX1", "TCGA-21-5784"),
        ("pneumococcal-pneumonia-day35", "pneumococcal-pneumonia"),
        ("cavitating-pneumonia-4-day0-PA", "cavitating-pneumonia-4"),
        ("covid_12", "covid_12"),
        ("Jun_radiopaedia_10_85902_1_120", "Jun_radiopaedia_10"),
        ("SARS-10_1148rg_242035193-g04mr34g09a-Fig9a-day17", "SARS-10_1148rg_242035193-g04mr34g09-Fig9"),
        ("SARS-10_1148rg_242035193-g04mr34g0-Fig8c-day10", "SARS-10_1148rg_242035193-g04mr34g0-Fig8"),
        ("lancet-case2b", "lancet-case2"),
        ("nejmc2001573_f1a", "nejmc2001573_f1"),
        ("all14238-fig-0001-m-c", "all14238-fig-0001"),
        ("kjr-21-e24-g003-l-a", "kjr-21-e24-g003"),
        ("ryct_2020200034_fig5-day4", "ryct_2020200034_fig5"),
        ("fe9f9a5d-2830-f46a-851b-1ff4534959be", "fe9f9a5d-2830-f46a-851b-1ff4534959be"),
        ("scan-a", "scan-a"),
    ],
)
def test_the_patient_in_a_name(name, patient):
    assert patient_of(name) == patient


def renamed(lvit, change, split="Train"):
    rows = read_notes(lvit / f"{split}_text.xlsx")
    write_book(lvit / f"{split}_text.xlsx", [(change(name), note) for name, note in rows])


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name.removesuffix(".png"),
        lambda name: name.replace(".png", ".jpg"),
        lambda name: f"labelcol\\{name}",
        str.upper,
        lambda name: name.removeprefix("mask_"),
        lambda name: name.removeprefix("mask_").removesuffix(".png"),
        lambda name: f" {name} ",
    ],
)
def test_names_written_otherwise_find_their_pictures(lvit, change):
    expected = read_lvit(lvit, "train")
    renamed(lvit, change)
    assert read_lvit(lvit, "train") == expected


def test_a_csv_may_stand_for_the_workbook(lvit):
    expected, rows = read_lvit(lvit, "train"), read_notes(lvit / "Train_text.xlsx")
    (lvit / "Train_text.csv").write_text("Image,Description\n" + "".join(f'{n},"{said}"\n' for n, said in rows))
    with pytest.raises(InputError, match=r"Train_text\.xlsx and .*Train_text\.csv differ, expected one"):
        read_lvit(lvit, "train")
    (lvit / "Train_text.xlsx").unlink()
    assert read_lvit(lvit, "train") == expected


def test_a_picture_whose_note_is_not_found_is_no_picture_without_a_note(lvit):
    rows = read_notes(lvit / "Train_text.xlsx")
    write_book(lvit / "Train_text.xlsx", [(rows[0][0], None), *rows[1:3]])
    message = r"1 of 4 pictures have no row in Train_text\.xlsx: covid_4\.png: no row .* names it"
    with pytest.raises(InputError, match=message):
        read_lvit(lvit, "train")
    with pytest.warns(UserWarning, match=f"skipped: .*{message}"):
        records = read_lvit(lvit, "train", "skip")
    assert [(r.name, r.note is None) for r in records] == [("covid_1", True), ("covid_2", False), ("covid_3", False)]
    renamed(lvit, lambda name: f"other_{name}")
    with (
        pytest.raises(InputError, match=r"no picture is left, as Train_text\.xlsx names none of them"),
        pytest.warns(UserWarning, match="4 of 4 pictures"),
    ):
        read_lvit(lvit, "train", "skip")


def test_two_notes_of_a_picture_are_refused_and_the_first_counts_with_skip(lvit):
    rows = read_notes(lvit / "Train_text.xlsx")
    write_book(lvit / "Train_text.xlsx", [*rows, (rows[0][0], "another"), rows[1]])
    message = (
        r"1 rows of Train_text\.xlsx .*mask_covid_1\.png, row 2, row 6: 2 rows, 2 different notes; the first is used"
    )
    with pytest.raises(InputError, match=message):
        read_lvit(lvit, "train")
    with pytest.warns(UserWarning, match=message):
        assert [r.note for r in read_lvit(lvit, "train", "skip")] == [note for _, note in rows]


def test_two_masks_of_a_picture_are_refused(lvit):
    Image.new("L", (32, 24)).save(lvit / "Train_Folder/labelcol/covid_1.png")
    with pytest.raises(InputError, match=r"both covid_1\.png and mask_covid_1\.png, expected one mask of a picture"):
        read_lvit(lvit, "train")


def test_files_of_other_kinds_beside_the_pictures_are_reported(lvit):
    (lvit / "Train_Folder/img/covid_9.dcm").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 files of kinds that are not read there, such as covid_9\.dcm"):
        assert len(read_lvit(lvit, "train")) == 4
