"""SGDiff: one box on a picture -> several captions, each with the masks of what it names.

Paper: X. Zhang et al., "SGDiff: Scene Graph Guided Diffusion Model for Image Collaborative SegCaptioning".
The equation numbers in this folder are the paper's. Bits, schedule and self-conditioning are after SCD-Net.

    picture -> backbone -> nodes e_o -> adaptor (Eq. 1-5) -> f_g -> bimodal transformer (Eq. 6-9) -> words, masks

Where we differ, and why, is told at the head of each part: `bits`, `sampler`, `graph`, `adaptor`, `transformer`,
`mask_head`, `contrast`. Beyond that:
- While training, the subgraph is that of the truth (the nodes that the caption names, in its order), and at test that
  of the adaptor: so the captioner learns to tell the graph it is given.
- Words carry a tag, begin / inside / outside of a phrase that names something; the paper doesn't say how its nouns are
  found in what it writes. A mask goes to the phrase whose words are nearest to it under MECL's projections; without
  MECL, to the one whose words look at its node most.
Not verified: the paper's figures on COCO and Flickr30k Entities, which need its data and weeks of GPU time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segue.methods.sgdiff.adaptor import Adapted, Adaptor, EdgeFusion, adaptor_losses, relevance_gate
from segue.methods.sgdiff.autoregressive import WordInput, read_through
from segue.methods.sgdiff.bits import add_noise, bit_codes, caption_losses, expected_code, log_snr, told, training_times
from segue.methods.sgdiff.config import SGDiffConfig
from segue.methods.sgdiff.contrast import Contrast
from segue.methods.sgdiff.lexicon import Lexicon
from segue.methods.sgdiff.mask_head import (
    BOX_CODE,
    Backbone,
    MaskHead,
    PixelDecoder,
    Pixels,
    box_code,
    look_at,
    mask_losses,
)
from segue.methods.sgdiff.transformer import Begun, BimodalTransformer, BitInput, States, WordHead
from segue.types import InputError, check_image

TAG, BIT, CROSS, MASK, DICE = 1.0, 1.0, 1.0, 5.0, 5.0  # weights of the terms of L_Caption and L_Mask


def build_sgdiff(config: SGDiffConfig, lexicon: Lexicon) -> SGDiff:
    """The whole model, put together here; a part that a switch turns off is not built."""
    c, bits = config, bit_codes(lexicon.size).shape[1]
    inner = {"width": c.width, "heads": c.heads, "feed": c.feed}
    diffuses = c.decoder == "diffusion"
    words = BitInput(bits, c.width, c.length) if diffuses else WordInput(lexicon.size, c.width, c.length)
    return SGDiff(
        config=c,
        lexicon=lexicon,
        backbone=Backbone(c.widths),
        nodes=NodeInput(c, len(lexicon.classes)),
        adaptor=Adaptor(**inner, blocks=c.adaptor_blocks, places=c.places, filters=c.filters, ranks=c.ranks),
        edges=EdgeFusion(c.width, len(lexicon.predicates)),
        place=nn.Embedding(c.places + 1, c.width) if c.ranks else None,
        transformer=BimodalTransformer(
            **inner, blocks=c.blocks, crosses=c.cross_attention, tells=c.tells, outlines=c.outlines
        ),
        words=words if c.tells else None,
        mean=nn.Linear(c.width, c.width) if c.tells and not c.cross_attention else None,
        head=WordHead(c.width, lexicon.size, phrases=c.outlines) if c.tells else None,
        pixels=PixelDecoder(c.widths, c.width, c.channels) if c.outlines else None,
        masks=MaskHead(**inner, channels=c.channels) if c.outlines else None,
        contrast=Contrast(c.width, c.channels, c.mecl, c.max_nodes) if c.contrasts else None,
    )


class NodeInput(nn.Module):
    """e_o: what a node is, where it is, what the picture shows there, and whether it is the prompt's."""

    def __init__(self, config: SGDiffConfig, classes: int) -> None:
        super().__init__()
        width = config.width
        self.label, self.box = nn.Embedding(classes + 1, width), nn.Linear(BOX_CODE, width)
        self.look = nn.Linear(9 * config.widths[1] + config.widths[3], width)
        self.detected = nn.Linear(config.feature_width, width) if config.feature_width else None
        self.asked = nn.Parameter(torch.randn(width))

    def forward(self, levels: Sequence[Tensor], batch: dict[str, Tensor]) -> Tensor:
        """levels: of the backbone, of the pictures whose rows, one picture's after the other, the batch has."""
        boxes = batch["boxes"]
        seen = torch.cat([look_at(levels[1], boxes, 3), look_at(levels[3], boxes, 1)], -1)
        x = self.label(batch["classes"]) + self.box(box_code(boxes)) + self.look(seen)
        if self.detected is not None:
            x = x + self.detected(batch["features"])
        prompt = F.one_hot(batch["prompt"], x.shape[1])[..., None]
        return x + prompt * self.asked


class Subgraph(NamedTuple):
    """G_i with only its own nodes and edges, padded to the largest of the batch.

    chosen: (B, M) where each node is among the coarse subgraph's. real: (B, M) bool. boxes: (B, M, 4).
    features: f_g (B, M + E, D), nodes then edges. there: (B, M + E) bool.
    """

    chosen: Tensor
    real: Tensor
    boxes: Tensor
    features: Tensor
    there: Tensor

    def of_nodes(self, x: Tensor) -> Tensor:
        """(B, N, ...) of the coarse subgraph's nodes -> (B, M, ...) of these."""
        index = self.chosen.reshape(*self.chosen.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
        return x.gather(1, index)


@dataclass(frozen=True)
class Encoded:
    """A picture that the network has looked at once, for any number of prompts. size: (width, height) in pixels."""

    levels: list[Tensor]
    pixels: Pixels | None
    size: tuple[int, int]


class SGDiff(nn.Module):
    """See `build_sgdiff`. `training_step` is Eq. 13; `encode` and then `explain.explain` answer prompts."""

    def __init__(
        self,
        config: SGDiffConfig,
        lexicon: Lexicon,
        backbone: Backbone,
        nodes: NodeInput,
        adaptor: Adaptor,
        edges: EdgeFusion,
        place: nn.Embedding | None,
        transformer: BimodalTransformer,
        words: BitInput | WordInput | None,
        mean: nn.Linear | None,
        head: WordHead | None,
        pixels: PixelDecoder | None,
        masks: MaskHead | None,
        contrast: Contrast | None,
    ) -> None:
        super().__init__()
        self.config, self.lexicon, self.stage = config, lexicon, 2
        self.backbone, self.nodes, self.adaptor, self.edges, self.place = backbone, nodes, adaptor, edges, place
        self.transformer, self.words, self.mean, self.head = transformer, words, mean, head
        self.pixels, self.masks, self.contrast = pixels, masks, contrast
        self.register_buffer("codes", bit_codes(lexicon.size), persistent=False)

    codes: Tensor

    # -------------------------------------------------------------------------------------------- inference

    @torch.no_grad()
    def encode(self, image: NDArray[np.uint8]) -> Encoded:
        """Look at a picture, (H, W, 3) uint8 RGB of any size; the only step that a further prompt need not repeat."""
        check_image(image)
        levels = self.backbone(self.config.preprocessing.to_tensor([image]).to(self.codes.device))
        pixels = None if self.pixels is None else self.pixels(levels)
        return Encoded(levels, pixels, (image.shape[1], image.shape[0]))

    # ------------------------------------------------------------------------------- what both of them need

    def adapt(self, levels: Sequence[Tensor], batch: dict[str, Tensor]) -> Adapted:
        """The coarse subgraph through the adaptor: f_o, P(G_i), R."""
        return self.adaptor(self.nodes(levels, batch), batch["nodes"])

    def subgraph(self, found: Adapted, batch: dict[str, Tensor], keep: Tensor, order: Tensor | None) -> Subgraph:
        """f'_o of Eq. 4 with its edges: f_g. keep: (B, N) bool. order: (B, N) places, or None without ranking."""
        index = (~keep).long().argsort(dim=1, stable=True)[:, : int(keep.sum(1).max())]  # kept nodes first
        real = keep.gather(1, index)
        x = found.nodes * relevance_gate(found.relevance, keep, batch["prompt"])[..., None]
        if self.place is not None and order is not None:
            x = x + self.place(order)
        ends = batch["edges"][..., [0, 2]]
        linked = batch["linked"] & keep.gather(1, ends[..., 0]) & keep.gather(1, ends[..., 1])
        first = (~linked).long().argsort(dim=1, stable=True)[:, : int(linked.sum(1).max())]
        edges = batch["edges"].gather(1, first[..., None].expand(-1, -1, 3))
        there = torch.cat([real, linked.gather(1, first)], 1)
        nodes = x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))
        boxes = batch["boxes"].gather(1, index[..., None].expand(-1, -1, 4))
        return Subgraph(index, real, boxes, torch.cat([nodes, self.edges(x, edges)], 1), there)

    def gist(self, graph: Subgraph) -> Tensor | float:
        """(B, 1, D): the graph's mean for the words' input, where there is no cross-attention; else nothing."""
        if self.mean is None:
            return 0.0
        total = (graph.features * graph.there[..., None]).sum(1, keepdim=True)
        return self.mean(total / graph.there.sum(1)[:, None, None])

    def denoise(
        self,
        x: Tensor,
        snr: Tensor,
        guess: Tensor,
        graph: Subgraph,
        *,
        words_alone: bool = False,
        begun: Begun | None = None,
    ) -> tuple[Tensor, States]:
        """Logits of the words (B, L, V) and both streams, from noisy bits x (B, L, n): f(x_t, t, f_g) of Eq. 7.

        words_alone: the graph's stream is not wanted to its end. begun: of the graph, by the transformer's `begin`.
        """
        assert isinstance(self.words, BitInput)  # for mypy: only called when it diffuses
        assert self.head is not None
        c = self.words(x, snr, guess) + self.gist(graph)
        states = self.transformer(c, graph.features, graph.there, words_alone=words_alone, begun=begun)
        return self.head(states.caption), states

    def read(self, ids: Tensor, graph: Subgraph) -> tuple[Tensor, States]:
        """The same for the autoregressive decoder, with all words known."""
        assert isinstance(self.words, WordInput)  # for mypy: only called when it does not diffuse
        assert self.head is not None
        states = read_through(self.transformer, self.words(ids) + self.gist(graph), graph.features, graph.there)
        return self.head(states.caption), states

    # --------------------------------------------------------------------------------------------- training

    def begin_stage(self, stage: int) -> None:
        """1: captions and the adaptor only; 2: all of Eq. 13. What a stage doesn't train gets no gradient."""
        c = self.config
        if stage not in (1, 2) or (stage == 1 and not (c.tells or c.filters or c.ranks)):
            raise InputError(f"stage: got {stage}, expected 2, or 1 where there are captions or an adaptor to learn")
        self.stage = stage
        self.requires_grad_(True)
        if stage == 1:
            for part in self._second_stage():
                part.requires_grad_(False)

    def _second_stage(self) -> list[nn.Module]:
        """The parts that only masks and MECL train."""
        parts: list[nn.Module | None] = [self.pixels, self.masks, self.contrast, self.transformer.norm_graph]
        t = self.transformer
        if self.config.outlines:
            parts.extend(t.graphs if not t.crosses else t.graphs[-1:])
            if self.config.decoder == "autoregressive":
                for block in t.directions()[1]:
                    parts += [block.cross, block.norm_cross]
        if not self.config.tells:  # then the first has the adaptor alone
            parts += [t, self.edges, self.place]
        return [part for part in parts if part is not None]

    def training_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: see `batches`. Returns "loss" and its unweighted terms."""
        levels = self.backbone(batch["image"])
        found = self.adapt(levels, batch)
        known = batch["nodes"] & batch["tagged"][:, None]  # a caption without phrases doesn't tell what it names
        keep = torch.where(known, batch["relevant"], batch["nodes"]) if self.config.filters else batch["nodes"]
        keep = keep.scatter(1, batch["prompt"][:, None], True)
        graph = self.subgraph(found, batch, keep, batch["order"])
        terms = adaptor_losses(found, batch["relevant"], batch["order"], known)
        weights = dict.fromkeys(terms, self.config.lambda_adaptor)
        if self.config.tells:
            logits, states = self._guess(batch["ids"], graph)
            terms |= self._caption_terms(logits, states, batch)
            weights |= {"bit": BIT, "cross_entropy": CROSS, "tag": TAG}
        if self.stage == 2:
            if not self.config.tells:
                states = self.transformer(None, graph.features, graph.there)
            terms |= self._mask_terms(levels, graph, states, batch)
            weights |= {"mask": MASK, "dice": DICE, "mecl": self.config.lambda_mecl}
        return {"loss": torch.stack([weights[name] * term for name, term in terms.items()]).sum()} | terms

    def _guess(self, ids: Tensor, graph: Subgraph) -> tuple[Tensor, States]:
        """The words from a noisy caption at a random t; half of the time with the network's own first guess to hand."""
        if self.config.decoder == "autoregressive":
            return self.read(ids, graph)
        x0 = self.codes[ids]
        snr = log_snr(training_times(len(ids), ids.device))
        x, guess = add_noise(x0, snr, torch.randn_like(x0)), torch.zeros_like(x0)
        begun = self.transformer.begin(graph.features, graph.there)
        if torch.rand(()) < 0.5:
            with torch.no_grad():
                guess = expected_code(self.denoise(x, snr, guess, graph, words_alone=True, begun=begun)[0], self.codes)
        return self.denoise(x, snr, guess, graph, begun=begun)

    def _caption_terms(self, logits: Tensor, states: States, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """L_Caption: Eq. 7 and the cross-entropy (alone without diffusion), and that of the tags."""
        bit, cross = caption_losses(logits, batch["ids"], self.codes)
        terms = {"bit": bit, "cross_entropy": cross}
        if self.config.decoder == "autoregressive":
            del terms["bit"]
        if self.head is not None and self.head.tags is not None and states.caption is not None:
            counted = told(batch["ids"]) & batch["tagged"][:, None]
            tags = F.cross_entropy(self.head.tags(states.caption).transpose(1, 2), batch["tags"], reduction="none")
            terms["tag"] = (tags * counted).sum() / counted.sum().clamp_min(1)
        return terms

    def _mask_terms(
        self, levels: Sequence[Tensor], graph: Subgraph, states: States, batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """L_Mask of the subgraph's nodes whose masks are known, and L_MEC."""
        terms: dict[str, Tensor] = {}
        nodes, each = states.graph[:, : graph.real.shape[1]], len(graph.real) // len(levels[0])
        if self.pixels is not None and self.masks is not None:
            logits = self.masks(nodes, graph.boxes, self.pixels(levels))
            truth, known = graph.of_nodes(batch["masks"]), graph.of_nodes(batch["known"]) & graph.real
            terms["mask"], terms["dice"] = mask_losses(logits, truth, known)
        if self.contrast is not None and states.caption is not None:
            pairs = graph.of_nodes(batch["pairs"])
            terms["mecl"] = self.contrast(nodes, states.caption, graph.real, told(batch["ids"]), pairs, each)
        return terms
