"""The text support set of SynTIC: image features are projected onto text features (Eq. 3), and captions are retrieved.

Shapes: Q queries, M captions in the support set, D width, T captions in a tile. All features are L2-normalised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.methods.syntic.feature_optimisation import check_features
from segue.types import InputError, to_install

TILE = 8192  # captions of which the similarities are computed at a time
QUERIES = 1024  # queries that are answered in one pass over the support set


class TruncatedProjection(NamedTuple):
    """Eq. 3 over the k likeliest captions only. features: (Q, D). lost_weight: (Q,), that of the others, in [0, 1].

    `lost_weight` is None unless it was asked for: it takes an exact pass over the support set.
    """

    features: Tensor
    lost_weight: Tensor | None


class SupportSet:
    """Text features with their captions.

    features: (M, D) float16 or float32, normalised, in memory or memory-mapped (read a tile at a time).
    captions: M texts, or None where none is ever retrieved. tau: tau_p of Eq. 3.
    Raises InputError for features that are not an (M, D) array of unit length, captions of another number, or a tau of
    0 or less.
    """

    def __init__(self, features: NDArray[Any], captions: Sequence[str] | None = None, *, tau: float = 0.01) -> None:
        check_features(features, "support set")
        if captions is not None and len(captions) != len(features):
            raise InputError(f"support set: {len(features)} features and {len(captions)} captions; give one for each")
        if not tau > 0:
            raise InputError(f"tau: got {tau}, expected more than 0, for instance 0.01")
        _check_length(features)
        self.features, self.captions, self.tau = features, captions, tau
        self.index: Any = None

    def __len__(self) -> int:
        """M, the number of captions."""
        return len(self.features)

    @property
    def width(self) -> int:
        """D."""
        return int(self.features.shape[1])

    @torch.no_grad()
    def project(self, v: Tensor, *, without: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Eq. 3, exact: p_i = normalise( sum_j softmax_j(v_i . t_j / tau) t_j ).

        v: (Q, D), normalised here. without: numbers of the queries (Q,) and of the captions (M,): the sum of a query
        leaves out the captions of its number. Returns (Q, D) float32, normalised, on v's device. The support set is
        read once for each 1,024 queries, in tiles, by an online softmax (Milakov & Gimelshein, 2018).
        Raises InputError for queries of another shape, type or width, and when no caption is left for one.
        """
        if without is None:
            return torch.cat([self._project(self._queries(part), None, None) for part in torch.split(v, QUERIES)])
        own, of_caption = (x.to(v.device) for x in without)
        if of_caption.eq(of_caption[0]).all() and own.eq(of_caption[0]).any():
            raise InputError("support: all its captions are of one picture, and none is left for that picture itself")
        parts = zip(torch.split(v, QUERIES), torch.split(own, QUERIES), strict=True)
        return torch.cat([self._project(self._queries(part), which, of_caption) for part, which in parts])

    def _project(self, v: Tensor, own: Tensor | None, of_caption: Tensor | None) -> Tensor:
        highest = v.new_full((len(v), 1), -torch.inf)
        total, mass = torch.zeros_like(v), torch.zeros_like(highest)
        buffer, start = v.new_empty(len(v), TILE), 0
        for tile in self._tiles(v.device):
            score = torch.matmul(v, tile.T, out=buffer if len(tile) == TILE else None).div_(self.tau)
            if own is not None and of_caption is not None:  # far below any other, but finite: a tile may be all its own
                score.masked_fill_(own[:, None] == of_caption[start : start + len(tile)], -1e30)
                start += len(tile)
            new = torch.maximum(highest, score.amax(1, keepdim=True))
            weight, shrink = score.sub_(new).exp_(), (highest - new).exp_()
            mass = mass.mul_(shrink).add_(weight.sum(1, keepdim=True))
            total = total.mul_(shrink).addmm_(weight, tile)
            highest = new
        return F.normalize(total / mass, dim=-1)

    @torch.no_grad()
    def nearest(self, v: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k captions with the highest cosine, exact: cosines (Q, k) float32 and positions (Q, k) int64.

        Raises InputError for a k below 1, or queries that don't fit.
        """
        k = self._check_k(k)
        best = [self._nearest(self._queries(part), k) for part in torch.split(v, QUERIES)]
        return torch.cat([score for score, _ in best]), torch.cat([place for _, place in best])

    def _nearest(self, v: Tensor, k: int) -> tuple[Tensor, Tensor]:
        score, place = v.new_empty(len(v), 0), torch.empty(len(v), 0, dtype=torch.int64, device=v.device)
        start = 0
        for tile in self._tiles(v.device):
            new_score, new_place = (v @ tile.T).topk(min(k, len(tile)))
            score, place = torch.cat([score, new_score], 1), torch.cat([place, new_place + start], 1)
            score, pick = score.topk(min(k, score.shape[1]))
            place = place.gather(1, pick)
            start += len(tile)
        return score, place

    def features_at(self, places: Tensor) -> Tensor:
        """The features (..., D) float32 of the captions at positions (...) int64, on the positions' device."""
        return torch.from_numpy(self.features[places.cpu().numpy()]).float().to(places.device)

    def retrieve(self, v: Tensor, k: int = 1) -> list[list[str]]:
        """CLIPRe: the k distinct captions nearest to each of the queries v (Q, D), nearest first.

        Raises InputError when the support set holds no captions.
        """
        return [[text for text, _ in one] for one in self.retrieve_scored(v, k)]

    def retrieve_scored(self, v: Tensor, k: int = 1) -> list[list[tuple[str, float]]]:
        """Like `retrieve`, each caption with its cosine.

        Raises InputError without captions.
        """
        if self.captions is None:
            raise InputError(
                "retrieval: this support set holds no captions; make it with SupportSet(features, captions)"
            )
        captions, answers = self.captions, []
        scores, places = self.nearest(v, min(len(self), 8 * k))  # a corpus holds a caption several times
        for score, place in zip(scores.tolist(), places.tolist(), strict=True):
            best: dict[str, float] = {}
            for cosine, j in zip(score, place, strict=True):
                best.setdefault(captions[j], cosine)
            answers.append(list(best.items())[:k])
        return answers

    # ------------------------------------------------------------------------------------- with an index

    def build_index(self, *, cells: int = 0, probes: int = 0, seed: int = 0) -> None:
        """Make the FAISS index that `nearest_by_index` and `project_by_index` use.

        Up to 50,000 captions it is flat; above, an inverted file with 8-bit scalars. cells: of the inverted file, by
        default the square root of M. probes: cells searched for a query, by default 1 in 32, at least 8.
        Raises InputError when faiss is not installed.
        """
        faiss = _faiss()
        if len(self) <= 50_000:
            index = faiss.IndexFlatIP(self.width)
        else:
            cells = cells or int(len(self) ** 0.5)
            quantiser, scalar = faiss.IndexFlatIP(self.width), faiss.ScalarQuantizer.QT_8bit
            index = faiss.IndexIVFScalarQuantizer(
                quantiser, self.width, cells, scalar, faiss.METRIC_INNER_PRODUCT, False
            )
            index.nprobe = min(cells, probes or max(8, cells // 32))
            index.cp.seed, index.cp.niter = seed + 1, 10
            sample = np.random.default_rng(seed).choice(len(self), min(len(self), 64 * cells), replace=False)
            index.train(np.asarray(self.features[np.sort(sample)], np.float32))
        for tile in self._tiles(torch.device("cpu")):
            index.add(tile.numpy())
        self.index = index

    def nearest_by_index(self, v: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Like `nearest`, but the index may miss some. It fetches 1.25 k captions, ranked by their exact cosines."""
        k = self._check_k(k)
        parts = [self._fetched(part, k)[:2] for part in torch.split(self._queries(v).cpu(), 64)]
        score, place = (torch.cat(x).to(v.device) for x in zip(*parts, strict=True))
        score, pick = score.topk(k)
        return score, place.gather(1, pick)

    def _fetched(self, v: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """The f = 1.25 k that the index finds for v (q, D): similarities and positions (q, f), features (q, f, D)."""
        if self.index is None:
            self.build_index()
        place = torch.from_numpy(self.index.search(v.numpy(), min(k + -(-k // 4), len(self)))[1])
        rows = torch.from_numpy(self.features[place.clamp_min(0).numpy()]).float()
        score = torch.bmm(rows, v[:, :, None]).squeeze(-1)
        return score.masked_fill(place < 0, -torch.inf), place, rows  # < 0: the cells searched held fewer

    def project_by_index(self, v: Tensor, k: int = 256, *, measure: bool = False) -> TruncatedProjection:
        """Eq. 3 over the k captions that the index finds. v: (Q, D).

        measure: also compute the softmax weight of the captions left out, by an exact pass.
        """
        k = self._check_k(k)
        features, scores = [], []
        for part in torch.split(self._queries(v).cpu(), 64):
            score, _, rows = self._fetched(part, k)
            best, pick = score.topk(k)
            weight = torch.zeros_like(score).scatter_(1, pick, (best / self.tau).softmax(1))
            features.append(torch.bmm(weight[:, None], rows).squeeze(1))
            scores.append(best)
        projected, kept = (torch.cat(x).to(v.device) for x in (features, scores))
        return TruncatedProjection(F.normalize(projected, dim=-1), self._lost_weight(v, kept) if measure else None)

    @torch.no_grad()
    def _lost_weight(self, v: Tensor, score: Tensor) -> Tensor:
        """(Q,): one minus the softmax's weight on the captions whose similarities (Q, k) are given."""
        v = self._queries(v)
        log_total = v.new_full((len(v),), -torch.inf)
        for tile in self._tiles(v.device):
            log_total = torch.logaddexp(log_total, (v @ tile.T / self.tau).logsumexp(1))
        return 1 - ((score / self.tau).logsumexp(1) - log_total).exp().clamp(max=1)

    # ------------------------------------------------------------------------------------------ helpers

    def _tiles(self, device: torch.device) -> Iterator[Tensor]:
        """The features, (T, D) float32 at a time; each tile overwrites the one before."""
        raw = torch.empty(min(TILE, len(self)), self.width, dtype=getattr(torch, str(self.features.dtype)))
        tile = torch.empty(raw.shape, dtype=torch.float32, device=device)
        for start in range(0, len(self), TILE):
            rows = self.features[start : start + TILE]
            raw.numpy()[: len(rows)] = rows
            tile[: len(rows)].copy_(raw[: len(rows)])
            yield tile[: len(rows)]

    def _queries(self, v: Tensor) -> Tensor:
        check_features(v, "queries", self.width)
        return F.normalize(v.float(), dim=-1)

    def _check_k(self, k: int) -> int:
        if k < 1:
            raise InputError(f"k: got {k}, expected 1 or more")
        return min(k, len(self))


def _check_length(features: NDArray[Any]) -> None:
    """Raise InputError for features that are not L2-normalised; a sample of them is checked."""
    some = np.asarray(features[:: max(1, len(features) // 256)], np.float32)
    length = np.linalg.norm(some, axis=1)
    if not (np.abs(length - 1) < 0.01).all():
        raise InputError(
            f"support set: got features of length {length.min():.3g} to {length.max():.3g}, expected 1; "
            "divide each by its length"
        )


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise InputError(f"searching by an index needs faiss: {to_install('cluster')}") from error
    return faiss
