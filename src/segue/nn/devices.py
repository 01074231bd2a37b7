"""Devices by name: cpu, cuda, cuda:1."""

from __future__ import annotations

import torch

from segue.types import InputError


def check_device(name: str) -> str:
    """Return the name of a device. Raises InputError when torch can't use that device here."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise InputError(
            f"device {name!r}: not there ({str(error).partition(chr(10))[0]}); expected cpu, or cuda or cuda:1 where "
            "torch sees a GPU"
        ) from error
    return name
