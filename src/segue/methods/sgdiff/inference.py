"""From an encoded picture, its graph and boxes to ranked grounded captions.

Shapes: P prompts, R rows (captions of all prompts together), N nodes, L tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.methods.sgdiff.adaptor import AdaptorOutput, hungarian_ranks, sample_node_sets, set_log_probability
from segue.methods.sgdiff.analog_bits import mask_until_end
from segue.methods.sgdiff.autoregressive import WORD_TEMPERATURE
from segue.methods.sgdiff.batches import pack_prompts
from segue.methods.sgdiff.graph import SceneGraph, check_box, coarse_subgraph, find_prompt_node
from segue.methods.sgdiff.lexicon import END
from segue.methods.sgdiff.masked_diffusion import MASKED_TEMPERATURE, sample_masked
from segue.methods.sgdiff.model import EncodedPicture, SGDiff, Subgraph
from segue.methods.sgdiff.quality import QualityGate, names_something
from segue.methods.sgdiff.sampler import caption_constraint, decode_tokens, sample
from segue.methods.sgdiff.transformer import HiddenStates
from segue.options import DescribeOptions
from segue.types import GroundedCaption, InputError, PhraseGrounding


class _Captions(NamedTuple):
    """token_ids (R, L), None without captions; their log-probability (R,); the network's last states."""

    token_ids: Tensor | None
    log_p: Tensor
    states: HiddenStates


class SGDiffGenerator:
    """Generates grounded captions with an SGDiff model in eval mode.

    judged: where a list, it gets the text of each answer and the features of its score, in the order of making.
    """

    def __init__(self, model: SGDiff) -> None:
        self.judged: list[tuple[str, tuple[float, ...]]] | None = None
        self.model, self.config, self.lexicon = model, model.config, model.lexicon

    @torch.no_grad()
    def generate(
        self,
        encoded: EncodedPicture,
        graph: SceneGraph,
        boxes: Sequence[Sequence[float]],
        options: DescribeOptions = DescribeOptions(),
    ) -> list[list[GroundedCaption]]:
        """options.num grounded captions around each box (x, y, width, height) in pixels, the best score first.

        All boxes are one batch. A caption's score is `quality.QualityGate.score`.
        Raises InputError for a box outside the picture or empty, a graph of another picture's size, a length above the
        model's, words outside its vocabulary, and options that its decoder doesn't have.
        """
        if graph.size != encoded.size:
            raise InputError(
                f"graph of a picture of {graph.size}, expected {encoded.size} (width, height); encode its own"
            )
        if not boxes:
            raise InputError("got 0 boxes, expected 1 or more")
        include = self._check(options)
        prompts = [find_prompt_node(graph, check_box(box, graph.size)) for box in boxes]
        coarse = [coarse_subgraph(graph, node, self.config.max_nodes) for node in prompts]
        batch = pack_prompts(graph, coarse, self.lexicon, self.config)
        batch = {name: tensor.to(self.model.codes.device) for name, tensor in batch.items()}
        output = self.model.adapt(encoded.levels, batch)
        prompt_of, keep, set_log_p = self.choose_nodes(output, batch, options.num, options.seed)
        batch, output = {name: tensor[prompt_of] for name, tensor in batch.items()}, output.select(prompt_of)
        ranks = None if output.ranking is None else hungarian_ranks(output.ranking, keep)
        subgraph = self.model.subgraph(encoded.levels, output, batch, keep, ranks)
        gate = QualityGate(graph, self.lexicon, self.model.acceptance)
        captions = self._captions(subgraph, options, include, gate)
        labels = [[graph.labels[i] for i in coarse[prompt]] for prompt in prompt_of.tolist()]
        found = self._ground(encoded, subgraph, captions, set_log_p, labels, gate)
        by_prompt = [found[i * options.num : (i + 1) * options.num] for i in range(len(boxes))]
        return [sorted(some, key=lambda caption: -caption.score) for some in by_prompt]

    def choose_nodes(
        self, output: AdaptorOutput, batch: dict[str, Tensor], num: int, seed: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Each row's prompt (R,), its nodes (R, N) bool, and the log-probability (R,) of choosing them.

        A prompt with fewer sets than `num` gets the first ones again, for captions in other words.
        """
        rows, log_p = [], []
        real = batch["node_mask"].cpu().numpy()
        p = None if output.relevance is None else output.relevance.sigmoid().double().cpu().numpy()
        for i, prompt_node in enumerate(batch["prompt_node"].tolist()):
            n = int(real[i].sum())
            sets, set_log_p = [real[i, :n]], np.zeros(1)
            if p is not None:
                sets = sample_node_sets(p[i, :n], prompt_node, num, np.random.default_rng(seed))
                set_log_p = set_log_probability(np.stack(sets), p[i, :n].clip(1e-6, 1 - 1e-6), prompt_node)
            for k in range(num):
                row = np.zeros(real.shape[1], np.bool_)
                row[:n] = sets[k % len(sets)]
                rows.append(row)
                log_p.append(set_log_p[k % len(sets)])
        device = batch["node_mask"].device
        prompt_of = torch.arange(len(real), device=device).repeat_interleave(num)
        return prompt_of, torch.from_numpy(np.stack(rows)).to(device), torch.tensor(log_p, device=device).float()

    def _check(self, options: DescribeOptions) -> list[int]:
        """The token ids to include. Raises InputError for options that the model can't satisfy."""
        include = self.lexicon.encode_required(options.include)
        if include and self.config.decoder == "autoregressive":
            raise InputError("include: an autoregressive decoder can't hold words in place; use a diffusion model")
        if (include or options.length is not None) and not self.config.generates_captions:
            raise InputError("length, include: this model only segments; load one that generates captions")
        caption_constraint(options.length, include, self.config.max_words)
        return include

    # --------------------------------------------------------------------------------------------- captions

    def _captions(
        self, graph: Subgraph, options: DescribeOptions, include: Sequence[int], gate: QualityGate
    ) -> _Captions:
        """The captions of R rows; equal prompts get equal noise, whatever else is in the batch."""
        if not self.config.generates_captions:
            return _Captions(None, graph.features.new_zeros(len(graph.features)), self.model.graph_states(graph))
        if self.config.decoder == "autoregressive":
            return self._write(graph, options, gate)
        decode = self._fill if self.config.decoder == "masked" else self._denoise
        return decode(graph, options, include, gate)

    def _write(self, graph: Subgraph, options: DescribeOptions, gate: QualityGate) -> _Captions:
        """Token by token: options.best_of distinct tries for each row, of which one stays as in `_denoise`.

        At the decoder's own temperature, the likeliest caption of the most probable set of nodes is among them.
        """
        rows, tries = len(graph.features), 1 if options.temperature == 0 else options.best_of
        repeated = graph.repeat(tries)
        own = options.temperature is None
        token_ids = self._sample(graph, options, WORD_TEMPERATURE if own else options.temperature or 0.0, tries)
        if own:
            first = torch.arange(0, rows, options.num)
            token_ids[first * tries] = self._sample(graph.select(first), replace(options, num=1), 0.0, 1)
        logits, states = self.model.teacher_forced(token_ids, repeated)
        token_ids, log_p = decode_tokens(F.one_hot(token_ids, logits.shape[-1]).float(), logits)
        return self._kept(_Captions(token_ids, log_p, states), options.num, tries, gate)

    def _sample(self, graph: Subgraph, options: DescribeOptions, temperature: float, tries: int) -> Tensor:
        """Token ids (rows tries, L), word by word; equal prompts get equal seeds, whatever else is in the batch."""
        seeds = [options.seed + i % options.num for i in range(len(graph.features))]
        return self.model.write(graph, temperature=temperature, seeds=seeds, length=options.length, num=tries)

    def _denoise(
        self, graph: Subgraph, options: DescribeOptions, include: Sequence[int], gate: QualityGate
    ) -> _Captions:
        """By diffusion: options.best_of tries for each row, of which the one that the gate values most is kept."""
        model, rows, tries = self.model, len(graph.features), options.best_of
        device = model.codes.device
        generator = torch.Generator(device).manual_seed(options.seed)
        shape = (options.num * tries, self.config.max_words, model.codes.shape[1])
        repeated = graph.repeat(tries)
        cached = model.transformer.precompute_first_block(repeated.features, repeated.mask)

        def draw() -> Tensor:
            return torch.randn(shape, generator=generator, device=device).repeat(rows // options.num, 1, 1)

        def denoise(x: Tensor, snr: Tensor, estimate: Tensor, last: bool) -> tuple[Tensor, tuple[Tensor, HiddenStates]]:
            logits, states = model.denoise(x, snr, estimate, repeated, caption_only=not last, cached=cached)
            return logits, (logits, states)

        constrain = caption_constraint(options.length, include, self.config.max_words)
        times = None if model.time_warp is None else model.time_warp.sampling_times(options.steps)
        logits, (unconstrained, states) = sample(
            denoise, model.codes, draw, options=options, constrain=constrain, times=times
        )
        token_ids, log_p = decode_tokens(logits, unconstrained)
        return self._kept(_Captions(token_ids, log_p, states), options.num, tries, gate)

    def _fill(self, graph: Subgraph, options: DescribeOptions, include: Sequence[int], gate: QualityGate) -> _Captions:
        """By masked diffusion, tries as by `_denoise`."""
        model, rows, tries = self.model, len(graph.features), options.best_of
        device, hidden_id, length = model.codes.device, self.lexicon.size, self.config.max_words
        generator = torch.Generator(device).manual_seed(options.seed)
        repeated = graph.repeat(tries)
        cached = model.transformer.precompute_first_block(repeated.features, repeated.mask)

        def draw() -> Tensor:
            shape = (options.num * tries, length, hidden_id)
            return torch.rand(shape, generator=generator, device=device).repeat(rows // options.num, 1, 1)

        token_ids, log_p = sample_masked(
            lambda found: model.fill(found, repeated, caption_only=True, cached=cached)[0],
            rows * tries,
            length,
            hidden_id,
            steps=options.steps,
            temperature=MASKED_TEMPERATURE if options.temperature is None else options.temperature,
            draw=draw,
            constrain=caption_constraint(options.length, include, length),
            device=device,
        )
        real = mask_until_end(token_ids)
        token_ids = token_ids.masked_fill(~real, END)
        _, states = model.fill(token_ids, repeated, cached=cached)
        return self._kept(_Captions(token_ids, (log_p * real).sum(1) / real.sum(1), states), options.num, tries, gate)

    def _kept(self, captions: _Captions, num: int, tries: int, gate: QualityGate) -> _Captions:
        """Of the tries of each row the one that the gate values most, if possible with a text that no row before has.

        captions: of all tries, those of a row next to each other. num: rows of a prompt.
        """
        assert captions.token_ids is not None  # for mypy: only called when there are captions
        texts = [self.lexicon.decode(row)[0] for row in captions.token_ids.tolist()]
        values = [gate.value(text, p, 0.0) for text, p in zip(texts, captions.log_p.tolist(), strict=True)]
        best, used = list[int](), set[str]()
        for row in range(len(texts) // tries):
            used = set() if row % num == 0 else used
            one = max(range(row * tries, (row + 1) * tries), key=lambda i: (texts[i] not in used, values[i]))
            used.add(texts[one])
            best.append(one)
        chosen = torch.tensor(best, device=captions.token_ids.device)
        return _Captions(captions.token_ids[chosen], captions.log_p[chosen], captions.states.select(chosen))

    # -------------------------------------------------------------------------------------------- groundings

    def _ground(
        self,
        encoded: EncodedPicture,
        graph: Subgraph,
        captions: _Captions,
        set_log_p: Tensor,
        labels: Sequence[Sequence[str]],
        gate: QualityGate,
    ) -> list[GroundedCaption]:
        """Text, phrases and masks of each row. labels: the classes of its coarse subgraph."""
        output = self.model.masks(captions.states, graph, encoded.pixels)
        masks, queries = (None, None) if output is None else (output.logits[-1], output.queries)
        has_words = captions.token_ids is not None and masks is not None
        word_p = self._word_probabilities(graph, captions, queries) if has_words else None
        tag_logits = self.model.phrase_tags(captions.states)
        tags = None if tag_logits is None else tag_logits.argmax(-1).cpu().numpy()
        found = []
        for row, (log_p, set_p) in enumerate(zip(captions.log_p.tolist(), set_log_p.tolist(), strict=True)):
            token_ids = [] if captions.token_ids is None else captions.token_ids[row].tolist()
            text, spans = self.lexicon.decode(token_ids)
            if self.judged is not None:
                self.judged.append((text, gate.features(text, log_p, set_p)))
            score = gate.score(text, log_p, set_p) if token_ids else math.exp(min(log_p + set_p, 0.0))
            groundings: list[PhraseGrounding] = []
            if masks is not None:
                nodes = int(graph.node_mask[row].sum())  # the padding comes after them
                classes = [labels[row][i] for i in graph.node_index[row, :nodes].tolist()]
                places = [(0, 0, 1.0)] * nodes
                if word_p is not None:
                    phrases = [] if tags is None else _phrases(tags[row][: len(spans)])
                    words = [text[first:end] for first, end in spans]
                    phrases = [(first, end) for first, end in phrases if names_something(words[first:end])]
                    places = _best_phrases(word_p[row, :nodes].cpu().numpy(), phrases, spans)
                groundings = _groundings(text, places, classes, masks[row], encoded.size)
            found.append(GroundedCaption(text, score, tuple(groundings), self.model.acceptance is not None))
        return found

    def _word_probabilities(self, graph: Subgraph, captions: _Captions, queries: Tensor | None) -> Tensor:
        """(R, N, L): for each node the probability that each token names it, 1 over the caption."""
        assert captions.token_ids is not None  # for mypy: only called when there are captions
        real = captions.token_ids != END
        real[:, 0] = True
        logits = self.model.grounding_logits(captions.states, graph, queries)
        return logits.masked_fill(~real[:, None], -torch.inf).softmax(-1)


def _phrases(tags: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(first word, one after the last) of each phrase: it begins at a 1, or at a 2 that follows a 0."""
    found: list[list[int]] = []
    before = 0
    for j, tag in enumerate(tags.tolist()):
        if tag == 1 or (tag == 2 and not before):
            found.append([j, j + 1])
        elif tag == 2:
            found[-1][1] = j + 1
        before = tag
    return [(a, b) for a, b in found]


def _best_phrases(
    word_p: NDArray[np.float32], phrases: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]
) -> list[tuple[int, int, float]]:
    """For each node the phrase that is likeliest to name it: its first character, the one after its last, probability.

    word_p: (N, L). phrases: as from `_phrases`. spans: the characters of each word. Empty without phrases.
    """
    if not phrases:
        return []
    best = []
    for p in word_p:
        phrase_p = [float(p[a:b].sum()) for a, b in phrases]
        likeliest = int(np.argmax(phrase_p))
        first, end = phrases[likeliest]
        best.append((spans[first][0], spans[end - 1][1], phrase_p[likeliest]))
    return best


def _groundings(
    text: str,
    places: Sequence[tuple[int, int, float]],
    labels: Sequence[str],
    logits: Tensor,
    size: tuple[int, int],
) -> list[PhraseGrounding]:
    """Each node's mask with its phrase, without empty masks; with its class where the phrase is empty.

    places: of each node the start and end of its phrase and its probability. logits: (N, h, w). size: (width, height).
    """
    found = []
    for i, (start, end, p) in enumerate(places):  # one at a time: all masks of a large photograph could be gigabytes
        fine = F.interpolate(logits[None, None, i], size[::-1], mode="bilinear")[0, 0]
        inside = fine >= 0
        if not inside.any():
            continue
        mask, confidence = inside.cpu().numpy(), float(fine[inside].sigmoid().mean())
        score = min(confidence * p, 1.0)
        found.append(PhraseGrounding(start, end, text[start:end] or labels[i], mask=mask, score=score, label=labels[i]))
    return sorted(found, key=lambda grounding: (grounding.start, -grounding.score))
