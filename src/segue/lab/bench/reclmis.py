"""`segue lab bench reclmis`: the segmenters' costs, measured in one interleaved run.

Parameters and multiply-accumulates (MACs, batch 1, attention products counted) are exact; times are medians over
rounds in which the models take turns, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from segue.encoders.text.cache import TextFeatureCache
from segue.encoders.text.small import SmallTextEncoder
from segue.methods.reclmis.config import SIZES
from segue.methods.reclmis.model import Parts
from segue.methods.segmenters import Network, build_segmenter
from segue.methods.unet import UNetConfig
from segue.types import InputError

MODELS = ("unet", "faithful", "segue")
NOTES = [
    "Bilateral pulmonary infection, two infected areas, all left lung and middle lower right lung.",
    "Unilateral pulmonary infection, one infected area, upper left lung.",
]


def build_named(name: str, parts: Parts = "inference") -> Network:
    """An untrained segmenter by its name in MODELS, with the small text encoder. Raises InputError for another name."""
    if name not in MODELS:
        raise InputError(f"model {name!r}: expected one of {', '.join(MODELS)}")
    torch.manual_seed(0)
    if name == "unet":
        return build_segmenter(UNetConfig(), None)
    return build_segmenter(SIZES[name], SmallTextEncoder(SmallTextEncoder.train_tokenizer(NOTES)), parts)


def macs(network: Network, size: int) -> int:
    """Multiply-accumulates of one image whose note was read before, at batch 1."""
    image = torch.zeros(1, 3, size, size)
    text = network.eval().text_encoder
    cache = None if text is None else TextFeatureCache(text)
    with torch.inference_mode():
        network(image, NOTES[:1], cache)  # reads the note
        with FlopCounterMode(display=False) as counter:
            network(image, NOTES[:1], cache)
    return int(counter.get_total_flops()) // 2


def counted(name: str, size: int) -> dict[str, float]:
    """Exact costs: parameters and MACs of one image, at inference (its note read before) and in training.

    macs_training are of the forward pass, with the note read anew and all parts that only training needs.
    """
    inference, training = build_named(name), build_named(name, "training").train()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        training.training_step(_batch(size, 1))
    return {
        "params": sum(p.numel() for p in inference.parameters()),
        "params_training": sum(p.numel() for p in training.parameters()),
        "macs": macs(inference, size),
        "macs_training": counter.get_total_flops() // 2,
    }


def peak_rss_mb(name: str, size: int) -> float:
    """Peak resident memory in MB of a fresh process that builds the model and segments one image."""
    code = (
        "import resource, torch; from segue.lab.bench.reclmis import NOTES, build_named; "
        f"torch.set_grad_enabled(False); build_named({name!r}).eval()(torch.zeros(1, 3, {size}, {size}), NOTES[:1]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _batch(size: int, pictures: int) -> dict[str, Any]:
    return {
        "image": torch.randn(pictures, 3, size, size),
        "mask": (torch.rand(pictures, 1, size, size) > 0.8).float(),
        "note": [NOTES[i % 2] for i in range(pictures)],
        "seed": list(range(pictures)),
    }


def _training_step(network: Network, size: int, batch: int) -> Callable[[], object]:
    optimiser = torch.optim.AdamW(network.parameters())
    data = _batch(size, batch)

    def step() -> None:
        optimiser.zero_grad()
        network.training_step(data)["loss"].backward()
        optimiser.step()

    return step


def timed_runs(name: str, size: int, batch: int) -> dict[str, Callable[[], object]]:
    """What is timed of a model: one image with its note read before (cached) or anew (fresh), and a training step."""
    image, model = torch.randn(1, 3, size, size), build_named(name).eval()
    cache = None if model.text_encoder is None else TextFeatureCache(model.text_encoder)
    return {
        "cached": partial(model, image, NOTES[:1], cache),
        "fresh": partial(model, image, NOTES[:1]),
        "train": _training_step(build_named(name, "training").train(), size, batch),
    }


def bench_reclmis(*, size: int = 224, rounds: int = 7, batch: int = 4) -> dict[str, Any]:
    """Cost of U-Net, the faithful and the segue size at size x size pixels."""
    result: dict[str, dict[str, float]] = {}
    timed: dict[str, dict[str, Callable[[], object]]] = {}
    for name in MODELS:
        result[name] = counted(name, size) | {"peak_rss_mb": round(peak_rss_mb(name, size), 1)}
        timed[name] = timed_runs(name, size, batch)
    times: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in timed[name]} for name in MODELS}
    for turn in range(rounds + 1):  # the first round warms up
        for name in MODELS:
            for kind, run in timed[name].items():
                with torch.inference_mode(kind != "train"):
                    seconds = _seconds(run)
                if turn:
                    times[name][kind].append(seconds)
    for name in MODELS:
        median = {kind: statistics.median(values) for kind, values in times[name].items()}
        result[name] |= {
            "ms_per_image": round(1e3 * median["fresh"], 2),
            "ms_per_image_cached_text": round(1e3 * median["cached"], 2),
            "train_images_per_s": round(batch / median["train"], 2),
        }
    return {
        "models": result,
        "size": size,
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "train_batch": batch,
    }
