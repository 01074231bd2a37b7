"""A captioner written and read; pairs and folders that do not fit."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from segue.data.tokenizer import CaptionTokenizer
from segue.methods.syntic import (
    SupportSet,
    SynticCheckpoint,
    SynticConfig,
    build_syntic,
    load_syntic,
    save_syntic,
    system_config,
)
from segue.options import Decoding
from segue.types import InputError

TEXTS = ["a dog runs on the grass", "two cats sleep", "a man rides a red horse"]
D = 12


def captioner(system="full", support=True):
    torch.manual_seed(0)
    words = CaptionTokenizer.learn(TEXTS * 3, size=300)
    config = system_config(SynticConfig(width=16, layers=1, heads=2, max_tokens=8), system)
    model = build_syntic(
        config, vocabulary=len(words), encoder_width=D, end=words.end, suppressed_token_ids=words.suppressed_token_ids
    )
    torch.nn.init.normal_(model.shift)
    texts = np.random.default_rng(0).standard_normal((3, D))
    texts = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float16)
    encoder = {"width": D, "fingerprint": "abc", "name": "a test's encoder"}
    return SynticCheckpoint(
        model.eval(), words, encoder, SupportSet(texts, TEXTS) if support else None, {"recipe": "a test"}
    )


@pytest.mark.parametrize(("system", "support"), [("full", True), ("baseline", False), ("close", False)])
def test_round_trip(tmp_path, system, support):
    first = captioner(system, support)
    save_syntic(first, tmp_path / "model")
    again = load_syntic(tmp_path / "model")
    assert again.model.config == first.model.config
    assert (again.encoder, again.about) == (first.encoder, first.about)
    for name, x in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], x), name
    v = torch.randn(4, D)
    options = Decoding(num=2, max_tokens=8)
    assert again.captions(v, options=options) == first.captions(v, options=options)
    assert again.captions(v.numpy(), options=options) == first.captions(v, options=options)
    if support:
        assert again.support.captions == TEXTS
        assert np.array_equal(again.support.features, first.support.features)
    else:
        assert again.support is None


def test_half_the_space(tmp_path):
    first = captioner()
    save_syntic(first, tmp_path / "whole")
    save_syntic(first, tmp_path / "half", half=True)
    whole, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.65 * whole  # the support set is float16 in both
    for name, x in load_syntic(tmp_path / "half").model.state_dict().items():
        assert x.dtype == first.model.state_dict()[name].dtype
        assert torch.allclose(x, first.model.state_dict()[name], atol=2e-3), name


def test_captions_are_distinct_text():
    for one in captioner().captions(torch.randn(5, D), options=Decoding(num=5, max_tokens=8)):
        assert len({text for text, _ in one}) == len(one) > 0


def test_a_dual_encoder_of_another_width_or_fingerprint_is_refused():
    made = captioner()
    made.check_encoder(D, "abc")
    with pytest.raises(
        InputError, match=r"encoder: its features have 512 columns, this captioner reads 12 \(a test's encoder\)"
    ):
        made.check_encoder(512, "abc")
    with pytest.raises(InputError, match="encoder: its fingerprint is xyz, this captioner was trained with abc"):
        made.check_encoder(D, "xyz")
    with pytest.raises(InputError, match="image features: got 512 columns, expected 12; embed with the dual encoder"):
        made.captions(torch.zeros(1, 512))


def test_folders_that_do_not_fit_are_refused(tmp_path):
    folder = tmp_path / "model"
    save_syntic(captioner(), folder)
    config = json.loads((folder / "config.json").read_text())

    for change, message in (
        ({"method": "reclmis"}, "a checkpoint of the method 'reclmis', expected one of syntic"),
        ({"encoder": {}}, "encoder: width: got"),
        ({"model": {"colour": 1}}, "config.json has colour"),
        ({"encoder": {"width": 7, "fingerprint": "abc"}}, "has shape .* config.json describes"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(InputError, match=message):
            load_syntic(folder)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {
        name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()
    }  # not the file's
    save_file({**tensors, "foreign": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(InputError, match="the weights have 1 tensors too many, such as foreign"):
        load_syntic(folder)
    save_file(tensors, folder / "model.safetensors")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"no tokenizer\.json there"):
        load_syntic(folder)
    with pytest.raises(InputError, match=r"no config.json there"):
        load_syntic(tmp_path / "elsewhere")


def test_the_loop_trains_it_and_its_checkpoint_answers(tmp_path):
    from segue.training.loop import FitOptions, fit

    made = captioner("fp_af")
    tokens, real = made.tokenizer.encode(TEXTS, 8)
    features = torch.tensor(made.support.features, dtype=torch.float32)

    class Pairs:
        def __len__(self):
            return 3

        def collate(self, keys):
            rows = [index for _, index in keys]
            return {
                "tokens": tokens[rows],
                "real": real[rows],
                "query": features[rows],
                "projected": made.support.project(features[rows]),
                "objects": torch.zeros(len(rows), 0, D),
                "found": torch.zeros(len(rows), 0, dtype=torch.bool),
            }

    options = FitOptions(steps=120, batch_size=3, lr=1e-2, precision="float32")
    fit(made.model, Pairs(), out=tmp_path, options=options, save=lambda _, folder: save_syntic(made, folder))
    assert [one[0][0] for one in load_syntic(tmp_path / "last").captions(features)] == TEXTS
