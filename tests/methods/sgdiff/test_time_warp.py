import pytest
import torch

from segue.methods.sgdiff.time_warp import LAST_TIME, TimeWarp, interpolate


def test_the_curve_rises_from_0_to_1_and_its_inverse_goes_back():
    warp = TimeWarp()
    curve = warp.curve()
    assert (curve[0], curve[-1]) == (0, 1)
    assert (curve.diff() > 0).all()
    t = torch.linspace(LAST_TIME, 1, 50)
    torch.testing.assert_close(interpolate(warp.unknown(t), curve, warp.times), t, atol=1e-3, rtol=0)


def test_sampling_goes_down_in_equal_steps_of_what_is_unknown():
    warp = TimeWarp()
    t = warp.sampling_times(12)
    assert (t[0], float(t[-1])) == (1, pytest.approx(LAST_TIME))
    assert (t.diff() < 0).all()
    steps = warp.unknown(t).diff()
    assert torch.allclose(steps, torch.full_like(steps, -1 / 11), atol=1e-3)
    assert (t < 0.3).sum() >= 9  # C1: half of the equal steps of t were above .28
    assert warp.sampling_times(1).tolist() == [1]


def test_training_times_are_even_in_what_is_unknown():
    torch.manual_seed(0)
    warp = TimeWarp()
    t = warp.training_times(20_000)
    assert float((t == 1).float().mean()) == pytest.approx(0.1, abs=0.02)
    share = warp.unknown(t[t < 1])
    for low in (0.0, 0.25, 0.5, 0.75):
        assert float(((share >= low) & (share < low + 0.25)).float().mean()) == pytest.approx(0.25, abs=0.02)


def test_the_curve_follows_the_cross_entropies():
    warp = TimeWarp()
    t = torch.rand(4000) * (1 - LAST_TIME) + LAST_TIME
    for _ in range(300):
        warp.update(t, 2 * t)  # as much again becomes unknown at every t
    torch.testing.assert_close(warp.unknown(t), (t - LAST_TIME) / (1 - LAST_TIME), atol=0.04, rtol=0)
    warp.update(torch.tensor([0.3]), torch.tensor([50.0]))  # one odd row doesn't bend it backwards
    assert (warp.curve().diff() > 0).all()
