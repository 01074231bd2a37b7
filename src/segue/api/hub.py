"""Models to give away: `save_pretrained`, `push_to_hub` and `from_pretrained` over the checkpoint folders as they are.

What is written is the folder that a model was loaded from, with a model card (README.md) beside its files; what is read
from the hub is safetensors, json, txt and md files, never a pickle.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple, Self

from segue.api import models
from segue.methods.checkpoint import CONFIG, bundled
from segue.types import InputError

FILES = ("*.safetensors", "*.json", "*.txt", "*.md")
REPO = re.compile(r"[\w.-]+/[\w.-]+")
TRAINING = re.compile(r"^(?:[\w.-]+/)+([\w.-]+)/(?:best|last)$")
CLONE = Path(__file__).parents[3]


class Job(NamedTuple):
    """What a card says of a method. use: the last of its lines of Python."""

    does: str
    pipeline: str
    use: str
    medical: bool = False


JOBS: dict[str, Job] = {
    "reclmis": Job(
        "outlines in a medical picture what a note describes",
        "image-segmentation",
        'print(model.segment("chest.png", note="One infected area, upper left lung.").area)',
        True,
    ),
    "unet": Job(
        "outlines infected areas in a medical picture; it reads no note",
        "image-segmentation",
        'print(model.segment("chest.png").area)',
        True,
    ),
    "cocu": Job(
        "names every pixel of a picture with the likeliest of any names",
        "image-segmentation",
        'print(model.segment("photo.jpg", ["dog", "grass", "sky"]).index)',
    ),
    "syntic": Job("tells in words what a picture shows", "image-to-text", 'print(model.caption("photo.jpg")[0].text)'),
    "sgdiff": Job(
        "tells stories around a place on a picture, their phrases tied to masks",
        "image-to-text",
        'print(model.explain("street.png", box=(40, 60, 30, 50), graph="street.json"))',
    ),
    "crossmodal": Job(
        "draws the layout of a sentence and tells a layout in words",
        "text-to-image",
        'print(model.draw("a dog on the grass")[0].areas)',
    ),
    "pair": Job(
        "embeds pictures and texts into one space",
        "zero-shot-image-classification",
        'print(model.embed_texts(["a dog on the grass"]))',
    ),
}
# bundled name -> the results file and the start of the systems measured with it
MEASURED: dict[str, tuple[str, str]] = {
    "pair-scenes": ("align_scenes", "pair-scenes"),
    "cocu-scenes": ("cocu_scenes_full", "bundled, cocu-scenes"),
    "groupvit-scenes": ("cocu_scenes_full", "bundled, groupvit-scenes"),
    "reclmis-chest": ("reclmis_chest_full", "bundled"),
    "syntic-scenes": ("syntic_scenes_full", "bundled"),
    "sgdiff-scenes": ("sgdiff_scenes_full", "bundled"),
    "crossmodal-scenes": ("crossmodal_scenes_full", "bundled"),
}


class HubMixin:
    """What every predictor of `segue.load` can do. folder: where it was loaded from; None when it was changed since."""

    folder: Path | None = None

    def save_pretrained(
        self, folder: str | Path, *, results: Path = Path("results"), license: str = "apache-2.0"
    ) -> Path:
        """See `segue.api.hub.save_pretrained`."""
        return save_pretrained(self, folder, results=results, license=license)

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """See `segue.api.hub.push_to_hub`."""
        return push_to_hub(self, repo, **options)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None, **options: Any) -> Self:
        """A predictor of this kind from a folder or the hub, see `segue.api.hub.from_pretrained`."""
        model = from_pretrained(name, revision=revision, **options)
        if not isinstance(model, cls):
            raise InputError(f"{name}: a {type(model).__name__}, expected a {cls.__name__}; use segue.load")
        return model


def save_pretrained(
    model: Any, folder: str | Path, *, results: Path = Path("results"), license: str = "apache-2.0"
) -> Path:
    """Write a model's checkpoint folder with a model card, whole or not at all; returns it.

    model: what `segue.load` gave, a bundled name or a checkpoint folder. folder: one that is not there yet.
    results: folder of CSV files; the card shows the rows that were measured with these weights, if there are any. What
    this folder lacks is looked for in the clone that Segue runs from.
    license: of the weights, as the hub names licenses.
    A captioner's image-text pair comes along when it is a folder of your own.
    """
    out, source = Path(folder), folder_of(model)
    if out.exists():
        raise InputError(f"{out}: is there already; name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as inside:
        fresh = Path(inside) / "fresh"
        shutil.copytree(source, fresh, ignore=_unwanted)
        _take_pair(source, fresh)
        (fresh / "README.md").write_text(card(source, results, license, out.name), encoding="utf-8")
        os.replace(fresh, out)
    return out


def folder_of(model: Any) -> Path:
    """The checkpoint folder behind a predictor or a name."""
    if isinstance(model, str | Path):
        return models.find(model)
    folder = getattr(model, "folder", None)
    if folder is None:
        raise InputError(
            f"{type(model).__name__}: was not loaded from a folder, or was changed since; save it by its method first"
        )
    return Path(folder)


def _unwanted(folder: str, names: list[str]) -> set[str]:
    """All files but those that `from_pretrained` would fetch."""
    kinds = tuple(pattern[1:] for pattern in FILES)
    return {name for name in names if (Path(folder) / name).is_file() and not name.endswith(kinds)}


def _take_pair(source: Path, fresh: Path) -> None:
    """Bring a captioner's pair into the folder, as `pair`, when it is neither bundled nor the hub's."""
    config = json.loads((fresh / CONFIG).read_text(encoding="utf-8")) if (fresh / CONFIG).exists() else {}
    name = config["encoder"].get("name") if isinstance(config.get("encoder"), dict) else None
    if name is None or name in bundled() or str(name).startswith("clip:"):
        return
    found = next((place for place in (source / name, Path(name)) if place.is_dir()), None)
    if found is None:
        raise InputError(f"{source}: its image-text pair {name} is not there; put it there, or train with another")
    if not (fresh / "encoder").exists():
        shutil.copytree(found, fresh / "encoder", ignore=_unwanted)
    config["encoder"]["name"] = "encoder"
    (fresh / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------- the hub


def push_to_hub(
    model: Any,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "A model of Segue",
    results: Path = Path("results"),
    license: str = "apache-2.0",
) -> str:
    """Upload a model with its card to `repo` ("owner/name") on the Hugging Face hub; returns the address of the commit.

    The repository is made when it isn't there. token: by default the one that `hf auth login` keeps. The others are
    those of `save_pretrained`.
    """
    if not REPO.fullmatch(repo):
        raise InputError(f"repo: got {repo!r}, expected owner/name")
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as inside:
        folder = save_pretrained(model, Path(inside) / repo.split("/")[1], results=results, license=license)
        card_file = folder / "README.md"
        card_file.write_text(card_file.read_text(encoding="utf-8").replace(LOADED, repo), encoding="utf-8")
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message))


def from_pretrained(name: str | Path, *, revision: str | None = None, **options: Any) -> Any:
    """A predictor from a folder, a bundled name, or a repository "owner/name" on the hub.

    options: those of `segue.load`. revision: a branch, tag or commit of the repository.
    Raises InputError when it can't be fetched.
    """
    from segue.api import load

    if not Path(name).is_dir() and str(name) not in bundled() and REPO.fullmatch(str(name)):
        return load(_fetch(str(name), revision), **options)
    if revision is not None:
        raise InputError(f"revision: {revision!r} goes with a repository on the hub, not with the folder {name}")
    return load(name, **options)


def _fetch(repo: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{repo}: neither a folder nor to be had from the hub ({reason})") from error


# ------------------------------------------------------------------------------------------- the card

LOADED = "FOLDER-OR-REPO"


def card(folder: Path, results: Path, license: str, name: str) -> str:
    """The model card: what the hub reads, what it is, how to load it, how it was made, its figures, its limits."""
    method = models.method_of(folder)
    if method not in JOBS:
        raise InputError(f"{folder}: a checkpoint of the method {method!r}, expected one of {', '.join(JOBS)}")
    job, about = JOBS[method], models.about(models.first(folder))
    tags = ["segue", method, *(["medical"] if job.medical else [])]
    head = ["---", f"license: {license}", "library_name: segue", f"pipeline_tag: {job.pipeline}", "tags:"]
    head += [*(f"- {tag}" for tag in tags), "---", "", f"# {name}", ""]
    told = [f"A model of Segue by the method `{method}`: it {job.does}.", ""]
    told += ["```python", "from segue.api import from_pretrained", "", f'model = from_pretrained("{LOADED}")', job.use]
    made = ["```", "", "## How it was made", "", *_settings(about), "## What it scored", "", _figures(folder, results)]
    return "\n".join([*head, *told, *made, "", "## What it is not for", "", _limits(job), ""])


def _settings(about: dict[str, str]) -> list[str]:
    """The recipe and its settings; no place of a machine is told, of a training its name, of a long list the start."""
    settings = {k: v for k, v in about.items() if k not in ("method", "recipe") and not Path(v).is_absolute()}
    settings = {k: shorten(TRAINING.sub(r"\1", v), 80, placeholder=" …") for k, v in settings.items()}
    recipe = about.get("recipe")
    lines = [f"By `{recipe}`:" if recipe else "Nothing is told of its training but this:", ""]
    rows = [f"| {k} | {v} |" for k, v in settings.items()]
    return [*lines, "| setting | value |", "|---|---|", *rows, ""] if rows else [*lines[: 1 if recipe else 0], ""]


def _figures(folder: Path, results: Path) -> str:
    """The rows of the results folder that were measured with these very weights."""
    name = next((name for name, place in bundled().items() if place == folder), "")
    file, system = MEASURED.get(name, ("", ""))
    places, found = [folder / f"{file}.csv" for folder in (results, CLONE / "results")], []
    path = next((place for place in places if place.is_file()), places[0])
    if file and path.is_file():
        with path.open(newline="", encoding="utf-8") as lines:
            found = [row for row in csv.DictReader(lines) if row["system"].startswith(system)]
    if file and not path.is_file():
        return f"`{path}` is not here, which holds what was measured with these weights; it lies in Segue's repository."
    if not found:
        return "No row of `results/` was measured with these weights; `segue eval` scores them on your data."
    keys = ("experiment", "system", "metric", "value", "commit")
    rows = ["| " + " | ".join(row[k] for k in keys) + " |" for row in found]
    return "\n".join([f"From `results/{file}.csv`:", "", f"| {' | '.join(keys)} |", "|---" * len(keys) + "|", *rows])


def _limits(job: Job) -> str:
    medical = "It is a research model, not for diagnosis, nor for any decision about a patient. " if job.medical else ""
    return medical + "It knows what it was trained on; measure it on your own pictures before you rely on it."
