"""Paired differences against values computed by hand, and where they are shown."""

import math

import pytest

from segue.lab.paired import paired, render_differences, summarise
from segue.lab.report import ReportOptions, fill_blocks, write_report
from segue.types import InputError

HEAD = "experiment,system,seed,metric,value,command,commit,machine\n"


@pytest.fixture
def results(tmp_path):
    rows = {"full": {0: 0.5, 1: 0.6, 2: 0.7}, "ci": {1: 0.58, 2: 0.66, 0: 0.47, 9: 0.1}, "alone": {7: 0.3}}
    lines = "".join(f"main,{name},{s},miou,{v},c,c,m\n" for name, row in rows.items() for s, v in row.items())
    (tmp_path / "t.csv").write_text(HEAD + lines)
    return tmp_path


def test_differences_are_taken_seed_by_seed(results):
    found = paired(results / "t.csv", "main", "miou", "ci", "full")
    assert found.pairs == 3  # -.03, -.02, -.04
    assert found.mean == pytest.approx(-0.03)
    assert found.spread == pytest.approx(0.01)
    assert found.high - found.mean == pytest.approx(4.3027 * 0.01 / math.sqrt(3), rel=1e-4)  # t of two degrees
    assert found.seen == pytest.approx((4.3027 + 1.0607) * 0.01 / math.sqrt(3), rel=1e-4)
    assert paired(results / "t.csv", "main", "miou", "alone", "full") is None
    assert summarise([0.1]).text() == "+10.0 (1 pair)"


def test_they_are_shown_by_the_report_and_in_pages(results, capsys):
    table = render_differences(results / "t.csv", "main", "miou", "full")
    assert table.splitlines()[2:] == ["| ci | -3.0 ± 1.0 (3 pairs), 95 % -5.5 to -0.5; sees 3.1 |"]
    write_report(ReportOptions(results=results, against="full"))
    assert table in capsys.readouterr().out
    page = "<!-- differences:t:main:miou:full -->\nold\n<!-- /differences -->\n"
    assert table in fill_blocks(page, results)
    with pytest.raises(InputError, match="no miou of 'other' and of another system for one seed"):
        render_differences(results / "t.csv", "main", "miou", "other")
    with pytest.raises(InputError, match=r"'other': no experiment of .* has such a system with miou"):
        write_report(ReportOptions(results=results, against="other"))
