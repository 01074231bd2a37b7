"""Blocks of pages that tools fill."""

from pages import fill_block


def test_a_block_is_filled_anew_and_the_page_around_it_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- cases -->\n\nold\n\n<!-- /cases -->\nafter\n", encoding="utf-8")
    for text in ("first", "second"):
        fill_block(page, "cases", text)
    assert page.read_text(encoding="utf-8") == "before\n<!-- cases -->\n\nsecond\n\n<!-- /cases -->\nafter\n"
