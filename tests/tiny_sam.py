"""A SAM of a few thousand weights, saved as the hub's are."""

from pathlib import Path

import torch
from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor


def tiny_sam(folder: Path) -> Path:
    """An untrained SAM of pictures of 64 pixels, with its processor."""
    torch.manual_seed(0)
    vision = {
        "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64,
        "patch_size": 16, "mlp_dim": 32, "num_pos_feats": 8, "global_attn_indexes": [0], "window_size": 0,
    }  # fmt: skip
    prompts = {"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    masks = {
        "hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "iou_head_hidden_dim": 16,
    }  # fmt: skip
    SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=masks)).save_pretrained(
        folder
    )
    size = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    SamProcessor(SamImageProcessor(**size)).save_pretrained(folder)
    return folder
