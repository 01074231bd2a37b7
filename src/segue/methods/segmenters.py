"""The note-guided segmenters by name, and how one is written to a checkpoint and built again from it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor, nn

from segue.configs import from_json
from segue.encoders.image.pyramid import FeaturePyramid, load_pyramid
from segue.encoders.text import load_text_encoder
from segue.encoders.text.cache import TextFeatureCache
from segue.encoders.text.contract import TextEncoder
from segue.methods.checkpoint import build, fill_module, read_config, read_tensors, write_checkpoint
from segue.methods.lvit import LViT, LViTConfig
from segue.methods.reclmis.config import RecLMISConfig
from segue.methods.reclmis.model import TRAINING_PARTS, Parts, PretrainedEncoder, RecLMIS, build_reclmis
from segue.methods.reclmis.released import ReleasedConfig, ReleasedRecLMIS
from segue.methods.unet import UNet, UNetConfig
from segue.nn.feature_distance import FeatureDistance
from segue.nn.preprocessing import Preprocessing
from segue.types import InputError

NetworkConfig = RecLMISConfig | ReleasedConfig | LViTConfig | UNetConfig
METHODS: dict[str, type[NetworkConfig]] = {
    "reclmis": RecLMISConfig,
    "reclmis-released": ReleasedConfig,
    "lvit": LViTConfig,
    "unet": UNetConfig,
}
Network = RecLMIS | ReleasedRecLMIS | LViT | UNet
PARTS = {  # of config.json, and their types
    "config": dict,
    "preprocessing": dict,
    "text": dict | None,
    "vision": dict | None,
    "window": Annotated[int, Interval(ge=32, le=4096)] | None,
    "temperature": Annotated[float, Interval(ge=1e-3, le=1e3)],
}


@dataclass(frozen=True)
class SavedSegmenter:
    """A segmenter with what is needed to use it. temperature divides the logits; about: recipe, data, scores.

    window: side of the windows that it was trained on, in pixels of the picture; None for whole pictures.
    domain: how far pictures lie from those of the training; None where that was not measured.
    """

    network: Network
    preprocessing: Preprocessing
    temperature: float
    about: dict[str, Any]
    window: int | None = None
    domain: FeatureDistance | None = None


def build_segmenter(
    config: NetworkConfig,
    text: TextEncoder | None,
    parts: Parts = "training",
    vision: FeaturePyramid | None = None,
) -> Network:
    """A fresh network of any method. text: the text encoder, None for a network that reads no notes.

    vision: a pretrained encoder of RecLMIS, None for the one that is trained from scratch.
    Raises InputError for a method that needs a text encoder and got none.
    """
    if isinstance(config, UNetConfig):
        return UNet(config)
    if isinstance(config, RecLMISConfig):
        return build_reclmis(config, text, parts, vision)
    if text is None:
        raise InputError("text encoder: got none, expected one, because this method reads notes")
    if isinstance(config, LViTConfig):
        return LViT(config, text)
    return ReleasedRecLMIS(config, text, training=parts == "training")


class SegmenterTask(nn.Module):
    """A segmenter as a task of the training loop.

    cache: the features of a frozen text encoder, each note's computed once; None where the encoder is trained along.
    lr_scale: {beginning of a parameter's name: factor of its learning rate}, see the training loop.
    rising: forward passes over which the weights of RecLMIS' auxiliary losses rise from 0 to their own.
    """

    def __init__(self, network: Network, lr_scale: Mapping[str, float] | None = None, rising: int = 0) -> None:
        super().__init__()
        self.lr_scale = dict(lr_scale or {})
        self.network, text = network, network.text_encoder
        self.cache = TextFeatureCache(text) if text is not None and text.frozen else None
        self.rising = rising
        self.passes: Tensor
        if rising:
            self.register_buffer("passes", torch.zeros((), dtype=torch.int64))  # a resumed run goes on counting

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """See the network's."""
        if not self.rising or not isinstance(self.network, RecLMIS):
            return self.network.training_step(batch, self.cache)
        auxiliary = (self.passes / self.rising).clamp_max(1)
        self.passes += 1
        return self.network.training_step(batch, self.cache, auxiliary)


def save_segmenter(saved: SavedSegmenter, folder: Path, *, half: bool = False) -> None:
    """Write a checkpoint folder, atomically. half: store the weights as float16, in half the space."""
    network = saved.network
    with tempfile.TemporaryDirectory() as extra:
        config = {
            "method": next(name for name, kind in METHODS.items() if type(network.config) is kind),
            "config": asdict(network.config),
            "preprocessing": asdict(saved.preprocessing),
            "text": None if network.text_encoder is None else network.text_encoder.save(Path(extra)),
            "vision": _vision_config(network),
            "temperature": saved.temperature,
            "window": saved.window,
            "about": saved.about,
        }
        if saved.domain is not None:
            saved.domain.save(Path(extra))
        write_checkpoint(folder, config, network.state_dict(), Path(extra), half=half)


def _vision_config(network: Network) -> dict[str, Any] | None:
    encoder = network.encoder if isinstance(network, RecLMIS) else None
    return encoder.pyramid.config() if isinstance(encoder, PretrainedEncoder) else None


def restore_segmenter(folder: Path, parts: Parts = "inference") -> SavedSegmenter:
    """Build a segmenter from its checkpoint, with no more parts than asked for.

    Raises InputError when the folder is not whole, or is of another method.
    """
    config = read_config(folder, list(METHODS), PARTS)
    network_config: Any = from_json(METHODS[config["method"]], config["config"], folder)
    preprocessing, tensors = from_json(Preprocessing, config["preprocessing"], folder), read_tensors(folder)

    def make() -> Network:
        text = load_text_encoder(config["text"], folder) if config.get("text") else None
        vision = load_pyramid(config["vision"], folder) if config.get("vision") else None
        return build_segmenter(network_config, text, parts, vision)

    network = build(make, tensors, folder)
    fill_module(network, tensors, folder, unused=TRAINING_PARTS)
    about, window = config.get("about") or {}, config.get("window")
    domain = FeatureDistance.load(folder, network.feature_width) if isinstance(network, RecLMIS) else None
    return SavedSegmenter(network.eval(), preprocessing, config["temperature"], about, window, domain)
