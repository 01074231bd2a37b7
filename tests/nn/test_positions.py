import torch

import golden
from segue.nn.positions import sine_positions, sine_positions_1d


def test_every_place_has_its_own_code_and_neighbours_have_similar_ones():
    code = sine_positions_1d(40, 32)
    assert code.shape == (40, 32)
    distance = torch.cdist(code, code) + 100 * torch.eye(40)
    assert distance.min() > 0.1
    nearest = distance.argmin(1)
    assert ((nearest - torch.arange(40)).abs() == 1).all()


def test_half_of_a_grid_s_channels_tell_the_row_and_half_the_column():
    code = sine_positions(3, 5, 16).view(3, 5, 16)
    rows, columns = code.split(8, -1)
    assert (rows == sine_positions_1d(3, 8)[:, None]).all()
    assert (columns == sine_positions_1d(5, 8)[None]).all()


def test_sines_come_first_and_their_cosines_after():
    sine, cosine = sine_positions_1d(40, 32).split(16, -1)
    torch.testing.assert_close(sine.square() + cosine.square(), torch.ones(40, 16))
    assert (cosine[:, 0].diff() < 0).all()  # the slowest wave: half a period


def test_waves_are_what_they_were():
    golden.same_as_before("positions", line=sine_positions_1d(7, 10), grid=sine_positions(3, 5, 12))
