"""The task of the training loop that trains a dual encoder."""

import torch

from segue.encoders.dual_encoder import DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.small import SmallImageEncoder
from segue.encoders.text.small import SmallTextEncoder
from segue.methods.dual_encoder.model import DualEncoderTask

TEXTS = ["a red ball", "a blue box left of a tree", "two dogs on grass", "a kite"]


def make_model(**options):
    torch.manual_seed(0)
    text = SmallTextEncoder(SmallTextEncoder.train_tokenizer(TEXTS), width=16, layers=1, heads=2)
    return VisionTextDualEncoder(
        DualEncoderConfig(8, 12, **options), SmallImageEncoder(size=32, width=16, layers=1, heads=2), text
    )


def batch(model):
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"image": x, "text": model.text_encoder.tokenize(TEXTS), "image_index": torch.tensor([0, 1, 1, 2])}


def test_every_parameter_gets_a_gradient():
    task = DualEncoderTask(make_model(), hard_negatives=0.5)
    task.training_step(batch(task.model))["loss"].backward()
    assert [n for n, p in task.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_few_steps_lower_the_loss():
    task = DualEncoderTask(make_model())
    data = batch(task.model)
    optimiser = torch.optim.AdamW(task.parameters(), 3e-3)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        losses.append(task.training_step(data)["loss"])
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.7 * losses[0]


def test_features_of_frozen_encoders_stand_for_pixels_and_words():
    task = DualEncoderTask(make_model()).eval()
    data = batch(task.model)
    with torch.no_grad():
        kept = {
            "image": task.model.image_encoder(data["image"]).pooled,
            "text": task.model.encode_text(*data["text"]),
            "image_index": data["image_index"],
        }
        assert task.training_step(kept)["loss"] == task.training_step(data)["loss"]
