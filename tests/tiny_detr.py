"""A DETR of a few thousand weights, saved as the hub's are."""

from pathlib import Path

import torch
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig


def tiny_detr(folder: Path, sees: str | None = None) -> Path:
    """An untrained DETR of dogs and cats. sees: the one that it is sure of in every picture."""
    torch.manual_seed(0)
    stem = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1], out_features=["stage4"])
    sizes = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 16))}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    names = {0: "dog", 1: "cat"}
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=stem,
        num_queries=6,
        d_model=16,
        id2label=names,
        label2id={name: i for i, name in names.items()},
        **sizes,
        **heads,
    )
    detr = DetrForObjectDetection(config)
    if sees is not None:
        with torch.no_grad():
            detr.class_labels_classifier.bias[config.label2id[sees]] = 9.0
    detr.save_pretrained(folder)
    return folder
