"""The settings of a note-guided segmenter's training, and what shapes its network and losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval
from tyro.constructors import PrimitiveConstructorSpec

from segue.encoders.text import build_text_encoder
from segue.encoders.text.contract import TextEncoder
from segue.methods.lvit import LViTConfig
from segue.methods.reclmis.config import SIZES, RecLMISConfig, ablate_config
from segue.methods.reclmis.released import ReleasedConfig
from segue.methods.segmenters import NetworkConfig
from segue.methods.unet import UNetConfig
from segue.options import Positive, Share
from segue.recipes.settings import TrainSettings
from segue.types import InputError

AUTO = -1  # of a number that is left to the plan; "auto" on the command line
AutoInt = Annotated[
    int,
    Ge(AUTO),
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT|auto",
        instance_from_str=lambda words: AUTO if words[0] == "auto" else int(words[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: ["auto" if value == AUTO else str(value)],
    ),
]
System = Literal["auto", "full", "ci_clr", "ci_cvr", "ci", "early_fusion", "text_blind", "unet", "lvit"]

INTERACTING: tuple[System, ...] = ("full", "ci_clr", "ci_cvr", "ci")  # systems whose patches attend to words


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(TrainSettings):
    """The network and its losses. What is None is the size's own, see `segue.methods.reclmis.config.RecLMISConfig`.

    Attributes:
        system: the method, an ablation of it (Table III) or a rival; text_blind and unet read no notes; "auto":
            see `segue data plan`.
        size: "segue" (the default, light), "faithful" (the paper's), or "released" (the authors' network to the letter,
            with --text clip:).
        text: the text encoder: "small" (trained along), "minilm" (extra `offline`), or "clip:ID-OR-FOLDER".
        image_size: side of the network's square input, in pixels; auto: see `segue data plan`.
        ramp: share of the steps over which the weights of the auxiliary losses rise from 0 to their own.
        widths: channels of the encoder's levels; each level after the first halves the grid.
        heads: of all attention.
        interaction: "cross" (the paper's CI) or "self" (Table V).
        residual: whether attention is added to the features that attend, or takes their place (Eq. 1).
        zones: whether patches are told which zones of the lungs a note names (ours); unless given, the plan says so
            where notes name some.
        ccl: the contrastive loss of Eq. 6.
        lambda_v2t: weight of the language reconstruction, lambda_1 of Eq. 11.
        lambda_t2v: weight of the vision reconstruction, lambda_2.
        lambda_ccl: weight of the contrastive loss, lambda_3.
        lambda_segmentation: weight of Dice and cross-entropy, lambda_4.
        tau: temperature of the contrastive loss, Eq. 6.
        mask_ratio_vision: share of the patches that are masked for reconstruction.
        mask_ratio_text: share of the words that are masked for reconstruction.
        masking: by W_poi and W_woi ("conditioned") or at "random".
        conditions: which of ccl, clr and cvr W_poi and W_woi weigh (Table IV); "none" for none of them.
        condition_order: "renormalised" after the softmax, or "printed": inside it, as Eq. 7 and 9 have it, where they
            make attention a plain mean.
        reconstruction: what the reconstructors attend to: the other modality ("cross") or both ("self", Table V).
        reconstruction_layers: of each reconstructor.
        reconstruction_scale: of Eq. 8 and 10: the plain mean over positions as "released", the weighted "mean" over
            them, the same with "detached" weights, or as "printed".
    """

    system: System = "full"
    size: Literal["segue", "faithful", "released"] = "segue"
    text: str = "small"
    image_size: AutoInt = 224
    ramp: Share = 0.0
    widths: tuple[Positive, ...] | None = None
    heads: Positive | None = None
    interaction: Literal["cross", "self"] | None = None
    residual: bool | None = None
    zones: bool | None = None
    ccl: bool | None = None
    lambda_v2t: Annotated[float, Gt(0)] | None = None
    lambda_t2v: Annotated[float, Gt(0)] | None = None
    lambda_ccl: Annotated[float, Gt(0)] | None = None
    lambda_segmentation: Annotated[float, Gt(0)] | None = None
    tau: Annotated[float, Gt(0)] | None = None
    mask_ratio_vision: Share | None = None
    mask_ratio_text: Share | None = None
    masking: Literal["conditioned", "random"] | None = None
    conditions: tuple[Literal["ccl", "clr", "cvr", "none"], ...] | None = None
    condition_order: Literal["renormalised", "printed"] | None = None
    reconstruction: Literal["cross", "self"] | None = None
    reconstruction_layers: Positive | None = None
    reconstruction_scale: Literal["mean", "detached", "printed", "released"] | None = None


@dataclass(frozen=True, kw_only=True)
class RecLMISSettings(NetworkSettings):
    """One training of a segmenter.

    Attributes:
        data: folder in the LViT layout.
        vision: "none" (convolutions trained from scratch), "efficientnet-lite0" (extra `offline`) or
            "backbone:ID-OR-FOLDER" (any backbone of transformers); "auto": EfficientNet where it is installed.
        vision_lr: learning rate of the pretrained vision encoder as a share of lr; 0 freezes it.
        patches: "yes" trains on windows of image_size at the pictures' own resolution and slides such a window at
            inference, "no" on whole pictures; "auto": see `segue data plan`.
        steps, batch_size: auto: see `segue data plan`.
        minutes: how long a training may take whose steps are auto, on this machine, from a few steps measured first.
        text_dropout: share of notes left out in training, so that the model also works without a note.
        parts: share of pictures that are shown with a part of their infection, in mask and note, so that the model
            learns to follow the note; for lung notes that name zones.
        augmentation: "light" (flips with sides swapped, small rotations, contrast, blur), "strong" (after nnU-Net) or
            "none"; "auto": see `segue data plan`.
        warmup: share of the steps in which the learning rate rises; then it falls as a cosine.
        folds: > 1 trains that many models by patient, on train and validation together, and averages them.
    """

    vision: str = "none"
    vision_lr: Annotated[float, Interval(ge=0, le=1)] = 0.1
    patches: Literal["auto", "yes", "no"] = "no"
    steps: AutoInt = 4000
    batch_size: AutoInt = 16
    minutes: Annotated[float, Gt(0)] = 15.0
    lr: float = 1e-3
    text_dropout: Annotated[float, Interval(ge=0, le=1)] = 0.05
    parts: Annotated[float, Interval(ge=0, le=1)] = 0.0
    augmentation: Literal["auto", "none", "light", "strong"] = "light"
    evaluations: int = 10
    warmup: Share = 0.1
    folds: int = 0

    def check(self) -> None:
        """Raise InputError also for none of what a training can't do without."""
        super().check()
        for name in ("image_size", "steps", "batch_size"):
            if getattr(self, name) == 0:
                raise InputError(f"{name}: got 0, expected 1 or more, or auto ({AUTO} in Python)")


LAMBDAS = ("lambda_v2t", "lambda_t2v", "lambda_ccl", "lambda_segmentation")
NAMED = {"tau": "temperature"}  # settings that the configuration has under another name
OWN: dict[str, tuple[str, ...]] = {  # of systems and sizes that haven't got all of the above, what they have
    "unet": (),
    "lvit": ("widths",),
    "text_blind": ("widths",),
    "early_fusion": ("widths",),
    "released": (
        "widths", "heads", "reconstruction_layers", "mask_ratio_vision", "mask_ratio_text", "tau", *LAMBDAS,
    ),
}  # fmt: skip


def network_config(settings: NetworkSettings) -> NetworkConfig:
    """The network that the settings name.

    Raises InputError for settings of the network that its system or size hasn't got, and sizes that don't fit.
    """
    given = {f.name: getattr(settings, f.name) for f in fields(NetworkSettings) if f.default is None}
    given = {name: value for name, value in given.items() if value is not None}
    released = settings.size == "released"
    what = f"--system {settings.system}" if settings.system in OWN or not released else "--size released"
    known = OWN.get(what.split()[1], tuple(given))
    if unused := [name for name in given if name not in known]:
        raise InputError(f"{', '.join(unused)}: given, but {what} has none; leave it out")
    if settings.system == "unet":
        return UNetConfig()
    if (settings.system == "lvit" or released) and settings.image_size == AUTO:
        raise InputError(f"image_size: left to the plan, but {what} takes one size alone; pass --image-size 224")
    if settings.system == "lvit":
        return _lvit(settings)
    if released and settings.system != "full":
        raise InputError(f"--size released: got --system {settings.system}, expected full: its parts can't be left out")
    config = ReleasedConfig() if released else ablate_config(SIZES[settings.size], settings.system)
    changes: dict[str, Any] = {NAMED.get(name, name): value for name, value in given.items() if name not in LAMBDAS}
    if "conditions" in changes:
        changes["conditions"] = tuple(part for part in changes["conditions"] if part != "none")
    weights = zip(LAMBDAS, config.loss_weights, strict=True)
    config = replace(config, **changes, loss_weights=tuple(given.get(name, own) for name, own in weights))
    if isinstance(config, ReleasedConfig):
        return _released(config, settings)
    if dead := [name for name in LAMBDAS if name in given and name.removeprefix("lambda_") not in config.terms]:
        raise InputError(f"{', '.join(dead)}: given, but --system {settings.system} has no such loss; leave it out")
    return config


def _lvit(settings: NetworkSettings) -> LViTConfig:
    """LViT for the settings' image size; 14 x 14 patches at 224 and at 112 pixels, as in its paper."""
    widths = settings.widths or (64,)
    if len(widths) > 1:
        raise InputError(f"widths: got {widths}, expected one for --system lvit, which doubles it from level to level")
    stride = 16 if settings.image_size >= 192 else 8
    return LViTConfig(width=widths[0], image_size=settings.image_size, stride=stride, tokens=32)


def _released(config: ReleasedConfig, settings: NetworkSettings) -> ReleasedConfig:
    """The released network for the settings' image size and text encoder."""
    stride = 2 ** (len(config.widths) - 1)
    if settings.image_size % stride:
        raise InputError(f"image_size: got {settings.image_size}, expected a multiple of {stride}")
    if not settings.text.startswith("clip:"):
        raise InputError(
            f"--size released: got --text {settings.text}, expected clip:ID-OR-FOLDER, such as "
            "clip:openai/clip-vit-base-patch32"
        )
    return replace(config, grid=settings.image_size // stride)


def text_encoder(settings: NetworkSettings, config: NetworkConfig, notes: Sequence[str]) -> TextEncoder | None:
    """The text encoder of the network; None for one that reads no notes. notes: of "small" alone, see its tokenizer.

    Raises InputError for an encoder that can't be had, or whose states the released size can't reconstruct.
    """
    if not reads_notes(config):
        return None
    if not isinstance(config, ReleasedConfig):
        return build_text_encoder(settings.text, notes)
    from segue.encoders.text.clip import ClipTextEncoder

    text = ClipTextEncoder(settings.text.removeprefix("clip:"), max_tokens=config.tokens, projected=True)
    if text.width != config.widths[-1]:
        raise InputError(
            f"{settings.text}: projects to {text.width} numbers, expected {config.widths[-1]}, the last of the widths"
        )
    return text


def reads_notes(config: NetworkConfig) -> bool:
    """Whether a network of that configuration reads notes."""
    if isinstance(config, RecLMISConfig):
        return config.interaction != "none"
    return not isinstance(config, UNetConfig)
