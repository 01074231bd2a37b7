"""The one training loop; it knows tasks and batches, and no method."""

from segue.training.journal import read_history
from segue.training.loop import Batches, FitOptions, FitResult, Task, example_keys, fit, learning_rate

__all__ = [
    "Batches",
    "FitOptions",
    "FitResult",
    "Task",
    "example_keys",
    "fit",
    "learning_rate",
    "read_history",
]
