"""Fill docs/commands/*.md with tables of the commands' options, made from the code; a test compares.

python tools/command_docs.py        rewrites what stands between <!-- options: COMMAND --> and <!-- end -->
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse
from typing_extensions import Doc

from segue.cli import COMMANDS

PAGES = Path(__file__).parents[1] / "docs" / "commands"
BLOCK = re.compile(r"(<!-- options: ([\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def command(words: str) -> Callable[..., Any]:
    """The function of a command such as "data check"."""
    found: Any = COMMANDS
    for word in words.split():
        found = found[word]
        found = resolve_name(found) if isinstance(found, str) else found
    return found


def options_of(function: Callable[..., Any]) -> Iterator[tuple[str, Any, Any, str]]:
    """(name, type, default, description) of each option; dataclasses among the arguments are opened."""
    texts = {p.arg_name: p.description or "" for p in parse(function.__doc__ or "").params}
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if is_dataclass(hints[name]):
            yield from _fields(hints[name], parameter.default)
            continue
        positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
        short = "-o, " if "aliases=('-o',)" in str(hints[name]) or "'-o'" in str(hints[name]) else ""
        shown = f"`{name.upper()}`" if positional else f"`{short}--{name.replace('_', '-')}`"
        yield shown, hints[name], parameter.default, texts.get(name, "")


def _fields(kind: Any, usual: Any) -> Iterator[tuple[str, Any, Any, str]]:
    hints = get_type_hints(kind, include_extras=True)
    texts = {p.arg_name: p.description or "" for one in reversed(kind.__mro__) for p in parse(one.__doc__ or "").params}
    for field in fields(kind):
        default = field.default if usual is inspect.Parameter.empty else getattr(usual, field.name)
        documented = [part.documentation for part in get_args(hints[field.name]) if isinstance(part, Doc)]
        text = documented[0] if documented else texts.get(field.name, "")
        yield f"`--{field.name.replace('_', '-')}`", hints[field.name], default, text


def table(function: Callable[..., Any]) -> str:
    """The options as a table in markdown."""
    lines = ["| option | values | default | meaning |", "|---|---|---|---|"]
    for name, hint, default, text in options_of(function):
        text = " ".join(text.split()).replace("|", "\\|")
        lines.append(f"| {name} | {_values(hint)} | {_default(default)} | {text} |")
    return "\n".join(lines) + "\n"


def _values(hint: Any) -> str:
    kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    bounds = [text for mark in marks if (text := _bound(mark))]
    kinds = [
        one for one in (get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)) if one is not NoneType
    ]
    return ", ".join(map(_kind, kinds)) + (f", {', '.join(bounds)}" if bounds else "")


def _kind(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        return _values(kind)
    if get_origin(kind) is Literal:
        return " \\| ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        inner = [one for one in get_args(kind) if one is not Ellipsis]
        return f"several: {_kind(inner[0])}" if len(set(inner)) == 1 else ", ".join(map(_kind, inner))
    return {int: "whole number", float: "number", str: "text", bool: "flag", Path: "path"}.get(kind, str(kind))


def _bound(mark: Any) -> str:
    signs = {"ge": ">= {}", "gt": "> {}", "le": "<= {}", "lt": "< {}"}
    found = [(name, getattr(mark, name, None)) for name in signs] if "annotated_types" in type(mark).__module__ else []
    return ", ".join(signs[name].format(value) for name, value in found if value is not None)


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty or value is MISSING:
        return "required"
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{' '.join(map(str, value)) if isinstance(value, tuple) else value}`"


def filled(text: str) -> str:
    """A page with its blocks filled."""
    return BLOCK.sub(lambda found: found[1] + "\n" + table(command(found[2])) + "\n" + found[3], text)


def main() -> None:
    """Rewrite the pages that differ; exit status 1 when there were any."""
    changed = [page for page in sorted(PAGES.glob("*.md")) if filled(page.read_text()) != page.read_text()]
    for page in changed:
        page.write_text(filled(page.read_text()))
        print(page.name)
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
