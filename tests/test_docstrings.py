"""What the docstrings of the public functions promise."""

import ast
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1] / "src/segue"
PACKAGES = ("api", "data", "encoders", "evaluation", "metrics", "nn", "synthetic", "training")
MODULES = sorted([path for name in PACKAGES for path in (HOME / name).rglob("*.py")] + [*HOME.glob("*.py")])
OF_THE_CLASS = ("__init__", "__post_init__", "__call__", "forward")  # the class may say it in their place


def raises(function):
    return any(isinstance(node, ast.Raise) and "InputError(" in ast.unparse(node) for node in ast.walk(function))


def silent(module):
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


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(HOME).as_posix())
def test_who_refuses_input_says_so(path):
    assert list(silent(ast.parse(path.read_text(encoding="utf-8")))) == []
