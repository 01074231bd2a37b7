"""`segue lab bench metrics`: the speed of the caption metrics beside pycocoevalcap's, and that the numbers are equal.

Both take their turn in each round of one run, so that a busy machine slows both alike; times are medians.
cider_ratio: CIDEr-D on the same tokenised captions. all_ratio: tokens, BLEU-1..4, ROUGE-L and CIDEr-D from raw text
(pycocoevalcap's tokeniser is a Java program). max_abs_difference: over all of these, of the corpus and of each caption.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segue.metrics.captions import PYTHON_METRICS, NGrams, cider_d, score_captions
from segue.metrics.ptb import first_token, tokenize_all
from segue.types import InputError, to_install

Texts = Mapping[str, Sequence[str]]
TEMPLATES = (
    '{a} {b} {c}|{a} {b} {c}.|{A} {b} {c} , {d} .|{A} {b} that {c} and {d}.|{A}\'s {b}, {c} "{d}"!|Two {b}s {c} - {d}'
)
ADJECTIVES = "a the one some another this every old young small big red blue green tiny happy tall wet".split()  # noqa: SIM905
NOUNS = "man woman dog cat horse kite boy girl bus train bird tree boat car clock child bear cow".split()  # noqa: SIM905
VERBS = "runs sits stands jumps waits doesn't move can't see is sleeping walks away looks up plays".split()  # noqa: SIM905
ENDINGS = (
    "in the park|on a well-known street|at 10:30 a.m.|under a $5 umbrella|near St. John's|by the sea (alone)|it's late"
)


def generate_captions(images: int, each: int, seed: int = 0) -> dict[str, list[str]]:
    """Captions from word lists of our own, awkward ones among them: quotes, contractions, numbers, abbreviations."""
    rng, found = np.random.default_rng(seed), {}
    forms, ends = TEMPLATES.split("|"), ENDINGS.split("|")
    for i in range(images):
        words = {"b": f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}", "d": str(rng.choice(ends))}
        texts = []
        for _ in range(each):
            a = f"{rng.choice(ADJECTIVES)} {rng.choice(ADJECTIVES)}"
            c = f"{rng.choice(VERBS)} {rng.choice(VERBS)} {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"
            texts.append(str(rng.choice(forms)).format(a=a, A=a.capitalize(), c=c, **words))
        found[f"image {i}"] = texts
    return found


def bench_metrics(*, refs: Path | None = None, images: int = 5000, each: int = 5, rounds: int = 3) -> dict[str, Any]:
    """Speed of the caption metrics beside pycocoevalcap's, on `images` with `each` references and one caption more.

    Args:
        refs: references in any form that `segue score captions` reads; an image's first caption is scored against its
            others. Captions from word lists unless given.
        images: how many images at most.
        each: references of each generated image.
        rounds: turns of each, of which the medians are taken.

    Raises InputError where no image of the references has two captions.
    """
    from segue.evaluation.files import read_references

    read = {} if refs is None else {one.name: one.captions for one in read_references(refs)}
    texts = generate_captions(images, each + 1) if refs is None else read
    texts = {name: list(found) for name, found in list(texts.items())[:images] if len(found) > 1}
    if not texts:
        raise InputError(f"{refs}: no image has two captions, one to score and one to score it by")
    candidates, truth = {n: t[0] for n, t in texts.items()}, {n: t[1:] for n, t in texts.items()}
    runs, answers = _runs(candidates, truth), {}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            answers[name] = run()
            times[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(each) for name, each in times.items()}
    return {
        "cider_ratio": seconds["cider_theirs"] / seconds["cider_ours"],
        "all_ratio": seconds["all_theirs"] / seconds["all_ours"],
        "max_abs_difference": _difference(answers["all_ours"], answers["all_theirs"]),
        "seconds": {name: round(each, 4) for name, each in seconds.items()},
        "images": len(texts),
        "captions": sum(map(len, texts.values())),
        "rounds": rounds,
    }


def _runs(candidates: Mapping[str, str], truth: Texts) -> dict[str, Callable[[], Any]]:
    """What is timed. The captions of the CIDEr-D runs are tokenised before."""
    if shutil.which("java") is None:
        raise InputError("no program `java`, which pycocoevalcap's tokeniser needs; install a Java runtime")
    try:
        from pycocoevalcap.cider.cider import Cider
    except ImportError as error:
        raise InputError(f"pycocoevalcap is not installed: {to_install('captions')}") from error
    tokenised = tokenize_all(list(candidates.values()))
    known = [tokenize_all(texts) for texts in truth.values()]
    gts, res = dict(zip(truth, known, strict=True)), {name: [s] for name, s in zip(truth, tokenised, strict=True)}
    return {
        "cider_ours": lambda: cider_d(NGrams(tokenised, known)),
        "cider_theirs": lambda: Cider().compute_score(gts, res),
        "all_ours": lambda: _ours(candidates, truth),
        "all_theirs": lambda: pycocoevalcap_scores(candidates, truth),
    }


def _ours(candidates: Mapping[str, str], truth: Texts) -> dict[str, tuple[float, list[float]]]:
    first_token.cache_clear()  # each round begins as a fresh process does
    found = score_captions(candidates, truth, with_java=False)
    return {name: (found.corpus[name], list(found.each[name].values())) for name in PYTHON_METRICS}  # type: ignore[misc]


def pycocoevalcap_scores(candidates: Mapping[str, str], truth: Texts) -> dict[str, tuple[float, list[float]]]:
    """What pycocoevalcap says, its tokeniser included: of the corpus and of each caption."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    with contextlib.redirect_stdout(io.StringIO()):
        gts = PTBTokenizer().tokenize({n: [{"caption": t} for t in texts] for n, texts in truth.items()})
        res = PTBTokenizer().tokenize({n: [{"caption": text}] for n, text in candidates.items()})
        corpus, each = Bleu(4).compute_score(gts, res, verbose=0)
        pairs = [*zip(corpus, each, strict=True), Rouge().compute_score(gts, res), Cider().compute_score(gts, res)]
    return {name: (float(score), list(scores)) for name, (score, scores) in zip(PYTHON_METRICS, pairs, strict=True)}


def _difference(a: dict[str, tuple[float, list[float]]], b: dict[str, tuple[float, list[float]]]) -> float:
    return max(float(np.abs(np.subtract([a[n][0], *a[n][1]], [b[n][0], *b[n][1]])).max()) for n in PYTHON_METRICS)
