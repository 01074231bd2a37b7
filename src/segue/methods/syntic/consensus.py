"""How much captions agree with those nearest to a picture in the support set (Devlin et al., 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from segue.metrics.captions import DocumentFrequencies, NGrams, cider_d
from segue.metrics.ptb import tokenize, tokenize_all

NEAREST = 50  # captions of the support set with which a caption is compared


class Consensus:
    """captions: of the support set; what rare n-grams weigh is counted in them."""

    def __init__(self, captions: Sequence[str]) -> None:
        self.captions = captions

    @cached_property
    def _tokens(self) -> list[str]:
        return tokenize_all(self.captions)

    @cached_property
    def _frequencies(self) -> DocumentFrequencies:
        return DocumentFrequencies([[tokens] for tokens in self._tokens])

    def score(self, candidates: Sequence[Sequence[str]], nearest: Sequence[Sequence[int]]) -> list[list[float]]:
        """The mean CIDEr-D, in [0, 10], of each candidate of each of B pictures with the picture's nearest captions.

        candidates: B lists of captions. nearest: B lists of positions in the support set's captions.
        """
        references = [[self._tokens[place] for place in places] for places in nearest]
        flat = [(tokenize(text), i) for i, texts in enumerate(candidates) for text in texts]
        grams = NGrams([text for text, _ in flat], references, [i for _, i in flat])
        scores = iter(cider_d(grams, self._frequencies).tolist())
        return [[next(scores) for _ in texts] for texts in candidates]
