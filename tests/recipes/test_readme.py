from pathlib import Path

from segue.recipes.report import BLOCK, fill

ROOT = Path(__file__).parents[2]


def test_readme_quotes_only_what_the_report_prints():
    text = (ROOT / "README.md").read_text()
    assert BLOCK.search(text), "README.md quotes no results"
    assert fill(text, ROOT / "results") == text, "run: segue report --readme README.md"
