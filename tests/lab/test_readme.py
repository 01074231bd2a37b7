from pathlib import Path

import pytest

from segue.lab.report import BLOCK, fill_blocks

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/results.md", "docs/performance.md", "docs/own-weights.md"])
def test_a_page_quotes_only_what_the_report_prints(page):
    text = (ROOT / page).read_text()
    assert BLOCK.search(text), f"{page} quotes no results"
    assert fill_blocks(text, ROOT / "results", ROOT / page) == text, f"run: segue lab report --readme {page}"
