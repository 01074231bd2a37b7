"""What towers with weights from elsewhere share: reading them, telling them apart, and keeping them frozen."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from torch import nn

from segue.types import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Pretrained(nn.Module):
    """A tower that is never trained while `frozen`: always in evaluation mode, its weights not in the state dict.

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
        # Hand a frozen tower its own weights, so that strict loading of a whole method does not miss them.
        if self.frozen:
            state_dict.update({prefix + name: weight for name, weight in super().state_dict().items()})
        super()._load_from_state_dict(state_dict, prefix, *rest)


@contextmanager
def loading(source: str, what: str = "text tower") -> Iterator[None]:
    """Name the source in what goes wrong, and keep transformers' reports of unused weights off the screen."""
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
        tokenizer = " and the tokenizer's files" if what != "image tower" else ""
        raise InputError(
            f"{source}: no {what} could be read there ({str(error).partition(chr(10))[0]}); expected a "
            "hub id that is reachable or downloaded before, or a folder with config.json, "
            f"model.safetensors{tokenizer}"
        ) from error
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def complete(source: str, loaded: Any) -> PreTrainedModel:
    """Refuse missing weights, which transformers would fill with random ones."""
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(f"{source}: weights missing ({', '.join(missing[:3])}, ...); download the model again")
    return model


def fingerprint(model: nn.Module, *, buffers: bool = False) -> str:
    """The sha256 of all parameters, in order; with buffers=True also of those (batch norm's averages)."""
    digest = hashlib.sha256()
    for weight in chain(model.parameters(), model.buffers() if buffers else ()):
        digest.update(str(tuple(weight.shape)).encode())
        digest.update(weight.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
