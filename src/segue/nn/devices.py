"""Devices by name: auto, cpu, cuda, cuda:1."""

from __future__ import annotations

import torch

from segue.types import InputError


def resolve_device(name: str = "auto") -> str:
    """The device of a name: of "auto" cuda where torch sees a GPU, else cpu; of any other itself.

    Raises InputError when torch can't use that device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise InputError(
            f"device {name!r}: not there ({str(error).partition(chr(10))[0]}); expected auto, cpu, or cuda or cuda:1 "
            "where torch sees a GPU"
        ) from error
    return name
