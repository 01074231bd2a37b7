"""Options of the commands, each defined once: the command line, the Python API and the server's schema use them.

An option is a dataclass field `name: Annotated[type, bounds, Doc(text)] = default`. Bounds are those of the package
`annotated_types` (Ge, Gt, Le, Lt, Interval) and are checked on construction: the InputError names the option, what was
got and what was expected. Nothing heavy is imported here, because `segue COMMAND --help` needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from textwrap import shorten
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import BaseMetadata, Ge, Gt, Interval, Le, Lt, MaxLen, MinLen
from typing_extensions import Doc

from segue.types import InputError

Sampler = Literal["renoise", "ddim", "ddpm"]
Dtype = Literal["auto", "float32", "bf16"]  # what a network computes in
Positive = Annotated[int, Interval(ge=1, le=100_000)]  # a size of a network
MaxTokens = Annotated[int, Interval(ge=1, le=4096)]
NonNegative = Annotated[int, Interval(ge=0, le=100_000)]
Share = Annotated[float, Interval(ge=0, le=1)]
RUN_SETTINGS = "run.yaml"  # in a run's folder: its settings


_DEFERRED: ContextVar[bool] = ContextVar("deferred", default=False)


@contextmanager
def deferred_checks() -> Iterator[None]:
    """Options made inside don't check themselves; call their `check` afterwards. For parsers that catch our errors."""
    token = _DEFERRED.set(True)
    try:
        yield
    finally:
        _DEFERRED.reset(token)


@dataclass(frozen=True)
class Options:
    """Base of all options, which check themselves when they are made."""

    def __post_init__(self) -> None:
        if not _DEFERRED.get():
            self.check()

    def check(self) -> None:
        """Raise InputError for a number of another type, or a value outside the bounds."""
        for name, hint in _hints(type(self)).items():
            check_value(name, getattr(self, name), hint)


@dataclass(frozen=True)
class SegmentOptions(Options):
    """How a mask is made from a note (`segue segment --note`)."""

    threshold: Annotated[
        float | None,
        Interval(gt=0, lt=1),
        Doc("probability from which a pixel belongs to the mask; 0.5, or less where the model hesitates, unless given"),
    ] = None
    tta: Annotated[
        bool, Doc("average with the mirrored picture under the note with its sides swapped (test-time augmentation)")
    ] = False
    window: Annotated[
        int | None,
        Ge(32),
        Doc("slide a square window of that many pixels over a large picture; the whole picture unless given"),
    ] = None


@dataclass(frozen=True)
class LabelOptions(Options):
    """How pixels are named (`segue segment --labels`). What is None is the model's own."""

    protocol: Annotated[
        str | None,
        Doc(
            "evaluation protocol: voc, context, coco-object, stuff, cityscapes, ade20k or imagenet-s-50 as released "
            "with GroupViT and CoCu, the same with -soft for our softer rule, or scenes, small for synthetic scenes"
        ),
    ] = None
    background: Annotated[
        float | None, Interval(ge=0, lt=1), Doc("score below which a pixel is background; 0 for no background")
    ] = None
    hard: Annotated[bool, Doc("our rule: a pixel belongs to one group alone instead of softly to all")] = False
    prompt: Annotated[str | None, Doc('text with {} for the name, such as "a drawing of a {}."')] = None
    top_k: Annotated[int | None, Ge(0), Doc("how many of the names a picture may have, 0 for all")] = None


@dataclass(frozen=True)
class Decoding(Options):
    """How captions are searched or sampled, token by token (`segue caption`, `segue caption-layout`)."""

    num: Annotated[int, Ge(1), Doc("distinct captions for each picture, the best first")] = 1
    beams: Annotated[int, Ge(1), Doc("hypotheses kept while searching (at least num are)")] = 1
    top_p: Annotated[
        float,
        Interval(ge=0, le=1),
        Doc("sample from the likeliest tokens that together have that probability; 0 searches instead"),
    ] = 0.0
    temperature: Annotated[float, Interval(ge=0.001, le=1000), Doc("divides the logits before sampling")] = 1.0
    length_penalty: Annotated[
        float,
        Interval(ge=-10, le=10),
        Doc("captions are compared by log-probability / length ** this; more for longer ones"),
    ] = 1.0
    no_repeat: Annotated[int, Ge(0), Doc("no run of so many tokens occurs twice; 0 for any")] = 0
    max_tokens: Annotated[int, Ge(1), Doc("the most tokens of a caption; never more than the model's own limit")] = 1000
    seed: Annotated[int, Interval(ge=0, le=2**63 - 1), Doc("of sampling")] = 0

    @property
    def width(self) -> int:
        """Hypotheses kept for each picture."""
        return max(self.beams, self.num)


@dataclass(frozen=True)
class DescribeOptions(Options):
    """How grounded captions are generated (`segue describe`)."""

    num: Annotated[int, Ge(1), Doc("grounded captions of each prompt, the likeliest first")] = 5
    steps: Annotated[int, Ge(1), Doc("evaluations of the network (denoising steps)")] = 12
    sampler: Annotated[
        Sampler, Doc("renoise noises its guess anew at each step; ddim keeps the noise of the start, ddpm some of it")
    ] = "renoise"
    temperature: Annotated[
        float | None,
        Interval(ge=0, le=10),
        Doc("of the words that are drawn; 0 takes the likeliest, 1 makes captions differ more; None: the model's own"),
    ] = None
    best_of: Annotated[
        int,
        Ge(1),
        Doc("tries of each caption, of which the most sensible stays"),
    ] = 4
    length: Annotated[int | None, Ge(1), Doc("exactly so many words")] = None
    include: Annotated[tuple[str, ...], Doc("words that every caption has")] = ()
    seed: Annotated[int, Interval(ge=0, le=2**63 - 1), Doc("of all that is drawn at random")] = 0


@dataclass(frozen=True)
class DrawOptions(Options):
    """How layouts are drawn from a caption (`segue draw`)."""

    num: Annotated[int, Ge(1), Doc("how many layouts")] = 4
    steps: Annotated[
        int | None,
        Ge(1),
        Doc("of parallel decoding. Unless given 8 where boxes are drawn first or given, 4 with a picture, and else 16"),
    ] = None
    guidance: Annotated[
        float | None,
        Ge(0),
        Doc(
            "classifier-free guidance: how strongly the caption counts, 1 for plain. Unless given 1.5 with a picture, "
            "and 2 without"
        ),
    ] = None
    temperature: Annotated[
        float | None, Ge(0), Doc("of the draw; 0 takes the likeliest. Unless given 0 with a picture, and 0.7 without")
    ] = None
    specks: Annotated[
        int, Ge(0), Doc("connected parts of at most so many cells are filled by what is around them; 0 keeps them")
    ] = 1
    best_of: Annotated[
        int | None,
        Ge(1),
        Doc(
            "tries of each layout, of its boxes where it has some; the likeliest by the model itself stays. Unless "
            "given 8 of boxes, which cost little, and else 4"
        ),
    ] = None
    check_sentence: Annotated[
        bool,
        Doc("of the tries prefer those with the classes, numbers and left, right, above and below that a caption says"),
    ] = True
    silhouettes: Annotated[
        bool,
        Doc(
            "boxes get silhouettes of the training's things, and mountains a skyline, if the model has any; else cells"
        ),
    ] = True
    seed: Annotated[int, Interval(ge=0, le=2**63 - 1), Doc("of the first layout; the others follow")] = 0


def option_text(options: type[Options], name: str) -> str:
    """The description of an option, as --help and the server's schema show it."""
    return next(part.documentation for part in get_args(_hints(options)[name]) if isinstance(part, Doc))


_HINTS: dict[type, dict[str, Any]] = {}  # what `_read_hints` found, which each request to the server needs


def _hints(options: type[Options]) -> dict[str, Any]:
    """The types of the fields; a subclass that gives a field another default keeps the bounds of its base."""
    if options not in _HINTS:
        _HINTS[options] = _read_hints(options)
    return _HINTS[options]


def _read_hints(options: type[Options]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(options.__mro__):
        for name, hint in get_type_hints(base, include_extras=True).items():
            marks = () if get_origin(hint) is Annotated else get_args(found.get(name))[1:]
            keeps = get_origin(found.get(name)) is Annotated and get_origin(hint) is not Annotated
            found[name] = Annotated[(hint, *marks)] if keeps else hint
    return {field.name: found[field.name] for field in fields(options)}


def options_as_yaml(options: Options) -> str:
    """The options as lines of YAML, each value as it is said on the command line; `options_in_file` reads it."""
    import yaml

    said = {name: _said(getattr(options, name), hint) for name, hint in _hints(type(options)).items()}
    text: str = yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
    return text


def _said(value: Any, hint: Any) -> Any:
    if (spec := next((mark for mark in get_args(hint)[1:] if hasattr(mark, "str_from_instance")), None)) is not None:
        said = spec.str_from_instance(value)[0]  # a whole number or "auto"
        return value if said == str(value) else said
    if isinstance(value, tuple):
        return [_said(one, None) for one in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def options_in_file(path: Path, kind: type[Options]) -> list[str]:
    """The words of a command line for the options of a file of YAML (or JSON, which is YAML), {name: value}.

    Values are taken as they are written, so that 1e-3 is a number and no is a word.
    Raises InputError for a file that can't be read as such, and names that `kind` hasn't got.
    """
    import yaml

    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: can't be read as YAML: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: got {type(found).__name__}, expected lines of NAME: VALUE, such as steps: 400")
    hints = _hints(kind)
    for name in found:
        if name not in hints:
            near = get_close_matches(name, hints, 1, 0.0)[0]
            raise InputError(f"{path}: no setting is named {name!r}; the nearest is {near}")
    return [word for name, value in found.items() for word in _option_words(path, name, value, hints[name])]


def _option_words(path: Path, name: str, value: Any, hint: Any) -> list[str]:
    """Such as --steps 400, --half, --no-half, --widths 8 16."""
    flag = name.replace("_", "-")
    if hint is bool:
        if value not in ("true", "false"):
            raise InputError(f"{path}: {name}: got {value!r}, expected true or false")
        return [f"--{flag}" if value == "true" else f"--no-{flag}"]
    if bool in get_args(hint) and value in ("true", "false"):  # one that may be left out is no flag
        return [f"--{flag}", value.title()]
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise InputError(f"{path}: {name}: got {value!r}, expected a value or a list of values")
    return [f"--{flag}", *("None" if one in ("null", "~") else one for one in values)]


def check_value(name: str, value: Any, hint: Any) -> None:
    """Raise InputError, which begins with the name, for a value of another type than the hint or outside its bounds.

    hint: int, float, str, bool, dict, None, a Literal, a union or tuple of them, or any of these with bounds by
    Annotated; other hints allow anything. Numbers are finite, a bool is none, and a list serves as a tuple.
    """
    if (expected := _mismatch(value, hint)) is not None:
        raise InputError(f"{name}: got {shorten(repr(value), 80, placeholder=' ...')}, expected {expected}")


def _mismatch(value: Any, hint: Any) -> str | None:
    """What is expected in the place of the value; None when it fits."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _mismatch(value, args[0]) or (None if value is None else _bounds_missed(value, args[1:]))
    if origin in (Union, UnionType):
        found = [_mismatch(value, part) for part in args]
        return None if None in found else found[0]
    if origin is Literal:
        return None if value in args else f"one of {', '.join(map(repr, args))}"
    if origin is tuple:
        return _mismatch_of_items(value, args)
    fits, expected = _KINDS.get(hint, (lambda _: True, ""))
    return None if fits(value) else expected


def _mismatch_of_items(value: Any, hints: tuple[Any, ...]) -> str | None:
    if not isinstance(value, list | tuple):
        return f"a list, such as [{shorten(repr(value), 80, placeholder=' ...')}]"
    hints = hints[:1] * len(value) if hints[-1] is Ellipsis else hints
    if len(value) != len(hints):
        return f"a list of {len(hints)}"
    wrong = next((text for item, hint in zip(value, hints, strict=True) if (text := _mismatch(item, hint))), None)
    return f"a list of which each is {wrong}" if wrong else None


def _bounds_missed(value: Any, marks: tuple[Any, ...]) -> str | None:
    bounds = [mark for mark in marks if isinstance(mark, BaseMetadata | Interval)]
    return None if all(_within(value, bound) for bound in bounds) else " and ".join(map(_words, bounds))


_KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {  # type -> whether a value is one, and how to say it
    int: (lambda x: isinstance(x, Integral) and not isinstance(x, bool), "a whole number"),
    float: (lambda x: isinstance(x, Real) and not isinstance(x, bool) and math.isfinite(x), "a number"),
    str: (lambda x: isinstance(x, str), "a text"),
    bool: (lambda x: isinstance(x, bool), "true or false"),
    dict: (lambda x: isinstance(x, dict), "an object"),
    NoneType: (lambda x: x is None, "nothing"),
}


def _parts(bound: Any) -> list[Any]:
    return list(bound) if isinstance(bound, Interval) else [bound]


def _within(value: Any, bound: Any) -> bool:
    tests = {
        Ge: lambda b: value >= b.ge,
        Gt: lambda b: value > b.gt,
        Le: lambda b: value <= b.le,
        Lt: lambda b: value < b.lt,
        MinLen: lambda b: len(value) >= b.min_length,
        MaxLen: lambda b: len(value) <= b.max_length,
    }
    return all(tests[type(part)](part) for part in _parts(bound))


def _words(bound: Any) -> str:
    texts = {
        Ge: lambda b: f"{b.ge} or more", Gt: lambda b: f"more than {b.gt}",
        Le: lambda b: f"at most {b.le}", Lt: lambda b: f"less than {b.lt}",
        MinLen: lambda b: f"a list of {b.min_length} or more", MaxLen: lambda b: f"a length of at most {b.max_length}",
    }  # fmt: skip
    return ", ".join(texts[type(part)](part) for part in _parts(bound))
