from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import segue.methods
from segue.configs import from_json
from segue.methods.checkpoint import (
    checkpoint_in,
    fill_module,
    pack_checkpoint,
    read_config,
    read_tensors,
    write_checkpoint,
)
from segue.types import InputError


def test_everyone_may_read_a_checkpoint(tmp_path):
    """A temporary folder's own mode once came along with its files: another user's server couldn't read them."""
    extra = tmp_path / "extra"
    extra.mkdir(mode=0o700)
    (extra / "tokenizer.json").write_text("{}")
    folder = tmp_path / "model"
    for _ in range(2):  # fresh, and over an older one
        write_checkpoint(folder, {"method": "any"}, {"x": torch.zeros(2)}, extra)
        assert folder.stat().st_mode & 0o777 == 0o755
        assert {f.name: f.stat().st_mode & 0o777 for f in folder.iterdir()} == {
            "config.json": 0o644, "model.safetensors": 0o644, "tokenizer.json": 0o644
        }  # fmt: skip


def test_packed_weights_are_read_as_they_were_to_a_step(tmp_path):
    torch.manual_seed(0)
    tensors = {"kernel": torch.randn(8, 64, 3, 3) * torch.logspace(-3, 1, 8).view(-1, 1, 1, 1), "bias": torch.randn(8)}
    tensors |= {"zeros": torch.zeros(64, 64), "small": torch.randn(4, 4), "count": torch.arange(5000).view(50, 100)}
    write_checkpoint(tmp_path / "a", {"method": "any"}, tensors)
    before = (tmp_path / "a/model.safetensors").stat().st_size
    pack_checkpoint(tmp_path / "a")
    found = read_tensors(tmp_path / "a")
    assert set(found) == set(tensors)
    assert (tmp_path / "a/model.safetensors").stat().st_size < before - 3 * (8 * 64 * 9 + 64 * 64) + 1000
    largest = tensors["kernel"].abs().amax((1, 2, 3), keepdim=True)
    assert ((found["kernel"] - tensors["kernel"]).abs() <= largest / 250).all()
    for name in ("bias", "zeros", "small"):
        assert torch.equal(found[name].float(), tensors[name].half().float()), name
    assert torch.equal(found["count"], tensors["count"])
    pack_checkpoint(tmp_path / "a")  # again: nothing moves
    assert torch.equal(read_tensors(tmp_path / "a")["kernel"], found["kernel"])


@pytest.mark.parametrize(
    "lone",
    [
        {"x#step": torch.ones(3)},
        {"x": torch.ones(3, 2), "x#step": torch.ones(3)},
        {"x": torch.ones(3, 2).char(), "x#step": torch.ones(3).long()},
    ],
)
def test_steps_of_nothing_are_refused(tmp_path, lone):
    write_checkpoint(tmp_path / "a", {"method": "any"}, lone)
    with pytest.raises(InputError, match="x#step is not the step of 8-bit rows"):
        read_tensors(tmp_path / "a")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    """A model with NaN in it once named every pixel alike, with status 0."""
    tensors = {"fine": torch.full((4,), 6e4, dtype=torch.float16), "broken": torch.tensor([1.0, value, 2.0])}
    write_checkpoint(tmp_path / "a", {"method": "any"}, tensors)
    with pytest.raises(InputError, match="1 of 2 tensors hold NaN or infinity, such as broken"):
        read_tensors(tmp_path / "a")


def test_large_weights_are_read_whatever_their_sum(tmp_path):
    tensors = {"half": torch.full((9,), 6e4, dtype=torch.float16), "sum": torch.full((9,), 3e38)}
    write_checkpoint(tmp_path / "a", {"method": "any"}, tensors)
    assert torch.equal(read_tensors(tmp_path / "a")["sum"], tensors["sum"])


def test_half_precision_is_for_floating_point_alone(tmp_path):
    """Two of six copies of this once cast integers too: an index above 2,048 came back as another one."""
    tensors = {"weight": torch.tensor([1 / 3]), "index": torch.tensor([2049]), "seen": torch.tensor([True])}
    write_checkpoint(tmp_path / "half", {"method": "any"}, tensors, half=True)
    found = read_tensors(tmp_path / "half")
    assert {name: tensor.dtype for name, tensor in found.items()} == {
        "weight": torch.float16, "index": torch.int64, "seen": torch.bool
    }  # fmt: skip
    assert found["index"].item() == 2049
    write_checkpoint(tmp_path / "whole", {"method": "any"}, tensors)
    assert torch.equal(read_tensors(tmp_path / "whole")["weight"], tensors["weight"])


def test_one_function_casts_for_all_savers():
    """Six copies of the cast had drifted apart; crossmodal's and syntic's cast integers."""
    folder = Path(segue.methods.__path__[0])
    assert [path.name for path in folder.rglob("*.py") if ".half()" in path.read_text()] == ["checkpoint.py"]


def test_a_checkpoint_of_another_method_is_refused(tmp_path):
    write_checkpoint(tmp_path, {"method": "weather", "size": 1}, {"x": torch.zeros(2)})
    with pytest.raises(InputError, match="a checkpoint of the method 'weather', expected one of reclmis, unet; name"):
        read_config(tmp_path, ["reclmis", "unet"])
    with pytest.raises(InputError, match=r"config\.json: lacks text; copy the checkpoint again"):
        read_config(tmp_path, ["weather"], {"size": int, "text": dict, "other": dict | None})
    assert read_config(tmp_path, ["rain", "weather"], {"size": int}) == {"method": "weather", "size": 1}
    (tmp_path / "config.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="got a list, expected an object"):
        read_config(tmp_path, ["weather"])
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="not readable as JSON"):
        read_config(tmp_path, ["weather"])


def test_a_run_folder_is_read_by_its_best_or_else_its_last_checkpoint(tmp_path):
    assert checkpoint_in(tmp_path) == tmp_path
    for name in ("last", "best"):
        (tmp_path / name).mkdir()
        assert checkpoint_in(tmp_path) != tmp_path / name  # nothing in it yet
        (tmp_path / name / "config.json").write_text("{}")
        assert checkpoint_in(tmp_path) == tmp_path / name
    (tmp_path / "config.json").write_text("{}")
    assert checkpoint_in(tmp_path) == tmp_path


def test_pickles_are_never_opened(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(InputError, match=r"the weights are in pytorch_model\.bin, a pickle"):
        read_tensors(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"can't be read \(4 bytes"):
        read_tensors(tmp_path)


@dataclass(frozen=True)
class Sizes:
    width: int
    widths: tuple[int, ...] = (1, 2)


def test_a_from_json():
    assert from_json(Sizes, {"width": 3, "widths": [4, 5]}, "here") == Sizes(3, (4, 5))
    for values, message in (
        ({"width": 3, "depth": 1}, r"here: config\.json has depth, which this version"),
        ({"widths": [1]}, r"here: config\.json lacks width"),
        ([3], r"here: config\.json has a list for Sizes, expected an object"),
    ):
        with pytest.raises(InputError, match=message):
            from_json(Sizes, values, "here")


def test_a_module_is_filled_with_its_own_tensors_and_no_others():
    module = torch.nn.Linear(2, 1)
    tensors = {"weight": torch.tensor([[0.5, 2.0]]).half(), "bias": torch.tensor([3.0]), "old.index": torch.tensor(1)}
    fill_module(module, tensors, "here", unused=("old.",))
    assert module.weight.tolist() == [[0.5, 2.0]]
    assert module.weight.dtype == torch.float32
    for wrong, message in (
        (tensors, r"here: the weights have 1 tensors too many, such as old\.index"),
        ({"weight": tensors["weight"]}, "here: the weights lack 1 tensors, such as bias"),
        ({"weight": torch.zeros(2, 1), "bias": torch.zeros(1)}, r"weight has shape \(2, 1\), .* describes \(1, 2\)"),
    ):
        with pytest.raises(InputError, match=message):
            fill_module(module, wrong, "here")
