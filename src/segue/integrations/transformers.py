"""transformers: a model of Segue as one of its classes, for the folders that `save_pretrained` writes.

    from transformers import AutoModel

    model = AutoModel.from_pretrained("you/chest", trust_remote_code=True)
    print(model("chest.png", "One infected area, upper left lung.").area)

and in its pipelines, "image-segmentation" of models that segment and "image-to-text" of those that caption:

    from transformers import pipeline

    segment = pipeline("image-segmentation", "you/chest", trust_remote_code=True)
    print(segment("chest.png", note="One infected area, upper left lung."))

The code that is trusted is `segue_auto.py` of the folder, two lines that import this module: Segue must be installed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, cast

from PIL import Image
from torch import nn
from transformers import Pipeline, PretrainedConfig, PreTrainedModel
from transformers.image_utils import load_image

from segue.api import from_pretrained
from segue.api.answers import mask_as_grounded_caption
from segue.api.captioner import Captioner
from segue.api.describer import Describer
from segue.api.hub import AUTO_MAP, save_pretrained
from segue.api.label_segmenter import DualEncoderSegmenter
from segue.encoders.dual_encoder import DualEncoder
from segue.types import Answer


class SegueConfig(PretrainedConfig):
    """What transformers must know of a checkpoint, which is no more than whose it is."""

    model_type = "segue"

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, name: str | Path, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> Any:
        """That of a folder or of owner/name on the hub; of it only the pipelines are read."""
        found = cls()
        found.auto_map = AUTO_MAP
        found.custom_pipelines = cls.get_config_dict(name, **kwargs)[0].get("custom_pipelines", {})
        return (found, {}) if return_unused_kwargs else found


class SegueModel(PreTrainedModel):
    """A predictor of `segue.load` as a module: called like it, and its networks' weights are the module's.

    predictor: the predictor.
    """

    config_class = SegueConfig

    def __init__(self, config: SegueConfig, predictor: Any) -> None:
        super().__init__(config)
        self.predictor = predictor
        self.networks = nn.ModuleList(_networks(predictor))

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | Path, *_args: Any, revision: str | None = None, **_kwargs: Any
    ) -> Self:
        """The model of a folder or of owner/name on the hub, on the CPU; `to` moves it.

        Of transformers' further arguments none is used. Raises InputError when it can't be had.
        """
        local = Path(pretrained_model_name_or_path).is_dir()
        predictor = from_pretrained(
            pretrained_model_name_or_path, revision=None if local or revision == "main" else revision, device="cpu"
        )
        return cls(SegueConfig(), predictor)

    def forward(self, *args: Any, **options: Any) -> Any:
        """What the predictor answers: of a segmenter by notes (image, note), of a captioner (image), ..."""
        return self.predictor(*args, **options)

    def to(self, device: Any) -> Self:  # type: ignore[override]
        """Move the predictor to a device. Raises InputError when it is not there."""
        self.predictor.to(str(device))
        return self

    def save_pretrained(self, save_directory: str | Path, **_kwargs: Any) -> None:  # type: ignore[override]
        """Write the checkpoint's folder, see `segue.api.save_pretrained`; transformers' arguments are not used."""
        save_pretrained(self.predictor, save_directory)


class SeguePipeline(Pipeline):
    """What `pipeline("image-segmentation", FOLDER, trust_remote_code=True)` gives, or "image-to-text".

    It is called with a picture or a list of them (a path, an address of the web, bytes, a picture of Pillow, an array),
    and with what the predictor takes besides: `note` of a segmenter by notes, `labels` of one by names, `box` and its
    like of a describer, `options` of all. For each picture it answers a list: of {"label", "score", "mask"}, the mask a
    grey picture of Pillow of 0 and 255, or of {"generated_text", "score"}, whose score is None where there is none.
    """

    _load_processor = _load_image_processor = _load_feature_extractor = False  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        return {}, options, {}

    def preprocess(self, input_: Any, **_options: Any) -> dict[str, Any]:
        """A picture, read from the web where it is an address."""
        web = isinstance(input_, str) and input_.startswith(("http://", "https://"))
        return {"image": load_image(input_) if web else input_}

    def _forward(self, input_tensors: dict[str, Any], **options: Any) -> Any:
        predictor, image = cast(SegueModel, self.model).predictor, input_tensors["image"]
        if isinstance(predictor, DualEncoder):
            predictor = DualEncoderSegmenter(predictor)
        answer = predictor(image, **options)
        if isinstance(predictor, Captioner):
            return {"found": [{"generated_text": one.text, "score": one.score} for one in answer]}
        if isinstance(predictor, Describer):
            return {"found": [{"generated_text": one.caption, "score": one.worth["score"]} for one in answer]}
        return {"found": _segments(answer)}

    def postprocess(self, model_outputs: dict[str, Any], **_options: Any) -> list[dict[str, Any]]:
        """What was found."""
        found: list[dict[str, Any]] = model_outputs["found"]
        return found


def _segments(answer: Answer) -> list[dict[str, Any]]:
    """The masks that are not empty."""
    found = mask_as_grounded_caption(answer).groundings
    return [{"label": one.label, "score": one.score, "mask": Image.fromarray(one.mask).convert("L")} for one in found]


def _networks(held: Any) -> list[nn.Module]:
    """The networks that a predictor holds, in its lists and in Segue's objects among its attributes; each once."""
    if isinstance(held, nn.Module):
        return [held]
    parts: Iterable[Any] = held if isinstance(held, list | tuple) else ()
    if type(held).__module__.startswith("segue.") and hasattr(held, "__dict__"):
        parts = vars(held).values()
    return list({id(one): one for part in parts for one in _networks(part)}.values())
