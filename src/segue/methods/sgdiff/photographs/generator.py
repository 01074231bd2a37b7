"""From a read photograph, its graph and boxes to ranked grounded captions."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.data.sentence_faults import find_faults
from segue.data.tokenizer import CaptionTokenizer
from segue.methods.sgdiff.graph import SceneGraph, check_box, find_prompt_node
from segue.methods.sgdiff.photographs.hints import (
    STRENGTHS,
    Hint,
    hint_of,
    names_class,
    start_hinted,
    step_hinted,
)
from segue.methods.sgdiff.photographs.network import PhotoDescriber, with_margin
from segue.methods.sgdiff.photographs.phrases import LinkedPhrase, link_phrases
from segue.methods.sgdiff.photographs.reading import ReadPhotograph, encode_names, pack_prompts
from segue.methods.sgdiff.quality import PENALTY
from segue.metrics.acceptance import Acceptance
from segue.nn.decoding import decode
from segue.options import Decoding, DescribeOptions
from segue.types import GroundedCaption, InputError, PhraseGrounding

BEAMS = 3  # of the first caption
LOOSE = 0.6  # temperature of the captions after the first, unless another is asked for
TRIES = 2  # captions sampled for each that is wanted
ATTEMPTS = 4  # at sampling further ones, each at a higher temperature


class PhotoGenerator:
    """Generates grounded captions with a `PhotoDescriber` in eval mode.

    acceptance: makes the probability that people accept a caption of the logarithm of its `judged`; None leaves that.
    """

    def __init__(
        self, model: PhotoDescriber, tokenizer: CaptionTokenizer, acceptance: Acceptance | None = None
    ) -> None:
        self.model, self.tokenizer, self.acceptance = model, tokenizer, acceptance

    @torch.no_grad()
    def generate(
        self,
        photograph: ReadPhotograph,
        graph: SceneGraph,
        boxes: Sequence[Sequence[float]],
        options: DescribeOptions = DescribeOptions(),
    ) -> list[list[GroundedCaption]]:
        """options.num grounded captions around each box (x, y, width, height) in pixels, the likeliest first.

        One is found by beam search, the others are sampled; with a temperature all are. Both lean towards naming the
        prompt's object where they wouldn't (`hints`). A caption's score is `score` of its `judged`.
        Raises InputError for a box outside the picture or empty, a graph of another picture's size, and options that a
        decoder word by word doesn't have.
        """
        if graph.size != photograph.size:
            raise InputError(
                f"graph of a picture of {graph.size}, expected {photograph.size} (width, height); encode its own"
            )
        if not boxes:
            raise InputError("got 0 boxes, expected 1 or more")
        if options.include or options.length is not None:
            raise InputError("length, include: this model continues word by word and can't hold words or a length in "
                             "place; use a diffusion model such as sgdiff-scenes")  # fmt: skip
        prompts = [find_prompt_node(graph, check_box(box, graph.size)) for box in boxes]
        captions = self.captions([photograph] * len(prompts), [graph] * len(prompts), prompts, options)
        linked = [
            [(text, self.score(value), link_phrases(text, graph, prompt)) for text, value in some]
            for prompt, some in zip(prompts, captions, strict=True)
        ]
        named = sorted({node for some in linked for _, _, phrases in some for one in phrases for node in one.nodes})
        masks = self.masks(photograph, graph, named) if named else {}
        calibrated = self.acceptance is not None
        return [[_ground(*one, graph, masks, calibrated) for one in some] for some in linked]

    def score(self, value: float) -> float:
        """The probability that people accept a caption whose `judged` is the value; the value where none is fitted."""
        return value if self.acceptance is None else self.acceptance.probability([math.log(max(value, 1e-30))])

    @torch.no_grad()
    def captions(
        self,
        photographs: Sequence[ReadPhotograph],
        graphs: Sequence[SceneGraph],
        prompts: Sequence[int],
        options: DescribeOptions,
    ) -> list[list[tuple[str, float]]]:
        """options.num captions and their `judged` for each prompt (a node of its graph), the best first.

        They are distinct, except where few can be found: then the first come again. One that is no sound sentence is
        given only where ATTEMPTS at sampling find no sound one in its place.
        """
        prefix = self.model.prefix(pack_prompts(photographs, graphs, prompts, self.tokenizer, self.model.config))
        labels = [graph.labels[prompt] for graph, prompt in zip(graphs, prompts, strict=True)]
        hints = [hint_of(label, self.tokenizer) for label in labels]
        found = self._search(prefix, labels, hints)
        if options.temperature:
            found = [{} for _ in prompts]
        for attempt in range(ATTEMPTS):
            missing = [i for i, some in enumerate(found) if _sensible(some) < options.num]
            if not missing:
                break
            loose = Decoding(
                num=TRIES * options.num,
                top_p=0.95,
                temperature=(options.temperature or LOOSE) * (1 + 0.25 * attempt),
                max_tokens=self.model.config.max_tokens,
                seed=options.seed + attempt,
            )
            for i, more in zip(missing, self._decode(prefix[missing], [hints[i] for i in missing], loose), strict=True):
                scored = self._scored(prefix[i : i + 1], more, labels[i])
                for text, _ in scored:
                    if _sensible(found[i]) < options.num:
                        found[i].setdefault(text, more[text])
        answers = []
        for i, some in enumerate(found):
            scored = self._scored(prefix[i : i + 1], some, labels[i])[: options.num]
            answers.append((scored * options.num)[: options.num])
        return [sorted(some, key=lambda one: -one[1]) for some in answers]

    def _search(self, prefix: Tensor, labels: Sequence[str], hints: Sequence[Hint]) -> list[dict[str, list[int]]]:
        """The caption of a beam search for each row; a hint is made as strong as its object needs to be named."""
        found: list[dict[str, list[int]]] = [{} for _ in labels]
        options = Decoding(beams=BEAMS, max_tokens=self.model.config.max_tokens)
        for strength in STRENGTHS:
            rows = [
                i for i, some in enumerate(found) if not some or not all(names_class(text, labels[i]) for text in some)
            ]
            if not rows:
                break
            tried = [replace(hints[i], strength=strength) for i in rows]
            for i, some in zip(rows, self._decode(prefix[rows], tried, options), strict=True):
                if not found[i] or any(names_class(text, labels[i]) for text in some):
                    found[i], hints[i].strength = some, strength
        return found

    def _decode(self, prefix: Tensor, hints: Sequence[Hint], options: Decoding) -> list[dict[str, list[int]]]:
        """For each row the texts of a search or of samples, without empty ones, with their tokens."""
        decoder = self.model.decoder
        logits, state = start_hinted(decoder, prefix, hints)
        answers = decode(
            partial(step_hinted, decoder),
            logits,
            state,
            end=self.tokenizer.end,
            options=options,
            suppressed_token_ids=self.tokenizer.suppressed_token_ids,
        )
        texts = [[(self.tokenizer.decode(one.tokens).strip(), one.tokens) for one in some] for some in answers]
        return [{text: tokens for text, tokens in reversed(some) if text} for some in texts]

    def _scored(self, prefix: Tensor, texts: dict[str, list[int]], label: str) -> list[tuple[str, float]]:
        """The texts of one row (1, P, W) and their scores, see `judged`, the best first."""
        if not texts:
            return [("", 0.0)]
        rows = [[*tokens, self.tokenizer.end] for tokens in texts.values()]
        padded = torch.full((len(rows), max(map(len, rows))), self.tokenizer.end, device=prefix.device)
        real = torch.zeros_like(padded, dtype=torch.bool)
        for i, row in enumerate(rows):
            padded[i, : len(row)], real[i, : len(row)] = torch.tensor(row), True
        log_p = self.model.decoder(prefix.expand(len(rows), -1, -1), padded[:, :-1]).float().log_softmax(-1)
        each = log_p.gather(2, padded[..., None])[..., 0] * real
        means = (each.sum(1) / real.sum(1)).exp().tolist()
        scored = [(text, judged(text, p, label)) for text, p in zip(texts, means, strict=True)]
        return sorted(scored, key=lambda one: -one[1])

    # --------------------------------------------------------------------------------------------------- masks

    @torch.no_grad()
    def masks(
        self, photograph: ReadPhotograph, graph: SceneGraph, nodes: Sequence[int]
    ) -> dict[int, tuple[NDArray[np.bool_], float]]:
        """For nodes of the graph their mask (H, W) and its mean probability, without those that are empty."""
        assert photograph.pixels is not None  # for mypy: only called with pixels
        device = photograph.picture.device
        width, height = photograph.size
        boxes = torch.from_numpy((graph.boxes[list(nodes)] / [width, height, width, height]).astype(np.float32))
        boxes = boxes.to(device)
        names = encode_names([[graph.labels[i] for i in nodes]], self.tokenizer).to(device)
        logits = self.model.mask_head(photograph.levels, photograph.pixels, boxes[None], self.model.embed_names(names))[
            0
        ]
        found = {}
        for node, box, one in zip(nodes, boxes, logits, strict=True):
            p = paste(one, box, photograph.size).sigmoid()
            inside = p >= 0.5
            if inside.any():
                found[node] = (inside.cpu().numpy(), float(p[inside].mean()))
        return found


def _sensible(texts: Collection[str]) -> int:
    """How many of some captions are sound sentences."""
    return sum(not find_faults(text) for text in texts)


def judged(text: str, p: float, label: str) -> float:
    """A caption's score: the geometric mean of its tokens' probabilities, less for what is wrong with it.

    A tenth for each fault as a sentence (`segue.data.sentence_faults`), half where it doesn't name the prompt's object.
    A detector overlooks much, so an object that the graph lacks is no fault.
    """
    broken = math.exp(-PENALTY * len(find_faults(text)))
    return p * broken * (1.0 if names_class(text, label) else 0.5)


def paste(logits: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (n, n) over `with_margin(box)`, fractions -> (H, W) on the picture's grid, very low outside."""
    width, height = size
    x, y, w, h = with_margin(box).unbind()
    at_x = ((torch.arange(width, device=box.device) + 0.5) / width - x) / w * 2 - 1
    at_y = ((torch.arange(height, device=box.device) + 0.5) / height - y) / h * 2 - 1
    grid = torch.stack([at_x[None].expand(height, width), at_y[:, None].expand(height, width)], -1)
    fine = F.grid_sample(logits[None, None], grid[None], padding_mode="border", align_corners=False)[0, 0]
    return fine.masked_fill((grid.abs() > 1).any(-1), -20.0)


def _ground(
    text: str,
    score: float,
    phrases: Sequence[LinkedPhrase],
    graph: SceneGraph,
    masks: dict[int, tuple[NDArray[np.bool_], float]],
    calibrated: bool = False,
) -> GroundedCaption:
    """A caption with the masks of what it names."""
    groundings = [
        PhraseGrounding(one.start, one.end, text[one.start : one.end], *masks[node], graph.labels[node])
        for one in phrases
        for node in one.nodes
        if node in masks
    ]
    return GroundedCaption(text, min(score, 1.0), tuple(groundings), calibrated)
