"""Tensors out of a file of `torch.save`, without running anything that stands in it.

A pickle can name any function and have it called. Here a name is looked up in a short list: what rebuilds tensors and
plain containers is written below, settings of a training (omegaconf, numpy's numbers) become objects that do nothing,
and any other name is refused.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from segue.types import InputError

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_BROKEN = (  # what a damaged archive or a nonsensical pickle raises
    zipfile.BadZipFile, pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError,
    RuntimeError, ArithmeticError,
)  # fmt: skip
LEFT_OUT = ("omegaconf", "numpy", "typing", "enum", "pathlib")  # packages of a training's settings


class _LeftOut:
    """Stands for an object that is not read; takes whatever a pickle does with it."""

    def __new__(cls, *_: Any, **__: Any) -> _LeftOut:
        return object.__new__(cls)

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, *_: Any) -> None: ...

    def append(self, _: Any) -> None:
        """Nothing."""

    def extend(self, _: Any) -> None:
        """Nothing."""


def read_pickled(path: Path) -> Any:
    """The value that `torch.save` wrote into a zip archive: containers, numbers, texts and tensors on the CPU.

    Raises InputError for a file that names code, is broken, or is no such archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = [name for name in archive.namelist() if name.endswith("data.pkl")]
            if len(found) != 1:
                _refuse(path, "no file of torch.save, which holds one data.pkl")
            return _Reader(path, archive, found[0]).load()
    except _BROKEN as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not readable as a file of torch.save ({error}); download it again") from error


def _refuse(path: Path, why: str) -> NoReturn:
    raise InputError(f"{path}: {why}; expected the tensors of a model, written by torch.save (1.6 or later)")


class _Reader(pickle.Unpickler):
    def __init__(self, path: Path, archive: zipfile.ZipFile, name: str) -> None:
        super().__init__(archive.open(name))
        self._path, self._archive, self._folder = path, archive, name.removesuffix("data.pkl")
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module.partition(".")[0] in LEFT_OUT:
            return _LeftOut
        raise InputError(
            f"{self._path}: holds code ({module}.{name}), which is never run; if you trust its maker, save the tensors "
            'alone, torch.save({"model": state_dict}, FILE), and import that'
        )

    def persistent_load(self, about: Any) -> Tensor:
        """A storage as a flat tensor."""
        kind, dtype, key, _, count = about
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"a reference to {kind!r}, expected a storage")
        if key not in self._storages:
            data = bytearray(self._archive.read(f"{self._folder}data/{key}"))
            flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            if len(flat) != count:
                raise pickle.UnpicklingError(f"storage {key} has {len(flat)} numbers, expected {count}")
            self._storages[key] = flat
        return self._storages[key]


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """What torch's `_rebuild_tensor_v2` makes; as_strided refuses to look outside the storage."""
    return torch.as_strided(storage, tuple(size), tuple(stride), offset).clone()


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


def _latin(text: str, _: str) -> bytes:
    return text.encode("latin-1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("_codecs", "encode"): _latin,  # as which pickle 2 writes bytes
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")
        for kind in (float, int, bool, str, list, tuple, dict, set)
    },
}
