"""Models to give away: `save_pretrained`, `push_to_hub` and `from_pretrained` over the checkpoint folders as they are.

What is written is the folder that a model was loaded from, with a model card (README.md) beside its files; what is read
from the hub is safetensors, json, txt and md files, never a pickle.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple, Self

from segue.api import models
from segue.configs import read_json
from segue.files import put_folder
from segue.options import Dtype, check_value
from segue.types import InputError
from segue.weights import CONFIG, HUB_FILES, HUB_ID, bundled

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
ABSOLUTE = re.compile(r"^(?:\w+:)?/")  # a path of the machine that trained, maybe after "clip:" or "diffusion:"
RUN_FOLDER = re.compile(r"^(?:[\w.-]+/)+([\w.-]+)/(?:best|last)$")
ENCODERS = {"encoder": "name", "text": "source", "image": "source"}  # where a config.json names weights of others


AUTO = "segue_auto"  # what transformers reads where it may trust a folder's code
AUTO_CODE = """# For transformers' AutoModel and pipeline, with trust_remote_code=True; Segue must be installed
from segue.integrations.transformers import SegueConfig, SegueModel, SeguePipeline  # noqa: F401
"""
AUTO_MAP = {"AutoConfig": f"{AUTO}.SegueConfig", "AutoModel": f"{AUTO}.SegueModel"}
PIPELINE = {"impl": f"{AUTO}.SeguePipeline", "pt": ["AutoModel"], "type": "image"}
PIPELINE_TASKS = {
    "reclmis": "image-segmentation",
    "unet": "image-segmentation",
    "cocu": "image-segmentation",
    "dual_encoder": "image-segmentation",
    "syntic": "image-to-text",
    "sgdiff": "image-to-text",
}  # by the method, the task of transformers' `pipeline`


class MethodCard(NamedTuple):
    """What a model card says of a method.

    task: what a model does, as "it ..." goes on. pipeline_tag: the hub's name of the task. example: the last line of
    the card's Python, where `model` is loaded. medical: whether the card warns of clinical use.
    """

    task: str
    pipeline_tag: str
    example: str
    medical: bool = False


METHOD_CARDS: dict[str, MethodCard] = {
    "reclmis": MethodCard(
        "segments in a medical image what a note describes",
        "image-segmentation",
        'print(model.segment("chest.png", note="One infected area, upper left lung.").area)',
        medical=True,
    ),
    "unet": MethodCard(
        "segments infected areas in a medical image; it reads no note",
        "image-segmentation",
        'print(model.segment("chest.png").area)',
        medical=True,
    ),
    "cocu": MethodCard(
        "gives every pixel of an image one of any names (open-vocabulary segmentation)",
        "image-segmentation",
        'print(model.segment("photo.jpg", ["dog", "grass", "sky"]).index)',
    ),
    "syntic": MethodCard("captions images", "image-to-text", 'print(model.caption("photo.jpg")[0].text)'),
    "sgdiff": MethodCard(
        "describes a place of an image by captions whose phrases have masks (grounded captions)",
        "image-to-text",
        'print(model.describe("street.png", box=(40, 60, 30, 50), graph="street.json"))',
    ),
    "crossmodal": MethodCard(
        "draws the layout of a caption, and captions a layout",
        "text-to-image",
        'print(model.draw("a dog on the grass")[0].areas)',
    ),
    "dual_encoder": MethodCard(
        "embeds images and texts into one space",
        "zero-shot-image-classification",
        'print(model.embed_texts(["a dog on the grass"]))',
    ),
}


class HubMixin:
    """What every predictor of `segue.load` can do.

    folder: the checkpoint that it was loaded from, which `save_pretrained` copies; None when there is none, or when the
    predictor was changed since. Every predictor takes it as a keyword argument of its constructor, and its loader
    passes it there; nothing sets it from outside.
    """

    folder: Path | None

    def save_pretrained(
        self, folder: str | Path, *, figures: Mapping[str, float] | None = None, license: str = "apache-2.0"
    ) -> Path:
        """See `segue.api.hub.save_pretrained`."""
        return save_pretrained(self, folder, figures=figures, license=license)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool = False,
        token: str | None = None,
        message: str = "A model of Segue",
        figures: Mapping[str, float] | None = None,
        license: str = "apache-2.0",
    ) -> str:
        """See `segue.api.hub.push_to_hub`."""
        return push_to_hub(
            self, repository, private=private, token=token, message=message, figures=figures, license=license
        )

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, device: str = "auto", dtype: Dtype = "auto"
    ) -> Self:
        """A predictor of this kind from a folder or the hub, see `segue.api.hub.from_pretrained`.

        Raises InputError also when the model is of another kind.
        """
        model = from_pretrained(name, revision=revision, device=device, dtype=dtype)
        if not isinstance(model, cls):
            raise InputError(f"{name}: a {type(model).__name__}, expected a {cls.__name__}; use segue.load")
        return model


def save_pretrained(
    model: Any, folder: str | Path, *, figures: Mapping[str, float] | None = None, license: str = "apache-2.0"
) -> Path:
    """Write a model's checkpoint folder with a model card, whole or not at all; returns it.

    model: what `segue.load` gave, a bundled name or a checkpoint folder. folder: one that is not there yet.
    figures: scores of these weights by name, for the card; those of the bundled models are had by
    `segue.lab.model_figures.bundled_figures`. license: of the weights, as the hub names licenses.
    A dual encoder or a CLIP that the checkpoint names by a folder comes along; a hub id stays in its config.
    Raises InputError when the folder is there already with something else, and for a model without a folder or whose
    encoder is gone.
    """
    out, source = Path(folder), folder_of(model)

    def write(fresh: Path) -> None:
        shutil.copytree(source, fresh, ignore=_unwanted_files, dirs_exist_ok=True)
        for member, copied in zip(models.members(source), models.members(fresh), strict=True):
            _copy_encoders(member, copied)
        _offer_to_transformers(fresh)
        text = model_card(source, out.name, figures=figures, license=license)
        (fresh / "README.md").write_text(text, encoding="utf-8")

    if not put_folder(out, write):
        raise InputError(f"{out}: is there already, with something else; name a new folder")
    return out


def _offer_to_transformers(folder: Path) -> None:
    """Name our classes in config.json where transformers has none of its own; an ensemble has no config.json."""
    file = folder / CONFIG
    config = read_json(file) if file.exists() else {}
    if not config or config.get("model_type") in models.MODEL_TYPES:
        return
    task = PIPELINE_TASKS.get(str(config.get("method")))
    config |= {"auto_map": AUTO_MAP} | ({"custom_pipelines": {task: PIPELINE}} if task else {})
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / f"{AUTO}.py").write_text(AUTO_CODE, encoding="utf-8")


def folder_of(model: Any) -> Path:
    """The checkpoint folder behind a predictor or a name. Raises InputError when there is none."""
    if isinstance(model, str | Path):
        return models.find(model)
    folder = getattr(model, "folder", None)
    if folder is None:
        raise InputError(
            f"{type(model).__name__}: was not loaded from a folder, or was changed since; save it by its method first"
        )
    return Path(folder)


def _unwanted_files(folder: str, names: list[str]) -> set[str]:
    """All files but those that `from_pretrained` would fetch."""
    wanted = tuple(pattern[1:] for pattern in HUB_FILES)
    return {name for name in names if (Path(folder) / name).is_file() and not name.endswith(wanted)}


def _copy_encoders(source: Path, fresh: Path, parts: Sequence[str] = tuple(ENCODERS)) -> None:
    """Copy the encoders that a checkpoint names by a folder into its own; bundled names and hub ids stay."""
    file = fresh / CONFIG
    config = read_json(file) if file.exists() else {}
    for part in parts:
        name = config[part].get(ENCODERS[part]) if isinstance(config.get(part), dict) else None
        check_value(f"{source}: {part}", name, str | None)
        if name is None or name in bundled() or config[part].get("kind") == "minilm":
            continue
        place = name.removeprefix("clip:")
        found = next((folder for folder in (source / place, Path(place)) if os.path.isdir(folder)), None)
        if found is not None:
            _check_encoder(found, part)
            if not (fresh / part).exists():
                shutil.copytree(found, fresh / part, ignore=_unwanted_files)
                if part == "encoder":
                    _copy_encoders(found, fresh / part, ("text", "image"))
            config[part][ENCODERS[part]] = name.removesuffix(place) + part
            file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        elif not HUB_ID.fullmatch(place):
            raise InputError(f"{source}: its encoder {name:.200} is not there; put it there, or train with another")


def _check_encoder(folder: Path, part: str) -> None:
    """Raises InputError for a folder without an encoder: a config may name any, and its texts would go to the hub."""
    config = read_json(folder / CONFIG)
    is_clip = str(config.get("model_type")).startswith(("clip", "siglip"))
    if not (is_clip or (part == "encoder" and config.get("method") == "dual_encoder")):
        raise InputError(f"{folder}: holds no encoder, which the checkpoint calls it; train with another")


# ------------------------------------------------------------------------------------------- the hub


def push_to_hub(
    model: Any,
    repository: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "A model of Segue",
    figures: Mapping[str, float] | None = None,
    license: str = "apache-2.0",
) -> str:
    """Upload a model with its card to a repository ("owner/name") on the Hugging Face hub.

    Returns the address of the commit. The repository is made when it isn't there. token: by default the one that
    `hf auth login` keeps. figures, license: see `save_pretrained`.
    Raises InputError for any other form of name, and for what `save_pretrained` refuses.
    """
    if not REPOSITORY.fullmatch(repository):
        raise InputError(f"repository: got {repository!r}, expected owner/name")
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as inside:
        folder = save_pretrained(model, Path(inside) / repository.split("/")[1], figures=figures, license=license)
        card = folder / "README.md"
        card.write_text(card.read_text(encoding="utf-8").replace(PLACEHOLDER, repository), encoding="utf-8")
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message))


def from_pretrained(
    name: str | Path, *, revision: str | None = None, device: str = "auto", dtype: Dtype = "auto"
) -> Any:
    """A predictor from a folder, a bundled name, or a repository "owner/name" on the hub, by `segue.load`.

    revision: a branch, tag or commit of the repository; owner/name@revision is the same.
    Raises InputError when it can't be had, and for a revision of what is no repository.
    """
    from segue.api import load

    if revision is None:
        return load(name, device=device, dtype=dtype)
    if Path(name).is_dir() or str(name) in bundled() or not REPOSITORY.fullmatch(str(name)):
        raise InputError(f"revision: {revision!r} goes with a repository on the hub, not with the folder {name}")
    return load(f"{name}@{revision}", device=device, dtype=dtype)


# ------------------------------------------------------------------------------------------- the model card

PLACEHOLDER = "FOLDER-OR-REPO"


def model_card(
    folder: Path, name: str, *, figures: Mapping[str, float] | None = None, license: str = "apache-2.0"
) -> str:
    """The model card: the hub's metadata, what the model does, how to load it, its training, figures and limits.

    folder: the checkpoint. name: the card's title. figures, license: see `save_pretrained`.
    Raises InputError for a checkpoint of an unknown method.
    """
    method = models.method_of(folder)
    if method not in METHOD_CARDS:
        raise InputError(f"{folder}: a checkpoint of the method {method!r}, expected one of {', '.join(METHOD_CARDS)}")
    about, card = models.about(folder), METHOD_CARDS[method]
    tags = ["segue", method, *(["medical"] if card.medical else [])]
    head = ["---", f"license: {license}", "library_name: segue", f"pipeline_tag: {card.pipeline_tag}", "tags:"]
    head += [*(f"- {tag}" for tag in tags), "---", "", f"# {name}", ""]
    use = [f"A model of Segue by the method `{method}`: it {card.task}.", "", "```python"]
    use += ["from segue.api import from_pretrained", "", f'model = from_pretrained("{PLACEHOLDER}")', card.example]
    rest = ["```", "", "## Training", "", *_settings(about), "## Figures", "", *_figures(figures or {})]
    return "\n".join([*head, *use, *rest, "", "## Limits", "", _limits(card), ""])


def _settings(about: dict[str, str]) -> list[str]:
    """The recipe and its settings: paths are removed, run folders reduced to their name, long lists cut."""
    settings = {k: v for k, v in about.items() if k not in ("method", "recipe") and not ABSOLUTE.search(v)}
    settings = {k: shorten(RUN_FOLDER.sub(r"\1", v), 80, placeholder=" …") for k, v in settings.items()}
    recipe = about.get("recipe")
    lines = [f"By `{recipe}`:" if recipe else "The checkpoint names no recipe.", ""]
    rows = [f"| {k} | {v} |" for k, v in settings.items()]
    return [*lines, "| setting | value |", "|---|---|", *rows, ""] if rows else lines


def _figures(figures: Mapping[str, float]) -> list[str]:
    if not figures:
        return ["None were given; `segue eval` scores the model on your data."]
    return ["| figure | value |", "|---|---|", *(f"| {name} | {value:g} |" for name, value in figures.items())]


def _limits(card: MethodCard) -> str:
    medical = (
        "It is a research model, not for diagnosis, nor for any decision about a patient. " if card.medical else ""
    )
    return medical + "It knows what it was trained on; measure it on your own images before you rely on it."
