"""What the captions of drawn scenes name and what they leave out, kind by kind: the truth of `omitted_{split}.json`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from segue.data.formats.files import expecting, read_json
from segue.synthetic.scenes.language.parser import parse


@dataclass(frozen=True)
class Naming:
    """What one caption makes of its picture's kinds of things and stuff: a kind counts as named if any of it is."""

    named: frozenset[str]
    omitted: frozenset[str]


def read_omissions(root: Path, split: str) -> dict[int, list[Naming]]:
    """Picture id -> one entry for each of its captions, in their order."""
    there = {}
    with expecting(root, "what `segue data make scenes` wrote: objects_SPLIT.json and omitted_SPLIT.json"):
        for picture in read_json(root / f"objects_{split}.json"):
            there[picture["image_id"]] = [(o["object_id"], o["names"][0]) for o in picture["objects"]]
        found: dict[int, list[Naming]] = defaultdict(list)
        for entry in sorted(read_json(root / f"omitted_{split}.json"), key=lambda entry: entry["caption_id"]):
            left = {one["id"] for one in (*entry["things"], *entry["stuffs"])}
            objects = there[entry["image_id"]]
            named = frozenset(kind for number, kind in objects if number not in left)
            found[entry["image_id"]].append(Naming(named, frozenset(kind for _, kind in objects) - named))
    return dict(found)


def merged(namings: Sequence[Naming]) -> Naming:
    """Several captions of one picture taken together: what any of them names is named."""
    named = frozenset[str]().union(*(one.named for one in namings))
    return Naming(named, frozenset[str]().union(*(one.omitted for one in namings)) - named)


def naming_rates(namings: Iterable[Naming]) -> Mapping[str, float]:
    """Kind -> the share of the captions of pictures which show it that name it, in [0, 1]."""
    named, shown = Counter[str](), Counter[str]()
    for one in namings:
        named.update(one.named)
        shown.update(one.named | one.omitted)
    return {kind: named[kind] / count for kind, count in shown.items()}


@lru_cache(maxsize=10_000)
def kind_of(concept: str) -> str | None:
    """The one kind that a concept stands for: "lady" -> "woman"; None for "person", which may be three, and "day"."""
    asked = parse(f"a {concept}", strict=False)
    kinds = {*asked.stuffs, *(kind for wanted in asked.things for kind in wanted.kinds)}
    return kinds.pop() if len(kinds) == 1 else None
