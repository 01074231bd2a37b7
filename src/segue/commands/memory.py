"""How the C library keeps the memory of a process that runs networks."""

from __future__ import annotations

import os
import platform

BLOCK, KEPT = 32 * 2**20, 512 * 2**20  # bytes: the most that glibc takes for a block's threshold, and what is kept
MMAP_THRESHOLD, TRIM_THRESHOLD, ARENA_MAX = -3, -1, -8  # of glibc's malloc.h


def keep_memory() -> bool:
    """Let glibc keep the memory of this process's maps for the next ones, whichever thread makes them.

    Otherwise each pass of a network gets its pages anew from the kernel, at up to a seventh of its time. The process
    holds up to KEPT bytes more. Returns whether it was done: not with another C library, nor where the environment says
    by MALLOC_... how memory is to be kept.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    from ctypes import CDLL

    mallopt = CDLL(None).mallopt
    return all(
        mallopt(what, value) for what, value in ((MMAP_THRESHOLD, BLOCK), (TRIM_THRESHOLD, KEPT), (ARENA_MAX, 1))
    )
