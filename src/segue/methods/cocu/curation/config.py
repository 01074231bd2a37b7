"""Settings of a curation."""

from __future__ import annotations

from dataclasses import dataclass

from segue.methods.cocu.curation.probability import ProbabilityWeights
from segue.types import InputError


@dataclass(frozen=True)
class CurateSettings:
    """How to curate; all of it is part of the archive's identity.

    neighbours: L, the nearest pictures of an archive. flat_below: with fewer pictures the search is exact. probes: how
    many lists of the index a search reads. shard: pictures between two points from which a killed run goes on. seed: of
    k-means. expansion, ranking, clustering: False leaves that stage out (the ablations), see `run`. probability: the
    weights of the score that takes the place of the paper's, see `probability`; None for the paper's.
    Raises InputError for neighbours, probes or shard below 1.
    """

    neighbours: int = 8
    flat_below: int = 100_000
    probes: int = 8
    shard: int = 8192
    seed: int = 0
    expansion: bool = True
    ranking: bool = True
    clustering: bool = True
    probability: ProbabilityWeights | None = None

    def __post_init__(self) -> None:
        for name in ("neighbours", "probes", "shard"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected 1 or more")
