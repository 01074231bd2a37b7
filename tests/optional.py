"""Packages that Segue works with and doesn't need: their tests skip where they are missing, but in CI they fail."""

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import pytest


def need(package: str) -> ModuleType:
    """The package's module. Skips the test where it isn't installed, but in CI."""
    if find_spec(package.partition(".")[0]) is None and not (os.environ.get("CI") or os.environ.get("SEGUE_CI")):
        pytest.skip(f"needs the package {package}, which the extra `dev` installs")
    return import_module(package)
