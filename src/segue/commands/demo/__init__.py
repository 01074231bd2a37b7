"""`segue demo`: a page that shows what Segue does, computed on the spot."""

from json import dumps
from pathlib import Path
from typing import Annotated

from tyro.conf import arg


def demo(
    out: Annotated[Path, arg(aliases=["-o"])] = Path("demo"),
    model: str = "reclmis-chest",
    pictures: int = 8,
    json: bool = False,
) -> None:
    """Do the jobs of the bundled models on fresh synthetic pictures, and write a page that shows the answers.

    Args:
        out: folder for index.html and its pictures.
        model: a bundled name or a checkpoint folder.
        pictures: how many phantoms.
        json: print one JSON object.
    """
    from segue.commands.demo.page import write_demo

    page = write_demo(out, model, pictures)
    print(dumps({"saved_to": str(page)}) if json else page)
