"""`segue draw`: a sentence in, layouts out."""

from __future__ import annotations

import json as jsonlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from segue.options import DrawOptions
from segue.types import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segue.api.illustrator import Illustrator
    from segue.types import Layout

Export = Literal["panoptic", "masks", "heat"]


def draw(
    caption: Positional[str],
    /,
    model: str = "crossmodal-scenes",
    out: Annotated[Path, arg(aliases=["-o"])] = Path("layouts"),
    image: Path | None = None,
    keep: Path | None = None,
    boxes: Path | None = None,
    export: tuple[Export, ...] = (),
    strict: bool = False,
    json: bool = False,
    device: str = "auto",
    drawing: DrawOptions = DrawOptions(),
) -> None:
    """Draw semantic layouts of a sentence.

    Args:
        caption: the sentence.
        model: a bundled name or a checkpoint folder.
        out: folder for layout-N.png (class positions, with a palette) and layout-N-colours.png (with a legend).
        image: a picture whose layout it is to be: caption and image instead of the caption alone.
        keep: a layout of which all but 255 is kept, and the rest drawn to fit.
        boxes: JSON [{"label": "dog", "box": [x, y, width, height]}, ...] in pixels of the layout, a later box over the
            earlier ones: what is where, instead of what the model makes of the sentence. --json prints those.
        export: also write panoptic (COCO), masks (a PNG for each class), heat (where each noun of the caption counts).
        strict: draw nothing for a picture that is unlike those that the model learned from; without, warn of it.
        json: print one JSON object.
        device: auto (a GPU where there is one), cpu, cuda, cuda:1, ...
        drawing: how layouts are drawn.
    """
    from segue.api.illustrator import load_illustrator, read_boxes
    from segue.commands.domain import read_near
    from segue.data.layouts import read_layout

    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: a file, expected a folder for the layouts; name another --out")
    illustrator = load_illustrator(model, device=device)
    kept = None if keep is None else read_layout(keep, illustrator.classes)
    given = None if boxes is None else read_boxes(boxes)
    about, pixels = read_near(image, illustrator, strict=strict)
    layouts = illustrator.draw(caption, image=pixels, keep=kept, boxes=given, options=drawing)
    unseen, doubts = illustrator.unseen_words(caption), illustrator.caption_doubts(caption)
    for doubt in doubts:
        warnings.warn(doubt, stacklevel=2)
    drawn = []
    for i, layout in enumerate(layouts):
        heat = _write_heat(illustrator, layout, out, i, pixels) if "heat" in export else {}
        drawn.append(_write(layout, out, i, export) | {"unseen_words": unseen} | heat)
    shown = (f"{one['file']}: " + ", ".join(f"{k} {v:.0%}" for k, v in one["areas"].items()) for one in drawn)
    about |= {"caption_doubts": doubts} if doubts else {}
    print(jsonlib.dumps({**about, "layouts": drawn}, indent=2) if json else "\n".join(shown))


def _write(layout: Layout, out: Path, number: int, export: tuple[Export, ...]) -> dict[str, Any]:
    from segue.api.answers import layout_to_dict
    from segue.data.images import write_image
    from segue.data.layouts import write_class_masks, write_layout, write_panoptic
    from segue.data.visualize import layout_picture

    labels, classes = layout.labels, layout.classes
    file = out / f"layout-{number}.png"
    write_layout(labels, file, classes)
    write_image(layout_picture(labels, classes), out / f"layout-{number}-colours.png")
    if "panoptic" in export:
        write_panoptic(labels, out / f"layout-{number}-panoptic.png", classes)
    if "masks" in export:
        write_class_masks(labels, out / f"layout-{number}-masks", classes)
    return {"file": str(file), "caption": layout.caption, **layout_to_dict(layout)}


def _write_heat(
    illustrator: Illustrator, layout: Layout, out: Path, number: int, image: NDArray[np.uint8] | None
) -> dict[str, dict[str, str]]:
    """A picture for each noun of the caption: the layout, and over it how much each part attends to the noun."""
    from segue.data.images import write_image
    from segue.data.layouts import paint
    from segue.data.visualize import heat_map

    nouns, files = illustrator.nouns(layout.caption), dict[str, str]()
    below = paint(layout.labels, layout.classes) // 2
    for word, values in illustrator.heat_maps(layout.labels, layout.caption, image):
        if word in nouns and word not in files:
            files[word] = str(out / f"layout-{number}-heat-{word}.png")
            write_image(heat_map(below, values), Path(files[word]))
    return {"heat": files}
