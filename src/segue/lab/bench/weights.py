"""`segue lab bench weights`: how large the networks are that users bring, and what memory one picture takes by them.

Each is built from its published sizes with random weights, so that none is downloaded. Memory is the peak of a fresh
process on a CPU, in float32, that loads the weights from a file and reads one picture, above what it held before.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import Any

WEIGHTS: dict[str, tuple[str, str]] = {  # name on the hub -> its network, what it is asked
    "clip-vit-base-patch32": ("CLIPModel(CLIPConfig())", "input_ids=ids, pixel_values=picture(224)"),
    "siglip-base-patch16-224": ("SiglipModel(SiglipConfig())", "input_ids=ids, pixel_values=picture(224)"),
    "groupvit-gcc-yfcc": ("GroupViTModel(GroupViTConfig())", "input_ids=ids, pixel_values=picture(224)"),
    "detr-resnet-50": (
        "DetrForObjectDetection(DetrConfig(use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,"
        " backbone_config=ResNetConfig(out_features=['stage4']), num_labels=91))",
        "pixel_values=picture(800)",
    ),
    "sam-vit-base": (
        "SamModel(SamConfig())", "pixel_values=picture(1024), input_boxes=torch.tensor([[[9.0, 9.0, 99.0, 99.0]]])",
    ),
}  # fmt: skip
LOAD = """
import re, sys, torch
from pathlib import Path
from transformers import {kind}
# not getrusage, whose figure begins with that of the process which started this one
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000
before = peak()
ids = torch.ones(1, 16, dtype=torch.int64)
picture = lambda side: torch.zeros(1, 3, side, side)
model = {kind}.from_pretrained(sys.argv[1]).eval()
with torch.inference_mode():
    model({asked})
print(peak() - before)
"""


def bench_weights(names: tuple[str, ...] = tuple(WEIGHTS)) -> dict[str, Any]:
    """Parameters, bytes of the file and peak memory of networks that users bring.

    Args:
        names: which of them, by their names on the hub.
    """
    return {name: measure(*WEIGHTS[name]) for name in names}


def measure(network: str, asked: str) -> dict[str, float]:
    """Millions of parameters, megabytes of the file, megabytes of memory above that of the libraries.

    network: a Python expression of classes of transformers. asked: the arguments of its forward pass.
    """
    import transformers

    names = [name for name in dir(transformers) if f"{name}(" in network]
    with tempfile.TemporaryDirectory() as folder:
        model = eval(network, {name: getattr(transformers, name) for name in names})
        model.save_pretrained(folder)
        count = sum(p.numel() for p in model.parameters())
        code = LOAD.format(kind=type(model).__name__, asked=asked)
        done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    return {
        "params_m": round(count / 1e6, 1),
        "file_mb": round(4 * count / 1e6, 1),
        "peak_mb": round(float(done.stdout)),
    }
