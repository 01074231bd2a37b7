"""What CI installs is what pyproject.toml allows: all packages at one version, and the oldest."""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as plain
from packaging.version import Version

ROOT = Path(__file__).parents[2]
TOOLS = {"dev", "docs", "ray"}  # extras whose packages need not work at their oldest version


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(file):
    lines = (line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#"))
    return {plain(name): Version(version) for name, version in (line.split("==") for line in lines)}


def requirements(project, without=frozenset()):
    extras = (lines for extra, lines in project["optional-dependencies"].items() if extra not in without)
    every = [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]
    return [one for one in every if one.name != "segue"]


def test_the_lock_has_every_package_within_its_range(project):
    locked = pins("constraints.txt")
    wanted = requirements(project)
    assert [str(one) for one in wanted if locked.get(plain(one.name), Version("0")) not in one.specifier] == []


def test_the_lock_names_what_packages_need_in_turn(project):
    locked = pins("constraints.txt")
    assert {"huggingface-hub", "fsspec", "filelock", "starlette", "ml-dtypes"} <= set(locked)
    here = (Requirement(line) for line in distribution("transformers").requires or ())
    assert {plain(one.name) for one in here if one.marker is None} <= set(locked)


def test_the_oldest_versions_are_the_lower_bounds(project):
    def bound(one):
        return next(Version(part.version) for part in one.specifier if part.operator == ">=")

    found = pins("constraints-oldest.txt")
    expected = {plain(one.name): bound(one) for one in requirements(project, TOOLS | {"offline"})}
    assert found.pop("torch") == pins("constraints.txt")["torch"] >= expected.pop("torch")
    del found["typeguard"]  # of tyro, whose oldest version goes with no newer one
    assert found == expected


def test_the_lock_is_made_with_the_torch_that_it_names():
    torch = re.search(r"^TORCH := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert torch is not None
    assert Version(torch[1]) == pins("constraints.txt")["torch"]
    assert all(version.local is None for version in pins("constraints.txt").values())
