"""A paper's claims as data: what it says, and the comparisons of our rows that test it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NO_ROW = "Not measured here: "  # how `Claim.why` begins where a row could test the claim and no table has it


@dataclass(frozen=True)
class Comparison:
    """The claim that on a metric the system `ahead` scores more than `behind`, which is a system or a number.

    table: the name of the file in results/, without .csv. less: the claim is that it scores less, as of costs.
    against: the experiment of `behind`, where it is another. paired: rows of the same seed are trained alike, so that
    their differences are judged.
    """

    table: str
    experiment: str
    metric: str
    ahead: str
    behind: str | float
    less: bool = False
    against: str = ""
    paired: bool = False

    def sides(self) -> list[tuple[str, str | float]]:
        """(experiment, system or number) of `ahead` and of `behind`."""
        return [(self.experiment, self.ahead), (self.against or self.experiment, self.behind)]


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    where: its table, figure or section. says: the claim. figures: the paper's own. tests: the comparisons that test
    it, none where nothing here does. why: the reason for that, which begins with NO_ROW where only the row is missing;
    beside comparisons, a remark on them.
    """

    where: str
    says: str
    figures: str
    tests: tuple[Comparison, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Paper:
    """A paper and its claims. data: what it measured on. here: by table of ours, what that measured on."""

    title: str
    data: str
    here: Mapping[str, str]
    claims: Sequence[Claim]
