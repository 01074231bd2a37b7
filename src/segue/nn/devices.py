"""Where a network computes and in what: devices by name (auto, cpu, cuda, cuda:1), and dtypes (auto, float32, bf16)."""

from __future__ import annotations

import torch

from segue.options import Dtype, check_value
from segue.types import InputError

PIXELS_AT_ONCE = {"float32": 302_000, "bf16": 402_000}  # of a pass, for each of a CPU's threads: 6 and 8 of 224 pixels


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


def resolve_dtype(name: Dtype, device: str | torch.device) -> Dtype:
    """What is computed in on a device: of "auto" bf16 where that is fast, else float32; of any other itself.

    bf16 works on any device, only slowly on most CPUs. Raises InputError for another name.
    """
    check_value("dtype", name, Dtype)
    if name != "auto":
        return name
    return "bf16" if has_fast_bf16(torch.device(device).type) else "float32"


def has_fast_bf16(kind: str) -> bool:
    """Whether a "cpu" or a "cuda" has instructions for bf16: AMX or AVX512-BF16, a GPU's tensor cores."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "cpu" and bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def autocast(device: str | torch.device, dtype: Dtype) -> torch.autocast:
    """The context in which a network with float32 weights computes in a dtype (`resolve_dtype`).

    In bf16 convolutions and products of matrices are; what is in float32 also loses the autocast of a caller.
    """
    enabled = resolve_dtype(dtype, device) == "bf16"
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=enabled)


def pictures_at_once(most: int, side: int, device: str | torch.device, dtype: Dtype) -> int:
    """How many of `most` pictures of side x side pixels a network reads in one pass without losing time.

    On a GPU all of them. On a CPU few: the maps of more don't fit into the memory that malloc holds on to, and each
    pass would get its pages anew, at up to half the network's time.
    """
    if torch.device(device).type != "cpu":
        return most
    pixels = PIXELS_AT_ONCE[resolve_dtype(dtype, device)] * torch.get_num_threads()
    return min(most, max(1, pixels // side**2))
