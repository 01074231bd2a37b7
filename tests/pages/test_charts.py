"""Charts: where values lie, what is marked, what is left out."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from segue.pages.charts import MOST_POINTS, Axis, histogram, line_chart, matrix, reliability_chart


def svg(figure):
    """The chart's SVG as a tree: it is well-formed."""
    return ET.fromstring(re.search("<svg.*</svg>", figure)[0])


def texts(figure):
    return [node.text for node in svg(figure).iter("text")]


def titles(figure):
    return [node.text for node in svg(figure).iter("title")]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.266, 0.38), (-3, 1200), (1e-5, 9e-5), (0.5, 0.5000001)])
def test_ticks_are_round_and_inside(low, high):
    axis = Axis(low, high, 100, 300)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 9
    margin = 1e-6 * (high - low)
    assert all(low - margin <= tick <= high + margin for tick in ticks)
    assert axis.place(low) == 100
    assert axis.place(high) == 300


def test_a_logarithmic_axis_has_powers_of_ten():
    axis = Axis(0.5, 2000, 0, 100, log=True)
    assert axis.ticks() == [1, 10, 100, 1000]
    assert axis.place(math.sqrt(0.5 * 2000)) == pytest.approx(50)


def test_the_best_step_is_marked_with_its_value():
    figure = line_chart([(1, 0.2), (2, 0.7), (3, 0.6)], "dice", mark=2)
    assert "best: 0.7 at 2" in texts(figure)
    assert titles(figure) == ["1: 0.2", "2: 0.7", "3: 0.6"]
    assert not any("best" in str(text) for text in texts(line_chart([(1, 0.2)], "dice")))


def test_large_ranges_are_logarithmic_and_what_is_no_number_is_said():
    figure = line_chart([(1, 1000.0), (2, 1.0), (3, math.nan), (4, math.inf)], "loss")
    assert "<b>loss, 2 values that are no numbers left out (logarithmic)</b>" in figure
    assert "(logarithmic)" not in line_chart([(1, 1000.0), (2, -1.0)], "loss")
    assert "(logarithmic)" not in line_chart([(1, 1000.0), (2, 1.0)], "loss", linear=True)
    assert "<svg" not in line_chart([(1, math.nan)], "loss")


def test_charts_of_one_run_share_their_steps():
    first, second = (
        [float(dot.get("cx")) for dot in svg(line_chart(points, "", reach=(0, 8))).iter("circle")]
        for points in ([(0, 1.0), (4, 2.0), (8, 3.0)], [(4, 5.0)])
    )
    assert first[1] == second[0] == pytest.approx((first[0] + first[2]) / 2)


def test_ticks_that_lie_close_have_texts_that_differ():
    found = texts(line_chart([(0, 0.88101), (1, 0.88249)], "accuracy"))
    ticks = [text for text in found if text.startswith("0.88")]
    assert len(ticks) == len({*ticks}) >= 3


def test_many_points_are_drawn_by_mean_and_range():
    figure = line_chart([(i, float(i % 2)) for i in range(10 * MOST_POINTS)], "loss")
    line, band = (next(node for node in svg(figure).iter() if node.get("class") == kind) for kind in ("line", "band"))
    points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    assert len(points) == MOST_POINTS
    assert len({y for _, y in points}) == 1  # the mean of zeros and ones
    heights = [float(point.split(",")[1]) for point in band.get("points").split()]
    assert min(heights) < points[0][1] < max(heights)


def test_a_histogram_counts_every_value_once():
    values = [0.0, 0.04, 0.05, 0.5, 0.999, 1.0]
    counts = [int(title.rpartition(": ")[2]) for title in titles(histogram(values, "Dice"))]
    assert sum(counts) == 6
    assert (counts[0], counts[1], counts[10], counts[19]) == (2, 1, 1, 2)
    assert "mean" in texts(histogram(values, "Dice"))
    assert sum(int(t.rpartition(": ")[2]) for t in titles(histogram([], "Dice"))) == 0


def test_a_calibrated_point_lies_on_the_diagonal():
    figure = reliability_chart([0.5, 0.9], [0.5, 0.6], [0.25, 0.75], "r", ("p", "q"))
    ideal = next(node for node in svg(figure).iter() if node.get("class") == "ideal")
    x1, x2, y1, y2 = (float(ideal.get(name)) for name in ("x1", "x2", "y1", "y2"))
    first, second = svg(figure).iter("circle")
    assert float(first.get("cx")) == pytest.approx((x1 + x2) / 2, abs=0.1)
    assert float(first.get("cy")) == pytest.approx((y1 + y2) / 2, abs=0.1)
    assert float(second.get("r")) > float(first.get("r"))
    assert float(second.get("cy")) > y1 + (y2 - y1) * 0.9  # below the diagonal: too sure


def test_a_matrix_has_a_cell_for_each_pair_and_writes_whole_percents():
    figure = matrix(
        ["dog", "a very long name indeed"], ["dog", "cat", "<rest>"], [[0.996, 0, 0.004], [0, 0.3, 0.7]], "m"
    )
    assert titles(figure)[0] == "dog as dog: 99.6%"
    assert len(titles(figure)) == 6
    assert [text for text in texts(figure) if text.isdigit()] == ["100", "30", "70"]
    assert "a very long nam…" in texts(figure)
