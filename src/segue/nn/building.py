"""Networks of a size that their weights file has, however large the config calls them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch.overrides import TorchFunctionMode

from segue.types import InputError
from segue.weights import CONFIG

FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn)  # what modules make their weights by
RANGES = (torch.arange, torch.linspace)
_INNERMOST: ContextVar[_Budget | None] = ContextVar("innermost", default=None)
SPARE_TENSORS, SPARE_NUMBERS = 2_000, 20_000_000  # for what a network has besides the weights of its file


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The tensors' shapes in a safetensors file, by name, without the tensors.

    Raises InputError when it is missing, no file, or broken.
    """
    if not path.is_file():
        raise InputError(f"{path}: weights can't be read ({'not a file' if path.exists() else 'missing'})")
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise InputError(f"{path}: weights can't be read ({size} bytes: {error}); copy the checkpoint again") from error


@contextmanager
def sized_by(shapes: Mapping[str, tuple[int, ...]], where: str | Path) -> Iterator[None]:
    """What is built inside may have about as many weights as the file has, whose shapes are given.

    where: the folder, to begin the message with. One inside another counts alone: an encoder with a file of its own.
    Raises InputError in the middle of building what is larger.
    """
    budget = _Budget(shapes, where)
    token = _INNERMOST.set(budget)
    try:
        with budget:
            yield
    finally:
        _INNERMOST.reset(token)


class _Budget(TorchFunctionMode):
    def __init__(self, shapes: Mapping[str, tuple[int, ...]], where: str | Path) -> None:
        super().__init__()
        self.where = where
        self.tensors = 3 * len(shapes) + SPARE_TENSORS
        self.numbers = 3 * sum(map(math.prod, shapes.values())) + SPARE_NUMBERS

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if (func in FACTORIES or func in RANGES) and _INNERMOST.get() is self:
            self.tensors -= 1
            self.numbers -= _count(func, args, kwargs)
            if self.tensors < 0 or self.numbers < 0:
                raise InputError(
                    f"{self.where}: {CONFIG} describes a much larger model than the weights beside it; "
                    "copy the checkpoint again"
                )
        return func(*args, **kwargs)


def _count(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """The numbers in the tensor that a call of FACTORIES or RANGES makes."""
    if func is torch.linspace:
        return int(kwargs.get("steps", args[2] if len(args) > 2 else 0))
    if func is torch.arange:
        ends = [kwargs.get("start"), *args[:2], kwargs.get("end")]
        return int(max(abs(end) for end in ends if end is not None))
    size = kwargs.get("size", args)
    sides = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
    return math.prod(int(side) for side in sides)
