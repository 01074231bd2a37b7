"""`segue lab bench export`: onnxruntime beside torch, graph by graph, in one interleaved run.

Both have the same weights, inputs and threads; times are medians over rounds in which each takes its turn, so that a
busy machine slows both alike.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segue.lab.bench.caption import medians
from segue.types import InputError


def bench_export(
    *, models: tuple[str, ...] = ("reclmis-chest",), batch: int = 1, rounds: int = 30, length: int = 16
) -> dict[str, Any]:
    """Milliseconds of each graph by onnxruntime and by torch.

    Args:
        models: bundled names or checkpoint folders: segmenters, captioners, GroupViTs.
        batch: pictures, or texts.
        rounds: of which the medians are taken, after one for warming up.
        length: tokens of a text, objects of a picture, tokens in the cache; fewer where a model has room for fewer.

    Raises:
        InputError: when batch or rounds is less than 1, or length less than 2.
    """
    if batch < 1 or rounds < 1 or length < 2:
        raise InputError(f"bench: got batch {batch}, rounds {rounds}, length {length}; expected 1, 1 and 2 or more")
    threads = torch.get_num_threads()
    found = {str(model): compare_graphs(model, batch, rounds, length) for model in models}
    return {"ms": found, "batch": batch, "length": length, "rounds": rounds, "threads": threads}


def compare_graphs(name: str, batch: int, rounds: int, length: int) -> dict[str, dict[str, float]]:
    """The figures of each graph of a model: the milliseconds of both, their ratio and the largest difference.

    name: a bundled name or a checkpoint folder. batch, rounds, length: see `bench_export`.
    """
    from segue.api import to_onnx
    from segue.api.graphs import graphs_of

    model = to_onnx.load_model(name)
    with tempfile.TemporaryDirectory() as inside:
        differences = to_onnx.export_onnx(model, Path(inside) / "onnx")
        runs: dict[str, dict[str, Callable[[], object]]] = {}
        for graph_name, graph in graphs_of(model).items():
            running = to_onnx.session(Path(inside) / "onnx" / f"{graph_name}.onnx", torch.get_num_threads())
            torch.manual_seed(to_onnx.SEED)
            inputs = graph.sample(batch, min(length, max(graph.lengths)))
            runs[graph_name] = {
                "onnxruntime": partial(to_onnx.run_onnx, running, inputs),
                "torch": partial(to_onnx.run_torch, graph, inputs),
            }
        return {
            graph_name: _milliseconds(run, rounds) | {"largest_difference": differences[graph_name]}
            for graph_name, run in runs.items()
        }


def _milliseconds(run: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    ms = {name: 1e3 * seconds for name, seconds in medians(run, rounds).items()}
    return {name: round(value, 3) for name, value in ms.items()} | {
        "torch_over_onnxruntime": round(ms["torch"] / ms["onnxruntime"], 3)
    }
