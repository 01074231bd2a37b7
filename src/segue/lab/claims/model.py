"""A paper's claims as data: what is compared, on which metric, and what the paper says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NO_ROW = "Not measured here: "


@dataclass(frozen=True)
class Comparison:
    """On a metric of an experiment, the system `ahead` is said to score more than `behind`, a system or a number.

    table: the file's name in results/ without .csv. less: it is said to score less, as costs do. against: the
    experiment of `behind`, where it is another.
    """

    table: str
    experiment: str
    metric: str
    ahead: str
    behind: str | float
    less: bool = False
    against: str = ""

    def sides(self) -> list[tuple[str, str | float]]:
        """(experiment, system) of the one ahead and of the one behind."""
        return [(self.experiment, self.ahead), (self.against or self.experiment, self.behind)]


@dataclass(frozen=True)
class Claim:
    """One claim. figures: the paper's own. why: why nothing here tests it; beside comparisons, what to know of them.

    Without comparisons it can't be tested here, or could be and no table has the row: then `why` begins with NO_ROW.
    """

    where: str
    says: str
    figures: str
    tests: tuple[Comparison, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Paper:
    """A paper's claims. data: what it measured on. here: what our tables measure on, by table."""

    title: str
    data: str
    here: Mapping[str, str]
    claims: Sequence[Claim]
