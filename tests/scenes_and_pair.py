"""A few drawn scenes and a tiny image-text pair on disk, for the tests of curation and of training by names."""

import torch

from segue.encoders.dual_encoder import DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.small import SmallImage
from segue.encoders.text.small import SmallText
from segue.methods.dual_encoder.checkpoint import save_dual_encoder
from segue.synthetic.scenes.writer import make_scenes


def write_scenes(folder):
    make_scenes(folder, seed=1, train=14, val=2, test=3, size=48, workers=1)
    return folder


def write_pair(folder):
    torch.manual_seed(0)
    text = SmallText(SmallText.train_tokenizer(["a photo of a dog on the grass"]), width=16, layers=1, heads=2)
    save_dual_encoder(
        VisionTextDualEncoder(DualEncoderConfig(8, 12), SmallImage(size=32, width=16, layers=1, heads=2), text),
        folder,
        {},
    )
    return folder
