"""The Dockerfile names what is there; no Docker is needed to see that."""

import fnmatch
import functools
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from segue.api import load
from segue.commands import parsing
from segue.serving import create_app

ROOT = Path(__file__).parents[1]
LINES = [
    line.partition(" ")[::2]
    for line in (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]


def said(instruction):
    return [text.strip() for name, text in LINES if name == instruction]


def ignored(path):
    """As Docker reads .dockerignore: the last line that fits the path or a folder above it decides."""
    found, parents = False, [path, *(str(parent) for parent in Path(path).parents)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").replace("**/", "*")
        if any(fnmatch.fnmatch(one, pattern) for one in parents if one != "."):
            found = not line.startswith("!")
    return found


def test_what_is_copied_is_there_and_is_sent_to_docker():
    copied = [path for text in said("COPY") if not text.startswith("--from") for path in text.split()[:-1]]
    assert {"src", "pyproject.toml"} <= set(copied)
    assert [path for path in copied if not (ROOT / path).exists() or ignored(path)] == []
    assert not ignored("src/segue/cli.py")
    assert all(
        map(ignored, ("runs", ".git", ".venv", "tests/test_cli.py", "src/segue/__pycache__", "src/segue.egg-info"))
    )


def test_its_extras_and_its_torch_are_those_of_the_project():
    install = next(text for text in said("RUN") if '".[' in text)
    extras = re.search(r'"\.\[([\w,]+)\]"', install)[1].split(",")
    assert set(extras) <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert "serve" in extras
    (torch,) = re.findall(r"torch==[\d.]+", "\n".join(said("RUN")))
    assert torch in (ROOT / "constraints.txt").read_text().splitlines()


def test_it_runs_as_a_user_and_asks_the_server_whether_it_is_ready(tiny_model):
    names = [name for name, _ in LINES]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("RUN", "COPY", "FROM"))
    (user,), (check,) = said("USER"), said("HEALTHCHECK")
    assert any(f"useradd --create-home --uid 1000 {user}" in text for text in said("RUN"))
    *_, code = json.loads(check.partition("CMD ")[2])
    compile(code, "HEALTHCHECK", "exec")
    port, path = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", code).groups()
    assert said("EXPOSE") == [port] == ["8000"]
    assert path in create_app({"tiny": load(tiny_model)}).openapi()["paths"]


def idle(function):
    return functools.wraps(function)(lambda *args, **options: None)


SHOWN = re.findall(r"^#   docker run .* segue(?: (.*))?$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", SHOWN)
def test_its_commands_are_understood(line, monkeypatch, segue):
    run = parsing.run_command
    monkeypatch.setattr(parsing, "run_command", lambda function, *words: run(idle(function), *words))
    (usual,), (entry,) = said("CMD"), said("ENTRYPOINT")
    assert json.loads(entry) == ["segue"]
    status, _, error = segue(*(shlex.split(line) or json.loads(usual)))
    assert status == 0, error
