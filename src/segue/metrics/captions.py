"""Scores of captions: BLEU-1..4, ROUGE-L, CIDEr-D and distinct-n in numpy, METEOR and SPICE in Java, CLIPScore.

Papers: BLEU (Papineni 2002), ROUGE-L (Lin 2004), CIDEr-D (Vedantam 2015), METEOR 1.5 (Denkowski 2014), SPICE (Anderson
2016), CLIPScore (Hessel 2021). Numbers are those of pycocoevalcap, by which the field's tables are made, to 1e-6; also
where it differs from the papers: n-grams that can't match count 1e-15 in BLEU, the length in CIDEr-D is the number of
2-grams. An empty prediction is allowed and counts: it scores 0 in each (ROUGE-L: unless a reference is empty too).

"tokenised" below means what `segue.metrics.ptb.tokenize` gives: words with a blank between two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.metrics import java
from segue.metrics.java import NotComputed
from segue.metrics.ptb import tokenize_all
from segue.types import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PYTHON_METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D")
JAVA_METRICS = ("METEOR", "SPICE")
MAX_N = 4  # the longest n-gram


@dataclass(frozen=True)
class CaptionScores:
    """corpus: each metric's score of all captions, or why there is none. each: of each caption, by metric and image.

    All lie in [0, 1], but CIDEr-D in [0, 10]. distinct-n, of the corpus alone, is the share of n-grams that differ.
    """

    corpus: dict[str, float | NotComputed]
    each: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Plain values; what was not computed is the text "not computed: why"."""
        return {name: score if isinstance(score, float) else str(score) for name, score in self.corpus.items()}


def score_captions(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    frequencies: DocumentFrequencies | None = None,
    with_java: bool = True,
) -> CaptionScores:
    """Score one caption per image against the image's references, all as written; they are tokenised here.

    frequencies: for CIDEr-D; from `references` unless given. with_java: also METEOR and SPICE, as far as they can run.
    Raises InputError that names the image when a prediction or its references are missing.
    """
    _check(predictions, references)
    names = list(references)
    candidates = tokenize_all([predictions[name] for name in names])
    flat = iter(tokenize_all([text for name in names for text in references[name]]))
    tokenised = [[next(flat) for _ in references[name]] for name in names]
    grams = NGrams(candidates, tokenised)
    corpus_bleu, each_bleu = bleu(grams)
    scores = [*each_bleu.T, rouge_l(candidates, tokenised), cider_d(grams, frequencies)]
    each = dict(zip(PYTHON_METRICS, scores, strict=True))
    means = {name: float(of_images.mean()) for name, of_images in each.items()}
    corpus: dict[str, float | NotComputed] = means | dict(zip(PYTHON_METRICS, corpus_bleu.tolist(), strict=False))
    for name in JAVA_METRICS if with_java else ():
        found = java.METRICS[name](candidates, tokenised)
        if isinstance(found, NotComputed):
            corpus[name] = found
        else:
            corpus[name], each[name] = found
    corpus |= {f"distinct-{n}": distinct_n(candidates, n) for n in (1, 2)}
    return CaptionScores(corpus, {m: dict(zip(names, s.tolist(), strict=True)) for m, s in each.items()})


class NGrams:
    """The 1- to 4-grams of tokenised captions, counted once for BLEU and CIDEr-D.

    candidates: N tokenised captions. references: of each image, tokenised too. image: (N,) that of each candidate; by
    default there is one for each image. orders[n] has the (n+1)-grams.
    Raises InputError for lists of different lengths, and an image without references.
    """

    def __init__(
        self, candidates: Sequence[str], references: Sequence[Sequence[str]], image: Sequence[int] | None = None
    ) -> None:
        _check_lengths(len(candidates) if image is None else len(references), references)
        self.per_image = np.array([len(texts) for texts in references])
        self.candidates = len(candidates)
        self.image = np.arange(self.candidates) if image is None else np.array(image, np.int64)
        self.image_of = np.repeat(np.arange(len(references)), self.per_image)  # of each reference
        texts = [text.split() for text in (*candidates, *chain.from_iterable(references))]
        self.lengths = np.array([len(words) for words in texts], np.int64)
        words = list(chain.from_iterable(texts))
        self.number = {word: i for i, word in enumerate(dict.fromkeys(words))}
        self.ids = np.fromiter(map(self.number.__getitem__, words), np.int64, len(words))
        self.orders = list(self._counted())

    def _counted(self) -> list[_NGramTable]:
        """For each order the n-grams' numbers (0, 1, ...), and how often each occurs in each caption."""
        ids = self.ids
        caption = np.repeat(np.arange(len(self.lengths)), self.lengths)
        left = np.repeat(np.cumsum(self.lengths), self.lengths) - np.arange(len(ids))  # words to the end
        starts, grams, found = np.arange(len(ids)), ids, []
        for n in range(MAX_N):
            if n:
                keep = left[starts] > n
                starts, grams = starts[keep], grams[keep] * len(self.number) + ids[starts[keep] + n]
            names, first, grams = np.unique(grams, return_index=True, return_inverse=True)
            total = max(len(first), 1)
            keys, counts = np.unique(caption[starts] * total + grams, return_counts=True)
            cut = int(np.searchsorted(keys, self.candidates * total))
            found.append(_NGramTable(keys // total, keys % total, counts, cut, total, starts[first], names))
        return found


@dataclass(frozen=True, eq=False)
class _NGramTable:
    """n-grams of one order: row i: caption[i] has gram[i] counts[i] times; the first `cut` rows are of candidates.

    total: how many n-grams differ. first: where in the text each stands first. names: (total,) ascending, of each the
    number of its words but the last among those one shorter, times the words that differ, plus that of its last word.
    """

    caption: Ints
    gram: Ints
    counts: Ints
    cut: int
    total: int
    first: Ints
    names: Ints


def bleu(grams: NGrams) -> tuple[Floats, Floats]:
    """BLEU-1..4 with the reference length closest to the caption's: of the corpus (4,), of each caption (N, 4)."""
    length, closest = grams.lengths[: grams.candidates], _closest_lengths(grams)
    guess = np.maximum(length[:, None] - np.arange(MAX_N), 0)
    correct = np.stack([_matches(grams, table) for table in grams.orders], axis=1)
    corpus = _bleu(correct.sum(0, keepdims=True), guess.sum(0, keepdims=True), length.sum()[None], closest.sum()[None])
    return corpus[0], _bleu(correct, guess, length, closest)


def _bleu(correct: Ints, guess: Ints, length: Ints, closest: Ints) -> Floats:
    """Rows of counts (N, 4) and lengths (N,) -> (N, 4). Eq. in section 2.3 of the paper, with pycocoevalcap's 1e-15."""
    precision = np.cumprod((correct + 1e-15) / (guess + 1e-9), axis=1)
    ratio = (length + 1e-15) / (closest + 1e-9)
    brevity = np.exp(np.minimum(0, 1 - 1 / ratio))
    return precision ** (1 / np.arange(1, MAX_N + 1)) * brevity[:, None]


def _closest_lengths(grams: NGrams) -> Ints:
    """(N,) length of the reference closest in length to the caption, the shorter of two as close."""
    pairs = _pairs(grams)
    there = grams.lengths[grams.candidates + pairs.reference]
    far = np.abs(there - grams.lengths[pairs.candidate]) * (there.max(initial=0) + 1) + there
    result: Ints = np.minimum.reduceat(far, pairs.first) % (there.max(initial=0) + 1)
    return result


def _matches(grams: NGrams, table: _NGramTable) -> Ints:
    """(N,) n-grams of each caption that a reference has too, each at most as often as in one reference."""
    keys = _keys_of_references(grams, table)
    by_key = np.argsort(keys, kind="stable")
    keys, starts = np.unique(keys[by_key], return_index=True)
    most = np.maximum.reduceat(table.counts[table.cut :][by_key], starts) if len(keys) else keys
    allowed = _look_up(_keys_of_candidates(grams, table), keys, most)
    clipped = np.minimum(allowed, table.counts[: table.cut])
    return np.bincount(table.caption[: table.cut], clipped, grams.candidates).astype(np.int64)


def _keys_of_candidates(grams: NGrams, table: _NGramTable) -> Ints:
    """(cut,) of each row of a candidate a number for its image and n-gram."""
    keys: Ints = grams.image[table.caption[: table.cut]] * table.total + table.gram[: table.cut]
    return keys


def _keys_of_references(grams: NGrams, table: _NGramTable) -> Ints:
    """The same of each row of a reference."""
    keys: Ints = grams.image_of[table.caption[table.cut :] - grams.candidates] * table.total + table.gram[table.cut :]
    return keys


def _look_up(wanted: Ints, keys: Ints, values: NDArray[Any]) -> NDArray[Any]:
    """values of the wanted among the sorted keys, 0 where there is none."""
    if not len(keys):
        return np.zeros(len(wanted), values.dtype)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def cider_d(grams: NGrams, frequencies: DocumentFrequencies | None = None, sigma: float = 6.0) -> Floats:
    """CIDEr-D of each caption, (N,) in [0, 10]. Eq. 3-5 of the paper; sigma: of the penalty of unlike lengths.

    Rare n-grams weigh more: log(images / images that have it among their references). So with the frequencies of one
    image's own references all weights are 0, and so is the score: give those of a larger set.
    """
    documents = len(grams.per_image) if frequencies is None else frequencies.documents
    known = _own_frequencies(grams) if frequencies is None else frequencies.of(grams)
    pairs, two_grams = _pairs(grams), np.maximum(grams.lengths - 1, 0)
    unlike = two_grams[grams.candidates + pairs.reference] - two_grams[pairs.candidate]
    similar = sum(_similarity(grams, *each, pairs, documents) for each in zip(grams.orders, known, strict=True)) / MAX_N
    similar = similar * np.exp(-(unlike**2) / (2 * sigma**2))
    result: Floats = 10 * np.bincount(pairs.candidate, similar, grams.candidates) / grams.per_image[grams.image]
    return result


class _Pairs(NamedTuple):
    """Each candidate with each reference of its image, (P,); candidate i's begin at first[i]."""

    candidate: Ints
    reference: Ints
    first: Ints


def _pairs(grams: NGrams) -> _Pairs:
    count = grams.per_image[grams.image]
    first, before = np.cumsum(count) - count, np.cumsum(grams.per_image) - grams.per_image
    return _Pairs(np.repeat(np.arange(grams.candidates), count), _ranges(before[grams.image], count), first)


def _ranges(start: Ints, count: Ints) -> Ints:
    """start[0], start[0] + 1, ... (count[0] of them), start[1], ..."""
    ranges: Ints = np.arange(count.sum()) + np.repeat(start - (np.cumsum(count) - count), count)
    return ranges


def _similarity(grams: NGrams, table: _NGramTable, known: Ints, pairs: _Pairs, documents: int) -> Floats:
    """(P,) clipped cosine of each pair in the n-grams of a table. known: (total,) images that have each of them."""
    cut = table.cut
    weights = table.counts * (np.log(documents) - np.log(np.maximum(known, 1)))[table.gram]
    norms = np.sqrt(np.bincount(table.caption, weights**2, len(grams.lengths)))
    ours, theirs = _shared_rows(grams, table)
    own, other = weights[ours], weights[cut + theirs]
    candidate, reference = table.caption[ours], table.caption[cut + theirs] - grams.candidates
    pair = pairs.first[candidate] + reference - pairs.reference[pairs.first[candidate]]
    shared = np.minimum(own, other) * other * (own != 0)
    products = np.bincount(pair, shared, len(pairs.candidate)).astype(np.float64)
    size = norms[grams.candidates + pairs.reference] * norms[pairs.candidate]
    result: Floats = np.divide(products, size, out=products, where=size != 0)
    return result


def _shared_rows(grams: NGrams, table: _NGramTable) -> tuple[Ints, Ints]:
    """Rows of candidates, and those of references of the same image, from the cut on, that have the same n-gram."""
    keys = _keys_of_references(grams, table)
    order = np.argsort(keys, kind="stable")
    wanted, keys = _keys_of_candidates(grams, table), keys[order]
    begin = np.searchsorted(keys, wanted)
    count = np.searchsorted(keys, wanted, "right") - begin
    return np.repeat(np.arange(table.cut), count), order[_ranges(begin, count)]


def _own_frequencies(grams: NGrams) -> list[Ints]:
    """For each order, (total,) images that have each n-gram among their references."""
    found = []
    for table in grams.orders:
        keys, _ = np.unique(_keys_of_references(grams, table), return_counts=True)  # sorts: faster than to hash
        found.append(np.bincount(keys % table.total, minlength=table.total))
    return found


class DocumentFrequencies:
    """In how many images an n-gram occurs among the references: what `cider_d` weighs those of other captions by.

    references: tokenised, a list for each image. documents: how many images.
    Raises InputError for an image without references.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        grams = NGrams([], references, [])
        self.documents, self._number = len(references), grams.number
        self._known = [(t.names, counts) for t, counts in zip(grams.orders, _own_frequencies(grams), strict=True)]

    def of(self, grams: NGrams) -> list[Ints]:
        """For each order, (total,) images that have each n-gram of other captions; 0 for one that none has."""
        ours = np.array([self._number.get(word, -1) for word in grams.number], np.int64)
        ids = ours[grams.ids]
        found, at = [], np.zeros(len(ids), np.int64)  # at: of the n-gram that begins at each word, its place in names
        for n, (table, (names, counts)) in enumerate(zip(grams.orders, self._known, strict=True)):
            at, last = at[: max(len(ids) - n, 0)], ids[n:]
            name = np.where((at < 0) | (last < 0), -1, at * len(self._number) + last)
            at = _look_up(name, names, np.arange(1, len(names) + 1)) - 1
            found.append(np.where(at < 0, 0, counts[at])[table.first] if len(table.first) else np.zeros(1, np.int64))
        return found


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]], beta: float = 1.2) -> Floats:
    """ROUGE-L of each tokenised caption, (N,) in [0, 1]: best precision and best recall over the references.

    Raises InputError for lists of different lengths, and a caption without references.
    """
    _check_lengths(len(candidates), references)
    scores = np.zeros(len(candidates))
    for i, (text, texts) in enumerate(zip(candidates, references, strict=True)):
        words = text.split(" ")
        others = [other.split(" ") for other in texts]
        common = _longest_common(words, others)
        precision = max(common) / len(words)
        recall = max(c / len(other) for c, other in zip(common, others, strict=True))
        if precision and recall:
            scores[i] = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    return scores


def _longest_common(words: Sequence[str], others: Sequence[Sequence[str]]) -> list[int]:
    """Length of the longest common subsequence with each other, by bits (Hyyro 2004): a 0 in `free` is a match."""
    places: dict[str, int] = {}
    for i, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << i
    full, found = (1 << len(words)) - 1, []
    for other in others:
        free = full
        for word in other:
            if at := places.get(word):
                match = free & at
                free = (free + match) | (free - match)
        found.append(len(words) - (free & full).bit_count())
    return found


def distinct_n(candidates: Sequence[str], n: int) -> float:
    """Distinct-n (Li 2016): n-grams that differ / all n-grams of the tokenised captions; 0 when there is none."""
    words = [text.split() for text in candidates]
    grams = [tuple(each[i : i + n]) for each in words for i in range(len(each) - n + 1)]
    return len(set(grams)) / max(len(grams), 1)


def clip_score(images: NDArray[Any], captions: NDArray[Any], weight: float = 2.5) -> Floats:
    """CLIPScore, (N,): weight * max(cos, 0) of image and caption embeddings, each (N, D), of any dual encoder.

    Raises InputError for embeddings of different shapes.
    """
    return weight * np.maximum(_cosine(images, captions, "images", "captions"), 0)


def ref_clip_score(
    images: NDArray[Any], captions: NDArray[Any], references: Sequence[NDArray[Any]], weight: float = 2.5
) -> Floats:
    """RefCLIPScore, (N,): harmonic mean of CLIPScore and the best cosine with a reference, not below 0.

    references: N arrays (R_i, D), the embeddings of each image's references.
    Raises InputError for arrays that don't belong together.
    """
    if len(references) != len(captions):
        raise InputError(
            f"references: got {len(references)} arrays for {len(captions)} captions, expected one (R, D) array for each"
        )
    nearest = [
        _cosine(np.broadcast_to(caption, texts.shape), texts, "captions", "references").max(initial=0.0)
        for caption, texts in zip(captions, references, strict=True)
    ]
    score, best = clip_score(images, captions, weight), np.array(nearest, dtype=np.float64)
    return np.divide(2 * score * best, score + best, out=np.zeros(len(best)), where=score + best > 0)


def _cosine(a: NDArray[Any], b: NDArray[Any], name_a: str, name_b: str) -> Floats:
    if a.ndim != 2 or a.shape != b.shape:
        raise InputError(f"got {name_a} {a.shape} and {name_b} {b.shape}, expected two arrays (N, D) of one shape")
    a, b = a.astype(np.float64), b.astype(np.float64)
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    if not np.isfinite(size).all() or not size.all():
        raise InputError(f"{name_a} or {name_b}: a row of zeros or of no numbers has no direction; embed it again")
    result: Floats = (a * b).sum(1) / size
    return result


def _check(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    if not references:
        raise InputError("got no references, expected at least one image; is the file or its split empty?")
    if missing := [name for name in references if name not in predictions]:
        raise InputError(
            f"{len(missing)} of {len(references)} images have no prediction, such as {missing[0]}; "
            "caption every image (an empty caption counts, and scores 0)"
        )
    if unknown := [name for name in predictions if name not in references]:
        raise InputError(
            f"{len(unknown)} predictions are of images without references, such as {unknown[0]}; "
            "leave them out, or choose the split they belong to"
        )
    for name, texts in references.items():
        if isinstance(texts, str) or not len(texts):
            raise InputError(f"{name}: got {texts!r} as references, expected a list of one caption or more")
        if not all(isinstance(text, str) for text in (predictions[name], *texts)):
            raise InputError(f"{name}: a prediction or a reference is no text; give strings")


def _check_lengths(captions: int, references: Sequence[Sequence[str]]) -> None:
    if captions != len(references) or not captions or not all(len(texts) for texts in references):
        raise InputError(
            f"got {captions} captions and {len(references)} lists of references; expected as many of both, none "
            "of them empty, with a reference or more in each list"
        )
