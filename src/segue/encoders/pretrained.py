"""What encoders with weights from elsewhere share: reading and checking them, fingerprinting, and freezing."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from torch import nn

from segue.configs import read_json, read_tokenizer
from segue.nn.building import read_shapes, sized_by
from segue.types import InputError
from segue.weights import CONFIG, OTHER_WEIGHTS, WEIGHTS, Weights, resolve_weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

TOKENIZER, PROCESSORS = "tokenizer.json", ("preprocessor_config.json", "tokenizer_config.json")
MAX_NUMBER = 10**31  # "no limit" in tokenizer_config.json is 1e30
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
def loading(
    source: str | Path, what: str = "text encoder", files: str = "config.json, model.safetensors"
) -> Iterator[None]:
    """Name the source in what goes wrong, and keep transformers' reports of unused weights off the screen.

    what, files: what is read, and of which files, for the message. Raises InputError for what transformers can't read.
    """
    from transformers.utils import logging

    level = logging.get_verbosity()
    bar = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # transformers passes on whatever a config's values lead to
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        tokenizer = " and the tokenizer's files" if what in ("text encoder", "dual encoder") else ""
        raise InputError(
            f"{source}: no {what} could be read there ({reason:.300}); expected a "
            f"hub id that is reachable or downloaded before, or a folder with {files}{tokenizer}"
        ) from error
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def load_pretrained(
    source: str | Path, kinds: Mapping[str, Any], what: str, *, unused: Sequence[str] = (), pooling: bool = True
) -> Any:
    """A model of transformers from a folder or the hub, whole, see `complete`.

    kinds: its class by the `model_type` of config.json. what: what is looked for, for messages. pooling: False
    for a BERT or ViT without its pooling layer. Raises InputError for a model of another type, and what can't be read
    or is not whole.
    """
    from transformers import AutoConfig

    name, revision = weights = resolve_weights(source, what)
    with loading(source, what):
        _check_files(weights)
        found = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False).model_type
        if found not in kinds:
            expected = OTHER_WEIGHTS.get(what, f"a CLIP or SigLIP such as {EXAMPLE_CLIP}")
            raise InputError(f"{source}: holds a {found!r:.60} model, expected {expected}")
        options = {"use_safetensors": True, "output_loading_info": True, "revision": revision}
        options["ignore_mismatched_sizes"] = True  # `complete` names them
        options["local_files_only"] = Path(name).is_dir()
        options |= {} if pooling else {"add_pooling_layer": False}
        path = _cached(weights, WEIGHTS)  # None where they are in several files
        with nullcontext() if path is None else sized_by(read_shapes(path), source):
            return complete(source, kinds[found].from_pretrained(name, **options), unused)


def load_pretrained_tokenizer(source: str | Path) -> Tokenizer:
    """The tokenizer beside a model of transformers. Raises InputError when it can't be read."""
    from transformers import AutoTokenizer

    name, revision = weights = resolve_weights(source, "text encoder")
    with loading(source):
        if (path := _cached(weights, TOKENIZER)) is not None:
            read_tokenizer(path)
        options: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(name, **options).backend_tokenizer
    return tokenizer


def read_preprocessor(source: str | Path) -> dict[str, Any]:
    """What preprocessor_config.json says beside a model. Raises InputError where there is none that can be read."""
    path = _cached(resolve_weights(source), PROCESSORS[0])
    if path is None:
        raise InputError(f"{source}: no {PROCESSORS[0]} there; download the model again")
    saved = read_json(path)
    saved.update(saved.pop("image_processor", None) or {})
    return saved


def _check_files(weights: Weights) -> None:
    """Raises InputError for json files that can't be read, and for a pipe or a device, which would be read for ever."""
    places = sorted(Path(weights.source).iterdir()) if Path(weights.source).is_dir() else []
    if odd := [path for path in places if not path.is_file() and not path.is_dir()]:
        raise InputError(f"{odd[0]}: neither a file nor a folder; copy the model again")
    for file in (CONFIG, *PROCESSORS):
        if (path := _cached(weights, file)) is not None:
            _check_numbers(read_json(path), path)


def _cached(weights: Weights, file: str) -> Path | None:
    """A file of a folder, or of the hub's cache, to which it is fetched; None where there is none."""
    from transformers.utils.hub import cached_file

    if Path(weights.source).is_dir():
        path = Path(weights.source) / file
        return path if path.exists() else None
    quiet = {f"_raise_exceptions_for_{case}": False for case in ("gated_repo", "missing_entries", "connection_errors")}
    found = cached_file(weights.source, file, revision=weights.revision, **quiet)
    return None if found is None else Path(found)


def _check_numbers(value: Any, path: Path) -> None:
    """Raises InputError for a number in a config that no model has."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_numbers(part, path)
    elif isinstance(value, int | float) and not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise InputError(f"{path}: has the number {value:g}, expected at most {MAX_NUMBER:,}; copy it again")


def complete(source: str | Path, loaded: Any, unused: Sequence[str] = ()) -> PreTrainedModel:
    """The model of `from_pretrained(..., output_loading_info=True)`, if the weights were its own, all of them.

    transformers would fill what is missing with random numbers and leave out what is foreign.
    unused: beginnings or ends of the names of tensors that may lie there without being read.
    Raises InputError that names the tensors.
    """
    model: PreTrainedModel = loaded[0]
    report = loaded[1]
    if missing := sorted(report["missing_keys"]):
        raise InputError(f"{source}: weights missing ({_names(missing)}); download the model again")
    allowed = tuple(unused)
    if foreign := sorted(n for n in report["unexpected_keys"] if not (n.startswith(allowed) or n.endswith(allowed))):
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
