"""`segue eval`: a checkpoint scored on a data set, by what its method does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from segue.api import load_labeller, load_segmenter
from segue.api.models import find, method_of
from segue.data.medical.lvit import read_lvit
from segue.data.medical.note_batches import load_examples
from segue.evaluation.labels import evaluate_label_maps
from segue.evaluation.notes import evaluate
from segue.methods.cocu.vocabulary import read_vocabulary
from segue.metrics.masks import Empty
from segue.types import InputError


def evaluate_files(
    model: str,
    data: Path,
    split: str,
    *,
    protocol: str | None = None,
    vocabulary: Path | None = None,
    empty: Empty | None = None,
    tta: bool = False,
    window: int = 0,
    hard: bool = False,
    prompt: str | None = None,
    top_k: int | None = None,
    on_bad: Literal["stop", "skip"] = "stop",
    device: str = "cpu",
) -> dict[str, Any]:
    """See `segue.cli.evaluate`, whose arguments these are."""
    if method_of(find(model)) != "cocu":
        _refuse(
            f"{model} outlines what notes describe", protocol=protocol is not None, vocabulary=vocabulary is not None,
            hard=hard, prompt=prompt is not None, top_k=top_k is not None,
        )  # fmt: skip
        predictor = load_segmenter(model, device=device)
        examples = load_examples(read_lvit(data, split), on_bad=on_bad)
        return evaluate(predictor, examples, empty=empty or "one", tta=tta, window=window)
    _refuse(f"{model} names pixels", empty=empty is not None, tta=tta, window=window != 0)
    concepts = read_vocabulary(vocabulary).concepts if vocabulary else None
    labeller = load_labeller(model, device=device)
    options: dict[str, Any] = {"concepts": concepts, "on_bad": on_bad, "hard": hard, "prompt": prompt, "top_k": top_k}
    return {"model": model} | evaluate_label_maps(labeller, data, split, protocol, **options)


def _refuse(why: str, **given: bool) -> None:
    """Refuse options that this kind of model doesn't have."""
    if wrong := [name for name, there in given.items() if there]:
        raise InputError(f"--{wrong[0].replace('_', '-')}: {why}, which has no such option; leave it out")
