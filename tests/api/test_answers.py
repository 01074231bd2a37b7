import numpy as np

from segue.api.answers import domain_to_dict, grounded_caption_to_dict, segmentation_to_dict
from segue.types import GroundedCaption, Segmentation


def test_an_unlikely_captions_score_is_not_rounded_away():
    assert grounded_caption_to_dict(GroundedCaption("a dog", 0.000012345678))["score"] == 0.00001235
    assert grounded_caption_to_dict(GroundedCaption("a dog", 0.98765432))["score"] == 0.9877


def test_an_empty_mask_has_no_score():
    probability = np.full((2, 3), 0.25, np.float32)
    assert segmentation_to_dict(Segmentation(probability))["score"] is None
    probability[0, 0] = 0.75
    assert segmentation_to_dict(Segmentation(probability))["score"] == 0.75


def test_a_distance_above_1_is_out_of_domain():
    assert domain_to_dict(None) == {"domain_distance": None, "out_of_domain": None}
    assert domain_to_dict(1.0) == {"domain_distance": 1.0, "out_of_domain": False}
    assert domain_to_dict(1.0005) == {"domain_distance": 1.0, "out_of_domain": True}
