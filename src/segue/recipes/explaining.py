"""`segue explain`: a picture and a place on it in; stories, overlays, a page and the field's files out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segue.api import load_explainer
from segue.api.answers import of_story
from segue.data.export import write_stories
from segue.data.images import read_image, read_mask
from segue.types import CaptionedMasks, InputError

SHOWN = ("overlay", "html")


class Asked(NamedTuple):
    """The prompt as it stands on the command line; exactly one is given."""

    box: str | None = None
    point: str | None = None
    mask: Path | None = None
    scribble: str | None = None
    every: bool = False


def explain_file(
    image: Path,
    asked: Asked,
    graph: Path | None,
    detector: str | None,
    model: str,
    options: dict[str, Any],
    out: Path | None,
    export: Sequence[str],
    as_json: bool,
    device: str,
) -> None:
    """See `segue.cli.explain`, whose arguments these are."""
    prompt = _prompt(asked)
    explainer, pixels = load_explainer(model, device=device, detector=detector), read_image(image)
    found: list[tuple[Any, list[CaptionedMasks]]]
    if asked.every:
        found = explainer.explain_every(image, graph=graph, **options)
    else:
        found = [(prompt, explainer.explain(image, graph=graph, **prompt, **options))]
    folder, told = out or Path(f"{image.stem}.stories"), []
    for i, (place, stories) in enumerate(found, 1):
        name = f"{image.stem}.{i}" if asked.every else image.stem
        files = write_stories(folder, name, pixels, stories, (*SHOWN, *export))
        about = {"box": place} if asked.every else {k: v for k, v in asked._asdict().items() if v}
        told.append({"prompt": about, "stories": [of_story(s) for s in stories], "files": [str(f) for f in files]})
    if as_json:
        print(json.dumps({"image": str(image), "prompts": told}, default=str))
    else:
        print("\n".join(_lines(told)))


def _prompt(asked: Asked) -> dict[str, Any]:
    """The arguments of `Explainer.explain`. Raises InputError unless exactly one prompt is given."""
    given = {name: value for name, value in asked._asdict().items() if value}
    if len(given) != 1:
        named = ", ".join(f"--{name}" for name in given) or "nothing"
        raise InputError(f"prompt: got {named}, expected one of --box, --point, --mask, --scribble, --every")
    if asked.box:
        return {"box": _numbers(asked.box, 4, "box", "x,y,w,h such as 20,30,40,50")}
    if asked.point:
        return {"point": _numbers(asked.point, 2, "point", "x,y such as 20,30")}
    if asked.scribble:
        points = [_numbers(one, 2, "scribble", "points as 'x,y x,y'") for one in asked.scribble.split()]
        return {"scribble": points}
    return {"mask": read_mask(asked.mask)} if asked.mask else {}


def _numbers(text: str, count: int, name: str, expected: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != count:
        raise InputError(f"--{name} {text!r}: expected {expected}, numbers with commas between them, in pixels")
    return found


def _lines(told: list[dict[str, Any]]) -> list[str]:
    lines = []
    for one in told:
        for story in one["stories"]:
            lines.append(f"{story['score']:.4f}  {story['caption']}")
            lines += [
                f"        {k['score']:.2f}  {k['phrase']} -> {k['label']}, {k['area']} px" for k in story["links"]
            ]
        lines.append("files   " + "  ".join(one["files"]))
    return lines
