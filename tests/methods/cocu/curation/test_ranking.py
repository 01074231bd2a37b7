"""Expansion and ranking against a naive version written from the method's text."""

from itertools import pairwise

import numpy as np
import pytest

from methods.cocu.curation.curated import corpus, halves
from segue.methods.cocu.curation.config import CurateSettings
from segue.methods.cocu.curation.expansion import collect_candidates
from segue.methods.cocu.curation.ranking import score_candidates
from segue.methods.cocu.curation.retrieval import build_index, search_neighbours
from segue.methods.cocu.vocabulary import Vocabulary, find_concepts


def naive_archive(embeddings, said, texts, anchor, neighbours, expansion=True):
    """From the method's text: {concept: score}, one at a time."""
    e, t = embeddings.astype(np.float64), texts.astype(np.float64)
    near = [n for n in neighbours if n >= 0] if expansion else []
    union = sorted(set().union(*(said[n] for n in near))) if expansion else sorted(said[anchor])
    highest = max([0.0] + [float(t[c] @ e[p]) for c in union for p in [*near, anchor]])
    scores = {}
    for c in union:
        held = [float(t[c] @ e[p]) for p in [*(n for n in near if c in said[n]), anchor]]
        mean, mine = sum(held) / len(held), float(t[c] @ e[anchor])
        scores[c] = max(0.0, (mine / highest if highest > 0 else 0.0) + (mine / mean if mean > 0 else 0.0))
    return scores


@pytest.mark.parametrize("expansion", [True, False])
def test_expansion_and_ranking_are_the_methods(expansion):
    embeddings, captions, vocabulary, texts = corpus(80)
    captions[3], captions[4] = "", None
    concepts = find_concepts(captions, vocabulary)
    said = [set(concepts.concept_ids[a:b].tolist()) for a, b in pairwise(concepts.offsets)]
    anchors = np.array([0, 3, 4, 17, 79])
    near = search_neighbours(build_index(embeddings, CurateSettings()), embeddings, anchors, 8)
    near[2, 5:] = -1
    near = near if expansion else np.full_like(near, -1)
    candidates = collect_candidates(anchors, near, concepts, expansion=expansion)
    scores = score_candidates(embeddings, texts, anchors, near, candidates)
    for i, anchor in enumerate(anchors.tolist()):
        expected = naive_archive(embeddings, said, texts, anchor, near[i].tolist(), expansion)
        mine = candidates.anchor == i
        assert candidates.concept[mine].tolist() == sorted(expected)
        np.testing.assert_allclose(scores[mine], [expected[c] for c in sorted(expected)], atol=1e-12)
        assert candidates.in_caption[mine].tolist() == [c in said[anchor] for c in sorted(expected)]
        for c, holds in zip(candidates.concept[mine], candidates.in_neighbour[mine], strict=True):
            assert holds.tolist() == [n >= 0 and c in said[n] for n in near[i].tolist()]


def test_ranking_without_positive_similarity():
    embeddings, texts = halves(np.array([[1.0, 0], [1, 0.1], [1, -0.1]])), halves(np.array([[-1.0, 0], [0.2, -1]]))
    concepts = find_concepts(["", "dog cat", "cat"], Vocabulary(["dog", "cat"]))
    near = np.array([[1, 2]])
    candidates = collect_candidates(np.array([0]), near, concepts)
    scores = score_candidates(embeddings, texts, np.array([0]), near, candidates)
    said = [set(), {0, 1}, {1}]
    expected = naive_archive(embeddings, said, texts, 0, [1, 2])
    assert scores[0] == expected[0] == 0  # "dog" points away from every picture
    assert scores[1] == pytest.approx(expected[1])
