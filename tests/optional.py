"""Packages and programs that Segue works with and doesn't need: where one is missing, its tests skip. They fail in the
lane that must have all of them, which sets SEGUE_CI; other lanes of CI have less, on purpose."""

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import pytest


def skip(missing: str) -> None:
    """Skips the test, which needs what is missing; fails it where SEGUE_CI asks for every test."""
    if os.environ.get("SEGUE_CI"):
        pytest.fail(f"{missing}, and SEGUE_CI asks for every test")
    pytest.skip(missing)


def need(package: str, extra: str = "dev") -> ModuleType:
    """The package's module. Skips the test where it isn't installed."""
    if find_spec(package.partition(".")[0]) is None:
        skip(f"no package {package}, which the extra `{extra}` installs")
    return import_module(package)
