"""A caption's agreement is its CIDEr-D with the picture's nearest captions, whatever else is asked."""

import pytest

from segue.methods.syntic.consensus import Consensus
from segue.metrics.captions import score_captions

SUPPORT = ["a dog runs on the grass", "a dog on the grass", "two men play football", "a man rides a horse", "a red bus"]


def test_it_is_cider_d_by_the_support_sets_frequencies():
    """The captions that are compared are a whole corpus here, so the metric's own frequencies are the same."""
    given, nearest = ["a dog runs on grass", "two men ride a horse"], [[0, 1], [2, 3]]
    found = Consensus(SUPPORT[:4]).score([[one] for one in given], nearest)
    references = {"p": [SUPPORT[0]], "q": [SUPPORT[1]], "r": [SUPPORT[2]], "s": [SUPPORT[3]]}
    for caption, places, (score,) in zip(given, nearest, found, strict=True):
        each = score_captions(dict.fromkeys(references, caption), references, with_java=False).each["CIDEr-D"]
        assert score == pytest.approx(sum(list(each.values())[place] for place in places) / 2)
    assert found[0][0] > found[1][0] > 0


def test_a_score_depends_on_its_own_picture_alone():
    consensus = Consensus(SUPPORT)
    together = consensus.score([["a dog", ""], ["a red bus", "a dog", "a man"]], [[0, 1], [4, 3]])
    assert together[0] == pytest.approx(consensus.score([["a dog", ""]], [[0, 1]])[0])
    assert together[1][1:] == pytest.approx(consensus.score([["a dog", "a man"]], [[4, 3]])[0])
    assert together[0][1] == 0
    assert together[1][0] == max(together[1])
