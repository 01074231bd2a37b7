"""Files of `torch.save`: the tensors in them, and nothing else that stands there."""

import zipfile

import pytest
import torch
from torch import nn

from segue.methods.pickles import read_pickled
from segue.types import InputError


def test_tensors_of_every_kind_come_back_as_they_were(tmp_path):
    base = torch.arange(24.0).view(4, 6)
    saved = {
        "whole": base,
        "part": base[1:3, ::2],  # a view: its storage has more
        "turned": base.T,
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 2),
        "weight": nn.Parameter(torch.ones(2)),
        **{str(kind): torch.ones(3).to(kind) for kind in (torch.float64, torch.float16, torch.bfloat16, torch.bool)},
        **{str(kind): torch.arange(3).to(kind) for kind in (torch.int64, torch.int32, torch.int16, torch.int8)},
        "more": [1, (2.5, "text"), {"a": None}, {3}],
    }
    torch.save(saved, tmp_path / "x.pth")
    found = read_pickled(tmp_path / "x.pth")
    assert found.keys() == saved.keys()
    assert found.pop("more") == saved.pop("more")
    for name, value in saved.items():
        assert torch.equal(found[name], value), name
        assert found[name].dtype == value.dtype
        assert not found[name].requires_grad


def test_tensors_of_one_storage_are_apart(tmp_path):
    base = torch.zeros(3)
    torch.save({"a": base[:2], "b": base[1:]}, tmp_path / "x.pth")
    found = read_pickled(tmp_path / "x.pth")
    found["a"] += 1
    assert found["b"].tolist() == [0, 0]


def test_named_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"model": Evil()}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"holds code \((builtins|__builtin__)\.print\), which is never run"):
        read_pickled(tmp_path / "x.pth")


def test_other_and_broken_files_are_refused(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(b"PK no archive")
    with pytest.raises(InputError, match=r"x\.pth: not readable as a file of torch\.save"):
        read_pickled(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(InputError, match="holds one data"):
        read_pickled(path)
    torch.save({"a": torch.ones(4)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data[:-4] if "/data/" in name else data)
    with pytest.raises(InputError, match="storage 0 has 3 numbers, expected 4"):
        read_pickled(path)
