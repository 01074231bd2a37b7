"""From an encoded picture, its graph and a box to ranked stories: captions with their phrases tied to masks.

Shapes: P prompts, R stories of all prompts together, N nodes, L words.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.methods.sgdiff.adaptor import Adapted, hungarian_order, sample_subgraphs, set_log_probability
from segue.methods.sgdiff.autoregressive import WordInput, write
from segue.methods.sgdiff.batches import pack_prompts
from segue.methods.sgdiff.graph import SceneGraph, check_box, coarse_subgraph, prompt_node
from segue.methods.sgdiff.model import Encoded, SGDiff, Subgraph
from segue.methods.sgdiff.sampler import controls, sample, words_of
from segue.methods.sgdiff.transformer import States
from segue.types import GroundedCaption, InputError, PhraseGrounding

HOTTEST = 10.0


def explain(
    model: SGDiff,
    encoded: Encoded,
    graph: SceneGraph,
    box: Sequence[float],
    *,
    top: int = 5,
    **options: Any,
) -> list[GroundedCaption]:
    """`top` stories around one box (x, y, width, height) in pixels, the likeliest first. options: see `explain_all`."""
    return explain_all(model, encoded, graph, [box], top=top, **options)[0]


@torch.no_grad()
def explain_all(
    model: SGDiff,
    encoded: Encoded,
    graph: SceneGraph,
    boxes: Sequence[Sequence[float]],
    *,
    top: int = 5,
    steps: int = 12,
    sampler: str = "renoise",
    temperature: float = 0.0,
    tries: int = 4,
    length: int | None = None,
    include: Sequence[str] = (),
    seed: int = 0,
) -> list[list[GroundedCaption]]:
    """`top` stories for each box, all in one batch.

    steps: evaluations of the network. sampler: one of `segue.methods.sgdiff.sampler`'s. temperature: of the words that
    are drawn, 0 takes the likeliest; higher ones make stories differ more. tries: how often diffusion tells each story,
    of which the likeliest stays. length: exactly so many words. include: words that every caption tells.
    A story's score is the geometric mean of its words' probabilities times that of its set of nodes.
    Raises InputError for a box outside the picture or empty, a graph of another picture's size, a length that can't be,
    and words outside the vocabulary.
    """
    if graph.size != encoded.size:
        raise InputError(f"graph of a picture of {graph.size}, expected {encoded.size} (width, height); encode its own")
    whole = {"top": top, "steps": steps, "tries": tries, "seed": seed} | ({} if length is None else {"length": length})
    if odd := {name: value for name, value in whole.items() if not isinstance(value, int | np.integer)}:
        raise InputError(f"{next(iter(odd))}: got {next(iter(odd.values()))!r}, expected a whole number")
    if isinstance(include, str):
        raise InputError(f"include: got one text {include!r}, expected a list of words, such as [{include!r}]")
    if top < 1 or not boxes:
        raise InputError(f"got top={top} and {len(boxes)} boxes, expected 1 or more of each")
    wish = _Wish(steps, sampler, temperature, tries, length, model.lexicon.known(include), seed)
    _check(wish, model)
    nodes = [prompt_node(graph, check_box(box, graph.size)) for box in boxes]
    coarse = [coarse_subgraph(graph, node, model.config.max_nodes) for node in nodes]
    device = model.codes.device
    batch = {k: v.to(device) for k, v in pack_prompts(graph, coarse, model.lexicon, model.config).items()}
    found = model.adapt(encoded.levels, batch)
    owner, keep, likely = _node_sets(found, batch, top, seed)
    batch = {k: v[owner] for k, v in batch.items()}
    found = Adapted(
        found.nodes[owner],
        None if found.relevance is None else found.relevance[owner],
        None if found.order is None else found.order[owner],
    )
    order = None if found.order is None else hungarian_order(found.order, keep)
    told_of = model.subgraph(found, batch, keep, order)
    story = _tell(model, told_of, wish, top)
    labels = [[graph.labels[i] for i in coarse[prompt]] for prompt in owner.tolist()]
    stories = _finish(model, encoded, told_of, story, likely, labels)
    by_prompt = [stories[i * top : (i + 1) * top] for i in range(len(boxes))]
    return [sorted(some, key=lambda s: -s.score) for some in by_prompt]


class _Wish(NamedTuple):
    steps: int
    sampler: str
    temperature: float
    tries: int
    length: int | None
    include: list[int]
    seed: int


def _check(wish: _Wish, model: SGDiff) -> None:
    c = model.config
    if wish.include and c.decoder == "autoregressive":
        raise InputError("include: a decoder that writes word by word can't hold words in place; use the diffusion one")
    if (wish.include or wish.length is not None) and not c.tells:
        raise InputError("length, include: this model only outlines; load one that tells captions")
    if wish.tries < 1:
        raise InputError(f"tries: got {wish.tries}, expected 1 or more")
    if wish.seed < 0:
        raise InputError(f"seed: got {wish.seed}, expected 0 or more")
    if not isinstance(wish.temperature, Real) or not 0 <= wish.temperature <= HOTTEST:
        raise InputError(f"temperature: got {wish.temperature!r}, expected 0 to {HOTTEST:g}")
    controls(wish.length, wish.include, c.length)


def _node_sets(found: Adapted, batch: dict[str, Tensor], top: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each story's prompt (R,), its nodes (R, N) bool, and the log-probability (R,) of choosing them.

    A prompt with fewer sets than stories tells the first ones again, in other words.
    """
    rows, likely = [], []
    real = batch["nodes"].cpu().numpy()
    p = None if found.relevance is None else found.relevance.sigmoid().double().cpu().numpy()
    for i, prompt in enumerate(batch["prompt"].tolist()):
        n = int(real[i].sum())
        chosen, chance = [real[i, :n]], np.zeros(1)
        if p is not None:
            chosen = sample_subgraphs(p[i, :n], prompt, top, np.random.default_rng(seed))
            chance = set_log_probability(np.stack(chosen), p[i, :n].clip(1e-6, 1 - 1e-6), prompt)
        for k in range(top):
            row = np.zeros(real.shape[1], np.bool_)
            row[:n] = chosen[k % len(chosen)]
            rows.append(row)
            likely.append(chance[k % len(chosen)])
    device = batch["nodes"].device
    owner = torch.arange(len(real), device=device).repeat_interleave(top)
    return owner, torch.from_numpy(np.stack(rows)).to(device), torch.tensor(likely, device=device).float()


class _Story(NamedTuple):
    """numbers (R, L) and log-probability (R,) of the captions, and the network's last streams."""

    numbers: Tensor | None
    likely: Tensor
    states: States


def _tell(model: SGDiff, graph: Subgraph, wish: _Wish, top: int) -> _Story:
    """The captions of R stories; equal prompts get equal noise, whatever else is in the batch."""
    rows, c = len(graph.features), model.config
    if not c.tells or model.head is None:
        states = model.transformer(None, graph.features, graph.there)
        return _Story(None, graph.features.new_zeros(rows), states)
    if isinstance(model.words, WordInput):
        numbers = write(
            model.transformer,
            model.words,
            model.head,
            model.gist(graph),
            graph.features,
            graph.there,
            most=c.length,
            length=wish.length,
            temperature=wish.temperature,
            seeds=[wish.seed + i % top for i in range(rows)],
        )
        logits, states = model.read(numbers, graph)
        return _Story(*words_of(F.one_hot(numbers, logits.shape[-1]).float(), logits), states)
    generator = torch.Generator(model.codes.device).manual_seed(wish.seed)
    shape = (top * wish.tries, c.length, model.codes.shape[1])
    each = Subgraph(*(part.repeat_interleave(wish.tries, 0) for part in graph))
    begun = model.transformer.begin(each.features, each.there)

    def draw() -> Tensor:
        return torch.randn(shape, generator=generator, device=model.codes.device).repeat(rows // top, 1, 1)

    def denoise(x: Tensor, snr: Tensor, guess: Tensor, last: bool) -> tuple[Tensor, tuple[Tensor, States]]:
        logits, states = model.denoise(x, snr, guess, each, words_alone=not last, begun=begun)
        return logits, (logits, states)

    control = controls(wish.length, wish.include, c.length)
    how: dict[str, Any] = {"steps": wish.steps, "sampler": wish.sampler, "temperature": wish.temperature}
    logits, (belief, states) = sample(denoise, model.codes, draw, **how, control=control)
    numbers, likely = words_of(logits, belief)
    best = likely.view(rows, wish.tries).argmax(1) + wish.tries * torch.arange(rows, device=likely.device)
    return _Story(numbers[best], likely[best], states.of_rows(best))


def _finish(
    model: SGDiff,
    encoded: Encoded,
    sub: Subgraph,
    story: _Story,
    likely: Tensor,
    coarse: list[list[str]],
) -> list[GroundedCaption]:
    """Words, phrases, masks and ties put together. coarse: the classes of each story's coarse subgraph."""
    masks = _masks(model, encoded, sub, story.states)
    ties = None if story.numbers is None or masks is None else _ties(model, sub, story)
    scores = (story.likely + likely).exp().clamp(max=1).tolist()
    tags = None
    if model.head is not None and model.head.tags is not None and story.states.caption is not None:
        tags = model.head.tags(story.states.caption).argmax(-1).cpu().numpy()
    stories = []
    for row, score in enumerate(scores):
        caption, spans = model.lexicon.text([] if story.numbers is None else story.numbers[row].tolist())
        labels = [coarse[row][i] for i in sub.chosen[row, : int(sub.real[row].sum())].tolist()]
        links: list[PhraseGrounding] = []
        if masks is not None:
            phrases = [] if tags is None else _phrases(tags[row][: len(spans)])
            tie = None if ties is None else ties[row].cpu().numpy()
            links = _links(caption, spans, phrases, tie, masks[row], sub.real[row].tolist(), labels, encoded.size)
        stories.append(GroundedCaption(caption, score, tuple(links)))
    return stories


def _masks(model: SGDiff, encoded: Encoded, sub: Subgraph, states: States) -> Tensor | None:
    """Logits (R, N, h, w) at stride 2, or None when the model doesn't outline."""
    if model.masks is None or encoded.pixels is None:
        return None
    return model.masks(states.graph[:, : sub.real.shape[1]], sub.boxes, encoded.pixels)[-1]


def _ties(model: SGDiff, sub: Subgraph, story: _Story) -> Tensor:
    """(R, N, L): for each node, a distribution over the words told: which of them is it?"""
    nodes, states = sub.real.shape[1], story.states
    assert story.numbers is not None  # for mypy: only called when there are captions
    assert states.caption is not None
    real = story.numbers != 0
    real[:, 0] = True
    if model.contrast is not None:
        m, s = model.contrast.project(states.graph[:, :nodes], states.caption)
        score = model.contrast.scale * m @ s.transpose(1, 2)
    else:
        causal = model.config.decoder == "autoregressive"
        looks = model.transformer.glances(states, sub.there, causal)
        score = sub.features.new_zeros(*sub.real.shape, real.shape[1])
        if looks is not None:
            score = looks[..., :nodes].transpose(1, 2).log()
    return score.masked_fill(~real[:, None], -torch.inf).softmax(-1)


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


def _links(
    caption: str,
    spans: list[tuple[int, int]],
    phrases: list[tuple[int, int]],
    tie: NDArray[np.float32] | None,
    logits: Tensor,
    real: list[bool],
    labels: list[str],
    size: tuple[int, int],
) -> list[PhraseGrounding]:
    """Each node's mask with the phrase it is tied to most; empty masks are left out. logits: (N, h, w)."""
    there = [i for i, is_real in enumerate(real) if is_real]
    if not there or (tie is not None and not phrases):
        return []
    links = []
    for i in there:  # one at a time: all masks of a photograph, as wide as it is, could be gigabytes
        fine = F.interpolate(logits[None, None, i], size[::-1], mode="bilinear")[0, 0]
        inside = fine >= 0
        if not inside.any():
            continue
        mask, sure = inside.cpu().numpy(), float(fine[inside].sigmoid().mean())
        if tie is None:
            links.append(PhraseGrounding(0, 0, labels[i], mask, sure, labels[i]))
            continue
        chance = [float(tie[i, a:b].sum()) for a, b in phrases]
        best = int(np.argmax(chance))
        start, end = spans[phrases[best][0]][0], spans[phrases[best][1] - 1][1]
        links.append(PhraseGrounding(start, end, caption[start:end], mask, min(sure * chance[best], 1.0), labels[i]))
    return sorted(links, key=lambda link: (link.start, -link.score))
