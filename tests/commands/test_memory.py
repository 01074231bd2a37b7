"""A process keeps the memory of its maps: the next ones take no page from the kernel."""

import subprocess
import sys

import pytest

from segue.commands import memory
from segue.commands.memory import keep_memory

FAULTS = """
import resource, sys
import numpy as np
from segue.commands.memory import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
def work():
    for _ in range(20):
        np.ones(8 * 2**20, np.uint8)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(memory.platform.libc_ver()[0] != "glibc", reason="glibc's")
def test_blocks_of_a_megabyte_are_used_again(monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    assert _faults("keep") < 100


def test_another_c_library_and_the_users_own_settings_are_left_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert not keep_memory()
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("musl", "1"))
    assert not keep_memory()
