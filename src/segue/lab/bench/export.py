"""`segue lab bench export` and `segue lab run export`: onnxruntime beside torch, by graph, in one interleaved run.

Both have the same weights, inputs and threads; times are medians over rounds in which they take turns, so that a
busy machine slows both alike. The table: the bundled segmenter and captioner, and an untrained GroupViT of the paper's
size, one image or row at a time, three times.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segue.lab.bench.caption import medians
from segue.lab.engine import Row, Work
from segue.methods.cocu.groupvit.checkpoint import save_groupvit
from segue.methods.cocu.groupvit.config import SIZES
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.tokenizer import sized_for, train_tokenizer
from segue.types import InputError

REPEATS = (0, 1, 2)
GRAPHS = {
    "segmenter": "reclmis-chest",
    "captioner, start": "syntic-scenes",
    "captioner, step": "syntic-scenes",
    "GroupViT, pictures": "",
    "GroupViT, texts": "",
}  # and the model of each


def bench_export(
    *, models: tuple[str, ...] = ("reclmis-chest",), batch: int = 1, rounds: int = 30, length: int = 16
) -> dict[str, Any]:
    """Milliseconds of each graph by onnxruntime and by torch.

    Args:
        models: bundled names or checkpoint folders: segmenters, captioners, GroupViTs.
        batch: images, or rows.
        rounds: medians are taken over them, after one warm-up round.
        length: tokens of a text, objects of an image, tokens in the cache; at most what the model takes.
    """
    if batch < 1 or rounds < 1 or length < 2:
        raise InputError(f"bench: got batch {batch}, rounds {rounds}, length {length}; expected 1, 1 and 2 or more")
    threads = torch.get_num_threads()
    found = {str(model): _model(model, batch, rounds, length) for model in models}
    return {"ms": found, "batch": batch, "length": length, "rounds": rounds, "threads": threads}


def _model(name: str, batch: int, rounds: int, length: int) -> dict[str, dict[str, float]]:
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


# ------------------------------------------------------------------------------------------------- the table


def export_table() -> list[Row]:
    """Milliseconds of each graph, and how many times torch's are onnxruntime's."""
    return [Row("one at a time", name, turn, partial(_graph, name)) for turn in REPEATS for name in GRAPHS]


def _graph(name: str, work: Work) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as inside:
        model = GRAPHS[name] or _untrained(Path(inside) / "groupvit")
        measured = _model(model, batch=1, rounds=30, length=16)[name.rpartition(", ")[2]]
    return {f"{kind}_ms": measured[kind] for kind in ("onnxruntime", "torch")} | {
        "torch_over_onnxruntime": measured["torch_over_onnxruntime"]
    }


def _untrained(folder: Path) -> str:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a photo of a dog."])
    save_groupvit(GroupViT(sized_for(SIZES["paper"], tokenizer), tokenizer), folder)
    return str(folder)
