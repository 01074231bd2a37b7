"""`segue segment FOLDER --notes TABLE`: each picture with its own note, and nothing left out in silence."""

import json

import numpy as np
import pytest
from PIL import Image

from data.lvit_folder import write_book

NOTE = "Bilateral pulmonary infection, two infected areas, all left lung and upper right lung."


@pytest.fixture
def folder(tmp_path):
    rng, made = np.random.default_rng(0), tmp_path / "img"
    made.mkdir()
    for i in range(2):
        Image.fromarray(rng.integers(0, 255, (24, 30 + i, 3), dtype=np.uint8)).save(made / f"covid_{i}.png")
    return made


@pytest.fixture
def segment(segue, tiny_model, folder, tmp_path):
    def run(table):
        status, out, error = segue(
            "segment", folder, "--notes", table, "--model", tiny_model, "-o", tmp_path / "out", "--json"
        )
        return status, [json.loads(line) for line in out.splitlines()], error

    return run


def test_the_workbook_of_a_data_set_serves_as_notes(segment, tmp_path):
    rows = [("mask_covid_1.png", NOTE), ("labelcol\\MASK_COVID_0.jpg", "left lung")]
    write_book(tmp_path / "Test_text.xlsx", rows)
    status, answers, error = segment(tmp_path / "Test_text.xlsx")
    assert (status, error) == (0, "")
    assert [(a["image"], a["note"]) for a in answers] == [("covid_1.png", NOTE), ("covid_0.png", "left lung")]


def test_a_note_with_commas_is_refused_before_anything_is_computed(segment, tmp_path):
    (tmp_path / "n.csv").write_text(f"image,note\ncovid_0.png,{NOTE}\n")
    status, answers, error = segment(tmp_path / "n.csv")
    assert (status, answers) == (2, [])
    assert "n.csv: line 2: 4 cells, expected 2" in error
    assert not (tmp_path / "out").exists()


def test_pictures_that_no_row_names_are_reported(segment, tmp_path):
    (tmp_path / "n.csv").write_text(f'image,note\ncovid_0,"{NOTE}"\n')
    status, answers, error = segment(tmp_path / "n.csv")
    assert (status, [a["note"] for a in answers]) == (0, [NOTE])
    assert "warning" in error
    assert "1 pictures have no row in n.csv and are left out, such as covid_1.png" in error


def test_volumes_that_no_row_names_are_reported(segment, tmp_path):
    """Only flat pictures were."""
    (tmp_path / "img/brain.nii.gz").write_bytes(b"")
    (tmp_path / "n.csv").write_text(f'image,note\ncovid_0,"{NOTE}"\ncovid_1,"{NOTE}"\n')
    _, _, error = segment(tmp_path / "n.csv")
    assert "1 pictures have no row in n.csv and are left out, such as brain.nii.gz" in error


def test_rows_without_a_picture_are_refused(segment, tmp_path):
    (tmp_path / "n.csv").write_text("image,note\ncovid_0.png,one\ncovid_7.png,two\n")
    status, answers, error = segment(tmp_path / "n.csv")
    assert (status, answers) == (2, [])
    assert "1 of the 2 pictures that n.csv names are missing, such as covid_7.png" in error


def test_notes_go_with_a_folder(segue, tiny_model, folder, tmp_path):
    (tmp_path / "n.csv").write_text("image,note\ncovid_0.png,one\n")
    status, _, error = segue("segment", folder / "covid_0.png", "--notes", tmp_path / "n.csv", "--model", tiny_model)
    assert status == 2
    assert "--notes goes with a folder of pictures" in error
