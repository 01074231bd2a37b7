"""The files that describe a model, from wherever they come: config.json with typed values, and tokenizer.json.

What is read here may be anybody's: whatever it holds ends in a value of the type asked for, or in one InputError.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from segue.files import write_text
from segue.options import check_value
from segue.types import InputError
from segue.weights import CONFIG, bundled

if TYPE_CHECKING:
    from tokenizers import Tokenizer

T = TypeVar("T")
MAX_BYTES = 64_000_000  # of a json file: the largest tokenizers have about 35 MB
TOKENIZER_SECONDS, TOKENIZER_MEMORY = 10, 2 << 30  # that reading a tokenizer may take


def read_text(path: Path) -> str:
    """The text of a config or tokenizer file.

    Raises InputError for what is missing, no file (a pipe would never end), too large or not UTF-8.
    """
    if not path.is_file():
        got = "not a file" if path.exists() else f"no {path.name} there"
        raise InputError(f"{path.parent}: {got}; a checkpoint is a folder with {CONFIG} and weights")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size:,} bytes, expected at most {MAX_BYTES:,}; copy it again")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text in UTF-8 ({error}); copy the checkpoint again") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a json file.

    Raises InputError for what `read_text` refuses, what is no JSON, nests too deep, has a number that is not finite, or
    is no object.
    """
    try:
        found = json.loads(read_text(path), parse_constant=_refuse_constant)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); copy the checkpoint again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: got a {type(found).__name__}, expected an object; copy the checkpoint again")
    return found


def keep_in_config(folder: Path, **values: Any) -> None:
    """Put values into the config of a finished checkpoint, whole or not at all; nothing else of the folder changes."""
    config = read_json(folder / CONFIG)
    write_text(folder / CONFIG, json.dumps(config | values, indent=2) + "\n")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def from_json(kind: Callable[..., T], values: Any, where: str | Path) -> T:
    """What `kind` makes of the values of a JSON object, each checked against the type and bounds of its argument.

    kind: a dataclass, or a class or function with typed keyword arguments. Lists become tuples.
    where: the folder, to begin the message with.
    Raises InputError for unknown or missing values, those of another type or outside the bounds, and what kind refuses.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: {CONFIG} has a {type(values).__name__} for {_name(kind)}, expected an object")
    hints = _types(kind)
    known = {key: part for key, part in signature(kind).parameters.items() if hints.get(key, Any) is not Any}
    if unknown := sorted(set(values) - set(known)):
        raise InputError(
            f"{where}: {CONFIG} has {', '.join(unknown)}, which this version of Segue doesn't know; update it"
        )
    if missing := [key for key, part in known.items() if part.default is Parameter.empty and key not in values]:
        raise InputError(f"{where}: {CONFIG} lacks {', '.join(missing)}; copy the checkpoint again")
    try:
        for key, value in values.items():
            check_value(key, value, hints[key])
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except InputError as error:
        prefix = "" if str(error).startswith(str(where)) else f"{where}: {CONFIG}: "
        raise InputError(f"{prefix}{error}") from error


def _name(kind: Callable[..., Any]) -> str:
    return str(getattr(kind.func if isinstance(kind, partial) else kind, "__name__", kind))


def _types(kind: Callable[..., Any]) -> dict[str, Any]:
    """The types and bounds of the arguments. What has none, or Any, is no value of JSON."""
    kind = kind.func if isinstance(kind, partial) else kind
    plain = isinstance(kind, type) and not is_dataclass(kind)
    return get_type_hints(vars(kind)["__init__"] if plain else kind, include_extras=True)


# ------------------------------------------------------------------------------------------------- tokenizers

# A tokenizer is read by a library in Rust, which may panic, abort, or never end on what a file asks of it; no except
# clause helps then. So a process of its own reads it first, and tries it on a few texts.
_TRIAL = """
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
except (ImportError, ValueError, OSError):
    pass
sys.path[:] = sys.argv[3:]
from tokenizers import Tokenizer
t = Tokenizer.from_str(open(sys.argv[1], encoding="utf-8").read())
t.no_padding(); t.no_truncation()
texts = ("a", "A dog's ball, 12 caf\\u00e9s \\U0001f600.", "two words " * 200, "x" * 300, " ", "\\u0130\\u0301\\x00")
for text in texts:
    t.decode(t.encode(text).ids)
t.to_str()
"""


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json, without padding and truncation.

    Raises InputError for what is missing or broken, can't read a text, or numbers its tokens with gaps.
    """
    from tokenizers import Tokenizer

    text = read_text(path)
    if path.parent not in bundled().values():
        _try_tokenizer(path)
    try:
        found = Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises nothing narrower
        raise InputError(f"{path}: not a tokenizer ({_first_line(error)}); copy the checkpoint again") from error
    found.no_padding()
    found.no_truncation()
    vocabulary = found.get_vocab()
    if (highest := max(vocabulary.values(), default=-1)) >= len(vocabulary):
        raise InputError(
            f"{path}: numbers its {len(vocabulary)} tokens up to {highest}, expected 0 to {len(vocabulary) - 1}; "
            "copy the checkpoint again"
        )
    return found


def _try_tokenizer(path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", _TRIAL, str(path), str(TOKENIZER_MEMORY), *sys.path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOKENIZER_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{path}: reading a text with it takes more than {TOKENIZER_SECONDS} seconds; take another tokenizer"
        ) from error
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"signal {-done.returncode}"
        raise InputError(f"{path}: not a tokenizer that can read a text ({reason:.200}); copy the checkpoint again")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
