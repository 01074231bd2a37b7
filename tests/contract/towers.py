"""What every image tower and every image-text pair must do. A test subclasses a contract and gives `make`."""

import json

import numpy as np
import pytest
import torch

from segue.encoders.image.registry import load_image_encoder
from segue.types import InputError


def pictures(count=3, height=40, width=56):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height + 8 * i, width, 3), dtype=np.uint8) for i in range(count)]


class ImageTowerContract:
    def make(self):
        raise NotImplementedError

    def test_pooled_and_dense_have_the_declared_sizes(self):
        tower = self.make().eval()
        x = tower.preprocess(pictures())
        pooled, dense = tower(x)
        places = tower.size // tower.stride
        assert (x.shape, x.dtype) == ((3, 3, tower.size, tower.size), torch.float32)
        assert pooled.shape == (3, tower.width)
        assert dense.shape == (3, tower.width, places, places)

    def test_a_place_lies_where_it_says(self):
        tower = self.make().eval()
        plain = pictures(1, tower.size, tower.size)[0]
        marked = plain.copy()
        marked[-tower.stride :, : tower.stride] = (255, 0, 40)  # the first place of the last row
        with torch.no_grad():
            a, b = tower(tower.preprocess([plain, marked])).dense
        change = (a - b).abs().sum(0)
        assert change[-1, 0] > 1.05 * change[0, -1]

    def test_a_picture_does_not_feel_its_neighbours(self):
        tower = self.make().eval()
        with torch.no_grad():
            together = tower(tower.preprocess(pictures())).pooled[2]
            alone = tower(tower.preprocess(pictures()[2:])).pooled[0]
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)

    def test_built_again_from_its_config(self):
        tower = self.make().eval()
        again = load_image_encoder(json.loads(json.dumps(tower.config())))
        again.load_state_dict(tower.state_dict())
        x = tower.preprocess(pictures())
        assert (again.width, again.size, again.stride, again.frozen) == (
            tower.width, tower.size, tower.stride, tower.frozen,
        )  # fmt: skip
        assert torch.equal(again.preprocess(pictures()), x)
        assert torch.equal(again.eval()(x).pooled, tower(x).pooled)

    def test_what_is_trained_and_what_is_saved(self):
        tower = self.make().train()
        assert all(part.training is not tower.frozen for part in tower.modules())
        assert all(weight.requires_grad is not tower.frozen for weight in tower.parameters())
        assert bool(tower.state_dict()) is not tower.frozen

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            ([], "got no picture, expected a list"),
            (np.zeros((4, 4, 3), np.uint8), r"wrap one as \[image\]"),
            ([np.zeros((4, 4), np.uint8)], r"expected \(H, W, 3\) uint8"),
            ([np.zeros((4, 4, 3), np.float32)], r"expected \(H, W, 3\) uint8"),
        ],
    )
    def test_refuses_what_is_no_picture(self, images, message):
        with pytest.raises(InputError, match=message):
            self.make().preprocess(images)

    def test_refuses_a_batch_of_another_size(self):
        tower = self.make()
        with pytest.raises(InputError, match="make it with the tower's preprocess"):
            tower(torch.zeros(1, 3, tower.size + 1, tower.size))


class PairContract:
    texts = ("a dog runs on grass .", "a dog .", "dog on a dog")

    def make(self):
        raise NotImplementedError

    def test_embeddings_are_float32_of_length_one(self):
        pair = self.make()
        for rows in (pair.embed_images(pictures()), pair.embed_texts(self.texts)):
            assert (rows.shape, rows.dtype) == ((3, pair.width), torch.float32)
            torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
        dense = pair.embed_dense(pictures())
        places = pair.image.size // pair.image.stride
        assert dense.shape == (3, pair.width, places, places)
        torch.testing.assert_close(dense.norm(dim=1), torch.ones(3, places, places))

    def test_the_temperature_divides(self):
        assert 0.01 - 1e-6 <= self.make().temperature <= 1

    def test_order_and_batches_do_not_matter(self):
        pair = self.make()
        one_by_one = torch.cat([pair.embed_texts([text]) for text in self.texts])
        torch.testing.assert_close(pair.embed_texts(self.texts, batch_size=2), one_by_one, atol=1e-5, rtol=1e-4)
        small = pair.embed_images(pictures(), batch_size=2)
        torch.testing.assert_close(small, pair.embed_images(pictures()), atol=1e-5, rtol=1e-4)

    def test_embedding_leaves_the_mode_alone(self):
        pair = self.make().train()
        pair.embed_texts(self.texts)
        assert pair.training

    def test_the_fingerprint_feels_one_weight(self):
        pair = self.make()
        before = pair.fingerprint
        assert before == self.make().fingerprint
        with torch.no_grad():
            next(pair.text.parameters()).view(-1)[0] += 1
        assert pair.fingerprint != before

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            ([], "got \\[\\], expected a list of at least one text"),
            ("a dog", r"wrap one as \[text\]"),
            (["a dog", ""], "number 1 is '', expected words"),
            (["\n "], "number 0 is .* expected words"),
            ([3], "number 0 is 3"),
            (["dog " * 3000], "has 3,000 words .* expected at most 2,000"),
        ],
    )
    def test_refuses_texts(self, texts, message):
        with pytest.raises(InputError, match=message):
            self.make().embed_texts(texts)

    def test_refuses_an_empty_batch(self):
        pair = self.make()
        with pytest.raises(InputError, match="got no picture"):
            pair.embed_images([])
        with pytest.raises(InputError, match="batch_size: got 0"):
            pair.embed_texts(self.texts, batch_size=0)
