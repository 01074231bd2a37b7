"""`segue models`: which models are there, what they do and what they need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from json import dumps
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from segue.weights import PACKAGES

JOBS = {  # method -> the commands that take its models
    "cocu": "segment --labels",
    "crossmodal": "draw, caption-layout",
    "dual_encoder": "embed, segment --labels",
    "reclmis": "segment --note",
    "relations": "describe --relations",
    "sgdiff": "describe",
    "syntic": "caption",
    "unet": "segment",
}
DRAWN, PHOTOS = "Apache-2.0", "Apache-2.0, data for research"
BUNDLED = {  # name -> what it was trained on, licence
    "captions-photos": ("captions of COCO and Flickr30k", PHOTOS),
    "cocu-scenes": ("synthetic scenes with captions", DRAWN),
    "crossmodal-scenes": ("synthetic scenes with captions and label maps", DRAWN),
    "describe-photos": ("photographs and captions of Flickr8k, masks of COCO and MSRC", PHOTOS),
    "describe-scenes": ("synthetic scenes with captions and relations", DRAWN),
    "groupvit-scenes": ("synthetic scenes with captions", DRAWN),
    "photos-encoder": ("photographs and captions of Flickr8k", PHOTOS),
    "reclmis-chest": ("drawn chest phantoms with notes", DRAWN),
    "reclmis-cxr": ("chest X-rays of COVID-19 with notes", "Apache-2.0; X-rays CC BY 4.0 with mixed images"),
    "scenes-encoder": ("synthetic scenes with captions", DRAWN),
    "sgdiff-scenes": ("synthetic scenes with captions and relations", DRAWN),
    "syntic-scenes": ("captions of synthetic scenes", DRAWN),
}
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Model:
    """One line of the table. needs: extras of Segue. lacks: those of them that are not installed."""

    name: str
    method: str
    job: str
    trained_on: str
    megabytes: float
    needs: tuple[str, ...]
    lacks: tuple[str, ...]
    license: str


def models(folders: Positional[tuple[Path, ...]] = (), /, json: bool = False) -> None:
    """List the bundled models, and those in folders of yours: what they do, know and need.

    Their figures stand in docs/results.md.

    Args:
        folders: checkpoints, runs of `segue train`, or folders of these, listed after the bundled models.
        json: print one JSON object.
    """
    from segue.weights import bundled

    own = {str(place): place for folder in folders for place in _places(folder)}
    found = [_model(name, folder) for name, folder in (bundled() | own).items()]
    print(dumps({"models": [asdict(model) for model in found]}, indent=2) if json else _table(found))


def _places(folder: Path) -> list[Path]:
    """The folder itself where it is a model, else those of its subfolders that are one.

    Raises InputError where there is none.
    """
    from segue.types import InputError

    if _is_model(folder):
        return [folder]
    inside = [place for place in sorted(folder.iterdir()) if _is_model(place)] if folder.is_dir() else []
    if not inside:
        raise InputError(
            f"{folder}: no model there; expected a checkpoint, a run of `segue train` or a folder of these"
        )
    return inside


def _is_model(folder: Path) -> bool:
    from segue.api.models import ENSEMBLE
    from segue.methods.checkpoint import checkpoint_in
    from segue.weights import CONFIG

    place = checkpoint_in(folder)
    return (place / CONFIG).is_file() or (place / ENSEMBLE).is_file()


def _model(name: str, place: Path) -> Model:
    from segue.api.models import about, method_of
    from segue.methods.checkpoint import checkpoint_in

    folder = checkpoint_in(place)
    stated, method = about(folder), method_of(folder) or "unknown"
    data, terms = BUNDLED.get(name) or (stated.get("data") or stated.get("recipe") or NOT_STATED, _license(folder))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    needs = dict(_needs(folder))
    extras, lacks = set(needs.values()), {extra for module, extra in needs.items() if find_spec(module) is None}
    job = JOBS.get(method, "none of Segue's")
    return Model(name, method, job, data, round(size / 1e6, 1), tuple(sorted(extras)), tuple(sorted(lacks)), terms)


def _needs(folder: Path) -> Iterator[tuple[str, str]]:
    """(module, extra) of each package that a model needs besides the core's, those of its encoder included."""
    from segue.api.models import members, method_of
    from segue.configs import read_json
    from segue.weights import CONFIG, bundled

    config: dict[str, Any] = read_json(members(folder)[0] / CONFIG)
    parts = [part for key in ("image", "text", "encoder") if isinstance(part := config.get(key), dict)]
    parts += [{"name": config.get("captioner")}]  # by whose encoders a describer of photographs reads them
    if (vision := config.get("vision")) and vision.get("frozen"):  # a trained one's weights are in the checkpoint
        parts.append(vision)
    for kind in (method_of(folder), *(part.get("kind") for part in parts)):
        if kind in PACKAGES:
            yield PACKAGES[kind]
    for name in (name for part in parts if isinstance(name := part.get("name"), str)):
        places = [bundled().get(name, folder / name), Path(name)]
        yield from next((_needs(place) for place in places if (place / CONFIG).is_file()), ())


def _license(folder: Path) -> str:
    """The licence in the head of a model card, as `save_pretrained` writes it."""
    card = folder / "README.md"
    lines = card.read_text(encoding="utf-8").splitlines() if card.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), NOT_STATED)


def _table(found: list[Model]) -> str:
    """One aligned line a model, under the names of the columns."""
    rows = [("model", "method", "for segue ...", "trained on", "MB", "needs", "licence")]
    rows += [(m.name, m.method, m.job, m.trained_on, f"{m.megabytes:.1f}", _extras(m), m.license) for m in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _extras(model: Model) -> str:
    return ", ".join(extra + " (missing)" * (extra in model.lacks) for extra in model.needs) or "-"
