"""`segue lab bench weights`: how large the networks are that users bring, and what memory one picture takes by them.

Each is built from its published sizes with random weights, so that none is downloaded. Memory is the peak of a fresh
process on a CPU, in float32, that loads the weights from a file and reads one picture, above what it held before.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

WEIGHTS: dict[str, tuple[str, str]] = {  # name on the hub -> its network, what it is asked
    "clip-vit-base-patch32": ("CLIPModel(CLIPConfig())", "input_ids=ids, pixel_values=picture(224)"),
    "siglip-base-patch16-224": ("SiglipModel(SiglipConfig())", "input_ids=ids, pixel_values=picture(224)"),
    "groupvit-gcc-yfcc": ("GroupViTModel(GroupViTConfig())", "input_ids=ids, pixel_values=picture(224)"),
    "detr-resnet-50": (
        "DetrForObjectDetection(DetrConfig(use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,"
        " backbone_config=ResNetConfig(out_features=['stage4']), num_labels=91))",
        "pixel_values=picture(800)",
    ),
    "sam-vit-base": (
        "SamModel(SamConfig())", "pixel_values=picture(1024), input_boxes=torch.tensor([[[9.0, 9.0, 99.0, 99.0]]])",
    ),
}  # fmt: skip
DIFFUSION = "stable-diffusion-v1-5"  # without its safety checker; it draws 512 pixels in two steps of sampling
PEAK = """
import re, sys, torch
from pathlib import Path
# not getrusage, whose figure begins with that of the process which started this one
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000
"""
LOAD = """
from transformers import {kind}
before = peak()
ids = torch.ones(1, 16, dtype=torch.int64)
picture = lambda side: torch.zeros(1, 3, side, side)
model = {kind}.from_pretrained(sys.argv[1]).eval()
with torch.inference_mode():
    model({asked})
print(peak() - before)
"""
DRAW = """
import diffusers, transformers
from segue.synthetic.text_to_image import StableDiffusion
before = peak()
StableDiffusion(sys.argv[1], steps=2, size=512).generate(["a dog"], [0])
print(peak() - before)
"""


def bench_weights(names: tuple[str, ...] = (*WEIGHTS, DIFFUSION)) -> dict[str, Any]:
    """Parameters, bytes of the file and peak memory of networks that users bring.

    Args:
        names: which of them, by their names on the hub.
    """
    return {name: measure(name) for name in names}


def measure(name: str) -> dict[str, float]:
    """Millions of parameters, megabytes of the file, megabytes of memory above that of the libraries."""
    with tempfile.TemporaryDirectory() as folder:
        count = write_weights(name, Path(folder))
        code = DRAW if name == DIFFUSION else _load_code(*WEIGHTS[name])
        done = subprocess.run([sys.executable, "-c", PEAK + code, folder], capture_output=True, text=True, check=True)
    return {
        "params_m": round(count / 1e6, 1),
        "file_mb": round(4 * count / 1e6, 1),
        "peak_mb": round(float(done.stdout.split()[-1])),
    }


def _load_code(network: str, asked: str) -> str:
    """Code that loads a saved network, by its expression, and asks it."""
    return LOAD.format(kind=network.partition("(")[0], asked=asked)


def write_weights(name: str, folder: Path) -> int:
    """Save a network of WEIGHTS, or DIFFUSION, into a folder as the hub has it; returns its parameters."""
    if name == DIFFUSION:
        return _write_diffusion(folder)
    import transformers

    network = WEIGHTS[name][0]
    names = [name for name in dir(transformers) if f"{name}(" in network]
    model = eval(network, {name: getattr(transformers, name) for name in names})
    model.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def _write_diffusion(folder: Path) -> int:
    """Save the parts of Stable Diffusion v1-5, with a tokenizer of three words; returns the number of parameters."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    diffusers: Any = import_module("diffusers")
    words = Tokenizer(models.WordLevel({"<start>": 0, "<end>": 1, "a": 2, "dog": 3}, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    across = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
    parts: dict[str, Any] = {
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_attention_heads=12, bos_token_id=0, eos_token_id=1
            )
        ),
        "unet": diffusers.UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, block_out_channels=(320, 640, 1280, 1280),
            down_block_types=(*3 * across[:1], "DownBlock2D"), up_block_types=("UpBlock2D", *3 * across[1:]),
        ),
        "vae": diffusers.AutoencoderKL(
            sample_size=512, latent_channels=4, block_out_channels=(128, 256, 512, 512), layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        ),
    }  # fmt: skip
    diffusers.StableDiffusionPipeline(
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="<end>", bos_token="<start>", eos_token="<end>", model_max_length=77
        ),
        scheduler=diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **parts,
    ).save_pretrained(folder)
    return sum(p.numel() for part in parts.values() for p in part.parameters())
