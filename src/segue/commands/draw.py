"""`segue draw` and `segue tell`: layouts and captions from the command line to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from segue.api.answers import of_layout
from segue.api.illustrator import Illustrator, Layout, load_illustrator
from segue.data.images import write_image
from segue.data.layouts import paint, read_layout, write_class_masks, write_layout, write_panoptic
from segue.data.visualize import heat_map
from segue.options import Decoding
from segue.types import InputError

EXPORTS = ("panoptic", "masks", "heat")


def draw_files(
    caption: str,
    model: str,
    out: Path,
    *,
    num: int,
    image: Path | None,
    keep: Path | None,
    seed: int,
    steps: int,
    guidance: float,
    temperature: float,
    tries: int,
    export: tuple[str, ...],
    device: str,
) -> list[dict[str, Any]]:
    """Draw layouts of a caption into files; what came of each. Arguments as in `segue.cli.draw`."""
    if odd := sorted(set(export) - set(EXPORTS)):
        raise InputError(f"export: got {', '.join(odd)}, expected some of {', '.join(EXPORTS)}")
    illustrator = load_illustrator(model, device=device)
    kept = None if keep is None else read_layout(keep, len(illustrator.classes))
    layouts = illustrator.draw(
        caption, num=num, image=image, keep=kept, seed=seed,
        steps=steps, guidance=guidance, temperature=temperature, tries=tries,
    )  # fmt: skip
    unseen = illustrator.unseen_words(caption)
    written = []
    for i, layout in enumerate(layouts):
        heat = _write_heat(illustrator, layout, out, i, image) if "heat" in export else {}
        written.append(_write(layout, out, i, export) | {"unseen_words": unseen} | heat)
    return written


def _write(layout: Layout, out: Path, number: int, export: tuple[str, ...]) -> dict[str, Any]:
    labels, classes = layout.labels, layout.classes
    file = out / f"layout-{number}.png"
    write_layout(labels, file, len(classes))
    write_image(paint(labels, len(classes)), out / f"layout-{number}-colours.png")
    if "panoptic" in export:
        write_panoptic(labels, out / f"layout-{number}-panoptic.png", classes)
    if "masks" in export:
        write_class_masks(labels, out / f"layout-{number}-masks", classes)
    return {"file": str(file), "caption": layout.caption, **of_layout(layout)}


def _write_heat(
    illustrator: Illustrator, layout: Layout, out: Path, number: int, image: Path | None
) -> dict[str, dict[str, str]]:
    """A picture for each noun of the caption: the layout, and over it how much each part looks at the noun."""
    nouns, files = illustrator.nouns(layout.caption), {}
    below = paint(layout.labels, len(layout.classes)) // 2
    for word, values in illustrator.heat_maps(layout.labels, layout.caption, image):
        if word in nouns and word not in files:
            files[word] = str(out / f"layout-{number}-heat-{word}.png")
            write_image(heat_map(below, values), Path(files[word]))
    return {"heat": files}


def tell_file(
    mask: Path,
    model: str,
    *,
    palette: str,
    image: Path | None,
    num: int,
    top_p: float,
    seed: int,
    device: str,
) -> list[dict[str, Any]]:
    """Tell a layout in captions. Arguments as in `segue.cli.tell`."""
    illustrator = load_illustrator(model, device=device)
    colours = None if palette in ("segue", "scenes") else _colours(Path(palette))
    labels = read_layout(mask, len(illustrator.classes), colours)
    options = Decoding(
        max_tokens=illustrator.max_words, num=num, beams=1 if top_p else max(4, num), top_p=top_p, seed=seed
    )
    told = illustrator.tell(labels, image=image, decoding=options)
    return [{"caption": one.caption, "score": one.score, "condition": one.condition} for one in told]


def _colours(path: Path) -> np.ndarray:
    """(n, 3) colours of a JSON list [[r, g, b], ...] in the order of the classes."""
    try:
        colours = np.array(json.loads(path.read_text()), np.uint8)
    except (OSError, ValueError, OverflowError, TypeError) as error:
        raise InputError(
            f"{path}: no palette could be read ({error}); expected JSON such as [[0, 0, 255], ...]"
        ) from error
    if colours.ndim != 2 or colours.shape[1] != 3:
        raise InputError(
            f"{path}: got shape {colours.shape}, expected a list of [red, green, blue], one for each class"
        )
    return colours
