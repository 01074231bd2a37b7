"""The contrast and the batch norms of two processes are those of one with the whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from methods.cocu.groupvit import two_processes

SOURCE = Path(sys.modules["segue"].__file__).parents[1]


def test_two_processes_have_the_loss_and_gradients_of_one(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    tests = Path(__file__).parents[3]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{SOURCE}{os.pathsep}{tests}"}
    command = [*launch, two_processes.__file__, str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 0, run.stderr
    alone = two_processes.step(slice(None))
    for rank in (0, 1):
        found = load_file(tmp_path / f"{rank}.safetensors")
        assert set(found) == set(alone)
        for name, expected in alone.items():
            torch.testing.assert_close(found[name], expected, atol=2e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
