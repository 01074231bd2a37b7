"""Runs that need processes of their own: one killed and resumed, one of two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from segue.training import read_history
from training import tiny_task

SCRIPT = Path(tiny_task.__file__)
SOURCE = Path(sys.modules["segue"].__file__).parents[1]
# One GPU cannot serve two NCCL processes, and bit equality is promised for a CPU.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(SOURCE)}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _kill_at_row(out: Path, row: int) -> None:
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(out), "killed"], env=ENVIRONMENT)
    deadline = time.monotonic() + 60
    history = out / "history.jsonl"
    while not history.exists() or history.read_text().count("\n") < row:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run did not come to the row in a minute"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_killed_run_resumes_bit_for_bit(tmp_path):
    undisturbed = tiny_task.train_killed(tmp_path / "undisturbed")
    killed = tmp_path / "killed"
    _kill_at_row(killed, row=6)
    assert (killed / "state/current").read_text() in ("step-00000004\n", "step-00000008\n")
    assert not (killed / "last").exists()

    torch.manual_seed(12345)
    resumed = tiny_task.train_killed(killed, resume=True)

    assert resumed == undisturbed
    assert [row["step"] for row in read_history(killed)] == list(range(1, 13))
    for folder in ("last", "best"):
        expected = load_file(tmp_path / "undisturbed" / folder / "model.safetensors")
        found = load_file(killed / folder / "model.safetensors")
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    out = tmp_path_factory.mktemp("together")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = subprocess.run(
        [*launch, str(SCRIPT), str(out), "together"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr
    return out


def test_two_processes_train_as_one(together, tmp_path):
    alone = tiny_task.train_together(tmp_path)
    pairs = zip(alone.history, read_history(together), strict=True)
    assert max(abs(a[name] - b[name]) for a, b in pairs for name in a) < 1e-4
    expected, found = (load_file(out / "last/model.safetensors") for out in (tmp_path, together))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=1e-4)


def test_two_processes_agree(together):
    first, second = (json.loads((together / f"result-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first[0] == 12


def test_norm_and_gather_over_two_processes_equal_torch_on_the_whole_batch(together):
    whole = tiny_task.norm_and_gather(tiny_task.offset_batch(), slice(None))
    parts = [load_file(together / f"norm-{rank}.safetensors") for rank in (0, 1)]
    for name, expected in whole.items():
        for rank, part in enumerate(parts):
            mine = expected[2 * rank : 2 * rank + 2] if name in ("y", "gradient") else expected
            torch.testing.assert_close(part[name], mine, atol=1e-3, rtol=1e-4)
