from segue.api.answers import of_story
from segue.types import GroundedCaption


def test_an_unlikely_storys_score_is_not_rounded_away():
    assert of_story(GroundedCaption("a dog", 0.000012345678))["score"] == 0.00001235
    assert of_story(GroundedCaption("a dog", 0.98765432))["score"] == 0.9877
