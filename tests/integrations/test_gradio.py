"""The page over Gradio where it is installed, else over a stand-in that records what is made of it."""

import sys
from contextlib import nullcontext
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from segue.integrations.gradio import gradio_blocks
from segue.types import InputError, NotInstalled

IMAGE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)


@pytest.fixture
def asked(monkeypatch):
    """The functions that the page's buttons call, in the order of its tabs."""
    if find_spec("gradio"):
        import gradio

        found = []
        click = gradio.Button.click
        monkeypatch.setattr(gradio.Button, "click", lambda self, fn, *io: (found.append(fn), click(self, fn, *io)))
        return found
    found, part = [], lambda *_, **__: SimpleNamespace(click=lambda fn, *io: found.append(fn))
    stand_in = SimpleNamespace(
        Blocks=lambda **_: nullcontext("page"), Tab=lambda _: nullcontext(), Image=part, Textbox=part, Button=part,
        Error=type("Error", (Exception,), {}),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "gradio", stand_in)
    return found


def test_each_model_has_a_tab_that_answers(asked, tiny_model):
    page = gradio_blocks("scenes-encoder", "crossmodal-scenes", str(tiny_model))
    assert page is not None
    by_names, draw, by_note = asked
    shown, said = by_names(IMAGE, "dog, grass")
    assert shown.size[0] >= 64
    assert "grass" in said or "dog" in said
    shown, said = draw(None, "a dog on the grass")
    assert said.startswith("Layout('a dog on the grass'")
    shown, said = by_note(IMAGE, "")
    assert (shown.size, said.startswith("Segmentation(")) == ((64, 64), True)
    with pytest.raises(sys.modules["gradio"].Error, match="label"):
        by_names(IMAGE, "")


def test_a_model_of_another_job_is_refused(asked):
    with pytest.raises(InputError, match="sgdiff-scenes: a Describer, expected a model that captions"):
        gradio_blocks("sgdiff-scenes")


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(NotInstalled, match="pip install gradio"):
        gradio_blocks("scenes-encoder")
