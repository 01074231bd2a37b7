"""Models given away and taken: the folder, its card, the hub by a stand-in."""

import json
from pathlib import Path

import numpy as np
import pytest

import segue as package
from api.test_captioner import made
from segue.api import LOADERS, Segmenter, from_pretrained, push_to_hub, save_pretrained
from segue.api.describer import Describer
from segue.api.hub import METHOD_CARDS, model_card
from segue.encoders.dual_encoder import DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.clip import ClipImageEncoder
from segue.encoders.text.clip import ClipTextEncoder
from segue.lab.model_figures import bundled_figures
from segue.methods.dual_encoder.checkpoint import save_dual_encoder
from segue.methods.reclmis.config import RecLMISConfig
from segue.methods.reclmis.model import build_reclmis
from segue.methods.segmenters import SavedSegmenter, save_segmenter
from segue.nn.preprocessing import Preprocessing
from segue.types import InputError
from segue.weights import bundled
from tiny_clip import write_clip
from tiny_dual_encoder import CAPTIONS, tiny_dual_encoder

FILES = {"README.md", "config.json", "model.safetensors", "segue_auto.py", "tokenizer.json"}


def head(folder):
    return (folder / "README.md").read_text().split("---")[1]


def test_a_saved_model_answers_alike_and_has_a_card(tiny_model, tmp_path, picture):
    model = package.load(tiny_model)
    folder = model.save_pretrained(tmp_path / "mine")
    again = from_pretrained(folder)
    np.testing.assert_array_equal(again.segment(picture, "left").mask, model.segment(picture, "left").mask)
    assert {p.name for p in folder.iterdir()} == FILES
    assert "license: apache-2.0\nlibrary_name: segue\npipeline_tag: image-segmentation\ntags:\n- segue" in head(folder)
    text = (folder / "README.md").read_text()
    assert "not for diagnosis" in text
    assert "By `a test`" in text
    assert "None were given; `segue eval` scores the model on your data." in text
    save_pretrained(tiny_model, folder)  # again, as after a kill behind the last step
    (folder / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="is there already, with something else"):
        save_pretrained(tiny_model, folder)


def test_a_saved_groupvit_is_a_model_of_transformers_and_others_are_segues_own(tmp_path):
    from transformers import AutoModel

    folder = save_pretrained("cocu-scenes", tmp_path / "groupvit")
    theirs, ours = AutoModel.from_pretrained(folder), from_pretrained(folder).model
    assert type(theirs).__name__ == "GroupViTModel"
    assert theirs.logit_scale.item() == ours.logit_scale.item()
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    assert "auto_map" not in json.loads((folder / "config.json").read_text())
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoModel.from_pretrained(save_pretrained("captions-photos", tmp_path / "captioner"), trust_remote_code=False)


def test_the_card_shows_the_figures_that_it_is_given(tmp_path):
    folder = save_pretrained("reclmis-chest", tmp_path / "chest", figures={"test, own notes: dice": 0.902358})
    text = (folder / "README.md").read_text()
    assert "| test, own notes: dice | 0.902358 |" in text
    assert "| image_size | 96 |" in text
    assert "not for diagnosis" in text
    assert "not for diagnosis" not in (save_pretrained("scenes-encoder", tmp_path / "se") / "README.md").read_text()


@pytest.mark.parametrize("model", bundled())
def test_a_bundled_models_card_names_its_command_and_its_figures(model, tmp_path, monkeypatch):
    """Wherever it is written; a vocabulary is cut to its start, and a training's folder to its name."""
    figures = bundled_figures(model, Path(__file__).parents[2] / "results")
    monkeypatch.chdir(tmp_path)
    text = (save_pretrained(model, tmp_path / "given", figures=figures) / "README.md").read_text()
    assert "By `segue train " in text
    assert len(figures) >= 4
    assert all(f"| {name} | {value:g} |" in text for name, value in figures.items())
    assert "runs/" not in text
    assert max(len(line) for line in text.splitlines() if line.startswith("| ")) < 120


def test_a_card_depends_on_nothing_in_the_current_folder(tiny_model, tmp_path, monkeypatch):
    """Figures of other weights once came along from ./results, wherever the command was run."""
    texts = []
    for folder in (tmp_path, Path(__file__).parents[2]):
        monkeypatch.chdir(folder)
        texts.append(model_card(tiny_model, "tiny"))
    assert texts[0] == texts[1]


def test_every_method_has_a_card():
    assert set(METHOD_CARDS) == set(LOADERS)


def test_the_cards_python_is_python(tmp_path):
    for card in METHOD_CARDS.values():
        compile(card.example, "card", "exec")


def test_a_captioner_brings_its_encoder(tmp_path):
    tiny_dual_encoder(tmp_path / "far" / "away")
    made(tmp_path / "model", tmp_path / "far" / "away")
    model = package.load(tmp_path / "model")
    folder = model.save_pretrained(tmp_path / "whole")
    assert json.loads((folder / "config.json").read_text())["encoder"]["name"] == "encoder"
    (tmp_path / "far").rename(tmp_path / "gone")
    moved = folder.rename(tmp_path / "moved")
    pixels = np.full((32, 32, 3), 80, np.uint8)
    assert from_pretrained(moved).caption(pixels) == model.caption(pixels)
    with pytest.raises(InputError, match="changed since"):
        model.with_support(CAPTIONS[:2]).save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="is not there"):
        save_pretrained(tmp_path / "model", tmp_path / "other")


def test_a_captioner_keeps_the_hub_id_of_its_encoder(tmp_path):
    """It was once looked for as a folder, and the model refused."""
    tiny_dual_encoder(tmp_path / "pair")
    made(tmp_path / "model", tmp_path / "pair")
    for name in ("me/encoder", "me/encoder@v1", "clip:openai/clip-vit-base-patch32", "scenes-encoder"):
        write_config(tmp_path / "model", "encoder", "name", name)
        folder = save_pretrained(tmp_path / "model", tmp_path / f"given-{len(name)}")
        assert json.loads((folder / "config.json").read_text())["encoder"]["name"] == name
        assert {p.name for p in folder.iterdir()} == FILES


def write_config(folder, part, key, value):
    config = json.loads((folder / "config.json").read_text())
    config[part][key] = value
    (folder / "config.json").write_text(json.dumps(config))


def test_a_captioner_brings_a_clip_of_a_folder(tmp_path):
    """Its config once kept a path that no other machine has."""
    (tmp_path / "clip").mkdir()
    made(tmp_path / "model", f"clip:{write_clip(tmp_path / 'clip')}")
    captions = package.load(tmp_path / "model").caption(pixels := np.full((32, 32, 3), 80, np.uint8))
    folder = save_pretrained(tmp_path / "model", tmp_path / "whole")
    (tmp_path / "clip").rename(tmp_path / "gone")
    assert json.loads((folder / "config.json").read_text())["encoder"]["name"] == "clip:encoder"
    assert package.load(folder.rename(tmp_path / "moved")).caption(pixels) == captions


def test_a_dual_encoder_and_a_segmenter_bring_the_clip_of_their_texts(tmp_path, picture):
    (tmp_path / "clip").mkdir()
    text, image = ClipTextEncoder(str(write_clip(tmp_path / "clip"))), ClipImageEncoder(str(tmp_path / "clip"))
    dual = VisionTextDualEncoder(DualEncoderConfig(width=8, hidden=0), image, text)
    save_dual_encoder(dual, tmp_path / "dual", {"encoder": f"clip:{tmp_path / 'clip'}"})
    network = build_reclmis(RecLMISConfig(widths=(8, 8, 16, 16)), text)
    for fold in ("ensemble/a", "ensemble/b"):
        save_segmenter(SavedSegmenter(network, Preprocessing(size=32), 1.0, {}), tmp_path / fold)
    (tmp_path / "ensemble/ensemble.json").write_text('{"members": ["a", "b"]}')
    mask = package.load(tmp_path / "ensemble").segment(picture, "left").mask
    given = [save_pretrained(tmp_path / name, tmp_path / f"{name}-given") for name in ("dual", "ensemble")]
    assert str(tmp_path) not in (given[0] / "README.md").read_text()
    (tmp_path / "clip").rename(tmp_path / "gone")
    again = package.load(given[0]).embed_texts(["a dog"])
    np.testing.assert_array_equal(again, dual.embed_texts(["a dog"]))
    np.testing.assert_array_equal(package.load(given[1]).segment(picture, "left").mask, mask)


class Api:
    """The hub's api, which keeps what it is given."""

    def __init__(self, token=None):
        Api.seen = {"token": token}

    def create_repo(self, repo, *, private, exist_ok):
        Api.seen |= {"repo": repo, "private": private}

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        Api.seen |= {"files": {p.name for p in Path(folder_path).iterdir()}}
        Api.seen |= {"card": (Path(folder_path) / "README.md").read_text()}
        return f"https://hub/{repo_id}/commit/1"


def test_a_model_is_pushed(tiny_model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    address = push_to_hub(package.load(tiny_model), "me/mine", private=True, token="secret")
    assert address == "https://hub/me/mine/commit/1"
    assert (Api.seen["repo"], Api.seen["private"], Api.seen["token"]) == ("me/mine", True, "secret")
    assert Api.seen["files"] == FILES
    assert 'from_pretrained("me/mine")' in Api.seen["card"]
    assert "secret" not in Api.seen["card"]
    with pytest.raises(InputError, match="expected owner/name"):
        push_to_hub(tiny_model, "mine")


def test_a_model_is_fetched_without_pickles(tiny_model, monkeypatch):
    asked = {}

    def download(repo, *, revision, allow_patterns):
        asked.update(repo=repo, revision=revision, patterns=allow_patterns)
        return str(tiny_model)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert isinstance(Segmenter.from_pretrained("me/mine", revision="v1"), Segmenter)
    assert asked == {
        "repo": "me/mine",
        "revision": "v1",
        "patterns": ["*.safetensors", "*.json", "*.txt", "*.md"],
    }
    with pytest.raises(InputError, match="a Segmenter, expected a Describer"):
        Describer.from_pretrained("me/mine")


def test_what_can_not_be_had_is_reported(tiny_model, monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(*args, **options):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(InputError, match=r"me/mine: neither a folder nor to be had from the hub \(no connection"):
        from_pretrained("me/mine")
    with pytest.raises(InputError, match="goes with a repository"):
        from_pretrained(tiny_model, revision="v1")
    with pytest.raises(InputError, match="neither a folder nor a bundled model"):
        from_pretrained("nowhere")
