"""What the docstrings of the public functions promise."""

import ast
from pathlib import Path

import pytest

from segue import cli

HOME = Path(__file__).parents[1] / "src/segue"
MODULES = sorted(HOME.rglob("*.py"))
OF_THE_CLASS = ("__init__", "__post_init__", "__call__", "forward")  # the class may say it in their place


def commands(table):
    """All "module:function" of a table of commands: their docstrings are their help, and each ends with status 2."""
    for where in table.values():
        found = cli.resolve_name(where) if isinstance(where, str) else where
        yield from commands(found) if isinstance(found, dict) else [where]


def raises(function):
    return any(isinstance(node, ast.Raise) and "InputError(" in ast.unparse(node) for node in ast.walk(function))


def undocumented(module):
    """The public functions that raise InputError and don't say so."""
    for node in module.body:
        members = (
            [(node, "")] if not isinstance(node, ast.ClassDef) else [(m, ast.get_docstring(node)) for m in node.body]
        )
        for one, about in members:
            if isinstance(one, ast.FunctionDef) and raises(one) and not node.name.startswith("_"):
                text = (ast.get_docstring(one) or "") + ((about or "") if one.name in OF_THE_CLASS else "")
                public = not one.name.startswith("_") or one.name in OF_THE_CLASS
                if public and "InputError" not in text and not text.startswith("See `"):
                    yield one.name


COMMANDS = {*commands(cli.COMMANDS)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(HOME).as_posix())
def test_who_refuses_input_says_so(path):
    found = undocumented(ast.parse(path.read_text(encoding="utf-8")))
    module = ".".join(("segue", *path.relative_to(HOME).with_suffix("").parts)).removesuffix(".__init__")
    assert [name for name in found if f"{module}:{name}" not in COMMANDS] == []
