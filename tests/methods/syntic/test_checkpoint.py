"""A captioner written and read; pairs and folders that do not fit."""

import json

import numpy as np
import pytest
import torch

from segue.data.tokenizer import CaptionTokenizer
from segue.methods.syntic import (
    Captioner,
    Support,
    SynticConfig,
    build_syntic,
    load_captioner,
    save_captioner,
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
    model = build_syntic(config, vocabulary=len(words), pair_width=D, end=words.end, silent=words.silent)
    torch.nn.init.normal_(model.shift)
    texts = np.random.default_rng(0).standard_normal((3, D))
    texts = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float16)
    pair = {"width": D, "fingerprint": "abc", "name": "a test's pair"}
    return Captioner(model.eval(), words, pair, Support(texts, TEXTS) if support else None, {"recipe": "a test"})


@pytest.mark.parametrize(("system", "support"), [("full", True), ("baseline", False), ("close", False)])
def test_round_trip(tmp_path, system, support):
    first = captioner(system, support)
    save_captioner(first, tmp_path / "model")
    again = load_captioner(tmp_path / "model")
    assert again.model.config == first.model.config
    assert (again.pair, again.recipe) == (first.pair, first.recipe)
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
    save_captioner(first, tmp_path / "whole")
    save_captioner(first, tmp_path / "half", half=True)
    whole, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.65 * whole  # the support set is float16 in both
    for name, x in load_captioner(tmp_path / "half").model.state_dict().items():
        assert x.dtype == first.model.state_dict()[name].dtype
        assert torch.allclose(x, first.model.state_dict()[name], atol=2e-3), name


def test_captions_are_distinct_text():
    for one in captioner().captions(torch.randn(5, D), options=Decoding(num=5, max_tokens=8)):
        assert len(set(one)) == len(one) > 0


def test_a_pair_of_another_width_or_fingerprint_is_refused():
    made = captioner()
    made.check_pair(D, "abc")
    with pytest.raises(
        InputError, match=r"pair: its features have 512 columns, this captioner reads 12 \(a test's pair\)"
    ):
        made.check_pair(512, "abc")
    with pytest.raises(InputError, match="pair: its fingerprint is xyz, this captioner was trained with abc"):
        made.check_pair(D, "xyz")
    with pytest.raises(
        InputError, match="image features: got 512 columns, expected 12; embed with the image-text pair"
    ):
        made.captions(torch.zeros(1, 512))


def test_folders_that_do_not_fit_are_refused(tmp_path):
    folder = tmp_path / "model"
    save_captioner(captioner(), folder)
    config = json.loads((folder / "config.json").read_text())

    for change, message in (
        ({"method": "reclmis"}, "a checkpoint of the method 'reclmis', expected one of syntic"),
        ({"pair": {}}, "not a captioner's of this version"),
        ({"model": {"colour": 1}}, "not a captioner's of this version"),
        ({"pair": {"width": 7, "fingerprint": "abc"}}, "weights do not fit its config.json"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(InputError, match=message):
            load_captioner(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer.json: can't be read"):
        load_captioner(folder)
    with pytest.raises(InputError, match=r"no config.json there"):
        load_captioner(tmp_path / "elsewhere")


def test_the_loop_trains_it_and_its_checkpoint_answers(tmp_path):
    from segue.training.loop import FitOptions, fit

    made = captioner("fp_af")
    tokens, real = made.words.encode(TEXTS, 8)
    features = torch.tensor(made.support.features, dtype=torch.float32)

    class Pairs:
        def __len__(self):
            return 3

        def collate(self, keys):
            rows = [index for _, index in keys]
            return {
                "tokens": tokens[rows],
                "real": real[rows],
                "image": features[rows],
                "projected": made.support.project(features[rows]),
                "objects": torch.zeros(len(rows), 0, D),
                "found": torch.zeros(len(rows), 0, dtype=torch.bool),
            }

    options = FitOptions(steps=120, batch_size=3, lr=1e-2, precision="float32")
    fit(made.model, Pairs(), out=tmp_path, options=options, save=lambda _, folder: save_captioner(made, folder))
    assert [one[0] for one in load_captioner(tmp_path / "last").captions(features)] == TEXTS
