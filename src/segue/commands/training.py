"""A training as a command: its settings are the options, a file may give them, and it can be looked at beforehand."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature, getdoc, signature
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_type_hints

from segue.options import options_in_file

Train = Callable[..., Any]  # its argument `settings` is a dataclass of options, with a default
ARGS = """
Args:
    config: a file of settings, a line `NAME: VALUE` each (YAML or JSON); options of the command line come before it.
        Each training writes its own, OUT/run.yaml.
    dry_run: check the data, the settings and the packages, tell what the training would take, and write nothing.
"""


def training_command(train: Train, recipe: str) -> Callable[..., Any]:
    """The training as a function of its settings and of what the command line has besides: --config and --dry-run."""
    usual = signature(train).parameters["settings"].default

    def command(settings: Any = usual, config: Path | None = None, dry_run: bool = False) -> Any:
        if dry_run:
            return look(recipe, settings)
        return train(settings)

    kinds = {"settings": get_type_hints(train)["settings"], "config": Path | None, "dry_run": bool}
    usuals = {"settings": usual, "config": None, "dry_run": False}
    command.__doc__ = f"{getdoc(train)}\n{ARGS}"
    command.__annotations__ = kinds
    command.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter(name, Parameter.KEYWORD_ONLY, default=usuals[name], annotation=kinds[name]) for name in kinds]
    )
    return command


def look(recipe: str, settings: Any) -> Any:
    """What `segue.recipes.plan.dry_run` tells; by name, as the command line starts trainings."""
    return resolve_name("segue.recipes.plan:dry_run")(recipe, settings)


def with_config(train: Train, argv: list[str]) -> list[str]:
    """The words of a command line, after those of the file that its --config names, if any."""
    files = [word.partition("=")[2] for word in argv if word.startswith("--config=")]
    files += [after for word, after in pairwise(argv) if word == "--config"]
    kind = get_type_hints(train)["settings"]
    return [*(word for file in files for word in options_in_file(Path(file), kind)), *argv]
