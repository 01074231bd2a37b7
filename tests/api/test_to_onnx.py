"""ONNX: the graphs answer as the predictors do, at any size, and nothing is left behind where they don't."""

import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

import segue as package
from segue.api import graphs, to_onnx
from segue.data.tokenizer import CaptionTokenizer
from segue.methods.cocu.groupvit.checkpoint import save_groupvit
from segue.methods.cocu.groupvit.config import GroupViTConfig
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.tokenizer import train_tokenizer, with_tokenizer
from segue.methods.cocu.inference import group_maps
from segue.methods.syntic import SupportSet, SynticCheckpoint, SynticConfig, build_syntic, system_config
from segue.types import InputError
from segue.weights import bundled
from tiny_dual_encoder import CAPTIONS

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


def exported(model, folder):
    """model.json, and a function that runs a graph on arrays by name."""
    if not folder.exists():
        to_onnx.export_onnx(model, folder)
    sessions = {path.stem: to_onnx.session(path, 1) for path in folder.glob("*.onnx")}
    return json.loads((folder / "model.json").read_text()), lambda name, **inputs: sessions[name].run(None, inputs)


def groupvit(folder):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(CAPTIONS)
    config = GroupViTConfig(
        width=16, mlp=32, depths=(1, 1), group_tokens=(6, 0), output_groups=(6, 6), heads=2, image_size=32, patch=8,
        text_width=16, text_mlp=32, text_layers=1, text_heads=2, max_tokens=16, projection=16, projection_hidden=32,
    )  # fmt: skip
    save_groupvit(GroupViT(with_tokenizer(config, tokenizer), tokenizer), folder, about={"protocol": "small"})
    return folder


def captioner(system):
    """An untrained one that needs no dual encoder."""
    torch.manual_seed(0)
    words = CaptionTokenizer.learn(CAPTIONS * 2, size=300)
    config = system_config(SynticConfig(width=16, layers=2, heads=2, max_tokens=8), system)
    model = build_syntic(
        config, vocabulary=len(words), encoder_width=12, end=words.end, suppressed_token_ids=words.suppressed_token_ids
    )
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    support = SupportSet(np.eye(12, dtype=np.float32)[:4], CAPTIONS)
    return SynticCheckpoint(model.eval(), words, {"width": 12, "fingerprint": "0"}, support)


def test_the_commands_segmenter_answers_as_the_predictor_does(tiny_model, home, segue):
    status, out, error = segue("export", tiny_model, "--onnx", home / "segmenter")
    assert status == 0, error
    assert "segmenter.onnx: differs from torch by" in out
    assert {p.name for p in (home / "segmenter").iterdir()} == {"segmenter.onnx", "model.json", "tokenizer.json"}
    assert segue("export", tiny_model, "--onnx", home / "segmenter") == (0, out, "")  # as after a kill behind the end
    (home / "other").mkdir()
    status, _, error = segue("export", tiny_model, "--onnx", home / "other")
    assert (status, "is there already, with something else" in error) == (2, True)
    model = package.load(tiny_model)
    described, run = exported(model, home / "segmenter")
    assert [x["shape"] for x in described["graphs"]["segmenter"]["inputs"]] == [
        ["batch", 3, 32, 32], ["batch", "tokens"], ["batch", "tokens"],
    ]  # fmt: skip
    notes = ["left lung", None, "two infected areas, all left lung"]
    tokenizer = Tokenizer.from_file(str(home / "segmenter" / described["tokens"]["file"]))
    rows = [tokenizer.encode(note).ids if note else [] for note in notes]
    ids, word_mask = np.zeros((3, 20), np.int64), np.zeros((3, 20), np.bool_)
    for i, row in enumerate(rows):
        ids[i, : len(row)], word_mask[i, : len(row)] = row, True
    pixels = model.preprocessing.to_tensor([np.full((40, 56, 3), 90, np.uint8)]).expand(3, -1, -1, -1)
    pixels = pixels + torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    (logits,) = run("segmenter", pixels=pixels.numpy(), ids=ids, word_mask=word_mask)
    wanted = torch.stack([x[0] for x in model._logits(pixels, notes)[0]])
    np.testing.assert_allclose(logits[:, 0], wanted.detach().numpy(), atol=1e-4)
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_a_captioners_graphs_write_what_it_writes(home):
    model = captioner("full")
    described, run = exported(model, home / "captioner")
    v = torch.nn.functional.normalize(torch.randn(3, 12, generator=torch.Generator().manual_seed(1)), dim=1)
    projected = v.numpy()
    support = np.load(home / "captioner" / described["support"]["file"]).astype(np.float32)
    score = projected @ support.T / described["support"]["tau"]
    weight = np.exp(score - score.max(1, keepdims=True))
    projected = weight / weight.sum(1, keepdims=True) @ support
    objects, found = np.zeros((3, 1, 12), np.float32), np.zeros((3, 1), np.bool_)
    logits, keys, values = run("start", projected=projected, picture=v.numpy(), objects=objects, found=found)
    said = [[] for _ in v]
    for _ in range(described["tokens"]["most"]):
        logits[:, described["tokens"]["never"]] = -np.inf
        tokens = logits.argmax(1)
        for row, token in zip(said, tokens.tolist(), strict=True):
            row.append(token)
        logits, keys, values = run("step", tokens=tokens, keys=keys, values=values)
    end = described["tokens"]["end"]
    cut = [row[: row.index(end)] if end in row else row for row in said]
    assert cut == [one[0].tokens for one in model.model.generate(v, model.support)]


def test_the_cache_grows_as_the_decoders_own():
    model = captioner("full").model
    inputs = graphs.captioner_graphs(captioner("full"))["start"].sample(2, 2)
    with torch.inference_mode():
        logits, keys, values = graphs.StartGraph(model)(**inputs)
        wanted, cache = model.decoder.start(model.prefix(*inputs.values()))
        torch.testing.assert_close(logits, wanted)
        for _ in range(3):
            tokens = logits.argmax(1)
            logits, keys, values = graphs.StepGraph(model.decoder)(tokens, keys, values)
            wanted, cache = model.decoder.step(tokens, cache)
            torch.testing.assert_close(logits, wanted)
        torch.testing.assert_close(keys[1], cache.keys[1][:, :, : cache.length])


def test_a_groupvit_in_two_graphs(home):
    model = package.load(groupvit(home / "groupvit-model"))
    described, run = exported(model, home / "groupvit")
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    picture, groups, maps = run("pictures", pixels=pixels.numpy())
    with torch.inference_mode():
        vision = model.model.encode_image(pixels)
        texts = model.model.embed_texts(["a brown dog", "a red car on the grass"])
        np.testing.assert_allclose(groups, model.model.embed_groups(vision).numpy(), atol=1e-4)
        np.testing.assert_allclose(maps, group_maps(vision).numpy(), atol=1e-4)
        np.testing.assert_allclose(picture, model.model.embed_image(vision).numpy(), atol=1e-4)
    ids = model.model.tokenize(["a brown dog", "a red car on the grass"]).numpy()
    np.testing.assert_allclose(run("texts", ids=ids)[0], texts.numpy(), atol=1e-4)
    assert described["scale"] == pytest.approx(float(model.model.scale.detach()))


def test_a_difference_is_an_error_and_leaves_nothing(tiny_model, tmp_path, segue, monkeypatch):
    monkeypatch.setattr(to_onnx, "write_graph", lambda graph, path: None)
    monkeypatch.setattr(to_onnx, "session", lambda path, threads: None)
    monkeypatch.setattr(to_onnx, "run_onnx", lambda running, inputs: [np.zeros((len(inputs["pixels"]), 1, 32, 32))])
    status, _, error = segue("export", tiny_model, "--onnx", tmp_path / "out")
    assert status == 1
    assert "onnxruntime's answers differ from torch's" in error
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_on_the_cpu_is_refused(tiny_model, tmp_path):
    with pytest.raises(InputError, match=r'the model is on meta; move it first: model\.to\("cpu"\)'):
        to_onnx.export_onnx(package.load(tiny_model).to("meta"), tmp_path / "onnx")


def test_what_can_not_be_exported_is_named(segue, tmp_path, tiny_model):
    status, _, error = segue("export", "scenes-encoder", "--onnx", tmp_path / "out")
    assert status == 2
    assert "'dual_encoder' has no ONNX export; what has: segmenters (reclmis, unet)" in error
    with pytest.raises(InputError, match=r"VisionTextDualEncoder: has no ONNX export"):
        to_onnx.export_onnx(package.load(bundled()["scenes-encoder"]), tmp_path / "out")
    model = package.load(tiny_model)
    model.members *= 2
    with pytest.raises(InputError, match="2 folds"):
        to_onnx.export_onnx(model, tmp_path / "out")
    assert segue("export", tiny_model)[0] == 2
    assert list(tmp_path.iterdir()) == []
