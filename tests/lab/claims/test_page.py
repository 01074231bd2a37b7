from pathlib import Path
from types import SimpleNamespace

import pytest

from segue.lab.claims.model import NO_ROW, Claim, Comparison
from segue.lab.claims.page import check_names, claims_page, count_seeds, draw_forests, judge, papers, write_claims
from segue.types import InputError

ROOT = Path(__file__).parents[3]
HEAD = "experiment,system,seed,metric,value,command,commit,machine\n"
ONE = Comparison("t", "main", "dice", "ours", "theirs")


@pytest.fixture(scope="module")
def seeds():
    return count_seeds()


def test_the_committed_page_is_what_the_rows_say():
    assert claims_page(ROOT / "results") == (ROOT / "docs/claims.md").read_text(), "run: segue lab claims"


def test_the_committed_plots_are_what_the_rows_say(tmp_path):
    drawn = draw_forests(ROOT / "results", tmp_path)
    assert len(drawn) > 2
    for file in drawn:
        assert file.read_text() == (ROOT / "docs/plots" / file.name).read_text(), "run: segue lab claims"
        assert f"(plots/{file.name})" in (ROOT / "docs/claims.md").read_text()


def test_without_results_nothing_is_judged(tmp_path, seeds):
    tests = [test for paper in papers() for claim in paper.claims for test in claim.tests]
    assert len(tests) > 150
    assert {judge(test, tmp_path, seeds)[0] for test in tests} == {"not measured yet"}


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([0.6, 0.62, 0.61], [0.5, 0.52, 0.51], "supported"),
        ([0.5, 0.52, 0.51], [0.6, 0.62, 0.61], "contradicted"),
        ([0.5, 0.6, 0.7], [0.45, 0.55, 0.65], "not supported"),
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], "not supported"),
        ([0.6, 0.62], [0.5, 0.52, 0.51], "not measured yet"),
        ([], [0.5, 0.52, 0.51], "not measured yet"),
        ([0.6], [0.5], "not supported"),
        ([0.6, 0.62, 0.61], [0.5], "supported"),
    ],
)
def test_verdicts(tmp_path, ours, theirs, verdict):
    rows = [("ours", s, v) for s, v in enumerate(ours)] + [("theirs", s, v) for s, v in enumerate(theirs)]
    (tmp_path / "t.csv").write_text(HEAD + "".join(f"main,{name},{s},dice,{v},c,c,m\n" for name, s, v in rows))
    wanted = {"ours": 1 if len(ours) == 1 else 3, "theirs": 1 if len(theirs) == 1 else 3}
    seeds = {("t", "main", name): count for name, count in wanted.items()}
    assert judge(ONE, tmp_path, seeds)[0] == verdict


def test_a_cost_is_said_to_be_less_than_a_number(tmp_path):
    (tmp_path / "t.csv").write_text(HEAD + "".join(f"main,ours,{s},gmac,2.07,c,c,m\n" for s in range(3)))
    said = {bound: Comparison("t", "main", "gmac", "ours", bound, less=True) for bound in (12.0, 1.0)}
    found = {bound: judge(test, tmp_path, {("t", "main", "ours"): 3}) for bound, test in said.items()}
    assert found[12.0] == ("supported", "gmac: `ours` 2.07 ± 0.00 (3), 12")
    assert found[1.0][0] == "contradicted"


def test_the_one_behind_may_be_of_another_experiment(tmp_path):
    rows = [("half", "ours", s, 0.6 + s / 100) for s in range(3)] + [("main", "theirs", s, 0.5) for s in range(3)]
    (tmp_path / "t.csv").write_text(HEAD + "".join(f"{where},{who},{s},dice,{v},c,c,m\n" for where, who, s, v in rows))
    seeds = {("t", "half", "ours"): 3, ("t", "main", "theirs"): 3}
    test = Comparison("t", "half", "dice", "ours", "theirs", against="main")
    assert judge(test, tmp_path, seeds) == ("supported", "dice: `ours` 61.0 ± 1.0 (3), `theirs` 50.0 ± 0.0 (3)")


def test_what_no_row_tests_differs_from_what_can_not_be_tested():
    page = (ROOT / "docs/claims.md").read_text().splitlines()
    untested = [claim for paper in papers() for claim in paper.claims if not claim.tests]
    for claim in untested:
        verdict = "not measured here" if claim.why.startswith(NO_ROW) else "not testable here"
        assert f"| {claim.where} | {claim.says} | {claim.figures} | {claim.why} | **{verdict}** |" in page
    assert {claim.why.startswith(NO_ROW) for claim in untested} == {True, False}


def test_the_claims_of_sgdiff_find_their_metrics_in_the_rows(tmp_path, seeds):
    captioned = ("cider", "cider_oracle5", "distinct2")
    outlined = ("mask_iou_strict", "map", "grounding_accuracy")
    lines = []
    for (table, experiment, system), count in seeds.items():
        if table == "sgdiff_scenes":
            metrics = (*captioned * (system != "mask_only"), *outlined * (system != "caption_only"))
            lines += [f"{experiment},{system},{s},{m},0.{5 + s},c,c,m\n" for s in range(count) for m in metrics]
    (tmp_path / "sgdiff_scenes.csv").write_text(HEAD + "".join(lines))
    page = claims_page(tmp_path).split("\n## ")[4]
    assert page.startswith("SGDiff")
    assert "no rows yet" not in page
    assert "not measured yet" not in page


def test_a_metric_that_the_rows_lack_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text(HEAD + "main,ours,0,iou,0.5,c,c,m\n")
    with pytest.raises(InputError, match="no 'dice' in its rows, only iou"):
        judge(ONE, tmp_path, {("t", "main", "ours"): 1, ("t", "main", "theirs"): 1})


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (Claim("Table 1", "x", "y", (Comparison("reclmis", "main", "dice", "full", "renamed"),)), "renamed"),
        (Claim("Table 1", "x", "y", (Comparison("reclmis", "gone", "dice", "full", "unet"),)), "gone"),
        (
            Claim("Table 1", "x", "y", (Comparison("reclmis", "main", "dice", "full", "unet", against="m"),)),
            "m/unet",
        ),
        (Claim("Table 1", "x", "y"), "no comparison"),
        (Claim("Table 1", "x", "y", (Comparison("reclmis_pareto", "pareto", "dice", "w16", "w24"),)), "measured on"),
    ],
)
def test_a_name_that_no_table_has_is_refused(claim, message, seeds):
    paper = SimpleNamespace(title="p", here={"reclmis": "phantoms"}, claims=[claim])
    with pytest.raises(InputError, match=message):
        check_names([paper], seeds)


def test_the_command_writes_the_page(tmp_path):
    write_claims(ROOT / "results", tmp_path / "claims.md")
    assert (tmp_path / "claims.md").read_text() == claims_page(ROOT / "results")
    with pytest.raises(InputError, match="no results there"):
        write_claims(tmp_path / "nowhere", tmp_path / "none.md")
    assert not (tmp_path / "none.md").exists()
