"""The released training step: a second temperature for the prompts, each of which must fit."""

import pytest
import torch

from methods.cocu.groupvit.test_losses import released
from methods.cocu.groupvit.tiny_groupvit import TINY, make_model, plain_batch
from segue.methods.cocu.groupvit.released_task import ReleasedTask


def test_its_terms_are_the_released_losses_at_their_own_temperatures():
    torch.manual_seed(0)
    task = ReleasedTask(make_model(TINY, image_size=32, logit_scale=1.0)).eval()
    with torch.no_grad():
        task.prompt_logit_scale.fill_(0.5)
        batch = plain_batch(prompts=3)
        found = task.training_step(batch)
        _, image, text = task.model.embed_batch(batch)
    assert float(found["caption"]) == pytest.approx(released(image, text[:, :1], torch.e), abs=1e-4)
    assert float(found["prompts"]) == pytest.approx(released(image, text[:, 1:], torch.e**0.5), abs=1e-4)
    assert float(found["loss"]) == pytest.approx(float(found["caption"] + found["prompts"]))


def test_each_temperature_learns_from_its_own_term_alone():
    torch.manual_seed(0)
    task = ReleasedTask(make_model(TINY, image_size=32))
    terms = task.training_step(plain_batch(prompts=2))
    both = [task.model.logit_scale, task.prompt_logit_scale]
    of_captions = torch.autograd.grad(terms["caption"], both, retain_graph=True, allow_unused=True)
    of_prompts = torch.autograd.grad(terms["prompts"], both, allow_unused=True)
    assert of_captions[0] != 0
    assert of_captions[1] is None
    assert of_prompts[0] is None
    assert of_prompts[1] != 0
    assert set(ReleasedTask(make_model()).training_step(plain_batch(size=224, prompts=0))) == {"loss", "caption"}
