"""The Python in README and docs runs, and the commands that they show exist."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language):
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [(page.name, code) for page in PAGES for code in pattern.findall(page.read_text())]


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_blocks_run(page, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec"), {})


def commands():
    text = "\n".join(code for _, code in blocks("") + blocks("sh"))
    lines = [line.split("#")[0].strip() for line in text.replace("\\\n", " ").splitlines()]
    return sorted({line for line in lines if line.startswith("segue ")})


@pytest.mark.parametrize("line", commands())
def test_shown_commands_are_understood(line, monkeypatch, segue):
    """Each parses; what it would run is replaced by nothing."""
    import segue.cli as cli

    words = shlex.split(line)[1:]
    if words[0] == "train":
        import segue.recipes as recipes

        monkeypatch.setattr(
            recipes,
            "RECIPES",
            {name: (lambda settings: "nowhere", default) for name, (_, default) in recipes.RECIPES.items()},
        )
    else:
        import functools

        def quiet(function):
            return functools.wraps(function)(lambda *args, **options: None)

        monkeypatch.setattr(cli, "COMMANDS", {name: quiet(f) for name, f in cli.COMMANDS.items()})
        for name in ("data_make", "data_check", "data_show", "score_captions", "score_masks", "score_panoptic"):
            monkeypatch.setattr(cli, name, quiet(getattr(cli, name)))
        import segue.recipes as recipes

        monkeypatch.setattr(recipes, "BENCHES", {name: quiet(f) for name, f in recipes.BENCHES.items()})
    status, _, error = segue(*words)
    assert status == 0, error
