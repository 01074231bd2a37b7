"""A checkpoint of RecLMIS' authors, written here with random numbers, becomes a model of Segue's."""

import numpy as np
import pytest
import torch

from methods.reclmis.test_released import BASE, CONFIG, GRID, C, Reference, weights
from segue.api import load_segmenter
from segue.api.importing_notes import import_reclmis
from segue.encoders.text.clip import ClipTextEncoder
from segue.types import InputError
from tiny_clip import write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return str(write_clip(tmp_path_factory.mktemp("clip"), projection_dim=C))


def test_an_imported_checkpoint_gives_the_public_network_s_masks(tmp_path, clip, segue):
    theirs = weights()
    torch.save({"epoch": 3, "val_loss": torch.tensor(0.5), "state_dict": theirs}, tmp_path / "best.pth.tar")
    status, _, error = segue("import", tmp_path / "best.pth.tar", "-o", tmp_path / "m", "--tokenizer", clip)
    assert status == 0, error
    model, note = load_segmenter(tmp_path / "m"), "left lung"
    network = model.members[0].network
    assert network.config.widths == CONFIG.widths == (BASE, 2 * BASE, 4 * BASE, C, C)
    assert (network.config.grid, network.config.reconstruction_layers) == (GRID, CONFIG.reconstruction_layers)
    assert network.vision_reconstructor is None
    text = ClipTextEncoder(clip, max_tokens=18, projected=True)
    ids, words = text.tokenize([note])
    assert ids.shape == (1, 18)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    logits = Reference(theirs)(x.flip(1), text(ids, words), words)["logits"]
    answer = model.segment(image, note=note).probability
    np.testing.assert_allclose(answer, logits.sigmoid()[0, 0].detach().numpy(), atol=1e-5)


def test_what_is_no_such_checkpoint_is_refused(tmp_path, clip):
    torch.save({"state_dict": {"x": torch.zeros(1)}}, tmp_path / "other.pth.tar")
    with pytest.raises(InputError, match="holds no tensors of RecLMIS' released network"):
        import_reclmis(tmp_path / "other.pth.tar", tmp_path / "m", clip=clip)
    broken = {name: x for name, x in weights().items() if name != "outc.weight"}
    torch.save(broken, tmp_path / "broken.pth.tar")
    with pytest.raises(InputError, match=r"not RecLMIS' released network \('outc\.weight'\)"):
        import_reclmis(tmp_path / "broken.pth.tar", tmp_path / "m", clip=clip)
    torch.save(weights() | {"clip.token_embedding.weight": torch.ones(3, 3)}, tmp_path / "clip.pth.tar")
    with pytest.raises(InputError, match="was trained with another CLIP than"):
        import_reclmis(tmp_path / "clip.pth.tar", tmp_path / "m", clip=clip)
    with pytest.raises(InputError, match="no such file"):
        import_reclmis(tmp_path / "none.pth.tar", tmp_path / "m", clip=clip)
