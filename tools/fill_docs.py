"""Fill the parts of the docs that are made from the code; a test compares.

docs/commands/*.md     tables of options, between <!-- options: COMMAND --> and <!-- end -->
docs/reference/*.md    a `::: module` line for each module of the package that the page is named after
docs/cite.md           BibTeX of CITATION.cff, between <!-- bibtex --> and <!-- end -->

python tools/fill_docs.py        rewrites the pages that differ; exit status 1 when there were any
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

import yaml
from docstring_parser import parse
from typing_extensions import Doc

from segue.cli import COMMANDS
from segue.commands.training import training_command
from segue.recipes.settings import TrainSettings

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- options: ([\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL)
CITED = re.compile(r"(<!-- bibtex -->\n).*?(<!-- end -->)", re.DOTALL)


def command(words: str) -> Callable[..., Any]:
    """The function of a command such as "data check"."""
    if words == "train":
        return training_command(shared_settings, "")
    found: Any = COMMANDS
    for word in words.split():
        found = found[word]
        found = resolve_name(found) if isinstance(found, str) else found
    result: Callable[..., Any] = found
    return result


def shared_settings(settings: TrainSettings) -> None:
    """What all recipes of `segue train` share."""


def options_of(function: Callable[..., Any]) -> Iterator[tuple[str, Any, Any, str]]:
    """(name, type, default, description) of each option; dataclasses among the arguments are opened."""
    texts = {p.arg_name: p.description or "" for p in parse(function.__doc__ or "").params}
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if is_dataclass(hints[name]):
            yield from _fields(hints[name], parameter.default)
            continue
        positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
        short = _short(hints[name])
        shown = f"`{name.upper()}`" if positional else f"`{short}--{name.replace('_', '-')}`"
        yield shown, hints[name], parameter.default, texts.get(name, "")


def _fields(kind: Any, usual: Any) -> Iterator[tuple[str, Any, Any, str]]:
    hints = get_type_hints(kind, include_extras=True)
    texts = {p.arg_name: p.description or "" for one in reversed(kind.__mro__) for p in parse(one.__doc__ or "").params}
    for field in fields(kind):
        default = field.default if usual is inspect.Parameter.empty else getattr(usual, field.name)
        documented = [part.documentation for part in get_args(hints[field.name]) if isinstance(part, Doc)]
        text = documented[0] if documented else texts.get(field.name, "")
        yield f"`{_short(hints[field.name])}--{field.name.replace('_', '-')}`", hints[field.name], default, text


def _short(hint: Any) -> str:
    return "-o, " if "'-o'" in str(hint) else ""


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


def filled(page: Path) -> str:
    """The text of a page with its generated parts."""
    text = page.read_text(encoding="utf-8")
    if page.parent.name == "reference":
        head = text.partition(":::")[0].rstrip("\n")
        return "\n\n".join([head, *(f"::: {module}" for module in modules_of(page.stem))]) + "\n"
    text = CITED.sub(lambda found: f"{found[1]}\n```bibtex\n{bibtex()}```\n\n{found[2]}", text)
    return BLOCK.sub(lambda found: found[1] + "\n" + table(command(found[2])) + "\n" + found[3], text)


def bibtex() -> str:
    """An entry for each paper of CITATION.cff, named after its method, and one for Segue."""
    cited: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    entries = [_entry("software", "segue", cited | {"year": cited["date-released"].year})]
    for paper in cited["references"]:
        kind = "article" if paper["type"] == "article" else "inproceedings"
        entries.append(_entry(kind, re.findall(r"The method (\w+)", paper["notes"])[0], paper))
    return "\n".join(entries)


def _entry(kind: str, key: str, cited: dict[str, Any]) -> str:
    names = [one.get("name") or f"{one['family-names']}, {one['given-names']}" for one in cited["authors"]]
    fields = {
        "title": f"{{{cited['title']}}}",
        "author": " and ".join(f"{{{name}}}" if ", " not in name else name for name in names),
        "journal": cited.get("journal"),
        "booktitle": cited.get("collection-title"),
        "year": cited.get("year"),
        "version": cited.get("version"),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value is not None]
    return "\n".join([f"@{kind}{{{key},", *lines, "}", ""])


def modules_of(name: str) -> list[str]:
    """The modules of `segue.NAME`, but for empty ones such as most `__init__.py`."""
    home = ROOT / "src" / "segue" / name
    files = sorted(home.rglob("*.py")) if home.is_dir() else [home.with_suffix(".py")]
    found = [file.relative_to(ROOT / "src").with_suffix("") for file in files if file.read_text().strip()]
    return sorted(".".join(module.parts).removesuffix(".__init__") for module in found)


def pages() -> list[Path]:
    """The pages with generated parts."""
    return [ROOT / "docs" / "cite.md"] + [
        page for folder in ("commands", "reference") for page in sorted((ROOT / "docs" / folder).glob("*.md"))
    ]


def main() -> None:
    """Rewrite the pages that differ; exit status 1 when there were any."""
    changed = [(page, text) for page in pages() if (text := filled(page)) != page.read_text(encoding="utf-8")]
    for page, text in changed:
        page.write_text(text, encoding="utf-8")
        print(page.relative_to(ROOT))
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
