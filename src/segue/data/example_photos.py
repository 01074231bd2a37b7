"""Photographs of open licence that come with a package, to try a model on: first come, not chosen."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from segue.types import NotInstalled, to_install

PHOTOGRAPHS = {  # those of scikit-image, by its file names: what its documentation says of their licence
    "astronaut.png": "NASA, public domain",
    "chelsea.png": "Stéfan van der Walt, CC0",
    "coffee.png": "Rachel Michetti, CC0",
    "motorcycle_left.png": "Daniel Scharstein and others, CC0",
    "rocket.jpg": "SpaceX, public domain",
}
NAMES = ("person", "cat", "cup", "table", "motorcycle", "rocket", "sky", "wall", "floor", "flag", "water", "tree")


def photographs() -> list[Path]:
    """The files of the photographs, where scikit-image is installed. Raises NotInstalled when it isn't."""
    found = find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise NotInstalled(f"photographs: they come with scikit-image: {to_install('samples')}")
    folder = Path(found.submodule_search_locations[0]) / "data"
    return [folder / name for name in PHOTOGRAPHS]
