from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from segue.nn.feature_distance import DISTANCE, FeatureDistance
from segue.types import InputError


@pytest.fixture
def features() -> torch.Tensor:
    """(400, 6), in a plane but for a noise of .1."""
    made = torch.Generator().manual_seed(0)
    plane = torch.linalg.qr(torch.randn(6, 2, generator=made))[0]
    return 3 + 5 * torch.randn(400, 2, generator=made) @ plane.T + 0.1 * torch.randn(400, 6, generator=made)


def test_a_feature_off_the_training_is_far(features: torch.Tensor) -> None:
    distance = FeatureDistance.fit(features[:300], features[300:], axes=2, near=0.9)
    held_out = distance.measure(features[300:])
    assert (held_out > 1).sum() == 10
    away = torch.linalg.svd((features - features.mean(0)).T)[0][:, -1]
    z = distance.measure(features[:1] + 10 * away)
    assert z.item() == pytest.approx(10 / distance.limit, rel=0.05)
    along = distance.measure(features.mean(0, keepdim=True) + 20 * distance.axes[:, :1].T)
    assert along.item() < 1  # as far along an axis as no other: still of the kind


def test_what_is_saved_measures_the_same(features: torch.Tensor, tmp_path: Path) -> None:
    distance = FeatureDistance.fit(features[:300], features[300:], axes=2)
    distance.save(tmp_path)
    found = FeatureDistance.load(tmp_path, 6)
    assert found is not None
    assert torch.equal(found.measure(features), distance.measure(features))
    assert FeatureDistance.load(tmp_path / "other", 6) is None


def test_features_that_are_all_one_are_near() -> None:
    same = torch.ones(4, 3)
    distance = FeatureDistance.fit(same, same, axes=1)
    assert distance.measure(same).tolist() == [0, 0, 0, 0]


def test_of_few_pictures_there_are_few_axes(features: torch.Tensor) -> None:
    assert FeatureDistance.fit(features[:3], features[3:9], axes=2).axes.shape == (6, 1)
    assert FeatureDistance.fit(features, features, axes=6).axes.shape == (6, 3)


@pytest.mark.parametrize(("train", "held_out"), [(1, 3), (0, 3), (5, 0)])
def test_too_few_features_are_refused(train: int, held_out: int) -> None:
    with pytest.raises(InputError, match="give more pictures"):
        FeatureDistance.fit(torch.zeros(train, 3), torch.zeros(held_out, 3), axes=2)


WRONG = {
    "shape": {"mean": torch.zeros(5), "axes": torch.zeros(5, 2), "limit": torch.ones(1)},
    "name": {"mean": torch.zeros(6), "axis": torch.zeros(6, 2), "limit": torch.ones(1)},
    "limit": {"mean": torch.zeros(6), "axes": torch.zeros(6, 2), "limit": torch.zeros(1)},
    "nan": {"mean": torch.full((6,), float("nan")), "axes": torch.zeros(6, 2), "limit": torch.ones(1)},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_broken_file_is_refused(wrong: str, tmp_path: Path) -> None:
    save_file(WRONG[wrong], tmp_path / DISTANCE)
    with pytest.raises(InputError, match="copy the checkpoint again"):
        FeatureDistance.load(tmp_path, 6)


def test_what_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / DISTANCE).write_bytes(b"nothing")
    with pytest.raises(InputError, match="can't be read"):
        FeatureDistance.load(tmp_path, 6)
