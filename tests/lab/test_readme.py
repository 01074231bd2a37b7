import csv
from pathlib import Path

import numpy as np
import pytest

from segue.lab.report import BLOCK, fill_blocks

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["docs/results.md", "docs/performance.md", "docs/own-weights.md"])
def test_a_page_quotes_only_what_the_report_prints(page):
    text = (ROOT / page).read_text()
    assert BLOCK.search(text), f"{page} quotes no results"
    assert fill_blocks(text, ROOT / "results", ROOT / page) == text, f"run: segue lab report --readme {page}"


CAPTIONERS = ("captions-photos", "nearest of 20,000 captions", "one sentence")
PHANTOMS = ("bundled, own notes", "bundled, no notes", "bundled, shuffled notes")
README = [  # the lines of the first page's table, and the rows of their figures
    ("500 of Flickr8k", "captions_photos", "flickr8k", "cider", *CAPTIONERS),
    ("220 of COCO", "captions_photos", "coco_tiny", "cider", *CAPTIONERS),
    ("MSRC's val", "labels_photos", "msrc", "miou", "bundled"),
    ("MSRC's val", "labels_photos", "msrc", "miou_own", "bundled"),
    ("MSRC's val", "labels_photos", "msrc, supervised", "miou", "train labels"),
    ("MSRC's val", "labels_photos", "msrc, supervised", "miou_own", "train labels"),
    ("CamVid's val", "labels_photos", "camvid", "miou", "bundled"),
    ("CamVid's val", "labels_photos", "camvid, supervised", "miou", "train labels"),
    ("39 of COCO", "describe_photos", "coco_tiny given", "cider", "describe-photos", "captions-photos"),
    ("9 chest X-rays", "reclmis_budget", "covid_cxr", "dice", "reclmis-cxr", "unet", "mean_mask"),
    ("9 chest X-rays", "reclmis_budget", "covid_cxr", "dice_no_notes", "reclmis-cxr"),
    ("65 chest X-rays", "reclmis_budget", "covid_cxr", "dice", "ours, five folds", "unet, five folds"),
    ("65 chest X-rays", "reclmis_budget", "covid_cxr", "dice_no_notes", "ours, five folds"),
    ("6 fields of nuclei", "reclmis_budget", "monuseg", "dice", "ours", "unet", "otsu"),
    ("300 drawn chests", "reclmis_chest_full", "test", "dice", *PHANTOMS),
]  # fmt: skip


@pytest.mark.parametrize(("line", "file", "experiment", "metric", "systems"), [(*one[:4], one[4:]) for one in README])
def test_the_first_page_has_the_figures_of_its_rows(line, file, experiment, metric, systems):
    (shown,) = [one for one in (ROOT / "README.md").read_text().splitlines() if line in one]
    rows = [*csv.DictReader((ROOT / "results" / f"{file}.csv").open())]
    for system in systems:
        key = (experiment, system, metric)
        found = [float(row["value"]) for row in rows if (row["experiment"], row["system"], row["metric"]) == key]
        assert f"{100 * np.mean(found):.1f}" in shown, key
