"""What a training says while it runs, and that it runs without TensorBoard."""

import re
import sys

import pytest

from segue.training import logger
from segue.training.logger import TrainingLogger, read_history


def log(out, step=0):
    with TrainingLogger(out, step, 4, main=True) as made:
        for at in range(step + 1, 5):
            row = {"step": at, "lr": 0.1, "train/loss": 1 / at} | ({"evaluate/dice": at / 10} if at % 2 == 0 else {})
            made.add(row)
            if at % 2 == 0:
                made.tell(row, "dice", 0.2, 2, evaluated=True)


def test_a_log_gets_a_line_at_each_evaluation(tmp_path, capsys):
    log(tmp_path)
    first, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"{tmp_path}: step 2 of 4, loss 0\.5, dice 0\.2 \(best 0\.2 at step 2\), \d+ s left", first)
    assert last == f"{tmp_path}: step 4 of 4, loss 0.25, dice 0.4 (best 0.2 at step 2)"


def test_a_terminal_has_the_bar_and_no_lines(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    log(tmp_path)
    assert "step 2 of 4" not in capsys.readouterr().err


def test_a_training_without_validation_tells_its_loss(tmp_path, capsys):
    with TrainingLogger(tmp_path, 0, 1, main=True) as made:
        made.tell({"step": 1, "lr": 0.1, "train/loss": 2.0}, "dice", None, None, evaluated=True)
    assert capsys.readouterr().err == f"{tmp_path}: step 1 of 1, loss 2\n"


def test_between_evaluations_a_log_gets_a_line_a_minute_and_the_best_step_at_the_end(tmp_path, capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(logger.time, "monotonic", lambda: now)
    with TrainingLogger(tmp_path, 0, 400, main=True) as made:
        for step in range(1, 201):
            now += 1.0
            made.tell({"step": step, "lr": 0.1, "train/loss": 2.0}, "dice", 0.3, 7, evaluated=False)
        now += 10
    made.end("dice", 0.3, 7)
    *lines, last = capsys.readouterr().err.splitlines()
    assert lines == [
        f"{tmp_path}: step {step} of 400, loss 2, {left}"
        for step, left in ((60, "6 min left"), (120, "5 min left"), (180, "4 min left"))
    ]
    assert last == f"{tmp_path}: done in 3.5 min, best dice 0.3 at step 7"


def test_without_tensorboard_the_rest_is_written_and_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(logger, "find_spec", lambda _: None)
    with pytest.warns(UserWarning, match=r"no TensorBoard files are written.*pip install .*tensorboard"):
        log(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]
    assert [row["step"] for row in read_history(tmp_path)] == [1, 2, 3, 4]
