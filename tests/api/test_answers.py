from segue.api.answers import grounded_caption_to_dict
from segue.types import GroundedCaption


def test_an_unlikely_captions_score_is_not_rounded_away():
    assert grounded_caption_to_dict(GroundedCaption("a dog", 0.000012345678))["score"] == 0.00001235
    assert grounded_caption_to_dict(GroundedCaption("a dog", 0.98765432))["score"] == 0.9877
