"""What encoders with weights from elsewhere share: reading and checking them, fingerprinting, and freezing."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from torch import nn

from segue.types import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EXAMPLE_CLIP = "openai/clip-vit-base-patch32"


class PretrainedEncoder(nn.Module):
    """An encoder that is never trained while `frozen`: always in evaluation mode, its weights not in the state dict.

    A checkpoint then records where the weights come from and their fingerprint, and not the weights.
    """

    frozen: bool = True
    fingerprint: str

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode when frozen, whatever the mode."""
        return super().train(mode and not self.frozen)

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Nothing when frozen: the weights stay where they come from."""
        if not self.frozen:
            return super().state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)
        return OrderedDict() if destination is None else destination

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Hand a frozen encoder its own weights, so that strict loading of a whole method does not miss them.
        if self.frozen:
            state_dict.update({prefix + name: weight for name, weight in super().state_dict().items()})
        super()._load_from_state_dict(state_dict, prefix, *rest)


@contextmanager
def loading(source: str, what: str = "text encoder", files: str = "config.json, model.safetensors") -> Iterator[None]:
    """Name the source in what goes wrong, and keep transformers' reports of unused weights off the screen.

    what, files: what is read, and of which files, for the message. Raises InputError for what transformers can't read.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    level = logging.get_verbosity()
    bar = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:  # RuntimeError: sizes that differ
        tokenizer = " and the tokenizer's files" if what in ("text encoder", "dual encoder") else ""
        raise InputError(
            f"{source}: no {what} could be read there ({str(error).partition(chr(10))[0]}); expected a "
            f"hub id that is reachable or downloaded before, or a folder with {files}{tokenizer}"
        ) from error
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def complete(source: str, loaded: Any, unused: Sequence[str] = ()) -> PreTrainedModel:
    """The model of `from_pretrained(..., output_loading_info=True)`, if the weights were its own, all of them.

    transformers would fill what is missing with random numbers and leave out what is foreign.
    unused: beginnings of the names of tensors that may lie there without being read.
    Raises InputError that names the tensors.
    """
    model: PreTrainedModel = loaded[0]
    report = loaded[1]
    if missing := sorted(report["missing_keys"]):
        raise InputError(f"{source}: weights missing ({_names(missing)}); download the model again")
    if foreign := sorted(name for name in report["unexpected_keys"] if not name.startswith(tuple(unused))):
        raise InputError(
            f"{source}: weights that a {type(model).__name__} has no place for ({_names(foreign)}); name another model"
        )
    if other := sorted(str(entry[0]) for entry in report["mismatched_keys"]):
        raise InputError(f"{source}: weights of another shape ({_names(other)}); download the model again")
    return model


def _names(tensors: Sequence[str]) -> str:
    return ", ".join(tensors[:3]) + (f" and {len(tensors) - 3} more" if len(tensors) > 3 else "")


def fingerprint(model: nn.Module, *, buffers: bool = False) -> str:
    """The sha256 of all parameters, in order; with buffers=True also of those (batch norm's averages)."""
    digest = hashlib.sha256()
    for weight in chain(model.parameters(), model.buffers() if buffers else ()):
        digest.update(str(tuple(weight.shape)).encode())
        digest.update(weight.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def check_fingerprint(encoder: nn.Module, source: str, expected: str | None) -> None:
    """Raises InputError when a frozen encoder's weights are not those of the time of saving."""
    if isinstance(encoder, PretrainedEncoder) and encoder.frozen and encoder.fingerprint != expected:
        raise InputError(
            f"{source}: its weights changed since the checkpoint was saved (sha256 {encoder.fingerprint[:12]}, "
            f"expected {str(expected)[:12]}); bring back the version it was trained with"
        )
