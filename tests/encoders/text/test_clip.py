"""CLIP's text encoder against transformers."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from contract.encoders import TextEncoderContract
from segue.encoders.text.clip import ClipTextEncoder
from segue.types import InputError


class TestClipText(TextEncoderContract):
    @pytest.fixture
    def encoder(self, clip):
        return clip


def test_clip_equals_transformers(clip, clip_folder):
    from transformers import AutoTokenizer, CLIPTextModel

    notes = ["left lung", "Left"]
    rows = AutoTokenizer.from_pretrained(clip_folder)(notes, padding=True, return_tensors="pt")
    theirs = CLIPTextModel.from_pretrained(clip_folder).eval()(**rows).last_hidden_state
    ids, mask = clip.tokenize(notes)
    assert torch.equal(mask, rows["attention_mask"].bool())
    assert torch.equal(ids[mask], rows["input_ids"][mask])
    torch.testing.assert_close(clip(ids, mask)[mask], theirs[mask], atol=1e-6, rtol=0)


def test_clip_is_causal(clip):
    ids, mask = clip.tokenize(["left lung"])
    changed = ids.clone()
    changed[0, -2] = 5
    one, other = clip(ids, mask)[0], clip(changed, mask)[0]
    torch.testing.assert_close(one[:-2], other[:-2], atol=1e-6, rtol=0)
    assert not torch.allclose(one[-2:], other[-2:])


def test_clip_keeps_start_and_end_when_it_cuts(clip_folder):
    encoder = ClipTextEncoder(str(clip_folder), max_tokens=4)
    with pytest.warns(UserWarning, match="^1 tokens dropped"):
        assert encoder.token_texts("left left left") == ["<|startoftext|>", "left", "left", "<|endoftext|>"]
    with pytest.raises(InputError, match="got max_tokens=78, expected at most 24"):
        ClipTextEncoder(str(clip_folder), max_tokens=78)


def test_clip_refuses_other_folders(tmp_path, clip_folder):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="holds a 'bert' model, expected a CLIP"):
        ClipTextEncoder(str(tmp_path))
    with pytest.raises(InputError, match=r"text encoder '.*nowhere': neither a folder nor a hub id"):
        ClipTextEncoder(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"no/such@v1: no text encoder could be read there .* folder with config.json"):
        ClipTextEncoder("no/such@v1")


@pytest.fixture
def damaged(clip_folder, tmp_path):
    """A copy of the CLIP folder, to be spoiled."""
    return Path(shutil.copytree(clip_folder, tmp_path / "clip"))


def test_clip_refuses_a_folder_without_tokenizer(damaged):
    (damaged / "merges.txt").unlink()
    (damaged / "vocab.json").unlink()
    with pytest.raises(InputError, match="put the model's own tokenizer files beside it"):
        ClipTextEncoder(str(damaged))
    (damaged / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="no text encoder could be read there"):
        ClipTextEncoder(str(damaged))


def test_clip_refuses_missing_and_truncated_weights(damaged):
    from safetensors.torch import load_file, save_file

    path = damaged / "model.safetensors"
    whole, weights = path.read_bytes(), load_file(path)
    weights.pop(next(name for name in weights if "layers.1.mlp.fc1.weight" in name))
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"weights missing .*fc1"):
        ClipTextEncoder(str(damaged))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="weights can't be read"):
        ClipTextEncoder(str(damaged))


def test_clip_from_a_whole_clip_in_half_precision(damaged, clip):
    from transformers import CLIPConfig, CLIPModel

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = CLIPConfig(
        text_config=clip.model.config.to_dict(), vision_config={**sizes, "image_size": 8, "patch_size": 8}
    )
    whole = CLIPModel(config)
    whole.half().save_pretrained(damaged)
    encoder = ClipTextEncoder(str(damaged))
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}
    theirs = whole.text_model.embeddings.token_embedding.weight.float()
    assert torch.equal(encoder.model.get_input_embeddings().weight, theirs)
