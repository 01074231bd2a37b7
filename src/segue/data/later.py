"""Pictures of a data set that are made when they are asked for: made at once, a million takes gigabytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import overload

from segue.types import Picture


class LaterPictures(Sequence[Picture]):
    """Pictures by `make(position)`, anew each time; a slice of them is a list. names: of all, which takes no making.

    made: those that are there already, by their positions.
    """

    def __init__(self, names: Sequence[str], make: Callable[[int], Picture], made: Mapping[int, Picture]) -> None:
        self.names, self.make, self.made = names, make, made

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, at: int) -> Picture: ...
    @overload
    def __getitem__(self, at: slice) -> list[Picture]: ...
    def __getitem__(self, at: int | slice) -> Picture | list[Picture]:
        found = range(len(self.names))[at]
        if isinstance(found, range):
            return [self[one] for one in found]
        made = self.made.get(found)
        return self.make(found) if made is None else made


def names_of(pictures: Sequence[Picture]) -> Sequence[str]:
    """The names of pictures."""
    return pictures.names if isinstance(pictures, LaterPictures) else [picture.name for picture in pictures]
