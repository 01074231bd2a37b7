"""The table of what the bundled dual encoder of photographs calls far: `segue lab run domain_photos --data DIR`.

DIR/coco_tiny/, msrc/, camvid/               photographs, of which few should be far
DIR/covid_cxr/, monuseg/                     radiographs and microscopy, of which all should be

`far`: the share of pictures with a distance above 1 (`segue.nn.feature_distance`).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from segue.data.images import read_image
from segue.data.medical.lvit import read_lvit
from segue.data.picture_files import list_pictures
from segue.lab.engine import RequiredData, Row, Work
from segue.lab.tables.labels_photos import ENCODER
from segue.methods.dual_encoder.checkpoint import load_dual_encoder

PHOTOGRAPHS = {"coco_tiny": "images", "msrc": "val/images", "camvid": "val/images"}
OTHERS = ("covid_cxr", "monuseg")
DATA = RequiredData(f"a folder with {'/, '.join([*PHOTOGRAPHS, *OTHERS])}/", (*PHOTOGRAPHS, *OTHERS))
BATCH = 16


def domain_photos_table() -> list[Row]:
    """Photographs of other sets, radiographs and microscopy."""
    return [Row("far", test, 0, partial(_row, test), DATA) for test in (*PHOTOGRAPHS, *OTHERS)]


def _row(test: str, work: Work) -> dict[str, float]:
    folder = DATA.folder(work.data) / test
    if test in PHOTOGRAPHS:
        files = list_pictures(folder / PHOTOGRAPHS[test])
    else:
        files = [one.image for split in ("train", "val") for one in read_lvit(folder, split, "skip")]
    encoder = load_dual_encoder(ENCODER)
    distances = [
        distance
        for start in range(0, len(files), BATCH)
        for distance in encoder.measure_distances([read_image(file) for file in files[start : start + BATCH]])
        if distance is not None
    ]
    return {
        "far": float(np.mean(np.array(distances) > 1)),
        "median_distance": float(np.median(distances)),
        "pictures": len(distances),
    }
