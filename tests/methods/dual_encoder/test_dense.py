"""Names on pixels by dense features: the filter, and the answer of an encoder whose cells are planted."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segue.methods.dual_encoder import dense
from segue.methods.dual_encoder.dense import DenseProtocol, embed_names, guided_filter, margins, segment_dense
from segue.types import InputError

NAMES = torch.eye(3)
PLAIN = DenseProtocol(sizes=(64,), weights=(1.0,), presence=0.0, prior=0.0, radius=0.0)


class Planted:
    """An encoder of three names, (1, 0, 0) and so on: the left half of each image is of the first, the right of the
    third; the whole of the second.
    """

    temperature, known_names, nouns = 0.5, None, ()

    def __init__(self, any_size=True):
        self.image_encoder = SimpleNamespace(any_size=any_size, size=64)
        self.sizes, self.measured = [], 0

    def name_shares(self, images):
        self.measured += 1
        return torch.zeros(len(images))

    def embed_with_shares(self, images):
        return self.embed_images(images), self.name_shares(images)

    def embed_dense(self, images, *, size, shares):
        assert shares.shape == (len(images),)
        self.sizes.append(size)
        cells = torch.zeros(1, 3, 2, 4)
        cells[:, 0, :, :2], cells[:, 2, :, 2:] = 1.0, 1.0
        return cells

    def embed_images(self, images):
        return torch.tensor([[0.0, 1.0, 0.0]])

    def embed_texts(self, texts):
        return torch.stack([NAMES[len(text) % 3] for text in texts])


def test_the_whole_picture_is_measured_once_for_all_sizes():
    encoder = Planted()
    segment_dense(encoder, image(), torch.eye(3), DenseProtocol(sizes=(32, 64, 96)))
    assert (encoder.sizes, encoder.measured) == ([32, 64, 96], 1)


def test_a_size_counts_by_its_weight():
    """The second size shows the name that the first one doesn't; three quarters of the weight are its own."""

    class Turned(Planted):
        def embed_dense(self, images, *, size, shares=None):
            cells = super().embed_dense(images, size=size, shares=shares)
            return cells if size == 32 else cells.flip(3)

    protocol = replace(PLAIN, sizes=(32, 64), weights=(1.0, 3.0))
    answer = segment_dense(Turned(), image(), NAMES, protocol)
    assert answer.index[0, 0] == 2
    e1, e3 = np.exp(0.25 / 0.5), np.exp(0.75 / 0.5)
    assert answer.probability[0, 0] == pytest.approx(e3 / (e1 + e3 + 1), rel=1e-5)


def image(height=8, width=16):
    out = np.zeros((height, width, 3), np.uint8)
    out[:, width // 2 :] = 200
    return out


def test_every_pixel_gets_the_likeliest_name():
    answer = segment_dense(Planted(), image(), NAMES, PLAIN)
    assert answer.index.shape == (8, 16)
    assert (answer.index[:, :8] == 0).all()
    assert (answer.index[:, 8:] == 2).all()
    e = np.exp(1 / 0.5)  # at the left border the cosines are 1, 0 and 0
    assert answer.probability[0, 0] == pytest.approx(e / (e + 2), rel=1e-5)
    assert answer.similarity.tolist() == [0, 1, 0]


def test_many_names_are_compared_in_parts(monkeypatch):
    whole = segment_dense(Planted(), image(), NAMES, PLAIN)
    monkeypatch.setattr("segue.methods.dual_encoder.dense.PIXELS_AT_ONCE", 1)
    parts = segment_dense(Planted(), image(), NAMES, PLAIN)
    assert np.array_equal(whole.index, parts.index)
    np.testing.assert_allclose(whole.probability, parts.probability, rtol=1e-6)


def test_of_many_names_those_that_may_win_are_compared_and_the_others_count(monkeypatch):
    """The second name wins nowhere: it is left out of two, and its share of the probability is not."""
    whole = segment_dense(Planted(), image(), NAMES, PLAIN)
    monkeypatch.setattr("segue.methods.dual_encoder.dense.SHORTLIST", 2)
    compared = []
    real = dense._score_maps
    monkeypatch.setattr(dense, "_score_maps", lambda *given: compared.append(given[1]) or real(*given))
    few = segment_dense(Planted(), image(), NAMES, PLAIN)
    assert torch.equal(torch.cat(compared), NAMES[[0, 2]])
    assert np.array_equal(whole.index, few.index)
    np.testing.assert_allclose(whole.probability, few.probability, rtol=1e-6)


def test_the_whole_picture_has_a_say():
    """With a weight above 1 the second name, which no cell shows, wins everywhere."""
    assert (segment_dense(Planted(), image(), NAMES, replace(PLAIN, presence=1.1)).index == 1).all()
    assert set(segment_dense(Planted(), image(), NAMES, replace(PLAIN, top_k=1)).index.ravel()) == {1}


def test_sizes_are_those_that_the_encoder_takes():
    free, fixed = Planted(), Planted(any_size=False)
    segment_dense(free, image(), NAMES, replace(PLAIN, sizes=(32, 96), weights=(1.0, 1.0)))
    segment_dense(fixed, image(), NAMES, replace(PLAIN, sizes=(32, 96), weights=(1.0, 1.0)))
    assert (free.sizes, fixed.sizes) == ([32, 96], [64])


def test_borders_follow_the_picture():
    """The cells' border lies in the middle; the picture's a quarter further left, within reach of the filter."""
    moved = np.zeros((32, 64, 3), np.uint8)
    moved[:, 24:] = 255
    plain = segment_dense(Planted(), moved, NAMES, PLAIN).index
    filtered = segment_dense(Planted(), moved, NAMES, replace(PLAIN, radius=0.25, smoothness=1e-4)).index
    truth = np.where(np.arange(64) < 24, 0, 2)
    assert (filtered == truth).mean() > (plain == truth).mean() == 56 / 64


def test_the_guided_filter_by_its_definition():
    """Against Eq. 5-8 with explicit windows; and a map that is the guide itself comes back."""
    g = torch.Generator().manual_seed(0)
    guide, maps, r, eps = torch.rand(1, 6, 7, generator=g), torch.rand(2, 6, 7, generator=g), 1, 0.1
    padded = torch.nn.functional.pad(torch.cat([guide, maps])[None], (r, r, r, r), mode="replicate")[0]
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3)  # (3, 6, 7, 9)
    i, p = windows[:1], windows[1:]
    a = ((i * p).mean(3) - i.mean(3) * p.mean(3)) / (i.var(3, unbiased=False) + eps)
    b = p.mean(3) - a * i.mean(3)
    smooth = torch.nn.functional.pad(torch.cat([a, b])[None], (r, r, r, r), mode="replicate")[0]
    expected = smooth.unfold(1, 3, 1).unfold(2, 3, 1).mean((3, 4))
    slope, offset = guided_filter(guide, maps, r, eps)
    torch.testing.assert_close(torch.cat([slope, offset]), expected)
    slope, offset = guided_filter(guide, guide, 2, 1e-9)
    torch.testing.assert_close(slope * guide + offset, guide, atol=1e-4, rtol=0)


def test_names_are_read_in_every_prompt():
    found = embed_names(Planted(), ["a", "bb"], ("{}", "{}.", "{}.."))  # lengths 1 to 3 and 2 to 4: each name once
    torch.testing.assert_close(found, torch.full((2, 3), 3**-0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": ()}, "expected sizes above 0"),
        ({"weights": (1.0, 1.0)}, "expected one above 0 for each of the sizes"),
        ({"weights": (1.0, 0.0, 1.0)}, "expected one above 0 for each of the sizes"),
        ({"radius": 0.6}, "a radius from 0 to .5"),
        ({"smoothness": 0.0}, "a smoothness above 0"),
        ({"prior": -0.1}, "a prior of 0 or more"),
        ({"prompts": ("a photo",)}, "expected one {} where the name goes"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        DenseProtocol(**changes)


def test_what_the_whole_picture_shows_is_taken_off_its_cells():
    class Leaking(Planted):
        """The second name is in all cells, as it is in the whole picture, and leads a little."""

        def embed_dense(self, images, *, size, shares):
            return super().embed_dense(images, size=size, shares=shares) + torch.tensor([0.0, 1.1, 0.0])[:, None, None]

    assert (segment_dense(Leaking(), image(), NAMES, PLAIN).index == 1).all()
    found = segment_dense(Leaking(), image(), NAMES, replace(PLAIN, presence=-0.2)).index
    assert (found[:, :6] == 0).all()
    assert (found[:, 10:] == 2).all()


def test_a_name_that_is_hardly_anywhere_is_less_likely_everywhere():
    class Nearly(Planted):
        """The third name leads in a corner by a little, the first in all the rest."""

        def embed_dense(self, images, *, size, shares):
            cells = torch.zeros(1, 3, 4, 4)
            cells[:, 0], cells[:, 2, 0, 0] = 1.0, 1.01
            return cells

    assert 2 in segment_dense(Nearly(), image(), NAMES, PLAIN).index
    assert (segment_dense(Nearly(), image(), NAMES, replace(PLAIN, prior=0.01)).index == 0).all()
    # (log 15/16 - log 1/16) * .01 = .027 is more than the lead of .01
    assert 2 in segment_dense(Nearly(), image(), NAMES, replace(PLAIN, prior=0.001)).index


def test_a_name_that_top_k_leaves_out_has_no_part_of_the_picture():
    found = segment_dense(Planted(), image(), NAMES, replace(PLAIN, top_k=1, prior=0.01))
    assert (found.index == 1).all()
    assert np.isfinite(found.probability).all()


def test_a_margin_is_the_lead_over_known_names_where_it_is_largest():
    cells = torch.zeros(3, 5, 4)
    cells[0], cells[1, 0, 0], cells[2, 0, 1] = 0.5, 0.9, 0.3
    known = torch.eye(3)[:1].expand(5, 3)  # all at .5 everywhere
    found = margins(cells, torch.eye(3), known)  # 2 of 20 cells
    torch.testing.assert_close(found, torch.tensor([0.0, (0.4 - 0.5) / 2, (-0.2 - 0.5) / 2]))


def test_an_encoder_that_knows_names_measures_margins():
    encoder = Planted()
    assert segment_dense(encoder, image(), NAMES, PLAIN).margin is None
    encoder.known_names = NAMES[2:]
    np.testing.assert_allclose(segment_dense(encoder, image(), NAMES, PLAIN).margin, [1, 0, 0])
