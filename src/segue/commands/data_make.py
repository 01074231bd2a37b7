"""`segue data make`: synthetic data sets."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from segue.types import InputError

USUAL = {"chest": (1500, 200, 300, 224), "scenes": (8000, 500, 1000, 128)}  # train, val, test pictures; side in pixels


def make(
    what: Positional[Literal["chest", "scenes"]],
    /,
    out: Annotated[Path, arg(aliases=["-o"])],
    seed: int = 0,
    train: int | None = None,
    val: int | None = None,
    test: int | None = None,
    size: int | None = None,
    style: Literal["a", "b", "photo", "synthetic"] | None = None,
    domain: Literal["a", "b"] | None = None,
    view: Literal["wide", "close"] | None = None,
    json: bool = False,
) -> None:
    """Draw a synthetic data set, byte for byte the same for the same numbers.

    Args:
        what: chest: chest phantoms with notes, in the LViT layout. scenes: pictures with captions, masks and relations,
            in COCO's layout.
        out: a folder that is not there yet.
        seed: of everything drawn.
        train: pictures in the training split (chest 1500, scenes 8000).
        val: pictures in the validation split (chest 200, scenes 500).
        test: pictures in the test split (chest 300, scenes 1000).
        size: side in pixels (chest 224, scenes 128).
        style: chest: which scanner's look, a (default) or b. scenes: photo (default) or synthetic.
        domain: scenes only: which mix of things, colours and words (default a).
        view: scenes only: wide (default), or close: a square around one thing, which fills about half of it.
        json: print one JSON object.
    """
    options = {"train": train, "val": val, "test": test, "size": size, "style": style, "domain": domain, "view": view}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if what == "chest":
        from segue.synthetic.chest import make_chest

        for name in {"domain", "view"} & given.keys():
            raise InputError(f"--{name} {given[name]}: chest phantoms have no {name}s; leave it out, or make scenes")
        make_chest(out, seed=seed, **given)
    else:
        from segue.synthetic.scenes.writer import make_scenes

        make_scenes(out, seed=seed, progress=True, **given)
    train, val, test, size = (
        usual if value is None else value for value, usual in zip((train, val, test, size), USUAL[what], strict=True)
    )
    if json:
        print(dumps({"saved_to": str(out), "train": train, "val": val, "test": test, "size": size}))
    else:
        print(f"{out}: {train} train, {val} val, {test} test pictures of {size}x{size}")
