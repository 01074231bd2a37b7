"""A tiny photographs' describer in memory: a reader over an untrained EfficientNet-Lite0, and an untrained network."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from segue.api.captioner import Captioner
from segue.api.photographs import PhotographReader
from segue.data.tokenizer import CaptionTokenizer
from segue.encoders.dual_encoder import DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.efficientnet import EfficientNetLite
from segue.encoders.text.small import SmallTextEncoder
from segue.methods.sgdiff.photographs.network import PhotoDescriber, PhotoDescriberConfig
from segue.methods.syntic import SupportSet, SynticCheckpoint, SynticConfig
from segue.methods.syntic.config import system_config
from segue.methods.syntic.model import build_syntic
from tiny_dual_encoder import CAPTIONS

CONFIG = PhotoDescriberConfig(
    encoder_width=16, neighbours=2, grid=2, max_nodes=3, width=16, layers=1, heads=2, max_tokens=8, dropout=0.0,
    mask_channels=8, mask_side=8,
)  # fmt: skip


def tiny_reader() -> PhotographReader:
    """A reader over pictures of 64 pixels, with a captioner that reads two captions."""
    torch.manual_seed(0)
    text = SmallTextEncoder(SmallTextEncoder.train_tokenizer(CAPTIONS), width=16, layers=1, heads=2)
    dual = VisionTextDualEncoder(
        DualEncoderConfig(width=16, hidden=0), EfficientNetLite(size=64, weights=False), text
    ).eval()
    tokenizer = CaptionTokenizer.learn(CAPTIONS, size=300, least=1)
    config = SynticConfig(width=16, layers=1, heads=2, max_tokens=8, dropout=0.0)
    config = replace(system_config(config, "neighbours"), neighbours=2)
    model = build_syntic(
        config, vocabulary=len(tokenizer), encoder_width=16, end=tokenizer.end,
        suppressed_token_ids=tokenizer.suppressed_token_ids,
    )  # fmt: skip
    features = F.normalize(torch.randn(4, 16), dim=1).numpy().astype(np.float16)
    about = {"width": 16, "fingerprint": dual.fingerprint, "name": "tiny"}
    checkpoint = SynticCheckpoint(model.eval(), tokenizer, about, SupportSet(features, CAPTIONS, tau=config.tau))
    return PhotographReader(Captioner(checkpoint, dual))


def tiny_network(tokenizer: CaptionTokenizer) -> PhotoDescriber:
    """An untrained network of CONFIG."""
    torch.manual_seed(1)
    return PhotoDescriber(CONFIG, len(tokenizer)).eval()
