"""Training log: history.jsonl (one line a step), TensorBoard if installed, progress on the terminal or in a log."""

from __future__ import annotations

import json
import sys
import time
import warnings
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from segue.files import write_text
from segue.types import to_install

Row = dict[str, float]
PAUSE = 60.0  # seconds between two lines of a log, where nothing is evaluated


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
        self._start = self._told = time.monotonic()
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
            if name != "step" and self._tensorboard is not None:
                self._tensorboard.add_scalar(name, value, int(row["step"]))
        self._bar.update(self._bar_task, completed=int(row["step"]), loss=row["train/loss"])

    def tell(self, row: Row, monitor: str, best: float | None, best_step: int | None, *, evaluated: bool) -> None:
        """Say on one line of standard error how far the run is, where no terminal shows the bar.

        After each evaluation, and between two of them once a minute. best: of `monitor`, so far.
        """
        now = time.monotonic()
        if not self.main or sys.stderr.isatty() or (not evaluated and now - self._told < PAUSE):
            return
        step, self._told = int(row["step"]), now
        parts = [f"step {step:,} of {self.steps:,}", f"loss {row['train/loss']:.4g}"]
        if (value := row.get(f"evaluate/{monitor}")) is not None:
            parts.append(f"{monitor} {value:.4g}" + (f" (best {best:.4g} at step {best_step:,})" if best_step else ""))
        if step < self.steps:
            left = (now - self._start) / (step - self.step) * (self.steps - step)
            parts.append(f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left")
        print(f"{self.out}: {', '.join(parts)}", file=sys.stderr, flush=True)

    def end(self, monitor: str, best: float | None, best_step: int | None) -> None:
        """Say on one line of standard error how long the run took, and which step was the best of `monitor`."""
        if not self.main:
            return
        found = "nothing was evaluated" if best is None else f"best {monitor} {best:.4g} at step {best_step:,}"
        minutes = (time.monotonic() - self._start) / 60
        print(f"{self.out}: done in {minutes:.1f} min, {found}", file=sys.stderr, flush=True)

    def _open(self) -> None:
        path = self.out / "history.jsonl"
        # One line a step; the steps after the saved one are done again.
        lines = path.read_text().splitlines(keepends=True)[: self.step] if path.exists() else []
        write_text(path, "".join(lines))
        self._file = self._resources.enter_context(path.open("a", buffering=1))
        self._tensorboard = self._open_tensorboard()
        self._start = self._told = time.monotonic()
        self._bar = self._resources.enter_context(_progress_bar())
        self._bar_task = self._bar.add_task("training", total=self.steps, completed=self.step, loss=float("nan"))

    def _open_tensorboard(self) -> Any:
        """TensorBoard's writer; None, and a warning, where its package is not installed."""
        if find_spec("tensorboard") is None:
            told = f"no TensorBoard files are written, for which to install it: {to_install('tensorboard')}"
            warnings.warn(told, stacklevel=2)  # its text is the same for all runs, so that Python shows it once
            return None
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(self.out / "tensorboard"), purge_step=self.step + 1)
        return self._resources.enter_context(writer)


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
