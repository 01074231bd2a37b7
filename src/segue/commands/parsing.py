"""From a function to a command: arguments become options, the docstring the help, and the result is printed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import tyro

from segue.options import Options, deferred_checks


def run_command(function: Callable[..., Any], name: str, argv: list[str]) -> None:
    """Parse argv by the function's signature, call it, print what it returns.

    Dataclasses among the arguments become plain options. A path is printed as where something was saved; a dict as
    indented lines, or as one JSON object where argv has --json (a function with a `json` argument prints by itself).
    With --json a path is {"saved_to": PATH}, and of a training also {"data_check": what was found before it}.
    """
    as_json = "json" not in inspect.signature(function).parameters and "--json" in argv
    words = [word for word in argv if word != "--json"] if as_json else argv
    with deferred_checks():  # tyro would print our one line as a box
        call = tyro.cli(_call(function), prog=name, args=words, config=(tyro.conf.OmitArgPrefixes,))
    result = call()
    if isinstance(result, dict):
        print_result(result, as_json)
    elif isinstance(result, Path):
        print(json.dumps({"saved_to": str(result)} | _data_check(result)) if as_json else f"saved to {result}")


def _data_check(saved: Path) -> dict[str, Any]:
    """What the data check found before a training, from the run's folder that holds the checkpoint, or is it."""
    from segue.data.problems import DATA_CHECK

    found = [folder / DATA_CHECK for folder in (saved, saved.parent) if (folder / DATA_CHECK).is_file()]
    return {"data_check": json.loads(found[0].read_text(encoding="utf-8"))} if found else {}


def _call(function: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """The function as one that returns its call; the call first checks the options among the arguments."""

    @wraps(function)
    def parsed(*args: Any, **more: Any) -> Callable[[], Any]:
        def run() -> Any:
            for value in (*args, *more.values()):
                if isinstance(value, Options):
                    value.check()
            return function(*args, **more)

        return run

    return parsed


def print_result(result: dict[str, Any], as_json: bool) -> None:
    """Print a result as one JSON object, or as indented lines for people."""
    print(json.dumps(result, indent=2) if as_json else _lines(result))


def _lines(result: Any, indent: str = "") -> str:
    if not isinstance(result, dict):
        return f"{result:,.4g}" if isinstance(result, float) else f"{result:,}" if type(result) is int else str(result)
    lines = []
    for key, value in result.items():
        shown = _lines(value, indent + "  ")
        lines.append(f"{indent}{key}:\n{shown}" if isinstance(value, dict) else f"{indent}{key:26} {shown}")
    return "\n".join(lines)
