"""Visual prompts: a box, a point, a mask or a scribble. Each becomes a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.methods.sgdiff.graph import Box, SceneGraph, check_box, is_in_picture
from segue.types import InputError, check_mask

Point = tuple[float, float]


def prompt_box(
    graph: SceneGraph,
    *,
    box: Sequence[float] | None = None,
    point: Point | None = None,
    mask: NDArray[np.bool_] | None = None,
    scribble: Sequence[Point] | None = None,
) -> Box:
    """The box (x, y, width, height) of one prompt, in pixels of the picture and cut to it.

    point: (x, y); the smallest object's box around it, else the pixel's own box. mask: (H, W) bool, on the picture's
    grid. scribble: points (x, y). Raises InputError unless exactly one is given and it lies in the picture.
    """
    given = {"box": box, "point": point, "mask": mask, "scribble": scribble}
    if len(names := [name for name, value in given.items() if value is not None]) != 1:
        raise InputError(f"prompt: got {', '.join(names) or 'nothing'}, expected one of {', '.join(given)}")
    if mask is not None:
        return _of_mask(mask, graph.size)
    if point is not None:
        return _around(graph, _numbers("point", point, (2,), "x and y in pixels"))
    if scribble is not None:
        return check_box(points_box(scribble), graph.size)
    return check_box(_numbers("box", box, (4,), "four numbers x, y, width, height in pixels").tolist(), graph.size)


def points_box(scribble: Sequence[Point]) -> Box:
    """The box (x, y, width, height) around the points' pixels. Raises InputError for what are no points."""
    points = _numbers("scribble", scribble, (-1, 2), "one or more points (x, y)")
    (x, y), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    return x, y, right - x + 1, bottom - y + 1


def _numbers(name: str, given: Any, shape: tuple[int, ...], expected: str) -> NDArray[np.float64]:
    """The given value as an array of that shape, -1 for one or more; InputError when it has another."""
    try:
        found = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if not found.size or found.shape != tuple(n if n > 0 else len(found) for n in shape):
        raise InputError(f"{name}: got {str(given)[:80]}, expected {expected}")
    return found


def object_boxes(graph: SceneGraph) -> list[Box]:
    """A box for each object in the picture (stuff left out, unless there is nothing else), cut to the picture.

    Raises InputError when there is none.
    """
    there = [i for i, box in enumerate(graph.boxes.tolist()) if is_in_picture(box, graph.size)]
    if not there:
        raise InputError("got a graph with no object inside the picture; is it another picture's?")
    things = there if graph.stuff is None else [i for i in there if not graph.stuff[i]] or there
    return [check_box(graph.boxes[i].tolist(), graph.size) for i in things]


def _around(graph: SceneGraph, point: NDArray[np.float64]) -> Box:
    pixel = check_box((*point, 1, 1), graph.size)
    low, high = graph.boxes[:, :2], graph.boxes[:, :2] + graph.boxes[:, 2:]
    hit = np.flatnonzero((low <= point).all(1) & (point <= high).all(1))
    if not len(hit):
        return pixel
    smallest = hit[graph.boxes[hit, 2:].prod(1).argmin()]
    return check_box(graph.boxes[smallest].tolist(), graph.size)


def _of_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> Box:
    check_mask(mask, "prompt mask")
    if mask.shape != size[::-1]:
        got = f"{mask.shape[1]}x{mask.shape[0]}"
        raise InputError(f"prompt mask: got {got} pixels, the picture has {size[0]}x{size[1]}; draw it on its own grid")
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise InputError("prompt mask: it is empty, expected at least one pixel; draw again")
    x, y = int(columns.min()), int(rows.min())
    return float(x), float(y), float(columns.max() + 1 - x), float(rows.max() + 1 - y)
