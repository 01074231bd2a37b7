"""The task of the training loop that trains a dual encoder."""

import torch

import golden
from segue.encoders.dual_encoder import DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.small import SmallImageEncoder
from segue.encoders.text.small import SmallTextEncoder
from segue.methods.dual_encoder.model import ClassDistillation, DualEncoderTask

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


def test_a_classifiers_answers_are_learned_by_its_names():
    """The term is the cross-entropy to the classifier's probabilities, and it falls while the names are learned."""
    task = DualEncoderTask(make_model()).eval()
    g = torch.Generator().manual_seed(1)
    features, image_index = torch.randn(4, 16, generator=g), torch.arange(4)
    texts = torch.randn(1, 3, task.model.text_encoder.width, generator=g)
    known = ClassDistillation(0.5, torch.randn(3, 16, generator=g), torch.zeros(3), texts)
    data = {"image": features, "text": torch.randn(4, task.model.text_encoder.width, generator=g)}
    data["image_index"] = image_index
    taught = DualEncoderTask(task.model, distillation=known)
    terms = taught.training_step(data)
    p = (features @ known.classifier.T).softmax(1)
    image = torch.nn.functional.normalize(task.model.project_image(features), dim=1)
    names = torch.nn.functional.normalize(task.model.text_projection(texts[0]), dim=1)
    log_q = (task.model.logit_scale() * image @ names.T).log_softmax(1)
    torch.testing.assert_close(terms["distillation"], -(p * log_q).sum(1).mean())
    torch.testing.assert_close(terms["loss"], terms["contrastive"] + 0.5 * terms["distillation"])


def test_losses_are_what_they_were():
    task = DualEncoderTask(golden.set_weights(make_model()), hard_negatives=0.5, label_smoothing=0.1)
    data = batch(task.model) | {"image": golden.inputs("image", 4, 3, 32, 32)}
    golden.same_as_before("dual encoder", **task.training_step(data))
    features = {"image": golden.inputs("v", 4, 16), "text": golden.inputs("t", 4, 16)}
    known = ClassDistillation(0.5, golden.inputs("c", 3, 16), golden.inputs("b", 3), golden.inputs("n", 1, 3, 16))
    distilled = DualEncoderTask(task.model, distillation=known).training_step(data | features)
    golden.same_as_before("dual encoder distilled", **distilled)
