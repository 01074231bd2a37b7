"""Which tests the markers of tests/conftest.py choose, and that CI leaves none out."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies

import check_suite

TESTS = Path(__file__).parents[1]
HELPERS = {"need_java", "ray", "draw_plots", "java_lines", "tiny_diffusion", "write_diffusion"}  # and a fixture


@pytest.fixture
def conftest(request):
    return request.config.pluginmanager.get_plugin(str(TESTS / "conftest.py"))


def test_every_cause_of_a_marker_exists(conftest):
    functions = {name.partition("::")[2] for name in check_suite.here(TESTS.parent)}
    causes = set().union(*conftest.LANES.values())
    paths = {cause for cause in causes if "/" in cause}
    assert [path for path in sorted(paths) if not (TESTS / path.removeprefix("tests/")).exists()] == []
    assert sorted(causes - paths - functions - HELPERS) == []
    text = "\n".join(path.read_text() for path in TESTS.rglob("*.py") if path != Path(__file__))
    assert {name for name in HELPERS if f"{name}(" in text} == HELPERS


def test_make_test_fast_leaves_all_of_them_out(conftest):
    recipe = re.search(r"^FAST := (.*)$", (TESTS.parent / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    assert {n.id for n in ast.walk(ast.parse(recipe[1])) if isinstance(n, ast.Name)} == set(conftest.LANES)


@given(strategies.integers())
def asks_java(number):
    need_java()  # noqa: F821


def test_what_is_said_is_so():
    """A name that has a marker."""


@pytest.mark.parametrize(
    ("path", "function", "fixtures", "expected"),
    [
        ("tests/serving/test_page.py", test_make_test_fast_leaves_all_of_them_out, [], ["browser", "server"]),
        ("tests/test_losses.py", asks_java, [], ["slow", "java"]),  # a property test takes long, too
        ("tests/test_losses.py", test_what_is_said_is_so, ["ray"], ["ray", "slow"]),
        ("tests/test_losses.py", test_every_cause_of_a_marker_exists, ["conftest"], []),
    ],
)
def test_a_file_a_folder_a_function_a_fixture_or_a_helper_gives_a_marker(conftest, path, function, fixtures, expected):
    found = []
    item = SimpleNamespace(path=Path(path), function=function, fixturenames=fixtures, add_marker=found.append)
    conftest.pytest_collection_modifyitems([item])
    assert found == expected


@pytest.mark.parametrize("option", [["-k", "test_a"], ["--ignore=x", "-n", "1"]])
def test_ci_leaves_no_test_out(tmp_path, option):
    shutil.copy(TESTS / "conftest.py", tmp_path)
    (tmp_path / "test_two.py").write_text("def test_a(): pass\ndef test_b(): pass\n")

    def run(*args, **environment):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args]
        return subprocess.run(
            command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, check=False
        )

    assert run(*option, SEGUE_CI="").returncode == 0
    left_out = run(*option, SEGUE_CI="1")
    assert left_out.returncode == 4
    assert "an option that leaves tests out, where SEGUE_CI asks for all" in left_out.stderr
    assert run("-n", "1", SEGUE_CI="1").returncode == 0
