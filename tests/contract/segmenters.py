"""What every segmenter must do. A method's test subclasses `SegmenterContract` and gives `make`."""

import numpy as np
import torch

from segue.api import Member, Segmenter, load
from segue.methods.segmenters import SavedSegmenter, save_segmenter
from segue.nn.preprocessing import Preprocessing

NOTES = ["One infected area, upper left lung.", None]


def batch(size=32):
    g = torch.Generator().manual_seed(0)
    mask = torch.zeros(2, 1, size, size)
    mask[:, :, 4:20, 4:20] = 1
    return {"image": torch.randn(2, 3, size, size, generator=g), "mask": mask, "note": NOTES, "seed": [1, 2]}


class SegmenterContract:
    def make(self):
        raise NotImplementedError

    def test_logits_lie_on_the_images_grid(self):
        assert self.make().eval()(batch(64)["image"], NOTES).shape == (2, 1, 64, 64)

    def test_training_reaches_every_parameter(self):
        network = self.make()
        network.training_step(batch())["loss"].backward()
        assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []

    def test_a_few_steps_lower_the_loss(self):
        torch.manual_seed(0)
        network, data = self.make(), batch()
        optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
        losses = []
        for _ in range(20):
            optimiser.zero_grad()
            terms = network.training_step(data)
            terms["loss"].backward()
            losses.append(terms["segmentation"].item())
            optimiser.step()
        assert losses[-1] < 0.8 * losses[0]

    def test_a_checkpoint_answers_as_before(self, tmp_path):
        network, preprocessing = self.make().eval(), Preprocessing(size=32)
        image = (torch.rand(40, 50, 3, generator=torch.Generator().manual_seed(0)) * 255).byte().numpy()
        before = Segmenter([Member(network, 1.5)], preprocessing).segment(image, NOTES[0])
        save_segmenter(SavedSegmenter(network, preprocessing, 1.5, {"recipe": "a test"}), tmp_path / "model")
        after = load(tmp_path / "model").segment(image, NOTES[0])
        np.testing.assert_allclose(after.probability, before.probability, atol=1e-6)  # batch norms are folded
        assert after.mask.shape == (40, 50)

    def test_an_answer_does_not_hang_on_the_neighbours_in_the_batch(self):
        network, x = self.make().eval(), batch()["image"]
        alone = torch.cat([network(x[i : i + 1], NOTES[i : i + 1]) for i in range(2)])
        torch.testing.assert_close(network(x, NOTES), alone, atol=1e-5, rtol=1e-4)
