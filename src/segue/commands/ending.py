"""How a command ends: its exit status, and one line for what is wrong with the input, the disk or the terminal."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from segue.types import InputError

MAX_WARNINGS = 5  # pictures that are warned of one by one; the others of a kind are counted
PACKAGE = Path(__file__).parents[1]  # warnings that come from its files are ours
YOUNG = 10_000  # new objects among which Python looks for cycles; by its own 700 it looks hundreds of times in imports


@contextmanager
def whole_process() -> Iterator[None]:
    """What is inside is all that this process does: cycles of objects are looked for less often, and not at its end.

    The system takes the memory back anyway. What must be written or removed has been, by `with` or at exit.
    """
    gc.set_threshold(YOUNG)
    try:
        yield
    finally:
        gc.freeze()


@contextmanager
def one_line_errors(*, verbose: bool = False) -> Iterator[None]:
    """Bad input, inside, prints one line and exits with status 2; a warning of ours prints one line too.

    verbose: errors come with their traceback, and of warnings of a kind none is only counted.
    """
    most = sys.maxsize if verbose else MAX_WARNINGS
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, warnings.showwarning, counts := Counter[str](), most)
        try:
            with _stopped_by_terminate():
                yield
            if sys.stdout is not None:  # None where it was closed
                sys.stdout.flush()  # here, where a broken pipe is known
        except InputError as error:
            _stop(error, 2, verbose=verbose)
        except BrokenPipeError:  # the reader of our output has seen enough; what is left of it goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:  # a folder where a file is wanted, no right to write, a full disk
            _stop(_system_error(error), 2, verbose=verbose)
        except KeyboardInterrupt:
            _stop("stopped", 130)
        except ArithmeticError as error:  # a training that diverged, a graph that answers otherwise
            _stop(error, 1, verbose=verbose)
        finally:
            for kind, count in counts.items():
                if count > most:
                    print(f"segue: warning: {kind}: {count - most} more pictures", file=sys.stderr)


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


def _stop(message: object, status: int, *, verbose: bool = False) -> None:
    if verbose:
        traceback.print_exc()
    print(f"segue: {message}", file=sys.stderr)
    sys.exit(status)


def _show_warning(
    others: Callable[..., None],
    counts: Counter[str],
    most: int,
    message: Warning | str,
    kind: type[Warning],
    file: str,
    *more: Any,
) -> None:
    """others: shows what is no warning of Segue's own. counts: how many pictures have been warned of, by the kind.

    most: how many are.
    """
    if sort := getattr(message, "kind", None):
        counts[sort] += 1
        if counts[sort] > most:
            return
    if (sort or kind is UserWarning) and Path(file).is_relative_to(PACKAGE):
        print(f"segue: warning: {message}", file=sys.stderr)
    else:
        others(message, kind, file, *more)
