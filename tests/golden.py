"""What comes out of networks whose weights depend on nothing but their names, against what came out before.

A checkpoint must mean the same after a change of the code, and no test of a property sees an epsilon, a scale or a
width that changed. After a change that is meant: `SEGUE_GOLDEN=write pytest FILE` keeps the new numbers in golden.json;
say in the commit why checkpoints change their meaning. The numbers are those of the locked versions: other versions of
torch draw and round otherwise, so `SEGUE_GOLDEN=off` compares nothing.
"""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

FILE = Path(__file__).with_suffix(".json")


def set_weights(module, spread=1.0):
    """Every weight by its name: matrices of about the size that keeps the signal's, norms around 1, biases around 0."""
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if not value.is_floating_point() or not value.ndim:
                continue  # a learned scale or temperature keeps its own start
            drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(value.shape))
            if value.ndim > 1:
                drawn *= spread * max(1, value[0].numel()) ** -0.5
            else:
                drawn = drawn * 0.2 + (1 if name.endswith("weight") else 0)
            value.copy_(torch.from_numpy(np.exp(0.2 * drawn) if name.endswith("running_var") else drawn))
    return module


def inputs(name, *shape):
    """Normal numbers (float32) by a name."""
    return torch.from_numpy(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32))


def summary(values):
    """Mean, spread, and a sum that depends on the order."""
    flat = torch.as_tensor(values).detach().double().flatten()
    wave = torch.cos(0.7 * torch.arange(len(flat), dtype=torch.float64) + 0.3)
    return [float(flat.mean()), float(flat.std(correction=0)), float((flat * wave).sum() / len(flat) ** 0.5)]


def same_as_before(name, **values):
    """Compare tensors, arrays or numbers with those of golden.json."""
    if os.environ.get("SEGUE_GOLDEN") == "off":
        return
    found = {key: [float(f"{number:.6g}") for number in summary(value)] for key, value in values.items()}
    if os.environ.get("SEGUE_GOLDEN") == "write":
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        lines = [f'"{key}": {json.dumps(value)}' for key, value in sorted((known | {name: found}).items())]
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    expected = json.loads(FILE.read_text())[name]
    assert found.keys() == expected.keys()
    for key, numbers in found.items():
        assert numbers == pytest.approx(expected[key], rel=1e-3, abs=1e-4), f"{name}: {key}"
