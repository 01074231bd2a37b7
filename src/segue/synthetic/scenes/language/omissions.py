"""What captions of synthetic scenes name and what they leave out, kind by kind: the truth of `omitted_{split}.json`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from segue.data.formats.files import expecting, read_json
from segue.synthetic.scenes.language.parser import parse


@dataclass(frozen=True)
class NamedKinds:
    """The kinds of things and stuff in a picture that its caption names and omits; a kind is named if any of it is."""

    named: frozenset[str]
    omitted: frozenset[str]


def read_omissions(root: Path, split: str) -> dict[int, list[NamedKinds]]:
    """Picture id -> one entry for each of its captions, in order. Raises InputError for files of another layout."""
    there = {}
    with expecting(root, "what `segue data make scenes` wrote: objects_SPLIT.json and omitted_SPLIT.json"):
        for picture in read_json(root / f"objects_{split}.json"):
            there[picture["image_id"]] = [(o["object_id"], o["names"][0]) for o in picture["objects"]]
        found: dict[int, list[NamedKinds]] = defaultdict(list)
        for entry in sorted(read_json(root / f"omitted_{split}.json"), key=lambda entry: entry["caption_id"]):
            left = {one["id"] for one in (*entry["things"], *entry["stuff"])}
            objects = there[entry["image_id"]]
            named = frozenset(kind for number, kind in objects if number not in left)
            found[entry["image_id"]].append(NamedKinds(named, frozenset(kind for _, kind in objects) - named))
    return dict(found)


def merge(captions: Sequence[NamedKinds]) -> NamedKinds:
    """Several captions of one picture as one: a kind is named if any of them names it."""
    named = frozenset[str]().union(*(one.named for one in captions))
    return NamedKinds(named, frozenset[str]().union(*(one.omitted for one in captions)) - named)


def naming_rates(captions: Iterable[NamedKinds]) -> Mapping[str, float]:
    """Kind -> the share of the captions of pictures which show it that name it, in [0, 1]."""
    named, shown = Counter[str](), Counter[str]()
    for one in captions:
        named.update(one.named)
        shown.update(one.named | one.omitted)
    return {kind: named[kind] / count for kind, count in shown.items()}


@lru_cache(maxsize=10_000)
def kind_of(concept: str) -> str | None:
    """The one kind that a concept stands for: "lady" -> "woman"; None for "person", which may be three, and "day"."""
    request = parse(f"a {concept}", strict=False)
    kinds = {*request.stuff, *(kind for things in request.things for kind in things.kinds)}
    return kinds.pop() if len(kinds) == 1 else None
