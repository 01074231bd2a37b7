"""Initialisation from a ViT and a BERT."""

import pytest
import torch
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertModel,
    BertTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from methods.crossmodal.tiny_crossmodal import batch
from segue.methods.crossmodal.model import build_crossmodal
from segue.methods.crossmodal.pretrained import load_pretrained_weights, load_vit_and_bert, pretrained_config
from segue.types import InputError


def test_pretrained_weights_are_the_bert_and_the_vit():
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    vit = ViTModel(ViTConfig(**shape, image_size=16, patch_size=4)).eval()
    bert = BertModel(BertConfig(**shape, vocab_size=20, max_position_embeddings=16)).eval()
    config = pretrained_config(vit, bert, codes=12, grid=(4, 4), max_words=8)
    network = build_crossmodal(config).eval()
    load_pretrained_weights(network, vit, bert)
    data = batch()
    with torch.no_grad():
        theirs = bert(input_ids=data["ids"], attention_mask=(data["ids"] != 0).long()).last_hidden_state
        ours = network.encode_captions(data["ids"])
        torch.testing.assert_close(ours.states[-1][ours.mask], theirs[ours.mask], rtol=1e-4, atol=1e-5)
        patches = vit.embeddings(data["image"])[:, 1:]
        torch.testing.assert_close(network.cell_embedding(data["codes"], data["image"]), patches, rtol=1e-4, atol=1e-5)
        for layer in vit.layers if hasattr(vit, "layers") else vit.encoder.layer:
            out = layer(patches)
            patches = out if torch.is_tensor(out) else out[0]
        seen = network.encode_layouts(data["codes"], data["image"]).states[-1]
        torch.testing.assert_close(seen, vit.layernorm(patches), rtol=1e-4, atol=1e-5)


def test_pretrained_weights_of_unequal_shapes_are_refused():
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 128}
    vit = ViTModel(ViTConfig(**shape, image_size=16, patch_size=4))
    bert = BertModel(BertConfig(**{**shape, "num_hidden_layers": 2}, vocab_size=20))
    with pytest.raises(InputError, match="expected equal ones"):
        pretrained_config(vit, bert, codes=12, grid=(4, 4))


def test_heads_of_the_pretraining_are_left_out_and_other_weights_are_refused(tmp_path):
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 128}
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog"]
    ViTForImageClassification(ViTConfig(**shape, image_size=16, patch_size=4)).save_pretrained(tmp_path / "vit")
    BertForPreTraining(BertConfig(**shape, vocab_size=len(words))).save_pretrained(tmp_path / "bert")
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    vit, bert, tokenizer = load_vit_and_bert(str(tmp_path / "vit"), str(tmp_path / "bert"))
    assert (vit.pooler, bert.pooler) == (None, None)
    assert tokenizer.encode(["dog"], 4)[0].tolist() == [[5, 3]]
    with pytest.raises(InputError, match="holds a 'bert' model"):
        load_vit_and_bert(str(tmp_path / "bert"), str(tmp_path / "bert"))
