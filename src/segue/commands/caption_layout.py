"""`segue caption-layout`: a layout in, captions out."""

from __future__ import annotations

import json as jsonlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from segue.options import Decoding
from segue.types import InputError


def caption_layout(
    layout: Positional[Path],
    /,
    model: str = "crossmodal-scenes",
    palette: str = "segue",
    image: Path | None = None,
    strict: bool = False,
    json: bool = False,
    device: str = "auto",
    decoding: Decoding = Decoding(beams=4),
) -> None:
    """Caption a semantic layout.

    Args:
        layout: an 8-bit PNG of class positions, or a colour picture in the colours of `palette`.
        model: a bundled name or a checkpoint folder.
        palette: segue for the colours of `segue draw`, or a JSON file [[r, g, b], ...] in the order of the classes.
        image: the picture that the layout is of: captions then come from layout and picture.
        strict: give no caption by a picture that is unlike those that the model learned from; without, warn of it.
        json: print one JSON object.
        device: auto (a GPU where there is one), cpu, cuda, cuda:1, ...
        decoding: how captions are searched or sampled.
    """
    from segue.api.illustrator import load_illustrator
    from segue.commands.domain import read_near
    from segue.data.layouts import read_layout

    illustrator = load_illustrator(model, device=device)
    colours = None if palette == "segue" else _colours(Path(palette))
    labels = read_layout(layout, illustrator.classes, colours)
    options = replace(decoding, beams=1 if decoding.top_p else max(decoding.beams, decoding.num))
    about, pixels = read_near(image, illustrator, strict=strict)
    found = illustrator.caption_layout(labels, image=pixels, options=options)
    if json:
        answers = [{"caption": one.caption, "likelihood": one.likelihood, "condition": one.condition} for one in found]
        print(jsonlib.dumps({**about, "captions": answers}, indent=2))
    else:
        print("\n".join(one.caption for one in found))


def _colours(path: Path) -> Any:
    """(n, 3) uint8 colours of a JSON list [[r, g, b], ...] in the order of the classes."""
    import numpy as np

    try:
        colours = np.array(jsonlib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, OverflowError, TypeError) as error:
        raise InputError(
            f"{path}: no palette could be read ({error}); expected JSON such as [[0, 0, 255], ...]"
        ) from error
    if colours.ndim != 2 or colours.shape[1] != 3 or colours.dtype.kind not in "iu":
        raise InputError(
            f"{path}: got shape {colours.shape} of {colours.dtype}, expected a list of [red, green, blue] in whole "
            "numbers, one for each class"
        )
    if colours.min() < 0 or colours.max() > 255:
        raise InputError(f"{path}: got numbers from {colours.min()} to {colours.max()}, expected 0 to 255")
    twice, counts = np.unique(colours, axis=0, return_counts=True)
    if counts.max() > 1:
        raise InputError(f"{path}: several classes are {twice[counts.argmax()].tolist()}; give each its own colour")
    return colours.astype(np.uint8)
