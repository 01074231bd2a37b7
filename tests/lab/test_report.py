import pytest

from segue.lab.engine import append_row
from segue.lab.report import (
    ReportOptions,
    _over_numeric_systems,
    _over_training,
    draw_plots,
    fill_blocks,
    format_values,
    read_values,
    render_report,
    render_table,
    write_report,
)
from segue.types import InputError


@pytest.fixture
def results(tmp_path):
    for seed, dice in ((0, 0.7), (1, 0.8), (2, 0.9)):
        append_row(tmp_path / "t.csv", ("main", "full", seed), {"dice": dice, "gmac": 2.0}, "c")
    append_row(tmp_path / "t.csv", ("main", "unet", 0), {"dice": 0.5}, "c")
    append_row(tmp_path / "t.csv", ("other", "full", 0), {"dice": 0.5}, "c")
    return tmp_path


def test_a_table_gives_mean_deviation_and_number(results):
    assert render_table(results / "t.csv", "main").splitlines() == [
        f"| system (`{results.name}/t.csv`) | dice | gmac |",
        "|---|---|---|",
        "| full | 80.0 ± 10.0 (3) | 2.00 ± 0.00 (3) |",
        "| unet | 50.0 (1) | — |",
    ]


def test_what_was_not_computed_is_a_dash():
    assert format_values("dice", []) == "—"
    assert format_values("gmac", [1.5]) == "1.50 (1)"
    assert format_values("cider", [1.015]) == "101.5 (1)"


@pytest.mark.parametrize("metric", ["requests_per_s", "p95_ms", "errors", "rss_mb_late", "classes_held"])
def test_a_metric_that_is_no_share_is_shown_as_it_is(metric):
    assert format_values(metric, [21.25]) == "21.2 (1)"


def test_an_experiment_may_have_a_space_in_its_name(results):
    append_row(results / "t.csv", ("8 clients", "single", 0), {"errors": 0.0}, "c")
    assert "| single | 0.0 (1) |" in fill_blocks("<!-- results:t:8 clients -->\n<!-- /results -->\n", results)


def test_names_may_have_commas_and_apostrophes(results):
    for seed in (0, 1):
        append_row(results / "t.csv", ("8 clients, late", "all's, well", seed), {"miou": 0.5}, "c")
        append_row(results / "t.csv", ("8 clients, late", "other", seed), {"miou": 0.75}, "c")
    block = "<!-- results:t:8 clients, late -->\n<!-- /results -->\n"
    assert "| other | 75.0 ± 0.0 (2) |" in fill_blocks(block, results)
    block = "<!-- differences:t:8 clients, late:miou:all's, well -->\n<!-- /differences -->\n"
    assert "| other | +25.0 ± 0.0 (2 pairs)" in fill_blocks(block, results)


def test_the_report_names_file_and_experiment(results):
    text = render_report(results)
    assert "## t: main" in text
    assert "## t: other" in text


def test_marked_blocks_are_filled_and_nothing_else(results):
    text = "before\n<!-- results:t:other -->\nstale\n<!-- /results -->\nafter\n"
    filled = fill_blocks(text, results)
    assert filled.startswith("before\n<!-- results:t:other -->\n| system (`")
    assert filled.endswith("| full | 50.0 (1) |\n<!-- /results -->\nafter\n")
    assert fill_blocks(filled, results) == filled
    linked = fill_blocks(text, results, results.parent / "README.md").replace(results.name, "results")
    assert "| [system](results/t.csv) | dice |" in linked
    assert "| [full](results/t.csv) | 50.0 (1) |" in linked
    assert fill_blocks(text, results, results.parent / "docs" / "page.md") == filled
    assert f"| system (`{results.name}/t.csv`) | dice |" in filled
    with pytest.raises(InputError, match=r"2 blocks .* begin, 1 end"):
        fill_blocks("<!-- results:t:main -->\n" + text, results)
    with pytest.raises(InputError, match="no experiment 'none'; it has main, other"):
        fill_blocks("<!-- results:t:none -->\n<!-- /results -->", results)


def test_a_block_may_name_its_metrics(results):
    block = "<!-- results:t:main:gmac -->\n"
    filled = fill_blocks(block + "<!-- /results -->\n", results)
    assert filled.splitlines() == [
        block.strip(),
        f"| system (`{results.name}/t.csv`) | gmac |",
        "|---|---|",
        "| full | 2.00 ± 0.00 (3) |",
        "<!-- /results -->",
    ]  # unet has none
    assert "| gmac | dice |" in fill_blocks("<!-- results:t:main:gmac,dice -->\n<!-- /results -->", results)
    with pytest.raises(InputError, match=r"main has no metric dice_t0\.2"):
        fill_blocks("<!-- results:t:main:dice_t0.2 -->\n<!-- /results -->", results)
    with pytest.raises(InputError, match="main has no metric iou; it has dice, gmac"):
        fill_blocks("<!-- results:t:main:gmac,iou -->\n<!-- /results -->", results)


def test_curves_are_the_same_bytes_each_time(results, tmp_path):
    (first,), (second,) = draw_plots(results, tmp_path / "a"), draw_plots(results, tmp_path / "b")
    assert first.name == "t_main.svg"
    assert first.read_bytes() == second.read_bytes()


def test_curves_over_numbers_and_over_the_training(tmp_path):
    for value, cider in ((0, 0.5), (1, 0.6), (10, 0.4)):
        append_row(tmp_path / "t.csv", ("lambda", str(value), 0), {"cider": cider, "bleu4": 0.1}, "c")
    for seed in (0, 1):
        append_row(tmp_path / "t.csv", ("main", "full", seed), {"miou_at_50": 0.1, "miou_at_100": 0.2 + seed}, "c")
    assert [path.name for path in draw_plots(tmp_path, tmp_path / "out")] == ["t_lambda.svg", "t_main_training.svg"]
    cells = read_values(tmp_path / "t.csv")
    assert _over_numeric_systems(cells["lambda"]) == {"cider": [(0, [0.5]), (1, [0.6]), (10, [0.4])]}
    assert _over_training(cells["main"]) == {"full": [(50, [0.1, 0.1]), (100, [0.2, 1.2])]}
    assert _over_numeric_systems(cells["main"]) == _over_training(cells["lambda"]) == {}


def test_a_folder_without_results(tmp_path):
    with pytest.raises(InputError, match="`segue lab run TABLE` fills the folder"):
        render_report(tmp_path)


def test_the_command_prints_writes_draws_or_fills(results, tmp_path, capsys):
    write_report(ReportOptions(results=results))
    assert capsys.readouterr().out == render_report(results) + "\n"
    write_report(ReportOptions(results=results, out=tmp_path / "r.md", plots=tmp_path / "plots"))
    assert (tmp_path / "r.md").read_text() == render_report(results)
    assert capsys.readouterr().out == f"{tmp_path / 'plots/t_main.svg'}\n"
    page = tmp_path / "page.md"
    page.write_text("<!-- results:t:other -->\n<!-- /results -->\n")
    write_report(ReportOptions(results=results, readme=page))
    assert "| [full](t.csv) | 50.0 (1) |" in page.read_text()
    assert capsys.readouterr().out == ""
