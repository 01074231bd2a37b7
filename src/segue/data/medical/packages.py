"""The packages of the extra `medical`, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from segue.types import InputError, to_install

MISSING = f"medical files need nibabel and pydicom, which are missing: {to_install('medical')}"


def import_package(name: str) -> ModuleType:
    """The module of that name. Raises InputError that says what to install."""
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(MISSING) from error
