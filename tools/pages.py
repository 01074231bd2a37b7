"""Blocks of pages that tools fill: <!-- NAME --> ... <!-- /NAME -->."""

from pathlib import Path


def fill_block(page: Path, name: str, text: str) -> None:
    """Put the text into a page's block in place of what was there."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    whole = page.read_text(encoding="utf-8")
    before, after = whole.partition(start)[0], whole.partition(end)[2]
    page.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}", encoding="utf-8")
