"""Training log: history.jsonl (one line a step), TensorBoard, progress bar."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from segue.files import write_text

Row = dict[str, float]


def read_history(out: Path) -> list[Row]:
    """Read OUT/history.jsonl: one row a step, in order.

    A row holds "step" (from 1), "lr", "train/TERM" for each term and, where evaluated, "evaluate/METRIC".
    """
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


class TrainingLogger:
    """Context manager that records rows; does nothing on any process but the main one.

    out: folder of the run. step: the last step that is done; rows after it are dropped, so that a resumed run has no
    row twice. steps: of the whole run. main: whether this is the main process.
    """

    def __init__(self, out: Path, step: int, steps: int, *, main: bool) -> None:
        self.out, self.step, self.steps, self.main = out, step, steps, main
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        if self.main:
            self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def add(self, row: Row) -> None:
        """Record one step."""
        if not self.main:
            return
        self._file.write(json.dumps(row) + "\n")
        for name, value in row.items():
            if name != "step":
                self._tensorboard.add_scalar(name, value, int(row["step"]))
        self._bar.update(self._bar_task, completed=int(row["step"]), loss=row["train/loss"])

    def _open(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        path = self.out / "history.jsonl"
        # One line a step; the steps after the saved one are done again.
        lines = path.read_text().splitlines(keepends=True)[: self.step] if path.exists() else []
        write_text(path, "".join(lines))
        self._file = self._resources.enter_context(path.open("a", buffering=1))
        self._tensorboard: Any = self._resources.enter_context(
            SummaryWriter(str(self.out / "tensorboard"), purge_step=self.step + 1)
        )
        self._bar = self._resources.enter_context(_progress_bar())
        self._bar_task = self._bar.add_task("training", total=self.steps, completed=self.step, loss=float("nan"))


def _progress_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = sys.stderr.isatty()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
        console=Console(stderr=True, quiet=not shown),  # before rich 14 a bar that is not shown prints an empty line
        disable=not shown,
    )
