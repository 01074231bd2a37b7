"""`segue export --onnx`: a model as a folder of ONNX graphs that need neither Segue nor torch.

The folder holds each graph as one file with its weights, model.json (inputs, outputs, sizes, and how to use it) and
tokenizer.json where texts are read or written. It is only written if onnxruntime's outputs equal torch's.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo
from numpy.typing import NDArray
from torch import Tensor

from segue.api.captioner import Captioner
from segue.api.graphs import EXPORTED, Graph, graphs_of
from segue.api.models import find, method_of
from segue.api.open_vocabulary import OpenVocabularySegmenter, load_open_vocabulary
from segue.api.segmenter import Segmenter, load_segmenter
from segue.configs import read_json
from segue.encoders.pretrained import fingerprint
from segue.files import fresh_folder
from segue.methods.syntic import SynticCheckpoint, load_syntic
from segue.types import InputError, to_install

TOLERANCE = 1e-4
ROWS = (1, 2, 3)  # batch sizes that each graph is checked at
SEED = 0
DESCRIPTION = "model.json"
LOADERS: dict[str, Callable[[Path], Any]] = {  # by method; a captioner's graphs don't need its dual encoder
    "cocu": partial(load_open_vocabulary, device="cpu"),
    "reclmis": partial(load_segmenter, device="cpu"),
    "syntic": load_syntic,
    "unet": partial(load_segmenter, device="cpu"),
}


def load_model(name_or_path: str | Path) -> Any:
    """The model of a bundled name, a checkpoint folder or a hub id, as `export_onnx` takes it.

    Raises InputError for a method without ONNX export.
    """
    folder = find(name_or_path)
    method = method_of(folder)
    if method not in LOADERS:
        raise InputError(f"{folder.name}: a model of the method {method!r} has no ONNX export; {EXPORTED}")
    return LOADERS[method](folder)


def export_onnx(model: Any, out: Path) -> dict[str, float]:
    """Write a predictor's graphs into the folder `out`, whole or not at all.

    Returns each graph's largest difference between onnxruntime and torch on random inputs of several sizes, at most
    `TOLERANCE`. Raises InputError for a kind of model without graphs, one that is not on the CPU, a folder of something
    else, missing packages, and ArithmeticError when a graph answers differently.
    """
    model = model.checkpoint if isinstance(model, Captioner) else model
    graphs = graphs_of(model)
    devices = {tensor.device.type for graph in graphs.values() for tensor in graph.module.parameters()}
    if devices - {"cpu"}:
        raise InputError(f'ONNX: the model is on {", ".join(sorted(devices))}; move it first: model.to("cpu")')
    weights = weights_of(model)
    if out.exists():
        return _finished(out, weights)
    _check_packages()
    with fresh_folder(out.parent) as inside:
        fresh = inside / "fresh"
        fresh.mkdir()
        differences = {}
        for name, graph in graphs.items():
            write_graph(graph, fresh / f"{name}.onnx")
            differences[name] = check_graph(graph, fresh / f"{name}.onnx")
        _write_description(model, fresh, differences, weights)
        os.replace(fresh, out)
    return differences


def weights_of(model: Any) -> str:
    """The sha256 of a predictor's weights, by which its graphs are known again."""
    digest = hashlib.sha256()
    for graph in graphs_of(model).values():
        digest.update(fingerprint(graph.module, buffers=True).encode())
    return digest.hexdigest()


def check_new(out: Path, weights: str) -> dict[str, Any]:
    """The description in a folder that an earlier export of the same weights finished.

    Raises InputError for a folder of anything else.
    """
    path = out / DESCRIPTION
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    if found.get("weights") != weights:
        raise InputError(f"{out}: is there already, with something else; name a new folder")
    return found


def _finished(out: Path, weights: str) -> dict[str, float]:
    found = check_new(out, weights)
    return {name: graph["largest_difference"] for name, graph in found["graphs"].items()}


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"ONNX needs more packages ({error}): {to_install('onnx')}") from error


def write_graph(graph: Graph, path: Path) -> None:
    """Write one graph, weights included, by torch's exporter."""
    torch.manual_seed(SEED)
    inputs = graph.sample(ROWS[-1], max(2, sorted(graph.lengths)[len(graph.lengths) // 2]))
    axes = {name: graph.axes.get(name, {}) for name in inputs}
    logger, level = logging.getLogger("torch.onnx"), logging.getLogger("torch.onnx").level
    uncached = torch._dynamo.config.patch(fake_tensor_cache_enabled=False)  # slower with it
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), torch.no_grad(), uncached, redirect_stdout(sys.stderr):  # old ones print there
            warnings.simplefilter("ignore")  # torch warns of its own code
            torch.onnx.export(
                graph.module.eval(), (), path, kwargs=inputs, input_names=list(inputs),
                output_names=list(graph.outputs), dynamic_shapes=axes, external_data=False, dynamo=True, verbose=False,
            )  # fmt: skip
    finally:
        logger.setLevel(level)


def session(path: Path, threads: int = 0) -> Any:
    """An onnxruntime session on the CPU. threads: 0 for onnxruntime's own choice."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check_graph(graph: Graph, path: Path) -> float:
    """The largest difference between onnxruntime and torch, over batch sizes and lengths.

    Raises ArithmeticError when it is above `TOLERANCE`, and for other shapes or NaN.
    """
    running, largest = session(path, torch.get_num_threads()), 0.0
    torch.manual_seed(SEED)
    for rows in ROWS:
        for length in graph.lengths:
            inputs = graph.sample(rows, length)
            outputs = zip(graph.outputs, run_torch(graph, inputs), run_onnx(running, inputs), strict=True)
            for name, ours, theirs in outputs:
                if ours.shape != theirs.shape or not np.isfinite(theirs).all():
                    raise ArithmeticError(
                        f"{path.name}: {name} has shape {theirs.shape}, torch's {ours.shape}, or holds NaN"
                    )
                largest = max(largest, float(np.abs(ours - theirs).max(initial=0.0)))
    if largest > TOLERANCE:
        raise ArithmeticError(
            f"{path.name}: onnxruntime's answers differ from torch's by {largest:.2g}, more than {TOLERANCE:g}"
        )
    return largest


def run_torch(graph: Graph, inputs: dict[str, Tensor]) -> list[NDArray[Any]]:
    """The outputs of the graph's module, without gradients."""
    with torch.inference_mode():
        found = graph.module(**inputs)
    return [x.numpy() for x in ((found,) if isinstance(found, Tensor) else found)]


def run_onnx(running: Any, inputs: dict[str, Tensor]) -> list[NDArray[Any]]:
    """The outputs of an onnxruntime session (`session`)."""
    outputs: list[NDArray[Any]] = running.run(None, {name: x.numpy() for name, x in inputs.items()})
    return outputs


# ------------------------------------------------------------------------------------------- model.json


def _write_description(model: Any, folder: Path, differences: dict[str, float], weights: str) -> None:
    graphs = {
        name: {**_interface(folder / f"{name}.onnx"), "largest_difference": difference}
        for name, difference in differences.items()
    }
    description: dict[str, Any] = {"graphs": graphs, "weights": weights}
    if isinstance(model, Segmenter):
        description |= _describe_segmenter(model, folder)
    elif isinstance(model, SynticCheckpoint):
        description |= _describe_captioner(model, folder)
    elif isinstance(model, OpenVocabularySegmenter):
        description |= _describe_open_vocabulary(model, folder)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _interface(path: Path) -> dict[str, Any]:
    """A graph's file, inputs and outputs as onnxruntime reads them: sizes are numbers, or names where any will do."""
    running = session(path, 1)
    sides = {"inputs": running.get_inputs(), "outputs": running.get_outputs()}
    return {"file": path.name} | {
        side: [{"name": x.name, "type": x.type, "shape": x.shape} for x in found] for side, found in sides.items()
    }


def _describe_segmenter(model: Segmenter, folder: Path) -> dict[str, Any]:
    description: dict[str, Any] = {"job": "segment by note", "pixels": asdict(model.preprocessing)}
    description["use"] = [
        "pixels: RGB / 255, resized to size x size (bilinear, anti-aliased), minus mean, over std; channels first",
        "logits: resize (bilinear, pixel centres) to the picture's own grid, then sigmoid; the mask is 0.5 or more",
    ]
    text = model.members[0].network.text_encoder
    if text is not None:
        _write_tokenizer(text.tokenizer, folder)
        description["tokens"] = {"file": "tokenizer.json", "most": text.max_tokens}
        description["use"] += ["ids: of tokenizer.json, 0 on padding; word_mask: true on tokens, all false for no note"]
    return description


def _describe_captioner(model: SynticCheckpoint, folder: Path) -> dict[str, Any]:
    net = model.model
    _write_tokenizer(model.tokenizer.tokenizer, folder)
    description: dict[str, Any] = {"job": "caption"}
    description["tokens"] = {
        "file": "tokenizer.json", "end": net.end, "never": list(net.suppressed_token_ids), "most": net.config.max_tokens
    }  # fmt: skip
    description["encoder"] = {key: model.encoder[key] for key in ("width", "fingerprint")}
    description["use"] = [
        "picture: the dual encoder's image feature, of length 1; objects: text features of the detected objects' "
        "names; found: false on padding (one row of zeros that is not found for no objects)",
        "start gives the first token's logits and the cache; step takes a token and the cache (keys_out, values_out "
        "become keys, values) and gives the next token's, until the token `end`",
        "projected: the same as picture",
    ]
    if net.config.fp:
        description["use"][-1] = "projected: normalise(softmax(support @ picture / tau) @ support), Eq. 3"
        description["support"] = {"tau": net.config.tau, "file": None if model.support is None else "support.npy"}
        if model.support is not None:
            np.save(folder / "support.npy", np.asarray(model.support.features))
    return description


def _describe_open_vocabulary(model: OpenVocabularySegmenter, folder: Path) -> dict[str, Any]:
    c, protocol, prompt = model.model.config, model.protocol, model.protocol.prompt
    if model.model.tokenizer is not None:
        _write_tokenizer(model.model.tokenizer, folder)
    return {
        "job": "segment by names",
        "pixels": {"size": protocol.crop, "mean": c.mean, "std": c.std},
        "tokens": {"file": "tokenizer.json", "most": c.max_tokens, "end": c.eos, "pad": c.pad, "prompt": prompt},
        "scale": float(model.model.scale),
        "protocol": asdict(protocol),
        "use": [
            "pixels: RGB / 255, the shorter side resized to protocol.short_side, windows of size x size, - mean, / std",
            "score of name n at a patch: sum over g of maps[g, patch] * softmax_n(scale * groups[g] . texts[n]), "
            "resized (bilinear) to pixels; a pixel gets the best name",
        ],
    }


def _write_tokenizer(tokenizer: Any, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
