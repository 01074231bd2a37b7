import torch

import golden
from segue.methods.sgdiff.mask_head import Backbone, MaskHead, PixelDecoder, sample_boxes


def test_samples_are_taken_inside_the_box():
    level = torch.zeros(1, 1, 8, 8)
    level[0, 0, 2:4, 4:8] = 1
    boxes = torch.tensor([[[0.5, 0.25, 0.5, 0.25], [0.0, 0.5, 0.5, 0.5]]])
    sampled = sample_boxes(level, boxes, 2)
    assert sampled.shape == (1, 2, 4)
    assert torch.allclose(sampled[0, 0], torch.ones(4))
    assert torch.allclose(sampled[0, 1], torch.zeros(4))


def test_masks_of_one_picture_serve_many_rows():
    torch.manual_seed(0)
    levels = [torch.randn(1, 8, s, s) for s in (16, 8, 4, 2)]
    pixels = PixelDecoder((8, 8, 8, 8), 16, 16)(levels)
    head = MaskHead(width=16, heads=2, feed_forward=32, channels=16)
    h, boxes = torch.randn(3, 2, 16), torch.rand(3, 2, 4) / 2 + 0.1
    together = head(h, boxes, pixels).logits[-1]
    assert together.shape == (3, 2, 16, 16)
    for row in range(3):
        assert torch.allclose(
            head(h[row : row + 1], boxes[row : row + 1], pixels).logits[-1][0], together[row], atol=1e-5
        )


def test_the_slope_pushes_masks_into_their_boxes():
    torch.manual_seed(0)
    pixels = PixelDecoder((8, 8, 8, 8), 16, 16)([torch.randn(1, 8, s, s) for s in (16, 8, 4, 2)])
    head = MaskHead(width=16, heads=2, feed_forward=32, channels=16)
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 1.0]]])
    logits = head(torch.randn(1, 1, 16), boxes, pixels).logits[-1][0, 0]
    assert float(logits[:, -1].max()) < float(logits[:, :8].min())


def test_weights_mean_what_they_meant():
    torch.manual_seed(0)
    backbone, decoder = Backbone((8, 16, 16, 24)), PixelDecoder((8, 16, 16, 24), 12, 16)
    head = MaskHead(width=12, heads=2, feed_forward=24, channels=16)
    for part in (backbone, decoder, head):
        golden.set_weights(part)
    levels = backbone(golden.inputs("image", 2, 3, 32, 48))
    boxes = golden.inputs("boxes", 4, 3, 4).sigmoid() * 0.5
    pixels = decoder(levels)
    masks = head(golden.inputs("h", 4, 3, 12), boxes, pixels)
    golden.same_as_before(
        "sgdiff mask head",
        **{f"level_{i}": level for i, level in enumerate(levels)},
        **{f"memory_{i}": memory for i, memory in enumerate(pixels.memories)},
        **{f"masks_{i}": mask for i, mask in enumerate(masks.logits)},
        queries=masks.queries,
        embedding=pixels.embedding,
        samples=sample_boxes(levels[1], boxes, 3),
    )
