"""Each notebook in notebooks/ runs from top to bottom, cell by cell, and is kept without outputs."""

import json
from pathlib import Path

import pytest

BOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
JOBS = {"segment-by-notes", "segment-by-names", "caption", "describe", "layouts"}


def test_every_job_has_a_notebook():
    assert {book.stem for book in BOOKS} == JOBS


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_a_notebook_runs(book, tmp_path, monkeypatch):
    notebook = json.loads(book.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], f"{book.name}: clear the outputs"
            exec(compile("".join(cell["source"]), f"{book.name}, {cell['id']}", "exec"), space)
