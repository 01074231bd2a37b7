"""The command `segue`: a table of names of functions, of which only the one that is asked for is imported."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from segue import __version__
from segue.types import InputError

MAX_TOLD = 5  # pictures that are warned of one by one; the others of a kind are counted
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


def main(argv: list[str] | None = None) -> None:
    """Run one command. Bad input prints one line and exits with status 2; a warning of ours prints one line too."""
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, warnings.showwarning, told := Counter[str]())
        try:
            with _stopped_by_terminate():
                _run(sys.argv[1:] if argv is None else argv)
            if sys.stdout is not None:  # None where it was closed
                sys.stdout.flush()  # here, where a broken pipe is known
        except InputError as error:
            _stop(error, 2)
        except BrokenPipeError:  # the reader of our output has seen enough; what is left of it goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:  # a folder where a file is wanted, no right to write, a full disk
            _stop(_system_error(error), 2)
        except KeyboardInterrupt:
            _stop("stopped", 130)
        except ArithmeticError as error:  # a training that diverged, a graph that answers otherwise
            _stop(error, 1)
        finally:
            for kind, count in told.items():
                if count > MAX_TOLD:
                    print(f"segue: warning: {kind}: {count - MAX_TOLD} more pictures", file=sys.stderr)


@contextmanager
def _stopped_by_terminate() -> Iterator[None]:
    """Let SIGTERM unwind as an exit does, so that temporary folders go and the rows of a table stop."""

    main_process = os.getpid()

    def stop(*_: object) -> None:
        if os.getpid() != main_process:  # a worker that was forked
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        print("segue: stopped", file=sys.stderr)
        sys.exit(143)

    if threading.current_thread() is not threading.main_thread():  # only it may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _system_error(error: OSError) -> str:
    """What the system refused, in one line: libraries raise it without a file's name, or without its number."""
    where, reason = error.filename2 or error.filename, error.strerror or " ".join(str(error).split())
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "requested and" in reason  # NumPy's words
    mend = "; make room where it writes, then run the same command again" if full else ""
    return f"{reason}{mend}" if where is None else f"{where}: {reason}{mend}"


def _stop(message: object, status: int) -> None:
    print(f"segue: {message}", file=sys.stderr)
    sys.exit(status)


def _show_warning(
    others: Callable[..., None], told: Counter[str], message: Warning | str, kind: type[Warning], file: str, *more: Any
) -> None:
    """others: shows what is no warning of Segue's own. told: how many pictures have been warned of, by the kind."""
    if sort := getattr(message, "kind", None):
        told[sort] += 1
        if told[sort] > MAX_TOLD:
            return
    if (sort or kind is UserWarning) and Path(file).is_relative_to(Path(__file__).parent):
        print(f"segue: warning: {message}", file=sys.stderr)
    else:
        others(message, kind, file, *more)


def _run(argv: list[str]) -> None:
    if argv == ["--version"]:
        print(f"segue {__version__}")
        return
    found, named, rest = COMMANDS, ["segue"], list(argv)
    while isinstance(found, dict):
        if not rest or rest[0] in ("-h", "--help"):
            _print_commands(found, named)
            return
        if rest[0] not in found:
            raise InputError(f"{' '.join(named)} {rest[0]!r}: expected one of {', '.join(found)}")
        named.append(rest.pop(0))
        found = found[named[-1]]
        found = resolve_name(found) if isinstance(found, str) else found
    from segue.commands.parsing import run_command

    run_command(found, " ".join(named), rest)


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
