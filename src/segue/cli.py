"""The command `segue`: a table of names of functions, of which only the one that is asked for is imported."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pkgutil import resolve_name
from typing import Any

from segue import __version__
from segue.commands.ending import one_line_errors, whole_process
from segue.types import InputError

Table = dict[str, Any]  # name -> "module:function", "module:TABLE" for a group of commands, or a table
COMMANDS: Table = {
    "demo": "segue.commands.demo:demo",
    "segment": "segue.commands.segment:segment",
    "caption": "segue.commands.caption:caption",
    "describe": "segue.commands.describe:describe",
    "draw": "segue.commands.draw:draw",
    "caption-layout": "segue.commands.caption_layout:caption_layout",
    "embed": "segue.commands.embed:embed",
    "models": "segue.commands.models:models",
    "doctor": "segue.commands.doctor:doctor",
    "completion": "segue.commands.completion:completion",
    "data": "segue.commands.data:JOBS",
    "curate": "segue.commands.curate:curate",
    "train": "segue.recipes:RECIPES",
    "eval": "segue.commands.evaluate:evaluate",
    "score": "segue.commands.score:SCORES",
    "serve": "segue.commands.serve:serve",
    "import": "segue.commands.import_model:import_model",
    "export": "segue.commands.export:export",
    "lab": "segue.lab.registry:COMMANDS",
}
GROUPS = {  # a group's first command -> its heading in `segue --help`, an example
    "demo": ("use", 'segue segment chest.png --note "One infected area, upper left lung."'),
    "data": ("data", "segue data check my-data"),
    "train": ("train and score", "segue train reclmis --data my-data --out runs/mine"),
    "serve": ("serve and share", "segue serve --models runs/mine/best"),
    "lab": ("research", "segue lab report"),
}
# Words for what a command does, which stand for one that is named after a paper.
ALIASES = {"segue train": {"captions": "syntic", "describe": "sgdiff", "notes": "reclmis"}}
LOUDNESS = ("--quiet", "--verbose")  # of any command


def main(argv: list[str] | None = None) -> None:
    """Run one command. Bad input prints one line and exits with status 2; a warning of ours prints one line too.

    --quiet leaves out what is told on the way, warnings too; --verbose shows all warnings, however many, and where
    in the code an error arose.
    """
    words = sys.argv[1:] if argv is None else argv
    with whole_process() if argv is None else nullcontext(), one_line_errors(verbose="--verbose" in words):
        _run([word for word in words if word not in LOUDNESS], "--quiet" in words)


def _run(argv: list[str], quiet: bool = False) -> None:
    if argv == ["--version"]:
        print(f"segue {__version__}")
        return
    found, named, rest = COMMANDS, ["segue"], list(argv)
    while isinstance(found, dict):
        if not rest or rest[0] in ("-h", "--help"):
            _print_commands(found, named)
            return
        word = ALIASES.get(" ".join(named), {}).get(rest[0], rest[0])
        if word not in found:
            raise InputError(f"{' '.join(named)} {word!r}: expected one of {', '.join(found)}")
        named.append(word)
        del rest[0]
        found = found[named[-1]]
        found = resolve_name(found) if isinstance(found, str) else found
    from segue.commands.parsing import run_command

    run_command(found, " ".join(named), rest, quiet)


def _print_commands(table: Table, named: list[str]) -> None:
    """The commands of a table, each with the first line of its help; those of `segue` in groups."""
    name, width = " ".join(named), max(map(len, table))
    print(f"usage: {name} COMMAND [options]; `{name} COMMAND --help` lists the options\n")
    for command, where in table.items():
        if table is COMMANDS and command in GROUPS:
            heading, example = GROUPS[command]
            print(f"{heading}, such as: {example}")
        found = resolve_name(where) if isinstance(where, str) else where
        about = ", ".join(found) if isinstance(found, dict) else (found.__doc__ or "").strip().partition("\n")[0]
        print(f"  {command:{width}}  {about}")
    for word, command in ALIASES.get(name, {}).items():
        print(f"  {word:{width}}  The same as {command}.")
    if table is COMMANDS:
        print("\nevery command: --quiet (nothing on the way), --verbose (all warnings, tracebacks)")
