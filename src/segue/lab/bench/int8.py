"""What whole numbers of 8 bits bring and cost: the graphs of segmenters, and the decoder of a captioner.

CPU milliseconds on one thread, by turns, medians over rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from segue.api.captioner import load_captioner
from segue.api.segmenter import load_segmenter
from segue.api.to_int8 import GRAPH, export_int8, graph_inputs
from segue.api.to_onnx import export_onnx, run_onnx, session
from segue.data.medical.lvit import read_lvit
from segue.lab.bench.inference import one_thread
from segue.options import Decoding

ROUNDS, PICTURES = 15, 32


def measure_graph(name: str, data: Path, folder: Path) -> dict[str, float]:
    """A bundled segmenter's graph in int8 beside float32, one picture at a time, and what it costs in Dice.

    data: in the LViT layout, see `export_int8`. folder: for the graphs. Raises InputError as that does.
    """
    model = load_segmenter(name, device="cpu", dtype="float32")
    export_onnx(model, folder / "float32")
    loss = export_int8(model, folder / "int8", data)
    inputs = [graph_inputs(model, record.load()) for record in read_lvit(data, "val", "skip")[:ROUNDS]]
    runs: dict[str, Callable[[int], object]] = {}
    for kind in ("float32", "int8"):
        runs[kind] = partial(_run, session(folder / kind / GRAPH, 1), inputs)
    found = _medians(runs, 1)
    sizes = {f"{kind}_mb": (folder / kind / GRAPH).stat().st_size / 1e6 for kind in runs}
    return found | sizes | {"dice": loss.dice, "dice_float32": loss.dice_float32}


def _run(running: object, inputs: list[dict[str, Tensor]], turn: int) -> object:
    return run_onnx(running, inputs[turn % len(inputs)])


def measure_decoder(name: str, counts: tuple[int, ...] = (1, 8, 32)) -> dict[str, float]:
    """A bundled captioner's decoder with its products of matrices in int8 (dynamic, by torch) beside float32.

    counts: pictures of a call. changed: the share of captions that are others then, of random picture features.
    """
    models = {kind: load_captioner(name, device="cpu") for kind in ("float32", "int8")}
    decoder: nn.Module = models["int8"].checkpoint.model.decoder
    for part in decoder.modules():
        if isinstance(part, nn.Linear):
            part.weight.data = part.weight.data.contiguous()
    quantised = torch.ao.quantization.quantize_dynamic(decoder, {nn.Linear}, dtype=torch.qint8)
    models["int8"].checkpoint.model.decoder = quantised
    v = torch.nn.functional.normalize(
        torch.randn(PICTURES, models["int8"].encoder.width, generator=torch.Generator().manual_seed(0)), dim=1
    )
    found: dict[str, float] = {}
    for count in counts:
        runs: dict[str, Callable[[int], object]] = {
            kind: lambda turn, model=model, count=count: [  # type: ignore[misc]
                model.caption_features(v[at : at + count], options=Decoding(beams=3))
                for at in range(0, PICTURES, count)
            ]
            for kind, model in models.items()
        }
        found |= {f"batch_{count}_{key}": value for key, value in _medians(runs, PICTURES, rounds=5).items()}
    texts = [[c[0].text for c in model.caption_features(v, options=Decoding(beams=3))] for model in models.values()]
    return found | {"changed": sum(a != b for a, b in zip(*texts, strict=True)) / PICTURES}


def _medians(runs: dict[str, Callable[[int], object]], pictures: int, rounds: int = ROUNDS) -> dict[str, float]:
    """CPU milliseconds a picture of float32 and int8, which take turns, and their ratio."""
    taken: dict[str, list[float]] = {kind: [] for kind in runs}
    with one_thread():
        for turn in range(rounds + 1):
            for kind, run in runs.items():
                start = time.process_time()
                run(turn)
                if turn:
                    taken[kind].append(1e3 * (time.process_time() - start) / pictures)
    ms = {kind: statistics.median(found) for kind, found in taken.items()}
    return {f"{kind}_ms": value for kind, value in ms.items()} | {"speedup": ms["float32"] / ms["int8"]}
