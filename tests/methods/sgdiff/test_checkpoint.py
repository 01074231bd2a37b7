import pytest
import torch

from methods.sgdiff.toys import build_system, toy_batch, toy_model
from segue.methods.sgdiff import checkpoint
from segue.methods.sgdiff.checkpoint import restore, save
from segue.methods.sgdiff.quality import Acceptance
from segue.methods.sgdiff.stages import JointStage
from segue.recipes.sgdiff import take_over_pictures
from segue.types import InputError


@pytest.mark.parametrize("name", ["full", "autoregressive", "mask_only"])
def test_a_checkpoint_comes_back(name, tmp_path):
    model = build_system(name).eval()
    save(model, tmp_path / "m", {"recipe": "a test"})
    again, about = restore(tmp_path / "m")
    assert about == {"recipe": "a test"}
    assert (again.config, again.lexicon, again.training) == (model.config, model.lexicon, False)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    batch = toy_batch(model.config)
    torch.manual_seed(0)
    first = JointStage(model).training_step(batch)["loss"]
    torch.manual_seed(0)
    assert torch.equal(first, JointStage(again).training_step(batch)["loss"])


def test_a_checkpoint_in_half_the_space(tmp_path):
    model = toy_model()
    save(model, tmp_path / "whole")
    save(model, tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    again, _ = restore(tmp_path / "half")
    assert all(torch.allclose(a, b, atol=2e-3) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_base_holds_the_weights_that_a_model_shares_with_it(tmp_path, monkeypatch):
    base, model = toy_model(), toy_model(decoder="autoregressive")
    save(base, tmp_path / "base", half=True)
    monkeypatch.setattr(checkpoint, "bundled", lambda: {"base": tmp_path / "base"})
    take_over_pictures(model, restore(tmp_path / "base")[0])
    model.acceptance = Acceptance((1.0, 2.0, 3.0, 4.0, 5.0, 6.0), 7.0)
    save(model, tmp_path / "small", half=True, base="base")
    save(model, tmp_path / "whole", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("small", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    again, whole = restore(tmp_path / "small")[0], restore(tmp_path / "whole")[0]
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True))
    assert again.acceptance == model.acceptance
    monkeypatch.setattr(checkpoint, "bundled", dict)
    with pytest.raises(InputError, match="base: got 'base', expected a bundled model"):
        restore(tmp_path / "small")
    with pytest.raises(InputError, match="base: got 'base', expected a bundled model"):
        save(model, tmp_path / "other", base="base")


def test_broken_checkpoints_are_refused(tmp_path):
    save(toy_model(), tmp_path / "m")
    text = (tmp_path / "m" / "config.json").read_text()
    (tmp_path / "m" / "config.json").write_text(text.replace('"width": 32', '"width": 16'))
    with pytest.raises(InputError, match="don't belong together"):
        restore(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(text.replace('"width": 32', '"weight": 32'))
    with pytest.raises(InputError, match=r"config\.json has weight, which this version"):
        restore(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(text.replace('"lexicon"', '"lexikon"'))
    with pytest.raises(InputError, match=r"config\.json: lacks lexicon"):
        restore(tmp_path / "m")
