"""A tiny dual encoder on disk, and a few synthetic scenes."""

from pathlib import Path

import torch

from segue.encoders.dual_encoder import DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.small import SmallImageEncoder
from segue.encoders.text.small import SmallTextEncoder
from segue.methods.dual_encoder.checkpoint import save_dual_encoder
from segue.synthetic.scenes.writer import make_scenes

CAPTIONS = [
    "a red car on the road",
    "a brown dog runs on the grass",
    "two white sheep on the grass",
    "a man holding a kite on the sand",
]


def tiny_dual_encoder(folder: Path, width: int = 16, seed: int = 0) -> Path:
    """An untrained one of that width."""
    torch.manual_seed(seed)
    text = SmallTextEncoder(SmallTextEncoder.train_tokenizer(CAPTIONS), width=16, layers=1, heads=2)
    save_dual_encoder(
        VisionTextDualEncoder(DualEncoderConfig(width=width, hidden=0), SmallImageEncoder(size=32), text), folder, {}
    )
    return folder


def tiny_scenes(folder: Path) -> Path:
    """Six training pictures and four test pictures of 48 pixels."""
    make_scenes(folder, train=6, val=1, test=4, size=48)
    return folder
