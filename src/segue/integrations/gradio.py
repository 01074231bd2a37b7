"""Gradio: a page over models of Segue, such as for a Space of Hugging Face.

In the Space's `app.py` (its `requirements.txt` names gradio and a wheel of Segue):

    from segue.integrations.gradio import gradio_blocks

    gradio_blocks("captions-photos", "photos-encoder").launch()

`segue serve` has the fuller page, of all jobs; this one is for places that run Gradio alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from segue.api import load
from segue.api.captioner import Captioner
from segue.api.illustrator import Illustrator
from segue.api.label_segmenter import DualEncoderSegmenter, load_label_segmenter
from segue.api.open_vocabulary import OpenVocabularySegmenter
from segue.api.segmenter import Segmenter
from segue.encoders.dual_encoder import DualEncoder
from segue.types import InputError, NotInstalled

Ask = Callable[[Any, Any, str], tuple[Any, str]]  # (model, picture, words) -> a picture to show, and text
JOBS: dict[type, tuple[str, str, Ask]] = {  # predictor -> its tab, what the words are, how it is asked
    Captioner: ("Caption", "", lambda model, image, words: (image, "\n".join(c.text for c in model.caption(image)))),
    Segmenter: ("Segment by a note", "note", lambda model, image, words: _shown(model.segment(image, words or None))),
    OpenVocabularySegmenter: (
        "Segment by names", "names, with commas between them", lambda model, image, words: _shown(model(image, words)),
    ),
    Illustrator: ("Draw a layout", "sentence", lambda model, image, words: _shown(model.draw(words, image=image)[0])),
}  # fmt: skip
JOBS[DualEncoderSegmenter] = JOBS[OpenVocabularySegmenter]


def gradio_blocks(*models: str, device: str = "auto") -> Any:
    """A `gradio.Blocks` with a tab for each model.

    models: bundled names, folders or hub ids of models that caption, segment by notes or by names, or draw layouts.
    Raises NotInstalled where the package gradio is missing, and InputError for a model that can't be had or of another
    job.
    """
    gradio, loaded = _gradio(), [_load(name, device) for name in models or ("captions-photos", "photos-encoder")]
    with gradio.Blocks(title="Segue") as page:
        for model in loaded:
            title, words, ask = JOBS[type(model)]
            with gradio.Tab(title):
                image = gradio.Image(type="numpy", label="picture")
                text = gradio.Textbox(label=words or "words", visible=bool(words))
                button = gradio.Button(title)
                shown, said = gradio.Image(label="answer"), gradio.Textbox(label="answer in words")
                button.click(partial(_answer, gradio, ask, model), [image, text], [shown, said])
    return page


def _load(name: str, device: str) -> Any:
    model = load(name, device=device)
    if isinstance(model, DualEncoder):
        model = load_label_segmenter(name, device=device)
    if type(model) not in JOBS:
        raise InputError(f"{name}: a {type(model).__name__}, expected a model that captions, segments or draws")
    return model


def _answer(gradio: Any, ask: Ask, model: Any, image: Any, words: str) -> tuple[Any, str]:
    """What is wrong with a question is shown on the page."""
    try:
        return ask(model, image, words)
    except InputError as error:
        raise gradio.Error(str(error)) from error


def _shown(answer: Any) -> tuple[Any, str]:
    return answer.plot(), str(answer)


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise NotInstalled("gradio: the package is missing: pip install gradio") from error
    return gradio
