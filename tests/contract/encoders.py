"""What every image encoder, text encoder and dual encoder must do. A test subclasses a contract and gives one."""

import copy
import json
import warnings

import numpy as np
import pytest
import torch

from segue.encoders.image import load_image_encoder
from segue.encoders.text import load_text_encoder
from segue.encoders.text.cache import TextFeatureCache
from segue.encoders.text.contract import TextEncoder
from segue.types import InputError

NOTES = [
    "Bilateral pulmonary infection, two infected areas, all left lung and middle lower right lung.",
    "Unilateral pulmonary infection, one infected area, upper left lung.",
    "The nuclei density in the lower left is high.",
]


def pictures(count=3, height=40, width=56):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height + 8 * i, width, 3), dtype=np.uint8) for i in range(count)]


class ImageEncoderContract:
    def make(self):
        raise NotImplementedError

    def test_pooled_and_dense_have_the_declared_sizes(self):
        encoder = self.make().eval()
        x = encoder.preprocess(pictures())
        pooled, dense = encoder(x)
        cells = encoder.size // encoder.stride
        assert (x.shape, x.dtype) == ((3, 3, encoder.size, encoder.size), torch.float32)
        assert pooled.shape == (3, encoder.width)
        assert dense.shape == (3, encoder.width, cells, cells)

    def test_a_place_lies_where_it_says(self):
        encoder = self.make().eval()
        plain = pictures(1, encoder.size, encoder.size)[0]
        marked = plain.copy()
        marked[-encoder.stride :, : encoder.stride] = (255, 0, 40)  # the first place of the last row
        with torch.no_grad():
            a, b = encoder(encoder.preprocess([plain, marked])).dense
        change = (a - b).abs().sum(0)
        assert change[-1, 0] > 1.05 * change[0, -1]

    def test_a_picture_does_not_feel_its_neighbours(self):
        encoder = self.make().eval()
        with torch.no_grad():
            together = encoder(encoder.preprocess(pictures())).pooled[2]
            alone = encoder(encoder.preprocess(pictures()[2:])).pooled[0]
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)

    def test_built_again_from_its_config(self, tmp_path):
        encoder = self.make().eval()
        again = load_image_encoder(json.loads(json.dumps(encoder.config())), tmp_path)
        again.load_state_dict(encoder.state_dict())
        x = encoder.preprocess(pictures())
        assert (again.width, again.size, again.stride, again.frozen) == (
            encoder.width, encoder.size, encoder.stride, encoder.frozen,
        )  # fmt: skip
        assert torch.equal(again.preprocess(pictures()), x)
        assert torch.equal(again.eval()(x).pooled, encoder(x).pooled)

    def test_what_is_trained_and_what_is_saved(self):
        encoder = self.make().train()
        assert all(part.training is not encoder.frozen for part in encoder.modules())
        assert all(weight.requires_grad is not encoder.frozen for weight in encoder.parameters())
        assert bool(encoder.state_dict()) is not encoder.frozen

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
        encoder = self.make()
        with pytest.raises(InputError, match="make it with the encoder's preprocess"):
            encoder(torch.zeros(1, 3, encoder.size + 1, encoder.size))


class TextEncoderContract:
    """Subclasses give the fixture `encoder`."""

    notes = ("left lung", "one area, upper right", "x")

    @pytest.fixture
    def encoder(self) -> TextEncoder:
        raise NotImplementedError

    def test_shapes_and_zeros_on_padding(self, encoder):
        ids, mask = encoder.tokenize(self.notes)
        features = encoder.eval()(ids, mask)
        assert ids.dtype == torch.int64
        assert mask.dtype == torch.bool
        assert ids.shape == mask.shape
        assert features.shape == (3, ids.shape[1], encoder.width)
        assert ids.shape[1] == mask.sum(1).max()
        assert not mask[2].all()
        assert (features[~mask] == 0).all()
        assert (features[mask].abs().sum(-1) > 0).all()

    def test_a_note_does_not_feel_its_neighbours(self, encoder):
        encoder.eval()
        with torch.no_grad():
            ids, mask = encoder.tokenize(self.notes)
            together = encoder(ids, mask)[2][mask[2]]
            alone = encoder(*encoder.tokenize(self.notes[2:]))[0]
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)

    def test_one_word_per_token(self, encoder):
        for note in self.notes:
            words = encoder.token_texts(note)
            assert len(words) == encoder.tokenize([note]).ids.shape[1]
        assert "left" in "".join(encoder.token_texts("LEFT lung")).lower()

    def test_built_again_from_its_folder(self, encoder, tmp_path):
        encoder.eval()
        config = json.loads(json.dumps(encoder.save(tmp_path)))
        again = load_text_encoder(config, tmp_path)
        again.load_state_dict(encoder.state_dict())
        again.eval()
        assert type(again) is type(encoder)
        assert (again.width, again.max_tokens, again.frozen) == (encoder.width, encoder.max_tokens, encoder.frozen)
        assert again.token_texts(self.notes[1]) == encoder.token_texts(self.notes[1])
        assert torch.equal(again(*again.tokenize(self.notes)), encoder(*encoder.tokenize(self.notes)))
        assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]

    def test_what_is_trained_and_what_is_saved(self, encoder):
        method = torch.nn.ModuleDict({"text": encoder, "head": torch.nn.Linear(2, 2)}).train()
        assert encoder.training is not encoder.frozen
        assert all(part.training is not encoder.frozen for part in encoder.modules())
        assert all(weight.requires_grad is not encoder.frozen for weight in encoder.parameters())
        saved = {name.split(".")[0] for name in method.state_dict()}
        assert saved == ({"head"} if encoder.frozen else {"head", "text"})
        method.load_state_dict(method.state_dict(), strict=True)

    def test_a_copy_lives_alone(self, encoder):
        twin = copy.deepcopy(encoder.eval())
        with torch.no_grad():
            for weight in twin.parameters():
                weight.zero_()
        assert encoder(*encoder.tokenize(self.notes)).abs().sum() > 0
        assert twin.token_texts("left") == encoder.token_texts("left")

    @pytest.mark.parametrize(
        ("notes", "message"),
        [
            ([""], r"blank note.*leave it out \(None\) to segment without a note"),
            ([" \n\t"], "blank note"),
            ([7], "got int, expected a sentence as str"),
            ([None], "got NoneType, expected a sentence"),
            (["left " * 10_000], "got 10,000 words .* expected at most 2,000 words"),
            (["l" * 50_000], "expected at most .* 40,000 characters"),
            ([], "expected a list of at least one note"),
            ("left lung", r"got 'left lung', expected a list .* wrap one as \[note\]"),
        ],
    )
    def test_refuses(self, encoder, notes, message):
        with pytest.raises(InputError, match=message):
            encoder.tokenize(notes)
        with pytest.raises(InputError, match=message):
            TextFeatureCache(encoder.eval())(notes)

    def test_too_long_is_cut_and_said_once(self, encoder):
        pieces = 600
        with pytest.warns(
            UserWarning, match=rf"^\d+ tokens dropped: the note 'a a .*max_tokens={encoder.max_tokens}"
        ) as said:
            ids, mask = encoder.tokenize(["a " * pieces])
        special = sum(word.strip("a") != "" for word in encoder.token_texts("a"))
        assert int(str(said[0].message).split()[0]) == pieces + special - encoder.max_tokens
        assert ids.shape == (1, encoder.max_tokens)
        assert mask.all()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            encoder.tokenize(["a " * pieces])


class DualEncoderContract:
    texts = ("a dog runs on grass .", "a dog .", "dog on a dog")

    def make(self):
        raise NotImplementedError

    def test_embeddings_are_float32_of_length_one(self):
        model = self.make()
        for rows in (model.embed_images(pictures()), model.embed_texts(self.texts)):
            assert (rows.shape, rows.dtype) == ((3, model.width), torch.float32)
            torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
        dense = model.embed_dense(pictures())
        cells = model.image_encoder.size // model.image_encoder.stride
        assert dense.shape == (3, model.width, cells, cells)
        torch.testing.assert_close(dense.norm(dim=1), torch.ones(3, cells, cells))

    def test_the_temperature_divides(self):
        assert 0.01 - 1e-6 <= self.make().temperature <= 1

    def test_order_and_batches_do_not_matter(self):
        model = self.make()
        one_by_one = torch.cat([model.embed_texts([text]) for text in self.texts])
        torch.testing.assert_close(model.embed_texts(self.texts, batch_size=2), one_by_one, atol=1e-5, rtol=1e-4)
        small = model.embed_images(pictures(), batch_size=2)
        torch.testing.assert_close(small, model.embed_images(pictures()), atol=1e-5, rtol=1e-4)

    def test_embedding_leaves_the_mode_alone(self):
        model = self.make().train()
        model.embed_texts(self.texts)
        assert model.training

    def test_the_fingerprint_feels_one_weight(self):
        model = self.make()
        before = model.fingerprint
        assert before == self.make().fingerprint
        with torch.no_grad():
            next(model.text_encoder.parameters()).view(-1)[0] += 1
        assert model.fingerprint != before

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
        model = self.make()
        with pytest.raises(InputError, match="got no picture"):
            model.embed_images([])
        with pytest.raises(InputError, match="batch_size: got 0"):
            model.embed_texts(self.texts, batch_size=0)
