"""The quality gate: which of the captions that were made is shown first, and with what score.

A caption is checked as a sentence (`segue.data.sentence_faults`) and against the graph that it describes: objects that
are not there, more of them than there are, sides that are the other way round. With the network's own probabilities
these are the numbers from which a logistic regression tells the probability that people's captions of the picture
accept it (CIDEr-D of 1 or more), fitted on val. Broken sentences may well have the words of people's, so that a fault
divides the odds by ten or more, whatever fits val. Nothing is withheld: who asks for five captions gets five, the
sensible ones first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from segue.data.english import word_spans
from segue.data.sentence_faults import can_be_noun, find_faults
from segue.methods.sgdiff.graph import SceneGraph
from segue.methods.sgdiff.lexicon import Lexicon
from segue.metrics.acceptance import Acceptance

COUNTS = {word: n for n, word in enumerate(["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], 2)}
SIDES = re.compile(r"\b(left of|right of|above|below|underneath)\b")
FEATURES = ("caption", "nodes", "faults", "broken", "contradictions", "words")
PENALTY = math.log(10)  # of each fault and contradiction, where no regression was fitted
AT_MOST = {FEATURES.index("faults"): -PENALTY, FEATURES.index("broken"): 0.0, FEATURES.index("contradictions"): 0.0}


def find_contradictions(caption: str, graph: SceneGraph, lexicon: Lexicon) -> tuple[str, ...]:
    """What a caption says that its graph denies, a short text for each.

    An object of a class that the graph hasn't, more objects than it has, and a side that no pair of them is on.
    Only words that name classes of the lexicon count.
    """
    words = [word for word, _, _ in word_spans(caption)]
    classes = [lexicon.classes_of(word) for word in words]
    nodes = [[i for i, label in enumerate(graph.labels) if label.lower() in each] for each in classes]
    found = [f"no {word}" for word, each, some in zip(words, classes, nodes, strict=True) if each and not some]
    for i, word in enumerate(words):
        if (n := COUNTS.get(word)) and (named := [k for k in range(i + 1, min(i + 4, len(words))) if classes[k]]):
            between = words[i + 1 : named[0]]
            if len(nodes[named[0]]) < n and not {*between} & {"of", "on", "in", "and", "with"}:
                found.append(f"{len(nodes[named[0]])}, not {word}, {words[named[0]]}")
    for match in SIDES.finditer(caption.lower()):
        at = len(word_spans(caption[: match.start()]))
        before = [k for k in range(at) if classes[k]]
        after = [k for k in range(at + 1, len(words)) if classes[k]]
        if before and after and not _is_so(match[0], nodes[before[-1]], nodes[after[0]], graph):
            found.append(f"{words[before[-1]]} {match[0]} {words[after[0]]}")
    return tuple(dict.fromkeys(found))


def _is_so(side: str, subjects: Sequence[int], objects: Sequence[int], graph: SceneGraph) -> bool:
    """Whether any of the subjects is on that side of any of the objects by their boxes' centres; True without both."""
    if not subjects or not objects:
        return True
    centres = graph.boxes[:, :2] + graph.boxes[:, 2:] / 2
    axis, sign = (0, -1) if side == "left of" else (0, 1) if side == "right of" else (1, -1 if side == "above" else 1)
    return any(sign * (centres[s, axis] - centres[o, axis]) > 0 for s in subjects for o in objects if s != o)


def caption_features(
    caption: str, log_p: float, set_log_p: float, graph: SceneGraph, lexicon: Lexicon
) -> tuple[float, ...]:
    """The numbers of FEATURES.

    log_p: the mean log-probability of the tokens. set_log_p: the log-probability of the set of nodes.
    """
    faults, denied = find_faults(caption, lexicon.noun_words), find_contradictions(caption, graph, lexicon)
    return (log_p, set_log_p, float(len(faults)), float(bool(faults)), float(len(denied)), len(caption.split()) / 10)


def names_something(words: Sequence[str]) -> bool:
    """Whether one of a phrase's words can be its noun; a phrase without one gets no mask."""
    return any(can_be_noun(word) for word in words)


class QualityGate:
    """Judges captions of one graph. acceptance: None counts each fault and each contradiction as a tenth."""

    def __init__(self, graph: SceneGraph, lexicon: Lexicon, acceptance: Acceptance | None) -> None:
        self.graph, self.lexicon, self.acceptance = graph, lexicon, acceptance

    def features(self, caption: str, log_p: float, set_log_p: float) -> tuple[float, ...]:
        """`caption_features` of a caption of this graph."""
        return caption_features(caption, log_p, set_log_p, self.graph, self.lexicon)

    def value(self, caption: str, log_p: float, set_log_p: float) -> float:
        """What captions are ranked by: their log-odds, or without a fit their penalised log-probability."""
        features = self.features(caption, log_p, set_log_p)
        if self.acceptance is not None:
            return self.acceptance.logit(features)
        _, _, faults, _, denied, _ = features
        return log_p + set_log_p - PENALTY * (faults + denied)

    def score(self, caption: str, log_p: float, set_log_p: float) -> float:
        """The caption's score in [0, 1]: its probability to be accepted, or without a fit exp of its `value`."""
        if self.acceptance is not None:
            return self.acceptance.probability(self.features(caption, log_p, set_log_p))
        return math.exp(min(self.value(caption, log_p, set_log_p), 0.0))
