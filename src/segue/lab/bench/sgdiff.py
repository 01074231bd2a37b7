"""`segue bench sgdiff`: what stories cost, by diffusion and word by word, at a first prompt and at further ones.

Both decoders have the same blocks and the same width, tell five stories of the same subgraphs and are untrained, which
changes no time: captions are held to the same length. A first prompt is timed on a picture whose graph is given, and on
a bare one, whose objects a DETR with a ResNet-50 finds first. Parameters and multiply-accumulates (MACs) are exact;
times are medians over rounds in which everything takes its turn, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from segue.data import rle
from segue.lab.bench.caption import medians
from segue.methods.detectors import Detr
from segue.methods.sgdiff.batches import Example, collate
from segue.methods.sgdiff.config import SGDiffConfig
from segue.methods.sgdiff.graph import SPATIAL, SceneGraph, spatial_relations
from segue.methods.sgdiff.inference import explain
from segue.methods.sgdiff.lexicon import Lexicon
from segue.methods.sgdiff.model import SGDiff, build_sgdiff
from segue.types import Phrase, Picture, Region

if TYPE_CHECKING:
    from transformers import DetrForObjectDetection

BOX = (10.0, 10.0, 40.0, 40.0)


def bench_sgdiff(
    *,
    sizes: tuple[int, ...] = (128, 256, 512),
    width: int = 160,
    blocks: int = 3,
    words: int = 20,
    top: int = 5,
    steps: int = 5,
    objects: int = 6,
    rounds: int = 7,
    batch: int = 8,
    detector_side: int = 800,
) -> dict[str, Any]:
    """Cost of SGDiff and of its autoregressive rival.

    Args:
        sizes: sides of the pictures in pixels; stories against the rival are timed at the first.
        width: of the transformer.
        blocks: of the transformer.
        words: in every caption.
        top: stories of a prompt.
        steps: T of the sampler, each story told once. usual_speedup and the prompts are of `explain`'s own T and tries.
        objects: nodes of the picture's graph.
        rounds: that the medians are taken over.
        batch: pictures in a training step.
        detector_side: pixels of the shorter side that the detector sees.
    """
    config = SGDiffConfig(size=sizes[0], width=width, blocks=blocks, feed=2 * width, length=max(words, 1))
    models = {name: _untrained(replace(config, decoder=name)) for name in ("diffusion", "autoregressive")}
    usual = {"top": top, "length": words}
    asked = usual | {"steps": steps, "tries": 1}
    timed: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        told = _untrained(replace(config, decoder=name, tasks="caption"))  # words alone, without masks
        timed[f"{name}/stories"] = _further(told, objects, asked)
        timed[f"{name}/stories_with_masks"] = _further(model, objects, asked)
        timed[f"{name}/usual_stories"] = _further(told, objects, usual)
    for size in sizes:
        model = _untrained(replace(config, size=size))
        timed[f"{size}/first_prompt"] = _first(model, objects, usual)
        timed[f"{size}/further_prompt"] = _further(model, objects, usual)
    timed["train"] = _training_step(_untrained(config).train(), batch)
    image, detect = _image(sizes[0]), Detr(_untrained_detr(), threshold=0, most=objects, shortest=detector_side)
    timed["detector"] = lambda: detect(image)
    ms = {name: 1e3 * seconds for name, seconds in medians(timed, rounds).items()}
    return {
        "decoders": {name: _told(name, models[name], ms, objects, asked) for name in models},
        "speedup": round(ms["autoregressive/stories"] / ms["diffusion/stories"], 3),
        "speedup_with_masks": round(ms["autoregressive/stories_with_masks"] / ms["diffusion/stories_with_masks"], 3),
        "usual_speedup": round(ms["autoregressive/usual_stories"] / ms["diffusion/usual_stories"], 3),
        "pictures": {str(size): _prompts(ms, size) for size in sizes},
        "train_steps_per_s": round(1e3 / ms["train"], 3),
        "settings": {"words": words, "top": top, "steps": steps, "objects": objects, "width": width, "blocks": blocks},
        "train_batch": batch,
        "rounds": rounds,
        "threads": torch.get_num_threads(),
    }


def _told(name: str, model: SGDiff, ms: dict[str, float], objects: int, asked: dict[str, Any]) -> dict[str, Any]:
    run = _further(model, objects, asked)
    with FlopCounterMode(display=False) as counter:
        run()
    return {
        "params": sum(p.numel() for p in model.parameters()),
        "macs_further_prompt": counter.get_total_flops() // 2,
        "ms_stories": round(ms[f"{name}/stories"], 2),
        "ms_stories_with_masks": round(ms[f"{name}/stories_with_masks"], 2),
    }


def _prompts(ms: dict[str, float], size: int) -> dict[str, float]:
    first, further = ms[f"{size}/first_prompt"], ms[f"{size}/further_prompt"]
    return {
        "ms_first_prompt": round(first, 2),
        "ms_first_prompt_detected": round(first + ms["detector"], 2),
        "ms_further_prompt": round(further, 2),
        "further_share": round(further / first, 3),
        "further_share_detected": round(further / (first + ms["detector"]), 3),
    }


def _lexicon() -> Lexicon:
    return Lexicon(tuple(f"w{i}" for i in range(500)), ("thing",), SPATIAL)


def _untrained(config: SGDiffConfig) -> SGDiff:
    """A model whose picture, graph and adaptor are the same whatever the decoder, so that the subgraphs are too."""
    torch.manual_seed(0)
    model = build_sgdiff(config, _lexicon()).eval()
    torch.manual_seed(0)  # building the model took as many numbers as its switches ask for
    shared = build_sgdiff(replace(config, decoder="diffusion", tasks="caption"), _lexicon())
    for name in ("backbone", "nodes", "adaptor", "edges"):
        getattr(model, name).load_state_dict(getattr(shared, name).state_dict())
    return model


def _untrained_detr() -> DetrForObjectDetection:
    """The size of facebook/detr-resnet-50."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    stem: dict[str, Any] = {"out_features": ["stage4"]}
    whole: dict[str, Any] = {"use_timm_backbone": False, "use_pretrained_backbone": False, "num_labels": 91}
    return DetrForObjectDetection(DetrConfig(backbone_config=ResNetConfig(**stem), **whole)).eval()


def _graph(size: int, objects: int) -> SceneGraph:
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 0.6, (objects, 2)), rng.uniform(0.1, 0.4, (objects, 2))], 1) * size
    boxes = boxes.astype(np.float32)
    return SceneGraph(("thing",) * objects, boxes, tuple(spatial_relations(boxes)), (size, size))


def _image(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)


def _first(model: SGDiff, objects: int, asked: dict[str, Any]) -> Callable[[], object]:
    image, graph = _image(model.config.size), _graph(model.config.size, objects)
    return lambda: explain(model, model.encode(image), graph, BOX, **asked)


def _further(model: SGDiff, objects: int, asked: dict[str, Any]) -> Callable[[], object]:
    encoded, graph = model.encode(_image(model.config.size)), _graph(model.config.size, objects)
    return lambda: explain(model, encoded, graph, BOX, **asked)


def _training_step(model: SGDiff, pictures: int) -> Callable[[], object]:
    size = model.config.size
    mask = np.zeros((size, size), np.bool_)
    mask[10:50, 10:50] = True
    regions = (Region("thing", BOX, rle.encode(mask)), Region("thing", (60.0, 60.0, 30.0, 30.0), rle.encode(mask)))
    phrases = (Phrase(0, 0, 5, (0,)), Phrase(0, 9, 14, (1,)))
    image = _image(size)
    picture = Picture("p", lambda: image, captions=("w0 w1 w2 w3 w4",), regions=regions, phrases=phrases)
    examples = [Example(image, picture)] * pictures
    batch = collate(examples, model.lexicon, model.config, [np.random.default_rng(i) for i in range(pictures)])
    optimiser = torch.optim.AdamW(model.parameters())

    def step() -> None:
        optimiser.zero_grad()
        model.training_step(batch)["loss"].backward()
        optimiser.step()

    return step
