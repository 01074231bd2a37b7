"""`segue lab run export`: milliseconds of onnxruntime beside torch as rows, see `segue.lab.bench.export`.

The graphs are those of the bundled segmenter and captioner, and of an untrained GroupViT of the paper's size; one
picture or text at a time, three times over.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import torch

from segue.lab.bench.export import compare_graphs
from segue.lab.engine import Row, Work
from segue.methods.cocu.groupvit.checkpoint import save_groupvit
from segue.methods.cocu.groupvit.config import SIZES
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.tokenizer import train_tokenizer, with_tokenizer

REPEATS = (0, 1, 2)  # in the place of seeds
GRAPHS = {  # the model of each; none: an untrained GroupViT
    "segmenter": "reclmis-chest",
    "captioner, start": "syntic-scenes",
    "captioner, step": "syntic-scenes",
    "GroupViT, pictures": None,
    "GroupViT, texts": None,
}


def export_table() -> list[Row]:
    """Milliseconds of each graph, and how many times torch's are onnxruntime's."""
    return [Row("one at a time", name, repeat, partial(_graph, name)) for repeat in REPEATS for name in GRAPHS]


def _graph(name: str, work: Work) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        model = GRAPHS[name] or _untrained_groupvit(Path(folder) / "groupvit")
        figures = compare_graphs(model, batch=1, rounds=30, length=16)[name.rpartition(", ")[2]]
    return {f"{runtime}_ms": figures[runtime] for runtime in ("onnxruntime", "torch")} | {
        "torch_over_onnxruntime": figures["torch_over_onnxruntime"]
    }


def _untrained_groupvit(folder: Path) -> str:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a photo of a dog."])
    save_groupvit(GroupViT(with_tokenizer(SIZES["paper"], tokenizer), tokenizer), folder)
    return str(folder)
