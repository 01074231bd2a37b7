"""The page around a report: what is escaped, what is refused, what is linked."""

import pytest

from segue.pages.page import Card, bar, cards, check_report_folder, facts, legend, link, section, table, write_report
from segue.types import InputError


def test_a_report_is_one_file_that_asks_for_nothing_and_replaces_an_older_one(tmp_path):
    picture = Card(["data:image/png;base64,AA=="], "Dice <1>", 'a "b"')
    page = write_report(tmp_path / "r", "A & B", "lead", [section("one", "First", "why", cards([picture]))])
    text = page.read_text()
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["index.html"]
    assert "<title>A &amp; B</title>" in text
    assert '<a href="#one">First</a>' in text
    assert "Dice &lt;1&gt;" in text
    assert 'alt="Dice &lt;1&gt;: a &quot;b&quot;"' in text
    assert "prefers-color-scheme: dark" in text
    assert not [word for word in ("http:", "https:", "//cdn", "@import", "<link") if word in text]
    assert write_report(tmp_path / "r", "Anew", "", []) == page
    assert "<title>Anew</title>" in page.read_text()


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    check_report_folder(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_report_folder(tmp_path / "empty")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    (tmp_path / "page").mkdir()
    (tmp_path / "page/index.html").write_text("<html>mine</html>")
    for name in ("mine", "page"):
        with pytest.raises(InputError, match=f"{name}: holds files but no report, expected a new folder"):
            write_report(tmp_path / name, "", "", [])
    assert (tmp_path / "page/index.html").read_text() == "<html>mine</html>"
    with pytest.raises(InputError, match=r"thesis.txt: is a file, expected a folder"):
        check_report_folder(tmp_path / "mine/thesis.txt")


def test_facts_open_what_is_nested_and_show_values_for_people():
    html = facts({"a": 1234, "b": {"c": 0.123456, "d": None}, "e": [1, "<x>"], "f": True, "g": {}})
    for cell in ("1,234", "0.1235", "–", "1, &lt;x&gt;", "yes"):
        assert f"<td>{cell}</td>" in html
    assert html.count("<tr>") == 7
    assert html.index(">b<") < html.index(">c<") < html.index(">e<")


def test_tables_set_numbers_right_and_links_lead_from_the_page_to_the_file(tmp_path):
    file = tmp_path / "data" / "a b.png"
    cell = link("a<b", file, tmp_path / "reports" / "one")
    assert cell == '<a href="../../data/a%20b.png">a&lt;b</a>'
    assert link("a<b", None, tmp_path) == "a&lt;b"
    html = table(("name", "score"), [(cell, bar(0.25, "0.25"))], numbers=(1,))
    assert html.count('class="number"') == 2
    assert "--share:25.0%" in html
    assert legend({"x<": (1, 2, 3)}).count("rgb(1, 2, 3)") == 1
