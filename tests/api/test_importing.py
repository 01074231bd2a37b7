"""`segue import`: released files, folders of the hub, and what is refused."""

import json
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import torch

import segue as package
from data.formats.true_formats import numbers, paint, put
from methods.cocu.groupvit.released_network import MAX_TOKENS, VOCABULARY, make_released, write_merges
from methods.cocu.groupvit.tiny_groupvit import make_model, reference_of
from segue.api.importing import import_groupvit
from segue.methods.cocu.groupvit.checkpoint import load_groupvit
from segue.methods.cocu.groupvit.released import read_released
from segue.methods.pickles import read_pickled
from segue.types import InputError


@pytest.fixture(scope="module")
def released():
    return make_released()


@pytest.fixture
def file(released, tmp_path):
    """A .pth as the released training writes it, with CLIP's merges beside it."""
    path = tmp_path / "group_vit.pth"
    torch.save({"model": released.state_dict(), "epoch": 29, "metrics": {"miou": 52.3}, "optimizer": {}}, path)
    write_merges(tmp_path / "bpe_simple_vocab_16e6.txt")
    return path


def test_a_released_file_is_the_same_network(released, file):
    model = read_released(file)
    assert (model.config.depths, model.config.group_tokens, model.config.output_groups) == (
        (2, 1, 1),
        (6, 3, 0),
        (6, 3, 3),
    )
    assert (model.config.image_size, model.config.patch, model.config.heads, model.config.text_heads) == (32, 16, 2, 1)
    image = torch.randn(2, 3, 32, 32)
    ids = torch.zeros(3, MAX_TOKENS, dtype=torch.int64)
    for row, length in zip(ids, (3, 7, MAX_TOKENS), strict=True):
        row[:length] = torch.randint(0, VOCABULARY - 2, (length,))
        row[0], row[length - 1] = VOCABULARY - 2, VOCABULARY - 1
    with torch.no_grad():
        pictures, groups, soft = released.pictures(image)
        vision = model.encode_image(image)
        torch.testing.assert_close(model.embed_image(vision), pictures, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.embed_groups(vision), groups, atol=1e-5, rtol=1e-4)
        for ours, theirs in zip(vision.assignments, soft, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.embed_tokens(ids), released.texts(ids), atol=1e-5, rtol=1e-4)
    assert float(model.scale.detach().log()) == pytest.approx(2.0)  # not the second temperature


def test_the_tokenizer_is_made_of_the_merges(file):
    tokenizer = read_released(file).tokenizer
    ids = tokenizer.encode("A  DOG").ids
    letters = 512
    assert ids[0] == VOCABULARY - 2
    assert ids[-1] == VOCABULARY - 1
    assert ids[2] == letters + 1  # "dog</w>" is the second merge
    assert tokenizer.id_to_token(ids[1]) == "a</w>"
    assert tokenizer.get_vocab_size() == VOCABULARY


def test_the_command_makes_a_folder_that_names_pixels(segue, file, tmp_path):
    status, output, error = segue("import", file, "-o", tmp_path / "made", "--json")
    assert status == 0, error
    assert json.loads(output)["groups"] == 3
    answer = package.load(tmp_path / "made").segment(np.zeros((40, 50, 3), np.uint8), ["dog", "cat", "sky"])
    assert answer.index.shape == (40, 50)
    assert package.load(tmp_path / "made").about["source"] == "group_vit.pth"
    status, _, error = segue("import", file, "-o", tmp_path / "made")
    assert (status, "is there already" in error) == (2, True)


def test_a_released_file_is_evaluated_by_two_commands(segue, file, tmp_path):
    voc = tmp_path / "VOC2012"
    paint(voc / "JPEGImages/a.jpg")
    put(voc / "ImageSets/Segmentation/val.txt", "a\n")
    numbers(voc / "SegmentationClass/a.png", np.repeat([[0] * 4 + [15] * 4 + [255] * 4], 8, 0), palette=True)
    assert segue("import", file, "-o", tmp_path / "made")[0] == 0
    status, output, error = segue("eval", tmp_path / "made", "--data", tmp_path, "--protocol", "voc", "--json")
    assert status == 0, error
    answer = json.loads(output)
    assert (answer["split"], answer["classes"], answer["as_published"]) == ("val", 21, "yes, on the published pictures")
    assert answer["protocol_settings"]["rule"] == "published"
    assert 0 <= answer["miou"] <= 1


def test_settings_of_a_training_are_passed_over(released, tmp_path, monkeypatch):
    """The released training also saves its omegaconf config; that package is not needed, and nothing of it is run."""
    module = types.ModuleType("omegaconf.dictconfig")
    kind = type("DictConfig", (), {"__module__": "omegaconf.dictconfig"})
    module.DictConfig = kind
    for name, part in (("omegaconf", types.ModuleType("omegaconf")), ("omegaconf.dictconfig", module)):
        monkeypatch.setitem(sys.modules, name, part)
    config = kind()
    config.__dict__["content"] = {"lr": 1e-3}
    torch.save({"model": released.state_dict(), "config": config, "best": np.float64(1)}, tmp_path / "a.pth")
    monkeypatch.undo()
    write_merges(tmp_path / "bpe_simple_vocab_16e6.txt")
    assert read_released(tmp_path / "a.pth").config.width == 128
    assert not hasattr(read_pickled(tmp_path / "a.pth")["config"], "content")


class Harmful:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_file_that_holds_code_is_refused_and_not_run(released, tmp_path):
    mark = tmp_path / "was-run"
    torch.save({"model": released.state_dict(), "extra": Harmful(mark)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a.pth: holds code \(posix.mkdir\), which is never run"):
        read_released(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Harmful(mark)))
    with pytest.raises(InputError, match=r"b\.pth"):
        read_released(tmp_path / "b.pth")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "c.pth")
    with pytest.raises(InputError, match=r"c\.pth"):
        read_released(tmp_path / "c.pth")
    torch.save({"x": _Call(eval, "1")}, tmp_path / "d.pth")
    with pytest.raises(InputError, match=r"__builtin__\.eval"):
        read_pickled(tmp_path / "d.pth")
    assert not mark.exists()


class _Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def test_missing_and_odd_tensors_are_named(released, file, tmp_path):
    whole = released.state_dict()
    for name in (
        "img_encoder.layers.1.blocks.0.attn.qkv.bias",
        "text_encoder.ln_final.weight",
        "img_encoder.pos_embed",
    ):
        torch.save({"model": {k: v for k, v in whole.items() if k != name}}, file)
        with pytest.raises(InputError, match=f"lacks .*{name}"):
            read_released(file)
    torch.save({"model": whole | {"extra.weight": torch.zeros(2)}}, file)
    with pytest.raises(InputError, match=r"1 tensors that no released GroupViT has, such as extra.weight"):
        read_released(file)
    torch.save({"model": whole | {"img_encoder.norm.weight": torch.zeros(7)}}, file)
    with pytest.raises(InputError, match=r"img_encoder.norm.weight has shape \(7,\), which doesn't fit"):
        read_released(file)
    torch.save({"epoch": 3}, file)
    with pytest.raises(InputError, match="no tensors of a model"):
        read_released(file)
    torch.save({f"module.{k}": v for k, v in whole.items()}, file)  # as saved from a parallel training
    assert read_released(file).config.width == 128


def test_a_file_is_read_once(segue, file, tmp_path, monkeypatch):
    read = []

    def counted(path):
        read.append(path)
        return read_pickled(path)

    monkeypatch.setattr("segue.methods.cocu.groupvit.released.read_pickled", counted)
    assert segue("import", file, "-o", tmp_path / "made")[0] == 0
    assert read == [file]


def test_broken_files_are_reported(file, tmp_path):
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"not readable as a file of torch\.save"):
        read_released(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02N.")
    with pytest.raises(InputError, match="no tensors of a model"):
        read_released(file)
    with pytest.raises(InputError, match="no such file"):
        import_groupvit(tmp_path / "none.pth", tmp_path / "made")


def test_without_a_tokenizer_it_is_asked_for(segue, file, tmp_path):
    (tmp_path / "bpe_simple_vocab_16e6.txt").rename(tmp_path / "merges-elsewhere")
    status, _, error = segue("import", file, "-o", tmp_path / "made")
    assert (status, "pass --tokenizer" in error) == (2, True)
    assert not (tmp_path / "made").exists()
    assert segue("import", file, "-o", tmp_path / "made", "--tokenizer", tmp_path / "merges-elsewhere")[0] == 0
    (tmp_path / "merges-elsewhere").write_text("#version\na b\n")
    status, _, error = segue("import", file, "-o", tmp_path / "other", "--tokenizer", tmp_path / "merges-elsewhere")
    assert (status, "expected a heading and 10 merges" in error) == (2, True)


def test_a_folder_of_transformers_is_copied_whether_safetensors_or_pickle(segue, tmp_path):
    model = make_model().eval()
    reference = reference_of(model, tmp_path / "hub")
    for made, pickled in (("one", False), ("two", True)):
        if pickled:
            torch.save(reference.state_dict(), tmp_path / "hub/pytorch_model.bin")
            (tmp_path / "hub/model.safetensors").unlink()
        status, _, error = segue("import", tmp_path / "hub", "-o", tmp_path / made)
        assert status == 0, error
        for name, value in load_groupvit(tmp_path / made).state_dict().items():
            torch.testing.assert_close(value, model.state_dict()[name])
    (tmp_path / "empty").mkdir()
    status, _, error = segue("import", tmp_path / "empty", "-o", tmp_path / "three")
    assert (status, "neither config.json nor one .pth there (0 found)" in error) == (2, True)
