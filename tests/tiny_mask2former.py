"""A Mask2Former of a few thousand weights, saved as the hub's are."""

from pathlib import Path

import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil


def tiny_mask2former(folder: Path) -> Path:
    """An untrained Mask2Former of pictures of 64 pixels, with its preprocessing."""
    torch.manual_seed(0)
    stem = SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=stem, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        dim_feedforward=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2, num_queries=5, num_labels=2,
    )  # fmt: skip
    network = Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():
        network.class_predictor.bias[-1] = -9.0  # sure that every query is an object
    network.save_pretrained(folder)
    Mask2FormerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder
