"""`segue demo`: a page that shows what Segue does, computed on the spot."""

from pathlib import Path


def demo(out: Path = Path("demo"), model: str = "reclmis-chest", pictures: int = 8) -> None:
    """Do the jobs of the bundled models on fresh synthetic pictures, and write a page that shows the answers.

    Args:
        out: folder for index.html and its pictures.
        model: a bundled name or a checkpoint folder.
        pictures: how many phantoms.
    """
    from segue.commands.demo.page import write_demo

    print(write_demo(out, model, pictures))
