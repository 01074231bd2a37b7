"""From a function to a command: arguments become options, the docstring the help, and the result is printed."""

from __future__ import annotations

import inspect
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import tyro

from segue.commands.training import training_command, with_config
from segue.options import Options, deferred_checks
from segue.pages.page import INDEX, RUN_REPORT


def run_command(function: Callable[..., Any], name: str, argv: list[str], quiet: bool = False) -> None:
    """Parse argv by the function's signature, call it, print what it returns.

    Dataclasses among the arguments become plain options. A path is printed as where something was saved; a dict as
    indented lines, or as one JSON object where argv has --json (a function with a `json` argument prints by itself).
    With --json a path is {"saved_to": PATH}, and of a training also {"report": its page, "data_check": what was found
    before it}. quiet: what the function tells on standard error goes nowhere; what it raises is another's to tell.
    """
    if "settings" in inspect.signature(function).parameters:
        function, argv = training_command(function, name.split()[-1]), with_config(function, argv)
    as_json = prints_its_answer(function) and "--json" in argv
    words = [word for word in argv if word != "--json"] if as_json else argv
    with deferred_checks():  # tyro would print our one line as a box
        call = tyro.cli(_call(function), prog=name, args=words, config=(tyro.conf.OmitArgPrefixes,))
    with _silent() if quiet else nullcontext():
        result = call()
    if isinstance(result, dict):
        print_result(result, as_json)
    elif isinstance(result, Path):
        more = _of_the_run(result)
        if as_json:
            print(json.dumps({"saved_to": str(result)} | more))
        else:
            print(f"saved to {result}" + (f"; its report is {more['report']}" if "report" in more else ""))


@contextmanager
def _silent() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        yield


def prints_its_answer(function: Callable[..., Any]) -> bool:
    """Whether `run_command` prints what the function returns, so that --json is its own option."""
    found = inspect.signature(function)
    return "json" not in found.parameters and found.return_annotation not in (None, "None")


def _of_the_run(saved: Path) -> dict[str, Any]:
    """A training's report and what the data check found before it, from the run's folder that holds the checkpoint."""
    from segue.data.problems import DATA_CHECK

    found: dict[str, Any] = {}
    for folder in (saved.parent, saved):  # the checkpoint may be the run's folder itself
        if (page := folder / RUN_REPORT / INDEX).is_file():
            found["report"] = str(page)
        if (file := folder / DATA_CHECK).is_file():
            found["data_check"] = json.loads(file.read_text(encoding="utf-8"))
    return found


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


def command_line(name: str, function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """The command that calls the function with these arguments, without options that have their default.

    name: such as "segue eval". given: by the names of the function's parameters.
    """
    words = name.split()
    for parameter in inspect.signature(function).parameters.values():
        value, usual = given[parameter.name], parameter.default
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            words.append(str(value))
        elif is_dataclass(value) and not isinstance(value, type):
            for field in fields(value):
                words += _option(field.name, getattr(value, field.name), getattr(usual, field.name))
        else:
            words += _option(parameter.name, value, usual)
    return shlex.join(words)


def _option(name: str, value: Any, usual: Any) -> Iterator[str]:
    """The words of an option that differs from its default."""
    if value == usual:
        return
    flag = name.replace("_", "-")
    yield f"--no-{flag}" if value is False else f"--{flag}"
    if not isinstance(value, bool):
        yield from map(str, value) if isinstance(value, list | tuple) else (str(value),)


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
