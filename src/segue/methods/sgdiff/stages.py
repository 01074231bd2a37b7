"""The two stages of training, Eq. 13, as tasks of the training loop: captions and the adaptor first, then everything.

L = lambda_1 (L_Filter + L_Rank) + L_Caption + L_Mask + lambda_2 L_MEC
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.methods.sgdiff.adaptor import AdaptorOutput
from segue.methods.sgdiff.analog_bits import add_noise, expected_code, log_snr, mask_until_end, training_times
from segue.methods.sgdiff.config import SGDiffConfig
from segue.methods.sgdiff.losses import adaptor_losses, caption_losses, mask_losses, token_cross_entropy
from segue.methods.sgdiff.masked_diffusion import hide, loss_weights
from segue.methods.sgdiff.model import SGDiff, Subgraph
from segue.methods.sgdiff.time_warp import TimeWarp
from segue.methods.sgdiff.transformer import HiddenStates
from segue.types import InputError

CLIPPED_APART = ("backbone", "pixel_decoder", "mask_head", "mecl")
TAUGHT_TEMPERATURE = 0.5  # of the captions that are distilled
BACKBONE_RATE = 0.1  # of the learning rate, as Mask2Former's
WEIGHTS = {"bit": 1.0, "cross_entropy": 1.0, "tag": 1.0, "mask": 5.0, "dice": 5.0}  # within L_Caption and L_Mask


class CaptionStage(nn.Module):
    """The first stage: captions and the adaptor. It freezes the parts of the model that it doesn't train.

    keep: further parts that stay as they are. teacher: a word-by-word model whose captions it learns in the place of
    people's, see `rewrite`; it is no part of the task's state.
    Raises InputError when the model has neither captions nor an adaptor to train, and for a teacher that can't be one.
    """

    def __init__(self, model: SGDiff, keep: Iterable[nn.Module] = (), teacher: SGDiff | None = None) -> None:
        super().__init__()
        if not has_caption_stage(model.config):
            raise InputError("the first stage trains captions and the adaptor, and this model has neither of them")
        if teacher is not None:
            _check_teacher(teacher, model)
        self._teacher = (teacher,)  # in a tuple, so that it isn't registered
        self.model = model.requires_grad_(True)
        for part in (*_second_stage_parts(model), *keep):
            part.requires_grad_(False)

    def training_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: see `batches`. Returns "loss" and its unweighted terms."""
        (teacher,) = self._teacher
        if teacher is not None:
            batch = rewrite(teacher.to(batch["image"].device), batch)
        return _weighted(_caption_step(self.model, batch, self.model.backbone(batch["image"])).terms, self.model.config)


class JointStage(nn.Module):
    """The second stage: all of Eq. 13, all of the model.

    keep: parts that stay as they are. apart: whether the backbone (at BACKBONE_RATE), the pixel decoder, the mask head
    and MECL have their gradients clipped apart from the captions', of which dice's on the backbone is several times as
    large.
    """

    def __init__(self, model: SGDiff, keep: Iterable[nn.Module] = (), *, apart: bool = False) -> None:
        super().__init__()
        self.lr_scale = {"model.backbone.": BACKBONE_RATE} if apart else {}
        self.clip_apart = tuple(f"model.{part}." for part in CLIPPED_APART) if apart else ()
        self.model = model.requires_grad_(True)
        for part in keep:
            part.requires_grad_(False)

    def training_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: see `batches`. Returns "loss" and its unweighted terms."""
        return _weighted(self._terms(batch, self.model.backbone(batch["image"]))[0], self.model.config)

    def term_gradients(self, batch: dict[str, Tensor], seed: int = 0) -> dict[str, float]:
        """How strongly each term of the loss pulls at the features that it acts on, over the cross-entropy's pull.

        "gradient_picture_dice" is |5 dL_dice/dF| / |dL_cross_entropy/dF| at the backbone's features F, and
        "gradient_caption_mecl" the same at the caption's last states; terms that don't reach a place have none there.
        {} for a model without captions. batch: as in `training_step`. seed: of the noise.
        """
        if not self.model.config.generates_captions:
            return {}
        with torch.enable_grad(), torch.random.fork_rng():
            torch.manual_seed(seed)
            levels = [x.detach().requires_grad_() for x in self.model.backbone(batch["image"])]
            terms, states = self._terms(batch, levels)
            assert states.caption is not None  # for mypy: it generates captions
            places, pull = {"picture": levels, "caption": [states.caption]}, dict[str, dict[str, float]]()
            for name, weight in _weights(self.model.config, terms).items():
                for place, at in places.items():
                    found = torch.autograd.grad(weight * terms[name], at, retain_graph=True, allow_unused=True)
                    if there := [gradient for gradient in found if gradient is not None]:
                        pull.setdefault(place, {})[name] = float(torch.stack([g.norm() for g in there]).norm())
        return {
            f"gradient_{place}_{name}": size / max(sizes["cross_entropy"], 1e-12)
            for place, sizes in pull.items()
            for name, size in sizes.items()
            if name != "cross_entropy"
        }

    def _terms(self, batch: dict[str, Tensor], levels: list[Tensor]) -> tuple[dict[str, Tensor], HiddenStates]:
        """The unweighted terms, and the transformer's states. levels: the backbone's features."""
        step = _caption_step(self.model, batch, levels)
        states = self.model.graph_states(step.graph) if step.states is None else step.states
        return step.terms | _mask_terms(self.model, step._replace(states=states), batch), states


@torch.no_grad()
def rewrite(teacher: SGDiff, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch with the captions that a word-by-word model writes of the same nodes, and with the tags it gives them.

    Distillation by whole captions (Kim & Rush 2016), drawn at TAUGHT_TEMPERATURE so that they differ. Their grounding
    is not known: for the first stage, which does without.
    """
    graph = _read(teacher, batch, teacher.backbone(batch["image"])).graph
    seeds = torch.randint(2**31, (len(graph.features),)).tolist()
    token_ids = teacher.write(graph, temperature=TAUGHT_TEMPERATURE, seeds=seeds)
    tags = teacher.phrase_tags(teacher.teacher_forced(token_ids, graph)[1])
    return batch | {"token_ids": token_ids} | ({} if tags is None else {"tags": tags.argmax(-1)})


def _check_teacher(teacher: SGDiff, model: SGDiff) -> None:
    """Raises InputError unless the teacher writes word by word, in the model's words, from batches as the model's."""
    if teacher.config.decoder != "autoregressive" or not teacher.config.generates_captions:
        raise InputError("teacher: it doesn't write word by word; expected a run of --system autoregressive")
    names = ("size", "max_words", "max_nodes", "max_edges", "max_ranked", "feature_width")
    differing = [name for name in names if getattr(teacher.config, name) != getattr(model.config, name)]
    if teacher.lexicon != model.lexicon:
        differing.append("words or classes")
    if differing:
        raise InputError(f"teacher: it has other {', '.join(differing)}; train it on the same data and settings")


def has_caption_stage(config: SGDiffConfig) -> bool:
    """Whether the first stage has something to train: captions or the adaptor."""
    return config.generates_captions or config.filters_nodes or config.ranks_nodes


def _second_stage_parts(model: SGDiff) -> list[nn.Module]:
    """The parts that only masks and MECL train."""
    t, config = model.transformer, model.config
    parts: list[nn.Module | None] = [model.pixel_decoder, model.mask_head, model.mecl, t.graph_norm]
    if config.generates_masks:
        parts.extend(t.graph_layers[-1:] if t.cross_attention else t.graph_layers)
        if config.decoder == "autoregressive":
            for layer in t.layers()[1]:
                parts += [layer.cross_attention, layer.cross_norm]
    if not config.generates_captions:  # then the first stage trains the adaptor alone
        parts += [t, model.edge_fusion, model.rank_embedding]
    return [part for part in parts if part is not None]


def _weighted(terms: dict[str, Tensor], config: SGDiffConfig) -> dict[str, Tensor]:
    """The terms with their weighted sum as "loss"."""
    weights = _weights(config, terms)
    return {"loss": torch.stack([weights[name] * term for name, term in terms.items()]).sum()} | terms


def _weights(config: SGDiffConfig, terms: Iterable[str]) -> dict[str, float]:
    """The weight of each of these terms in the loss."""
    adaptor = dict.fromkeys(("adaptor", "ranking"), config.lambda_adaptor)
    weights = WEIGHTS | adaptor | {"mecl": config.lambda_mecl}
    return {name: weights[name] for name in terms}


class _Step(NamedTuple):
    """The losses that both stages have, and what those of the second need. states: None without captions."""

    terms: dict[str, Tensor]
    levels: list[Tensor]
    graph: Subgraph
    states: HiddenStates | None
    known: Tensor | None = None  # (B,) the share of each caption that its noise leaves known, None for all


class _Read(NamedTuple):
    """A batch as the network reads it. known: (B, N) bool, the nodes of which it is known whether they are named."""

    output: AdaptorOutput
    known: Tensor
    graph: Subgraph


def _read(model: SGDiff, batch: dict[str, Tensor], levels: list[Tensor]) -> _Read:
    output = model.adapt(levels, batch)
    known = batch["node_mask"] & batch["has_phrases"][:, None]  # without phrases, what a caption names is unknown
    keep = (
        torch.where(known, batch["relevant"], batch["node_mask"]) if model.config.filters_nodes else batch["node_mask"]
    )
    keep = keep.scatter(1, batch["prompt_node"][:, None], True)
    return _Read(output, known, model.subgraph(levels, output, batch, keep, batch["ranks"]))


def _caption_step(model: SGDiff, batch: dict[str, Tensor], levels: list[Tensor]) -> _Step:
    output, known, graph = _read(model, batch, levels)
    terms = adaptor_losses(output, batch["relevant"], batch["ranks"], known)
    if not model.config.generates_captions:
        return _Step(terms, levels, graph, None)
    terms_of_caption, states, share = _CAPTIONS[model.config.decoder](model, batch["token_ids"], graph)
    return _Step(terms | terms_of_caption | _tag_terms(model, states, batch), levels, graph, states, share)


_CaptionPart = tuple[dict[str, Tensor], HiddenStates, Tensor | None]  # L_Caption, the states, the share that is known


def _word_by_word(model: SGDiff, token_ids: Tensor, graph: Subgraph) -> _CaptionPart:
    logits, states = model.teacher_forced(token_ids, graph)
    return {"cross_entropy": caption_losses(logits, token_ids, model.codes)[1]}, states, None


def _masked(model: SGDiff, token_ids: Tensor, graph: Subgraph) -> _CaptionPart:
    """The cross-entropy of hidden tokens."""
    shown, share = hide(token_ids, model.lexicon.size)
    logits, states = model.fill(shown, graph)
    weights = loss_weights(token_ids, shown, model.lexicon.size)
    cross = (weights * token_cross_entropy(logits, token_ids)).sum() / weights.sum().clamp_min(1)
    return {"cross_entropy": cross}, states, 1 - share


def _diffused(model: SGDiff, token_ids: Tensor, graph: Subgraph) -> _CaptionPart:
    """Eq. 7 and the cross-entropy of a noisy caption at a random t; in half of the steps with an own estimate."""
    x0, warp, rows = model.codes[token_ids], model.time_warp, len(token_ids)
    t = training_times(rows, token_ids.device) if warp is None else warp.training_times(rows)
    snr = log_snr(t)
    x, estimate = add_noise(x0, snr, torch.randn_like(x0)), torch.zeros_like(x0)
    cached = model.transformer.precompute_first_block(graph.features, graph.mask)
    if torch.rand(()) < 0.5:
        with torch.no_grad():
            logits, _ = model.denoise(x, snr, estimate, graph, caption_only=True, cached=cached)
            estimate = expected_code(logits, model.codes)
    logits, states = model.denoise(x, snr, estimate, graph, cached=cached)
    bit, cross = caption_losses(logits, token_ids, model.codes)
    curve = warp or TimeWarp().to(token_ids.device)
    known = 1 - curve.unknown(t)
    if warp is not None and model.training:
        real = mask_until_end(token_ids)
        warp.update(t, (token_cross_entropy(logits.detach(), token_ids) * real).sum(1) / real.sum(1))
    return {"bit": bit, "cross_entropy": cross}, states, known


_CAPTIONS = {"autoregressive": _word_by_word, "masked": _masked, "diffusion": _diffused}


def _tag_terms(model: SGDiff, states: HiddenStates, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The cross-entropy of the tags of phrases."""
    terms = {}
    if (tag_logits := model.phrase_tags(states)) is not None:
        known = mask_until_end(batch["token_ids"]) & batch["has_phrases"][:, None]
        tags = F.cross_entropy(tag_logits.transpose(1, 2), batch["tags"], reduction="none")
        terms["tag"] = (tags * known).sum() / known.sum().clamp_min(1)
    return terms


def _mask_terms(model: SGDiff, step: _Step, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """L_Mask of the subgraph's nodes whose masks are known, and L_MEC."""
    terms: dict[str, Tensor] = {}
    _, levels, graph, states, known_share = step
    assert states is not None  # for mypy: `JointStage` fills it
    pixels = None if model.pixel_decoder is None else model.pixel_decoder(levels)
    if (found := model.masks(states, graph, pixels)) is not None:
        truth = graph.gather_nodes(batch["masks"])
        known = graph.gather_nodes(batch["mask_known"]) & graph.node_mask
        terms["mask"], terms["dice"] = mask_losses(found.logits, truth, known)
    if model.mecl is not None and states.caption is not None:
        masks, texts = model.mecl_inputs(states, graph, None if found is None else found.queries)
        words = mask_until_end(batch["token_ids"])
        grounding = graph.gather_nodes(batch["grounding"])
        rows = len(graph.node_mask) // len(levels[0])
        weight = known_share if model.config.mecl_by_noise else None
        terms["mecl"] = model.mecl(masks, texts, graph.node_mask, words, grounding, rows, weight)
    return terms
