"""Writes small folders in the LViT layout."""

from pathlib import Path

import numpy as np
from PIL import Image

LEFT = "Unilateral pulmonary infection, one infected area, upper left lung."
RIGHT = "Unilateral pulmonary infection, one infected area, lower right lung."


def write_book(path: Path, rows, heads=("Image", "Description")):
    from openpyxl import Workbook

    book = Workbook()
    for row in [heads, *rows]:
        book.active.append(row)
    book.save(path)


def write_pair(root: Path, split: str, number: int, side: str = "left"):
    """An image and its mask on one of the patient's sides: left is the picture's right, upper; right is lower."""
    rng = np.random.default_rng([number, len(split)])
    folder = root / f"{split}_Folder"
    for kind in ("img", "labelcol"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    mask = np.zeros((24, 32), np.uint8)
    mask[2:8, 20:28] = 255 * (side == "left")
    mask[16:22, 4:12] = 255 * (side == "right")
    Image.fromarray(rng.integers(0, 255, (24, 32), dtype=np.uint8)).save(folder / "img" / f"covid_{number}.png")
    Image.fromarray(mask).save(folder / "labelcol" / f"mask_covid_{number}.png")


def write_lvit(root: Path) -> Path:
    """Four pictures to train on, two to validate, two to test, with notes for each."""
    number = 0
    for split, count in (("Train", 4), ("Val", 2), ("Test", 2)):
        rows = []
        for i in range(count):
            number += 1
            side = ("left", "right")[i % 2]
            write_pair(root, split, number, side)
            rows.append((f"mask_covid_{number}.png", LEFT if side == "left" else RIGHT))
        write_book(root / f"{split}_text.xlsx", rows)
    return root
