"""`segue explain`: a place on a picture, or a folder, in; stories, overlays, pages and the field's files out."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from segue import __version__
from segue.api.answers import of_story
from segue.api.describer import Describer, load_describer
from segue.api.models import find
from segue.data.export import join_coco, to_coco, write_stories
from segue.data.formats.files import read_json
from segue.data.formats.scene_graph import read_graph
from segue.data.images import pictures_in, read_image, read_mask
from segue.files import write_text
from segue.types import GroundedCaption, InputError

Told = tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]  # each prompt's answer; objects for joined files
SHOWN, INDEX = ("overlay", "html"), "index.html"
NOTES = ".told"  # what was told of a folder's pictures
AS_POLYGONS = {"coco": True, "coco-rle": False}  # the kinds of --export that are one file a run
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Stories of {title}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 sans-serif; margin: 2em; color-scheme: light dark }}
section {{ display: flex; flex-wrap: wrap; gap: 1em }} h2 {{ width: 100%; font-size: 1em }}
figure {{ margin: 0; width: 240px }} img {{ width: 100% }} a {{ color: inherit; text-decoration: none }}
</style>
<h1>Stories of {title}</h1>
{cards}
</html>
"""


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
    relations: Path | None,
    model: str,
    options: dict[str, Any],
    out: Path | None,
    export: Sequence[str],
    as_json: bool,
    device: str,
) -> None:
    """See `segue.cli.explain`, whose arguments these are. A folder's run that was stopped goes on where it was."""
    _prompt(asked)  # a wrong one ends here, before anything is loaded
    files = _pictures(image, asked, out)
    called = image.resolve().name if image.is_dir() else image.stem
    folder = out or Path(f"{called}.stories") / _slug(asked)
    explainer = load_describer(model, device=device, detector=detector, relations=relations)
    joined = {kind: folder / f"{called}.{kind}.json" for kind in AS_POLYGONS if kind in export}
    parts: dict[str, list[dict[str, Any]]] = {kind: [] for kind in joined}
    head = None if relations is None else find(relations, device)
    how = [__version__, asked, options, sorted(export), *map(_version, (explainer.folder, detector, graph, head))]
    cards, failed = [], []
    for file in files:
        note, about = folder / NOTES / f"{file.stem}.json", json.dumps([*how, _version(file)], default=str)
        before = _before(note, about, folder) if image.is_dir() else None
        try:
            if before is None:
                pixels = read_image(file)
                known = {} if graph is None else _known(graph, file.name, pixels, alone=not image.is_dir())
                note.unlink(missing_ok=True)  # from here on its files are no longer those that it tells of
                told, objects = _explain(explainer, file.name, pixels, asked, options | known, folder, export)
                if image.is_dir():
                    write_text(note, json.dumps({"about": about, "told": told, "objects": objects}))
            else:
                told, objects = before
        except InputError as error:
            if not image.is_dir():
                raise
            failed.append(str(error) if file.name in str(error) else f"{file.name}: {error}")
            continue
        for kind, some in objects.items():
            parts[kind] += some
        cards.append(_card(file, told))
        for one in told:
            one["files"] = [str(path) for path in (*(folder / name for name in one["files"]), *joined.values())]
        if as_json:
            print(json.dumps({"image": str(file), "prompts": told}, default=str))
        else:
            print("\n".join([*([file.name] if image.is_dir() else []), *_lines(told)]))
    for kind, path in joined.items():
        write_text(path, json.dumps(join_coco(parts[kind])))
    if image.is_dir():
        write_text(folder / INDEX, PAGE.format(title=escape(called), cards="\n".join(cards)))
        print(f"page    {folder / INDEX}", file=sys.stderr)
    if failed:
        raise InputError(f"{len(failed)} of {len(files)} pictures could not be explained: " + "; ".join(failed))


def _version(path: Path | str | None) -> list[Any]:
    """A file or a folder, and which version of it: when each of its files was written, and how long they are."""
    if path is None or not Path(path).exists():
        return [path]
    files = sorted(one for one in Path(path).iterdir() if one.is_file()) if Path(path).is_dir() else [Path(path)]
    return [str(Path(path).resolve()), *((s.st_mtime_ns, s.st_size) for s in (one.stat() for one in files))]


def _before(note: Path, about: str, folder: Path) -> Told | None:
    """What an earlier run told of the same picture, asked the same; None when there was none, or files are gone."""
    found = read_json(note) if note.is_file() else {}
    if found.get("about") != about or not all(
        (folder / file).is_file() for one in found["told"] for file in one["files"]
    ):
        return None
    return found["told"], found["objects"]


def _slug(asked: Asked) -> str:
    """A folder's name for one prompt, so that a further one doesn't take its files; "" for every object."""
    if asked.every:
        return ""
    named = str(asked.mask.resolve()) if asked.mask else asked.box or asked.point or asked.scribble or ""
    plain = re.sub(r"[^\w.,-]+", "-", Path(named).stem if asked.mask else named)
    if asked.mask is None and len(plain) < 60:
        return plain
    return f"{plain[:50].lstrip('.')}-{hashlib.sha256(named.encode()).hexdigest()[:8]}"


def _pictures(image: Path, asked: Asked, out: Path | None) -> list[Path]:
    """The picture, or those of a folder."""
    place = image if image.is_dir() else image.parent
    if out is not None and out.resolve() == place.resolve():
        raise InputError(f"{out}: stories would be written among the pictures, over those of such names; name another")
    if not image.is_dir():
        _check_name(image)
        return [image]
    if not asked.every:
        raise InputError(f"{image}: a folder of pictures takes --every, because a place is one picture's")
    files = pictures_in(image)
    for file in files:
        _check_name(file)
    if twice := [stem for stem, count in Counter(path.stem for path in files).items() if count > 1]:
        raise InputError(f"{image}: two pictures are called {twice[0]}, and so would their stories; rename one")
    return files


def _check_name(image: Path) -> None:
    """Raise InputError for a name whose bytes are no UTF-8, which no page and no json could hold."""
    try:
        image.name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{image.name!r}: a file name that is not UTF-8; rename this picture") from error


def _known(graph: Path, name: str, pixels: NDArray[np.uint8], alone: bool) -> dict[str, Any]:
    """What a file with graphs tells of the picture. alone: as in `read_graph`."""
    height, width = pixels.shape[:2]
    regions, relations = read_graph(graph, name, (width, height), alone=alone)
    return {"regions": regions, "relations": relations}


def _explain(
    explainer: Describer,
    image: str,
    pixels: NDArray[np.uint8],
    asked: Asked,
    options: dict[str, Any],
    folder: Path,
    export: Sequence[str],
) -> Told:
    """Each prompt with its stories and its files' names; and they as COCO's objects for the kinds of AS_POLYGONS.

    image: the picture's file name.
    """
    found: Iterable[tuple[Any, list[GroundedCaption]]]
    if not asked.every:
        found = [(None, explainer.explain(pixels, **_prompt(asked), **options))]
    else:
        found = explainer.each_object(pixels, **options)
    kinds, told = (*SHOWN, *(kind for kind in export if kind not in AS_POLYGONS)), []
    coco: dict[str, list[dict[str, Any]]] = {kind: [] for kind in AS_POLYGONS if kind in export}
    for i, (place, stories) in enumerate(found, 1):
        name = f"{Path(image).stem}.{i}" if asked.every else Path(image).stem
        files = [file.name for file in write_stories(folder, name, pixels, stories, kinds, picture=image)]
        about = {"box": place} if asked.every else {k: v for k, v in asked._asdict().items() if v}
        told.append({"prompt": about, "stories": [of_story(s) for s in stories], "files": files})
        for kind, parts in coco.items():
            parts.append(to_coco([(image, stories)], as_polygons=AS_POLYGONS[kind], sizes=[pixels.shape[:2]]))
    return told, coco


def _card(image: Path, told: list[dict[str, Any]]) -> str:
    """A picture on a folder's page: of each object its first story's overlay, and where the others are."""
    figures = []
    for i, one in enumerate(told, 1):
        name, first = quote(f"{image.stem}.{i}"), one["stories"][0]
        caption = escape(first["caption"])
        figures.append(
            f'<a href="{name}.html"><figure><img loading="lazy" src="{name}.1.png" alt="{caption}">'
            f"<figcaption>{caption} <i>{first['score']:.2g}</i></figcaption></figure></a>"
        )
    return f"<section><h2>{escape(image.name)}</h2>{''.join(figures)}</section>"


def _prompt(asked: Asked) -> dict[str, Any]:
    """The arguments of `Describer.explain`. Raises InputError unless exactly one prompt is given."""
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
            lines.append(f"{story['score']:<8.3g}{story['caption']}")
            lines += [
                f"        {k['score']:.2f}  {k['phrase']} -> {k['label']}, {k['area']} px" for k in story["links"]
            ]
        lines.append("files   " + "  ".join(one["files"]))
    return lines
