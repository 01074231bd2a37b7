"""The saved state: whole or not there, whatever the moment of the kill."""

import shutil

import pytest
import torch

from segue.training import state
from segue.types import InputError

TENSORS = {"a": torch.arange(3.0), "step": torch.tensor(4.0)}


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def read(folder):
    tensors, metadata = state.read_state(folder)
    return metadata["step"], tensors


def test_state_round_trip_keeps_the_newest_only(tmp_path):
    state.write_state(tmp_path, 4, TENSORS, {"step": 4})
    state.write_state(tmp_path, 8, {"a": TENSORS["a"][::2]}, {"step": 8})
    step, tensors = read(tmp_path)
    assert step == 8
    assert torch.equal(tensors["a"], torch.tensor([0.0, 2.0]))
    assert {p.name for p in tmp_path.iterdir()} == {"current", "step-00000008"}


def test_shared_weights_are_saved_under_both_names(tmp_path):
    state.write_state(tmp_path, 1, {"a": TENSORS["a"], "b": TENSORS["a"]}, {"step": 1})
    assert torch.equal(read(tmp_path)[1]["b"], TENSORS["a"])


@pytest.mark.parametrize("killed_in", ["save_tensors", "write_text", "rmtree"])
def test_kill_while_saving_leaves_a_whole_state(tmp_path, monkeypatch, killed_in):
    state.write_state(tmp_path, 4, TENSORS, {"step": 4})

    def kill(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        if killed_in == "rmtree":
            real = shutil.rmtree
            patch.setattr(
                shutil, "rmtree", lambda path, *a, **k: (kill if "step-00000004" in str(path) else real)(path, *a, **k)
            )
        else:
            patch.setattr(state, killed_in, kill)
        with pytest.raises(Killed):
            state.write_state(tmp_path, 8, TENSORS, {"step": 8})
    step, tensors = read(tmp_path)
    assert step == (8 if killed_in == "rmtree" else 4)
    assert torch.equal(tensors["a"], TENSORS["a"])
    state.write_state(tmp_path, 12, TENSORS, {"step": 12})
    assert {p.name for p in tmp_path.iterdir()} == {"current", "step-00000012"}


def test_half_written_first_state_is_none(tmp_path):
    (tmp_path / "step-00000004").mkdir()
    (tmp_path / "step-00000004/tensors.safetensors").write_bytes(b"half")
    assert not state.has_state(tmp_path)
    with pytest.raises(InputError, match="no saved state to resume from"):
        state.read_state(tmp_path)
    state.write_state(tmp_path, 4, TENSORS, {"step": 4})
    assert read(tmp_path)[0] == 4


def test_the_parts_of_a_run_that_have_begun_are_known(tmp_path):
    assert state.begun_parts(tmp_path / "run") == []
    for part in ("fold-1", "fold-0", "."):
        state.write_state(tmp_path / part / "state", 4, TENSORS, {"step": 4})
    (tmp_path / "fold-2/state").mkdir(parents=True)
    assert state.begun_parts(tmp_path) == [tmp_path, tmp_path / "fold-0", tmp_path / "fold-1"]
