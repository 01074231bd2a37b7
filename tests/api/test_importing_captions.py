"""A decoder of DeCap's authors, written here with random numbers, becomes a captioner of Segue's."""

import re

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from segue.api import load_captioner
from segue.encoders.dual_encoder import ClipDualEncoder
from segue.options import Decoding
from segue.types import InputError
from tiny_clip import write_clip

D, W, LAYERS = 12, 16, 3
SUPPORT = ["a dog on grass", "a red car", "two men at a table"]


class Reference(torch.nn.Module):
    """The released network: a GPT-2 of transformers behind a linear layer, with more tokens than CLIP has."""

    def __init__(self, tokens):
        super().__init__()
        sizes = {"n_embd": W, "n_layer": LAYERS, "n_head": 4, "n_positions": 64, "vocab_size": tokens}
        self.decoder = GPT2LMHeadModel(GPT2Config(**sizes))
        self.clip_project = torch.nn.ModuleDict({"model": torch.nn.Sequential(torch.nn.Linear(D, W))})

    def logits(self, feature, ids):
        prefix = self.clip_project["model"](feature).reshape(1, 1, W)
        words = self.decoder.transformer.wte(torch.tensor([ids], dtype=torch.int64))
        return self.decoder(inputs_embeds=torch.cat([prefix, words], 1)).logits[0]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return str(write_clip(tmp_path_factory.mktemp("clip"), projection_dim=D))


@pytest.fixture(scope="module")
def theirs(clip):
    torch.manual_seed(1)
    network = Reference(len(AutoTokenizer.from_pretrained(clip)) + 7).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return network


def test_an_imported_decoder_says_what_the_released_loop_says(tmp_path, clip, theirs, segue):
    torch.save(theirs.state_dict(), tmp_path / "coco_prefix-009.pt")
    status, _, error = segue("import", tmp_path / "coco_prefix-009.pt", "-o", tmp_path / "m", "--tokenizer", clip)
    assert status == 0, error
    captioner = load_captioner(tmp_path / "m", support=SUPPORT)
    model, tokens = captioner.checkpoint.model, AutoTokenizer.from_pretrained(clip)
    assert (model.config.layers, model.config.heads, model.config.tau) == (LAYERS, 4, 0.01)

    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    encoder = ClipDualEncoder(clip)
    v, t = (x / x.norm(dim=-1, keepdim=True) for x in (encoder.embed_images([image]), encoder.embed_texts(SUPPORT)))
    p = (v @ t.T * 100).softmax(-1) @ t
    p = p / p.norm(dim=-1, keepdim=True)
    with torch.no_grad():
        ids = [tokens.bos_token_id]
        for _ in range(28):
            allowed = theirs.logits(p[0], ids)[-1, : len(tokens)]
            allowed[tokens.bos_token_id] = -torch.inf  # which a caption has once
            ids.append(int(allowed.argmax()))
            if ids[-1] == tokens.eos_token_id:
                break
        logits = theirs.logits(p[0], ids)[1:, : len(tokens)]
        mine = model.decoder(model.prefix(p), torch.tensor([ids[1:]]))[0]
    np.testing.assert_allclose(mine, logits, atol=1e-4)
    said = "".join(tokens.convert_ids_to_tokens([one for one in ids[1:] if one != tokens.eos_token_id]))
    [answer] = captioner.caption(image, options=Decoding(beams=1, num=1))
    assert answer.text.replace(" ", "") == said.replace("</w>", "")
    assert len(said) > 10

    with pytest.raises(InputError, match="--support FILE"):
        load_captioner(tmp_path / "m").caption(image)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"decoder.transformer.h.1.ln_1.weight": None}, r"lacks 1 tensors .*h\.1\.ln_1\.weight"),
        ({"decoder.transformer.wte.weight": None}, "lacks the tensor decoder.transformer.wte.weight"),
        ({"decoder.transformer.wte.weight": torch.zeros(9, W)}, "9 tokens of width 16, expected at least"),
        ({"extra": torch.zeros(1)}, "has 1 tensors that DeCap's released decoder has not, such as extra"),
        ({"gpt.transformer.wte.weight": torch.zeros(9, W)}, "a decoder of CapDec's"),
        (
            {"clip_project.model.0.weight": torch.zeros(W, 640)},
            "reads features of width 640, those of .* have 12; pass the CLIP",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, clip, theirs, segue, changed, message):
    tensors = {name: x for name, x in (theirs.state_dict() | changed).items() if x is not None}
    torch.save(tensors, tmp_path / "decap.pt")
    status, _, error = segue("import", tmp_path / "decap.pt", "-o", tmp_path / "m", "--tokenizer", clip)
    assert status == 2
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert not (tmp_path / "m").exists()
