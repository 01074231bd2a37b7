"""The captions' tokenizer: there and back, ends that are never cut away, files."""

import pytest

from segue.data.tokenizer import CaptionTokenizer, close_gaps
from segue.types import InputError

CAPTIONS = [
    "A dog's ball, on the (green) grass.",
    "Two dogs play in the park!",
    "A T-shirt costs $5: cheap?",
    "a man isn't riding a brown horse on the beach",
] * 3


@pytest.fixture(scope="module")
def words():
    return CaptionTokenizer.learn(CAPTIONS, size=340)


def test_there_and_back(words):
    for caption in CAPTIONS[:4]:
        tokens, real = words.encode([caption], 40)
        assert words.decode(tokens[0].tolist()) == caption.lower()
        assert real.all()


def test_the_end_is_never_cut_away(words):
    tokens, real = words.encode(CAPTIONS[:4], 5)
    assert tokens.shape == (4, 6)
    for row, flags in zip(tokens, real, strict=True):
        said = row[flags].tolist()
        assert said[-1] == words.end
        assert said.count(words.end) == 1


def test_padding_is_not_real(words):
    tokens, real = words.encode(["a dog", CAPTIONS[0]], 40)
    assert (tokens[~real] == words.pad).all()
    assert real.sum(1)[0] < real.sum(1)[1] == tokens.shape[1]


def test_decoding_stops_at_the_end_and_leaves_special_tokens_out(words):
    row = words.encode(["a dog"], 9)[0][0].tolist()
    assert words.decode([*row, *row]) == "a dog"
    assert words.decode([words.pad, *row[:-1], words.pad]) == "a dog"


def test_the_size_is_the_true_one(words):
    assert len(words) == len(words.tokenizer.get_vocab()) <= 340
    assert words.suppressed_token_ids == (words.pad,) != (words.end,)


def test_learned_twice_the_same(words):
    assert CaptionTokenizer.learn(iter(CAPTIONS), size=340).tokenizer.to_str() == words.tokenizer.to_str()


def test_no_character_is_unknown_and_broken_ones_are_left_out(words):
    assert words.decode(words.encode(["Ein Hündchen, 小狗 🐕"], 40)[0][0].tolist()) == "ein hündchen, 小狗 🐕"
    dog = words.encode(["🐕"], 40)[0][0].tolist()
    assert words.decode([*words.encode(["a"], 9)[0][0].tolist()[:-1], *dog[:-2]]) == "a"


def test_saved_and_loaded(words, tmp_path):
    words.save(tmp_path / "new")
    assert CaptionTokenizer.load(tmp_path / "new").tokenizer.to_str() == words.tokenizer.to_str()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize(
    ("rough", "clean"),
    [("a dog ' s ball .", "a dog's ball."), ("a t-shirt ( red )", "a t-shirt (red)"), ("  a   b ", "a b")],
)
def test_tidy(rough, clean):
    assert close_gaps(rough) == clean


def test_bad_input(words, tmp_path):
    with pytest.raises(InputError, match="no caption to learn from"):
        CaptionTokenizer.learn([])
    with pytest.raises(InputError, match="nothing to read in it"):
        words.encode(["a dog", "  "], 5)
    with pytest.raises(InputError, match=r"no tokenizer\.json there"):
        CaptionTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer"):
        CaptionTokenizer.load(tmp_path)
