"""A few synthetic scenes and a tiny dual encoder on disk, for the tests of curation and of training by names."""

import torch

from segue.encoders.dual_encoder import DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.small import SmallImageEncoder
from segue.encoders.text.small import SmallTextEncoder
from segue.methods.dual_encoder.checkpoint import save_dual_encoder
from segue.synthetic.scenes.writer import make_scenes


def write_scenes(folder):
    make_scenes(folder, seed=1, train=14, val=2, test=3, size=48, workers=1)
    return folder


def write_encoder(folder):
    torch.manual_seed(0)
    tokenizer = SmallTextEncoder.train_tokenizer(["a photo of a dog on the grass"])
    text = SmallTextEncoder(tokenizer, width=16, layers=1, heads=2)
    save_dual_encoder(
        VisionTextDualEncoder(DualEncoderConfig(8, 12), SmallImageEncoder(size=32, width=16, layers=1, heads=2), text),
        folder,
        {},
    )
    return folder
