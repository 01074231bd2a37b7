"""The benchmark `sgdiff`: the cost of grounded captions, by diffusion and autoregressively.

Both decoders have the same blocks and the same width, generate five captions of the same subgraphs and are untrained,
which changes no time: captions are held to the same length. A first prompt is timed on a picture whose graph is given,
and on one without a graph, whose objects a DETR with a ResNet-50 finds first. Parameters and multiply-accumulates
(MACs) are exact; times are medians over rounds in which every measurement takes its turn, so that a busy machine slows
all of them alike.
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
from segue.methods.sgdiff.batches import TrainingExample, collate
from segue.methods.sgdiff.config import SGDiffConfig
from segue.methods.sgdiff.graph import SPATIAL, SceneGraph, spatial_relations
from segue.methods.sgdiff.inference import SGDiffGenerator
from segue.methods.sgdiff.lexicon import Lexicon
from segue.methods.sgdiff.model import SGDiff
from segue.methods.sgdiff.stages import JointStage
from segue.options import DescribeOptions
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
    num: int = 5,
    steps: int = 5,
    objects: int = 6,
    rounds: int = 7,
    batch: int = 8,
    detector_side: int = 800,
) -> dict[str, Any]:
    """Cost of SGDiff and of its autoregressive baseline.

    Args:
        sizes: sides of the pictures in pixels; the decoders are compared at the first.
        width: of the transformer.
        blocks: of the transformer.
        words: in every caption.
        num: captions of a prompt.
        steps: of the sampler, with one try of each caption. usual_speedup and the prompts are at the default steps and
            tries of `segue describe`.
        objects: nodes of the picture's graph.
        rounds: that the medians are taken over.
        batch: pictures in a training step.
        detector_side: pixels of the shorter side of the detector's input.
    """
    config = SGDiffConfig(size=sizes[0], width=width, blocks=blocks, feed_forward=2 * width, max_words=max(words, 1))
    models = {name: _untrained(replace(config, decoder=name)) for name in ("diffusion", "autoregressive")}
    usual = DescribeOptions(num=num, length=words)
    fast = replace(usual, steps=steps, best_of=1)
    timed: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        without_masks = _untrained(replace(config, decoder=name, tasks="caption"))
        timed[f"{name}/captions"] = _further(without_masks, objects, fast)
        timed[f"{name}/captions_with_masks"] = _further(model, objects, fast)
        timed[f"{name}/usual_captions"] = _further(without_masks, objects, usual)
    for size in sizes:
        model = _untrained(replace(config, size=size))
        timed[f"{size}/first_prompt"] = _first(model, objects, usual)
        timed[f"{size}/further_prompt"] = _further(model, objects, usual)
    timed["train"] = _training_step(_untrained(config).train(), batch)
    image, detect = (
        _image(sizes[0]),
        Detr(_untrained_detr(), threshold=0, max_objects=objects, shortest_side=detector_side),
    )
    timed["detector"] = lambda: detect(image)
    ms = {name: 1e3 * seconds for name, seconds in medians(timed, rounds).items()}
    return {
        "decoders": {name: _decoder_costs(name, models[name], ms, objects, fast) for name in models},
        "speedup": round(ms["autoregressive/captions"] / ms["diffusion/captions"], 3),
        "speedup_with_masks": round(ms["autoregressive/captions_with_masks"] / ms["diffusion/captions_with_masks"], 3),
        "usual_speedup": round(ms["autoregressive/usual_captions"] / ms["diffusion/usual_captions"], 3),
        "pictures": {str(size): _prompt_costs(ms, size) for size in sizes},
        "train_steps_per_s": round(1e3 / ms["train"], 3),
        "settings": {"words": words, "num": num, "steps": steps, "objects": objects, "width": width, "blocks": blocks},
        "train_batch": batch,
        "rounds": rounds,
        "threads": torch.get_num_threads(),
    }


def _decoder_costs(
    name: str, model: SGDiff, ms: dict[str, float], objects: int, options: DescribeOptions
) -> dict[str, Any]:
    run = _further(model, objects, options)
    with FlopCounterMode(display=False) as counter:
        run()
    return {
        "params": sum(p.numel() for p in model.parameters()),
        "macs_further_prompt": counter.get_total_flops() // 2,
        "ms_captions": round(ms[f"{name}/captions"], 2),
        "ms_captions_with_masks": round(ms[f"{name}/captions_with_masks"], 2),
    }


def _prompt_costs(ms: dict[str, float], size: int) -> dict[str, float]:
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
    """A model whose backbone and adaptor are the same whatever the decoder, so that the subgraphs are too."""
    torch.manual_seed(0)
    model = SGDiff(config, _lexicon()).eval()
    torch.manual_seed(0)  # how many random numbers the model took depends on its switches
    shared = SGDiff(replace(config, decoder="diffusion", tasks="caption"), _lexicon())
    for name in ("backbone", "node_embedding", "adaptor", "edge_fusion"):
        getattr(model, name).load_state_dict(getattr(shared, name).state_dict())
    return model


def _untrained_detr() -> DetrForObjectDetection:
    """The size of facebook/detr-resnet-50."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    stem: dict[str, Any] = {"out_features": ["stage4"]}
    whole: dict[str, Any] = {"use_timm_backbone": False, "use_pretrained_backbone": False, "num_labels": 91}
    result: DetrForObjectDetection = DetrForObjectDetection(
        DetrConfig(backbone_config=ResNetConfig(**stem), **whole)
    ).eval()
    return result


def _graph(size: int, objects: int) -> SceneGraph:
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 0.6, (objects, 2)), rng.uniform(0.1, 0.4, (objects, 2))], 1) * size
    boxes = boxes.astype(np.float32)
    return SceneGraph(("thing",) * objects, boxes, tuple(spatial_relations(boxes)), (size, size))


def _image(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)


def _first(model: SGDiff, objects: int, options: DescribeOptions) -> Callable[[], object]:
    image, graph, generator = _image(model.config.size), _graph(model.config.size, objects), SGDiffGenerator(model)
    return lambda: generator.generate(model.encode(image), graph, [BOX], options)


def _further(model: SGDiff, objects: int, options: DescribeOptions) -> Callable[[], object]:
    encoded, graph = model.encode(_image(model.config.size)), _graph(model.config.size, objects)
    generator = SGDiffGenerator(model)
    return lambda: generator.generate(encoded, graph, [BOX], options)


def _training_step(model: SGDiff, pictures: int) -> Callable[[], object]:
    size = model.config.size
    mask = np.zeros((size, size), np.bool_)
    mask[10:50, 10:50] = True
    regions = (Region("thing", BOX, rle.encode(mask)), Region("thing", (60.0, 60.0, 30.0, 30.0), rle.encode(mask)))
    phrases = (Phrase(0, 0, 5, (0,)), Phrase(0, 9, 14, (1,)))
    image = _image(size)
    picture = Picture("p", lambda: image, captions=("w0 w1 w2 w3 w4",), regions=regions, phrases=phrases)
    examples = [TrainingExample(image, picture)] * pictures
    batch = collate(examples, model.lexicon, model.config, [np.random.default_rng(i) for i in range(pictures)])
    stage, optimiser = JointStage(model), torch.optim.AdamW(model.parameters())

    def step() -> None:
        optimiser.zero_grad()
        stage.training_step(batch)["loss"].backward()
        optimiser.step()

    return step
