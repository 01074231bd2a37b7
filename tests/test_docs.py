"""The Python in README and docs runs, and the commands that they show exist."""

import ast
import functools
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest

from optional import skip
from segue.data.images import read_image, read_mask

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LAUNCHED = re.compile(r"^(torchrun|accelerate launch)\b.* -m (?=segue )")  # one command, in several processes


FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(*languages):
    found = [(page.name, *block) for page in PAGES for block in FENCED.findall(page.read_text())]
    return [(page, code) for page, language, code in found if language in languages]


@pytest.fixture(scope="module")
def served():
    """The address of a server with a token, for what the pages ask of http://127.0.0.1:8000."""
    from segue.api import load
    from segue.serving import create_app
    from serving.browsing import listening

    with listening(create_app({"reclmis-chest": load("reclmis-chest")}, token="correct horse")) as address:
        yield address


def at(address, code):
    return code.replace("http://127.0.0.1:8000", address)


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_blocks_run(page, code, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    if at("", code) != code:
        monkeypatch.setenv("TOKEN", "correct horse")
        code = at(request.getfixturevalue("served"), code)
    exec(compile(code, page, "exec"), {})


def test_the_servers_page_asks_what_is_answered(served, tmp_path, monkeypatch, capsys):
    """Its request in Python, and the same by curl, have one answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", "correct horse")
    (python,) = [code for page, code in blocks("python") if page == "serve.md"]
    (shell,) = [code for page, code in blocks("sh") if page == "serve.md" and "curl" in code]
    exec(compile(at(served, python), "serve.md", "exec"), {})
    mask = read_mask(tmp_path / "mask.png")
    assert capsys.readouterr().out.split()[:2] == ["reclmis-chest", str(mask.sum())]
    assert 0 < mask.mean() < 0.5
    if shutil.which("curl") is None:
        skip("no program `curl` here")
    run = subprocess.run(["sh", "-c", at(served, shell)], capture_output=True, check=True, timeout=60)
    assert json.loads(run.stdout)["area"] == mask.sum()


def test_the_servers_page_lists_the_jobs_with_all_their_fields():
    """It once named endpoints and fields that there were no longer."""
    from segue.serving.jobs import JOBS

    rows = re.findall(r"^\| `POST /(\S+)` \| (.*?) \|", (ROOT / "docs/serve.md").read_text(), re.MULTILINE)
    named = {job: set(re.split(r", | or ", fields)) for job, fields in rows}
    assert named == {job: set(one.body.model_fields) - {"model"} for job, one in JOBS.items()}


def commands():
    """The `segue` lines of the blocks, and of the table that says them beside other repositories' commands."""
    table = "\n".join(re.findall(r"`([^`]+)`", (ROOT / "docs/migrate.md").read_text().split("```")[0]))
    return sorted({*chain.from_iterable(lines_of(code) for _, code in blocks("", "sh")), *lines_of(table)})


def lines_of(code):
    """The `segue` lines of a block, in order."""
    lines = [LAUNCHED.sub("", re.split("#| > ", line)[0].strip()) for line in code.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("segue ")]


def test_getting_started_runs_from_an_own_folder_to_a_mask(segue, tmp_path):
    """As the page shows it, line by line and to the end; its trainings take one step."""
    page = (ROOT / "docs/getting-started.md").read_text()
    (_, folder), (_, shown) = FENCED.findall(page.partition("## Your own pictures with notes")[2])
    exec(compile(folder, "getting-started.md", "exec"), {})
    *lines, last = lines_of(shown)
    for line in lines:
        words = shlex.split(line)[1:]
        status, said, error = segue(*words, *(("--steps", 1) if words[0] == "train" else ()))
        assert status == 0, f"{line}: {error}"
        if words[:2] == ["data", "check"]:
            assert said.endswith("0 errors, 0 warnings\n")
    assert [line.split()[1] for line in lines] == ["data", "data", "train", "train", "eval", "segment"]
    assert last.startswith("segue serve ")  # it never ends; tests/serving/test_run.py starts it
    assert read_image(tmp_path / "mask.png").any()


def test_no_shown_command_is_passed_over():
    """A line that names segue is one that the test below parses."""
    text = "\n".join(code for _, code in blocks("", "sh"))
    lines = [re.split("#| > ", line)[0] for line in text.replace("\\\n", " ").splitlines()]
    named = {LAUNCHED.sub("", line.strip()) for line in lines if re.search(r"(^|[^-\w./\"])segue [a-z-]", line)}
    assert len(named) > 60
    assert named <= set(commands())


def test_what_is_to_be_installed_is_an_extra_of_this_folder():
    """Segue is on no package index: what pip found there under its name would be something else.

    `to_install` tells the name where Segue is installed already, which pip then finds.
    """
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *PAGES]
    text = "\n".join(path.read_text() for path in sources)
    name = "segue"
    assert re.findall(rf"pip install \S?{name}\b.*", text) == [f'pip install "{name}[{{extra}}]"\'']
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [*re.findall(r"pip install \"\.\[([\w,]+)\]", text), *re.findall(r"to_install\('(\w+)'\)", text)]
    assert len(named) > 15
    assert {extra for some in named for extra in some.split(",")} <= set(extras)


def test_the_messages_that_the_page_of_errors_explains_are_those_of_the_code():
    """In each, `(...)` stands for what the code fills in."""
    nodes = [n for path in (ROOT / "src").rglob("*.py") for n in ast.walk(ast.parse(path.read_text()))]
    said = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    shown = re.findall(r"^\| `(.+?)` \|", (ROOT / "docs/faq.md").read_text(), re.MULTILINE)
    assert len(shown) > 10
    parts = [part for text in shown for part in text.split("...")]
    assert [part for part in parts if not any(part in text for text in said)] == []


def test_the_paths_that_contributing_names_are_there():
    named = re.findall(r"`((?:src|tests|docs|results|notebooks)/[\w./-]*)`", (ROOT / "CONTRIBUTING.md").read_text())
    paths = {path for path in named if not re.search(r"NAME|JOB|PREDICTOR", path)}
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []


def rooms():
    return sorted(path.stem for path in (ROOT / "docs/reference").glob("*.md"))


@pytest.mark.parametrize("room", rooms())
def test_the_reference_names_every_module(room):
    """One `:::` line for each module of the room, and no other; a package with an empty __init__ has none."""
    home = ROOT / "src/segue" / room
    files = sorted(home.rglob("*.py")) if home.is_dir() else [home.with_suffix(".py")]
    modules = [file.relative_to(ROOT / "src").with_suffix("") for file in files if file.read_text().strip()]
    names = sorted(".".join(module.parts).removesuffix(".__init__") for module in modules)
    text = (ROOT / f"docs/reference/{room}.md").read_text()
    assert sorted(re.findall(r"^::: (\S+)$", text, re.MULTILINE)) == names


def test_every_room_has_a_reference_and_every_page_a_place():
    parts = {
        path.stem for path in (ROOT / "src/segue").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert set(rooms()) == parts - {"__init__", "__main__"}
    nav = (ROOT / "mkdocs.yml").read_text()
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if f": {page}\n" not in nav] == []


@pytest.mark.parametrize("line", commands())
def test_shown_commands_are_understood(line, monkeypatch, segue):
    """Each parses; what it would run is replaced by nothing, and so are the files of settings that it names."""
    from segue.commands import parsing

    def quiet(function):
        return functools.wraps(function)(lambda *args, **options: None)

    run = parsing.run_command
    monkeypatch.setattr("segue.commands.training.options_in_file", lambda path, kind: [])
    monkeypatch.setattr("segue.commands.training.look", lambda recipe, settings: None)
    monkeypatch.setattr(parsing, "run_command", lambda function, *words: run(quiet(function), *words))
    status, _, error = segue(*shlex.split(line)[1:])
    assert status == 0, error


def test_what_is_made_from_the_code_is_up_to_date():
    """Run `python tools/fill_docs.py` where it isn't."""
    import fill_docs

    assert [page.name for page in fill_docs.pages() if fill_docs.filled(page) != page.read_text(encoding="utf-8")] == []
