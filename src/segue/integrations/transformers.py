"""transformers: a model of Segue as one of its classes, for the folders that `save_pretrained` writes.

    from transformers import AutoModel

    model = AutoModel.from_pretrained("you/chest", trust_remote_code=True)
    print(model("chest.png", "One infected area, upper left lung.").area)

The code that is trusted is `segue_auto.py` of the folder, two lines that import this module: Segue must be installed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from segue.api import from_pretrained
from segue.api.hub import AUTO_MAP, save_pretrained


class SegueConfig(PretrainedConfig):
    """What transformers must know of a checkpoint, which is no more than whose it is."""

    model_type = "segue"

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, _name: str | Path, return_unused_kwargs: bool = False, **_kwargs: Any
    ) -> Any:
        """The same for every checkpoint; transformers' further arguments are not used."""
        found = cls()
        found.auto_map = AUTO_MAP
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


def _networks(held: Any) -> list[nn.Module]:
    """The networks that a predictor holds, in its lists and in Segue's objects among its attributes; each once."""
    if isinstance(held, nn.Module):
        return [held]
    parts: Iterable[Any] = held if isinstance(held, list | tuple) else ()
    if type(held).__module__.startswith("segue.") and hasattr(held, "__dict__"):
        parts = vars(held).values()
    return list({id(one): one for part in parts for one in _networks(part)}.values())
