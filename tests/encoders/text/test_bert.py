import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from segue.encoders.text.bert import load_bert
from segue.types import InputError


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    return tmp_path


@torch.no_grad()
def test_it_answers_as_transformers_does(folder):
    ids, mask = torch.randint(1, 50, (3, 9)), torch.arange(9) < torch.tensor([[9], [4], [1]])
    theirs = BertModel.from_pretrained(folder).eval()(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(load_bert(folder)(ids, mask)[mask], theirs[mask], rtol=0, atol=1e-6)


def test_its_weights_are_in_the_published_order_by_which_they_are_fingerprinted(folder):
    theirs = [name for name, _ in BertModel.from_pretrained(folder, add_pooling_layer=False).named_parameters()]
    assert [name for name, _ in load_bert(folder).named_parameters()] == theirs


@pytest.mark.parametrize("change", ["missing", "foreign"])
def test_other_weights_are_refused(folder, change):
    tensors = load_file(folder / "model.safetensors")
    if change == "missing":
        del tensors["encoder.layer.1.output.dense.weight"]
    else:
        tensors["more"] = torch.zeros(1)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"its weights can't be read .*install the package again"):
        load_bert(folder)
