"""The report of captions: each with its references and the score that the mean is of."""

import re

import numpy as np
import pytest

from scenes_and_encoder import write_scenes
from segue.api.captioner import Caption
from segue.data.formats import read_pictures
from segue.evaluation.captions import evaluate_captions
from segue.evaluation.reports.captions import CaptionReport


class Told:
    """Says the first reference of every second picture, and nonsense of the others."""

    def __init__(self, pictures):
        self.texts = [p.captions[0] if i % 2 else "zebra & zebra" for i, p in enumerate(pictures)]

    def caption_many(self, images, *, retrieve, options):
        return [[Caption(text, 0.5)] for text in self.texts]


def test_the_mean_of_the_shown_scores_is_what_is_printed(tmp_path):
    folder = write_scenes(tmp_path / "s")
    pictures = read_pictures(folder, "train").pictures
    report = CaptionReport()
    found = evaluate_captions(Told(pictures), folder, "train", seen=report.see)
    html = "\n".join(report.parts(found, tmp_path / "report"))
    cells = [float(cell) for cell in re.findall(r'<td class="number">([\d.]+)</td>', html)]
    assert len(cells) == len(pictures) == 14
    assert cells == sorted(cells)
    assert np.mean(cells) == pytest.approx(found["CIDEr-D"], abs=1e-3)
    assert "0.000: zebra &amp; zebra" in html
    assert "The 7 worst by CIDEr-D" in html
    assert html.count("<img") == 14
    assert all(text in html for picture in pictures for text in picture.captions)
    assert 'href="../s/' in html
