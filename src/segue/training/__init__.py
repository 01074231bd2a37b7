"""The one training loop: it trains any task on any batches, and imports no method."""

from segue.training.logger import read_history
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
