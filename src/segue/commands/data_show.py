"""`segue data show`: a contact sheet of a data set."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def show(
    folder: Positional[Path],
    /,
    out: Annotated[Path, arg(aliases=["-o"])] = Path("contact-sheet.png"),
    split: Literal["train", "val", "test"] = "train",
    limit: int = 24,
    json: bool = False,
) -> None:
    """Draw a contact sheet: pictures with their masks outlined and their notes or captions below.

    Args:
        folder: a data set in any known format.
        out: the PNG to write.
        split: which split to show.
        limit: how many pictures at most.
        json: print one JSON object.
    """
    from segue.data.formats import read_pictures
    from segue.data.images import write_image
    from segue.data.medical import lvit
    from segue.data.visualize import contact_sheet

    records = (
        lvit.read_lvit(folder, split, "skip") if lvit.splits(folder) else read_pictures(folder, split, "skip").pictures
    )
    write_image(contact_sheet(records, limit=limit), out)
    print(dumps({"saved_to": str(out), "pictures": len(records)}) if json else out)
