"""The cache of text features."""

import pytest
import torch

from contract.encoders import NOTES
from segue.encoders.text.cache import TextFeatureCache


@pytest.fixture
def counted(small):
    """A encoder in evaluation that writes down the notes it computes."""
    computed = []
    inner = small.tokenize

    def tokenize(notes):
        computed.extend(notes)
        return inner(notes)

    small.eval().tokenize = tokenize
    return small, computed


def test_the_cache_gives_what_the_encoder_gives(small):
    small.eval()
    features, mask = TextFeatureCache(small)(NOTES)
    ids, expected_mask = small.tokenize(NOTES)
    assert torch.equal(mask, expected_mask)
    assert (features[~mask] == 0).all()
    torch.testing.assert_close(features, small(ids, expected_mask).detach(), atol=1e-5, rtol=1e-5)
    assert not features.requires_grad


def test_cache_computes_each_note_once(counted):
    encoder, computed = counted
    cache = TextFeatureCache(encoder)
    cache(["one", "two", "one"])
    cache(["two", "three"])
    assert computed == ["one", "two", "three"]


def test_cached_bits_do_not_depend_on_company(small):
    small.eval()
    together, mask = TextFeatureCache(small)(NOTES)
    for i, note in enumerate(NOTES):
        assert torch.equal(TextFeatureCache(small)([note])[0][0], together[i][mask[i]])


def test_cache_forgets_the_note_used_longest_ago(counted):
    encoder, computed = counted
    cache = TextFeatureCache(encoder, size=2)
    cache(["one", "two"])
    cache(["one"])
    cache(["three"])
    computed.clear()
    cache(["one", "three"])
    assert computed == []
    cache(["two"])
    assert computed == ["two"]


def test_cache_smaller_than_the_batch_still_answers(small):
    features, _ = TextFeatureCache(small.eval(), size=1)(NOTES)
    assert features.shape[0] == len(NOTES)


def test_cache_notices_new_weights(small):
    cache = TextFeatureCache(small.eval())
    before, _ = cache(["left"])
    with torch.no_grad():
        small.norm.weight.mul_(2)
        small.norm.bias.add_(1)
    after, _ = cache(["left"])
    torch.testing.assert_close(after, before * 2 + 1)


def test_cache_lets_gradients_through_in_training(small):
    cache = TextFeatureCache(small.train())
    features, _ = cache(["left", "right"])
    assert features.requires_grad
    assert len(cache._features) == 0


def test_cache_filled_in_inference_mode_serves_training(small):
    cache = TextFeatureCache(small.eval())
    with torch.inference_mode():
        cache(["left"])
    features, _ = cache(["left"])
    weight = torch.ones(small.width, requires_grad=True)
    (features @ weight).sum().backward()
    assert weight.grad is not None
