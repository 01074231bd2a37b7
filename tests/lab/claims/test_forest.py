"""The papers' own gains, read off their figures, and the plot."""

import math
from xml.etree import ElementTree

import pytest

from segue.lab.claims.forest import LEFT, RIGHT, WIDTH, Row, forest_svg, paper_gain


@pytest.mark.parametrize(
    ("figures", "metric", "gain"),
    [
        ("CIDEr 101.1 : 88.5", "cider", 12.6),
        ("QaTa Dice 85.22 : 79.02, mIoU 77.00 : 69.46; MosMed 77.48 : 64.60, 65.07 : 50.73", "miou", 7.54),
        ("26.1/137.4/66.3/47.2 : 24.2/127.4/62.3/43.2", "mask_iou_strict", 4.0),
        ("COCO 29.9/25.8/53.2/101.1/19.3 : 24.7/25.0/-/91.2/18.7; Flickr30k 22.3/22.4/47.3/56.6/16.6", "cider", 9.9),
        ("SPICE/CIDEr 26.1/137.4 : 25.2/135.8", "cider_oracle5", 1.6),
        ("COCO to Flickr30k 17.9/18.6/42.7/38.4/11.9 : 16.3/17.9/-/35.7/11.1; back CIDEr 47.0 : 44.4", "bleu4", 1.6),
        ("COCO 29.9/25.8/53.2/101.1/19.3 : 24.7/25.0/-/91.2/18.7", "rouge_l", None),  # of one side there is none
        ("COCO CIDEr 101.1 : 91.2, 91.8, 13.6", "cider", None),  # of which of the three?
        ("26.0 : 25.8; 19.6 : 19.3", "meteor", None),
        ("a figure without numbers", "cider", None),
        ("24.1 : 54.1 GFLOPs", "gmac", None),
    ],
)
def test_a_papers_gain_is_that_of_its_own_figures(figures, metric, gain):
    assert paper_gain(figures, metric) == gain


def test_a_plot_has_ours_with_its_range_and_the_papers_on_one_axis():
    rows = [
        Row("ahead & sure", "dice", (5.0, 2.0, 8.0), 10.0, "supported"),
        Row("one pair", "dice", (-5.0, -math.inf, math.inf), None, "open"),
    ]
    drawn = ElementTree.fromstring(forest_svg("A paper", rows))
    one, other = drawn.findall("{*}g")
    low, high = (float(one.find("{*}line").get(end)) for end in ("x1", "x2"))
    dot, diamond = float(one.find("{*}circle").get("cx")), float(one.find("{*}path").get("d")[1:].split()[0])
    assert LEFT < low < dot < high < diamond < WIDTH - RIGHT
    assert dot - low == pytest.approx(high - dot, abs=0.2)
    assert (diamond - dot) / (high - low) == pytest.approx(5 / 6, abs=0.01)
    assert one.find("{*}title").text == "ahead & sure (dice): ours +5.0, the paper's +10.0"
    assert one.get("class") == "supported"
    ends = [float(other.find("{*}line").get(end)) for end in ("x1", "x2")]
    assert ends == [LEFT, WIDTH - RIGHT]  # to the rims
    assert other.find("{*}path") is None
