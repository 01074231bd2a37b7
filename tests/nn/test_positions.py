import torch

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
