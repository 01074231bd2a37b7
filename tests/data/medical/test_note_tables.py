"""Tables of notes: what people's CSVs and workbooks hold is read right, or refused with its row."""

import warnings

import pytest
from openpyxl import Workbook
from openpyxl.worksheet.cell_range import CellRange

from segue.data.medical.note_tables import NameIndex, read_note_table, read_notes
from segue.types import InputError

COMMAS = "Unilateral pulmonary infection, one infected area, upper left lung."


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def book(path, rows, title="Notes", **more):
    """A workbook with a sheet of rows, and further sheets of rows by their titles."""
    made = Workbook()
    made.active.title = title
    for row in rows:
        made.active.append(row)
    for name, others in more.items():
        sheet = made.create_sheet(name)
        for row in others:
            sheet.append(row)
    made.save(path)
    return path


@pytest.mark.parametrize(
    "text",
    [
        f'image,note\nc0.png,"{COMMAS}"\n',
        f'Image,Note\r\nc0.png,"{COMMAS}"\r\n',
        f'image, note\nc0.png, "{COMMAS}"\n',
        f'image,note\nc0.png ,"{COMMAS}"\n,\n,\n\n',
        f'\ufeffimage,note\nc0.png,"{COMMAS}"\n',
        f'NOTE;IMAGE\n"{COMMAS}";c0.png\n',
        f"image;note\nc0.png;{COMMAS}\n",
        f"Image\tDescription\nc0.png\t{COMMAS}\n",
        f'sep=;\n"image";"note"\nc0.png;{COMMAS}\n',
        f',image,note,,\n0,c0.png,"{COMMAS}",,\n',
        f'patient,image,note\n7,c0.png,"{COMMAS}"\n',
        f'image,note\rc0.png,"{COMMAS}"\r',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_csvs_as_people_write_them(tmp_path, text, encoding):
    assert read_notes(write(tmp_path / "n.csv", text, encoding)) == [("c0.png", COMMAS)]


@pytest.mark.parametrize("mark", ["\u2028", "\x0b", "\x0c", "\x85", "\x1c", "\n", "\r\n"])
def test_what_looks_like_a_line_end_stays_in_the_note(tmp_path, mark):
    quote = '"' if "\n" in mark else ""
    path = write(tmp_path / "n.csv", f"image,note\nc0.png,{quote}one area{mark}upper left lung{quote}\nc1.png,\n")
    assert read_notes(path) == [("c0.png", f"one area{mark}upper left lung"), ("c1.png", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"image,note\nc0.png,one area\nc1.png,{COMMAS}\n", "line 3: 4 cells, expected 2 .* double quotes"),
        ("note,image\nsome note\n", "line 2: 1 cells, expected 2"),
        ("image;note\nc0.png;one; two\n", "line 2: 3 cells"),
        ("image,note,,\nc0.png,one, two,\n", "line 2: 3 cells"),
        ('image,note\nc0.png,"one area\nc1.png,two\n', "line 2: not a row of a CSV .*never closed"),
        ('image,note\nc0.png,"one\nc1.png,"two\nc2.png,three\n', "line 2: .*never closed"),
        ('image,note\nc0.png,"one\nc1.png,two\nc2.png,"\n', "line 2: a cell goes on over the row 'c1.png,two'"),
        ('image,note\nc0.png,"one" area\n', "line 2: not a row of a CSV"),
        (f"image,note\nc0.png,one\nc1.png,{'left ' * 30_000}\n", "line 3: not a row of a CSV .*field limit"),
        ("image,note\n,a note of nothing\n", "line 2: a note without an image"),
        ("picture,note\nc0.png,one\n", "got the columns picture, note, expected Image and Description"),
        ("image,note,Note\nc0.png,one,two\n", "got the columns image, note, Note"),
        ("c0.png,one area\n", "got the columns c0.png, one area"),
        ("image,note\n", "no rows"),
        ("", "got the columns none"),
    ],
)
def test_what_would_be_cut_or_swallowed_is_refused_with_its_row(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"n\.csv.*{message}") as refused:
        read_notes(write(tmp_path / "n.csv", text))
    assert "\n" not in str(refused.value)


def test_other_encodings_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"not UTF-8-SIG .*save it as CSV UTF-8"):
        read_notes(write(tmp_path / "n.csv", "image,note\nc0.png,fläche\n", "latin-1"))
    (tmp_path / "n.csv").write_bytes(b"\xff\xfei\x00m\x00\x00\xd8")
    with pytest.raises(InputError, match="not UTF-16"):
        read_notes(tmp_path / "n.csv")


def test_all_bad_rows_are_reported_at_once_and_the_others_kept(tmp_path):
    text = "image,note\n" + "".join(f"c{i}.png,a,b\n" for i in range(7)) + "d.png,one\n"
    table = read_note_table(write(tmp_path / "n.csv", text))
    assert [row.name for row in table.rows] == ["d.png"]
    assert len(table.problems) == 7
    with pytest.raises(InputError, match=r"line 2: .*line 6: .*; and 2 more; mend the table"):
        read_notes(tmp_path / "n.csv")


def test_a_workbook_is_read_like_a_csv_whatever_its_name(tmp_path):
    rows = [(" Image ", "DESCRIPTION"), ("c0.png", COMMAS), (None, None), (7, "two"), (8.0, 3), ("c1.png",)]
    expected = [("c0.png", COMMAS), ("7", "two"), ("8", "3"), ("c1.png", None)]
    assert read_notes(book(tmp_path / "n.xlsx", rows)) == expected
    assert read_notes(book(tmp_path / "n.csv", rows)) == expected


def test_cells_to_the_right_and_a_name_that_is_missing_are_reported(tmp_path):
    rows = [("Image", "Description"), ("c0.png", "one", "and more"), (None, "of nothing")]
    with pytest.raises(InputError, match=r"row 2: 3 cells, expected 2.*; row 3: a note without an image"):
        read_notes(book(tmp_path / "n.xlsx", rows))


def test_a_formula_counts_by_its_saved_value_and_is_reported_without(tmp_path):
    path = book(tmp_path / "n.xlsx", [("Image", "Description", "Day"), ("c0.png", '="a"&"b"', "=TODAY()")])
    with pytest.raises(InputError, match=r"row 2: a formula without a saved value"):
        read_notes(path)
    book(tmp_path / "n.xlsx", [("Image", "Description", "Day"), ("c0.png", "one", "=TODAY()")])
    assert read_notes(path) == [("c0.png", "one")]
    with pytest.raises(InputError, match=r"row 2: the error #N/A in a cell"):
        read_notes(book(tmp_path / "n.xlsx", [("Image", "Description"), ("c0.png", "#N/A")]))


def test_a_saved_value_of_a_formula_is_read(tmp_path):
    import zipfile

    path = book(tmp_path / "n.xlsx", [("Image", "Description"), ("c0.png", "=1+1")])
    with zipfile.ZipFile(path) as parts:
        held = {name: parts.read(name) for name in parts.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    assert b"<f>1+1</f><v />" in held[sheet] or b"<f>1+1</f><v/>" in held[sheet]
    held[sheet] = held[sheet].replace(b"<v />", b"<v>2</v>").replace(b"<v/>", b"<v>2</v>")
    held[sheet] = held[sheet].replace(b'<dimension ref="A1:B2"', b'<dimension ref="A1"')  # which is not believed
    with zipfile.ZipFile(path, "w") as parts:
        for name, content in held.items():
            parts.writestr(name, content)
    assert read_notes(path) == [("c0.png", "2")]


def test_rows_that_a_merged_cell_hides_are_reported(tmp_path):
    made = Workbook()
    for row in (("Image", "Description"), ("a.png", COMMAS), ("b.png", None), ("c.png", "two areas"), ("d.png", None)):
        made.active.append(row)
    made.active.merge_cells("B2:B3")
    made.active.merge_cells("B5:D5")  # of one row: nobody else's text
    made.save(tmp_path / "notes.xlsx")
    table = read_note_table(tmp_path / "notes.xlsx")
    assert [(row.name, row.note) for row in table.rows] == [("a.png", COMMAS), ("c.png", "two areas"), ("d.png", "")]
    assert table.problems == ["row 3: part of a merged cell; write each row's own text"]
    with pytest.raises(InputError, match="row 3: part of a merged cell"):
        read_notes(tmp_path / "notes.xlsx")


def test_a_file_that_merges_all_there_is_ends_soon(tmp_path):
    made = Workbook()
    for row in (("Image", "Description"), *[("a.png", COMMAS)] * 200):
        made.active.append(row)
    for _ in range(6000):
        made.active.merged_cells.ranges.add(CellRange(f"A1:XFD{1000000 + _}"))
    made.save(tmp_path / "notes.xlsx")
    with pytest.raises(InputError, match="more than 1,000,000 cells are merged"):
        read_notes(tmp_path / "notes.xlsx")


def test_rows_on_other_sheets_are_read_or_reported(tmp_path):
    rows, legend = [("Image", "Description"), ("c0.png", "one")], [("written by", "us")]
    assert read_notes(book(tmp_path / "a.xlsx", [], Second=rows)) == [("c0.png", "one")]
    with pytest.warns(UserWarning, match="only one sheet has notes, unread are: Legend"):
        assert read_notes(book(tmp_path / "b.xlsx", legend, "Legend", Hidden=rows)) == [("c0.png", "one")]
    with pytest.raises(InputError, match=r"2 sheets with notes, Notes, More; put all rows on one"):
        read_notes(book(tmp_path / "c.xlsx", rows, More=[rows[0], ("c1.png", "two")]))
    with pytest.raises(InputError, match="got the columns written by, us"):
        read_notes(book(tmp_path / "d.xlsx", legend))


@pytest.mark.parametrize("content", [b"PK\x03\x04 broken", b"\xd0\xcf\x11\xe0 old"])
def test_files_that_only_look_like_workbooks(tmp_path, content):
    (tmp_path / "n.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"n\.csv: .*save it (again )?as \.xlsx"):
        read_notes(tmp_path / "n.csv")


def test_a_sound_table_warns_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_notes(book(tmp_path / "n.xlsx", [("Image", "Note"), ("c0.png", "one")], Empty=[]))


@pytest.mark.parametrize(
    "name",
    [
        "a.v2.png",
        "a.v2",
        "A.V2.PNG",
        "a.v2.jpg",
        "labelcol\\a.v2.png",
        "C:\\data\\A.v2.tif",
        "x/a.v2.png",
        "a.v2.nii.gz",
    ],
)
def test_names_are_found_whatever_their_case_ending_and_folder(name):
    assert NameIndex([("a.v2.png", 1), ("b.png", 2), ("a.png", 3)]).find(name) == 1


def test_a_name_that_may_be_several_is_refused_and_a_stranger_is_none():
    index = NameIndex([("a.png", "a.png"), ("A.png", "A.png"), ("cafe\u0301.png", "c")])
    assert [index.find(name) for name in ("a.png", "A.png", "b.png", "caf\u00e9.png")] == ["a.png", "A.png", None, "c"]
    with pytest.raises(InputError, match=r"'a\.jpg' may be a\.png or A\.png; write the whole name"):
        index.find("a.jpg")
