"""SGDiff: one box on a picture -> several captions, each with the masks of what it names.

Paper: X. Zhang et al., "SGDiff: Scene Graph Guided Diffusion Model for Image Collaborative SegCaptioning".
The equation numbers in this folder are the paper's. Bits, schedule and self-conditioning are after SCD-Net.

    picture -> backbone -> nodes e_o -> adaptor (Eq. 1-5) -> f_g -> bimodal transformer (Eq. 6-9) -> words, masks

This file has the network; `stages` trains it (Eq. 13), `inference` generates with it.

Where we differ, and why, is said at the head of each part: `analog_bits`, `sampler`, `graph`, `adaptor`, `transformer`,
`mask_head`, `losses`. Beyond that:
- Captions may read the whole picture as well (`picture`): the paper's read the graph alone, none of whose nodes tells
  the night.
- In training the subgraph is the true one (the nodes that the caption names, in its order), at test the adaptor's: so
  the captioner learns to describe the graph that it is given.
- Tokens have a tag: outside, at the beginning or inside of a phrase that names something. The paper doesn't say how the
  nouns of a generated caption are found. A mask goes to the phrase whose words are nearest to it under MECL's
  projections; without MECL, to the one whose words attend to its node most.
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

from segue.methods.sgdiff.adaptor import Adaptor, AdaptorOutput, EdgeFusion, relevance_gate
from segue.methods.sgdiff.analog_bits import bit_codes
from segue.methods.sgdiff.autoregressive import IncrementalDecoder, TokenEmbedding, generate, teacher_forced
from segue.methods.sgdiff.config import SGDiffConfig
from segue.methods.sgdiff.lexicon import Lexicon
from segue.methods.sgdiff.losses import MECL
from segue.methods.sgdiff.mask_head import (
    BOX_WIDTH,
    Backbone,
    MaskHead,
    MaskOutput,
    PixelDecoder,
    PixelFeatures,
    box_encoding,
    sample_boxes,
)
from segue.methods.sgdiff.masked_diffusion import MaskedEmbedding
from segue.methods.sgdiff.time_warp import TimeWarp
from segue.methods.sgdiff.transformer import (
    BimodalTransformer,
    BitEmbedding,
    CachedFirstBlock,
    CaptionHead,
    HiddenStates,
)
from segue.metrics.acceptance import Acceptance
from segue.types import check_image


class NodeEmbedding(nn.Module):
    """e_o: a node's class, box, appearance in the picture, detector features if any, and whether it is the prompt's."""

    def __init__(self, config: SGDiffConfig, classes: int) -> None:
        super().__init__()
        width = config.width
        self.class_embedding, self.box = nn.Embedding(classes + 1, width), nn.Linear(BOX_WIDTH, width)
        self.appearance = nn.Linear(9 * config.widths[1] + config.widths[3], width)
        self.detector_features = nn.Linear(config.feature_width, width) if config.feature_width else None
        self.prompt = nn.Parameter(torch.randn(width))

    def forward(self, levels: Sequence[Tensor], batch: dict[str, Tensor]) -> Tensor:
        """(B, N, D). levels: of the backbone, for the pictures of the batch's rows."""
        boxes = batch["boxes"]
        sampled = torch.cat([sample_boxes(levels[1], boxes, 3), sample_boxes(levels[3], boxes, 1)], -1)
        x: Tensor = self.class_embedding(batch["class_ids"]) + self.box(box_encoding(boxes)) + self.appearance(sampled)
        if self.detector_features is not None:
            x = x + self.detector_features(batch["features"])
        is_prompt = F.one_hot(batch["prompt_node"], x.shape[1])[..., None]
        return x + is_prompt * self.prompt


class Subgraph(NamedTuple):
    """G_i: the selected nodes of the coarse subgraphs and the edges between them, padded to the largest of the batch.

    node_index: (B, M), each node's position in the coarse subgraph. node_mask: (B, M) bool. boxes: (B, M, 4).
    features: f_g (B, M + E, D), nodes then edges. mask: (B, M + E) bool. picture: (B, 2C), of the whole picture, see
    `picture_statistics`; (B, 0) where captions don't read it.
    """

    node_index: Tensor
    node_mask: Tensor
    boxes: Tensor
    features: Tensor
    mask: Tensor
    picture: Tensor

    def gather_nodes(self, x: Tensor) -> Tensor:
        """(B, N, ...) of the coarse subgraph's nodes -> (B, M, ...) of these."""
        index = self.node_index.reshape(*self.node_index.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
        return x.gather(1, index)

    def select(self, rows: Tensor) -> Subgraph:
        """Some rows (R,) int64."""
        return Subgraph(*(part[rows] for part in self))

    def repeat(self, times: int) -> Subgraph:
        """Each row `times` times, next to each other."""
        return Subgraph(*(part.repeat_interleave(times, 0) for part in self))


def picture_statistics(level: Tensor, rows: int) -> Tensor:
    """(rows, 2C): the mean and the standard deviation of each picture's features (B, C, h, w), for each of its rows."""
    found = torch.cat([level.mean((2, 3)), level.std((2, 3))], 1)
    return found.repeat_interleave(rows // len(level), 0)


@dataclass(frozen=True)
class EncodedPicture:
    """A picture's features, computed once for any number of prompts. size: (width, height) in pixels."""

    levels: list[Tensor]
    pixels: PixelFeatures | None
    size: tuple[int, int]


class SGDiff(nn.Module):
    """The whole network, put together here; a part that a switch of the configuration turns off is None.

    Train it by `stages.CaptionStage` and `stages.JointStage`; generate by `inference.SGDiffGenerator`.
    acceptance: what turns a caption's features into its score, once it is fitted.
    """

    codes: Tensor

    def __init__(self, config: SGDiffConfig, lexicon: Lexicon) -> None:
        super().__init__()
        c = self.config = config
        self.lexicon = lexicon
        self.acceptance: Acceptance | None = None
        codes = bit_codes(lexicon.size)
        layer = {"width": c.width, "heads": c.heads, "feed_forward": c.feed_forward}
        # Created first, registered in its place below: a seed's random weights depend on the order of creation.
        token_embedding: nn.Module
        if c.decoder == "diffusion":
            token_embedding = BitEmbedding(codes.shape[1], c.width, c.max_words)
        else:
            kind = MaskedEmbedding if c.decoder == "masked" else TokenEmbedding
            token_embedding = kind(lexicon.size, c.width, c.max_words)
        self.backbone = Backbone(c.widths)
        self.node_embedding = NodeEmbedding(c, len(lexicon.classes))
        self.adaptor = Adaptor(
            **layer,
            blocks=c.adaptor_blocks,
            max_ranked=c.max_ranked,
            filters_nodes=c.filters_nodes,
            ranks_nodes=c.ranks_nodes,
        )
        self.edge_fusion = EdgeFusion(c.width, len(lexicon.predicates))
        self.rank_embedding = nn.Embedding(c.max_ranked + 1, c.width) if c.ranks_nodes else None
        self.transformer = BimodalTransformer(
            **layer,
            blocks=c.blocks,
            cross_attention=c.cross_attention,
            captions=c.generates_captions,
            masks=c.generates_masks,
        )
        self.token_embedding = token_embedding if c.generates_captions else None
        self.graph_mean = nn.Linear(c.width, c.width) if c.generates_captions and not c.cross_attention else None
        self.caption_head = CaptionHead(c.width, lexicon.size, c.generates_masks) if c.generates_captions else None
        self.pixel_decoder = PixelDecoder(c.widths, c.width, c.channels) if c.generates_masks else None
        self.mask_head = MaskHead(**layer, channels=c.channels) if c.generates_masks else None
        self.mecl = MECL(c.width, c.channels, c.mecl, c.max_nodes) if c.uses_mecl else None
        self.time_warp = TimeWarp() if c.time_warp and c.decoder == "diffusion" else None
        self.picture = (
            nn.Sequential(nn.LayerNorm(2 * c.widths[0]), nn.Linear(2 * c.widths[0], c.width))
            if c.picture and c.generates_captions
            else None
        )
        self.register_buffer("codes", codes, persistent=False)

    def picture_side(self) -> dict[str, nn.Module]:
        """The parts that make no captions, by name: of the picture, of its nodes, and of masks.

        The graph's layers count, but for their attention to the caption, which is how they read it.
        """
        names = ("backbone", "node_embedding", "adaptor", "edge_fusion", "rank_embedding", "pixel_decoder", "mask_head")
        parts = {name: part for name in names if isinstance(part := getattr(self, name), nn.Module)}
        for i, layer in enumerate(self.transformer.layers()[1]):
            own = {name: part for name, part in layer.named_children() if not name.startswith("cross")}
            parts |= {f"transformer.graph_layers.{i}.{name}": part for name, part in own.items()}
        return parts

    # ------------------------------------------------------------------------------------- picture and graph

    @torch.no_grad()
    def encode(self, image: NDArray[np.uint8]) -> EncodedPicture:
        """The features of a picture, (H, W, 3) uint8 RGB of any size: the part that further prompts need not repeat.

        Raises InputError for an array of another shape or type.
        """
        check_image(image)
        levels = self.backbone(self.config.preprocessing.to_tensor([image]).to(self.codes.device))
        pixels = None if self.pixel_decoder is None else self.pixel_decoder(levels)
        return EncodedPicture(levels, pixels, (image.shape[1], image.shape[0]))

    def adapt(self, levels: Sequence[Tensor], batch: dict[str, Tensor]) -> AdaptorOutput:
        """The coarse subgraphs through the adaptor: f_o, P(G_i), R. batch: see `batches`."""
        output: AdaptorOutput = self.adaptor(self.node_embedding(levels, batch), batch["node_mask"])
        return output

    def subgraph(
        self,
        levels: Sequence[Tensor],
        output: AdaptorOutput,
        batch: dict[str, Tensor],
        keep: Tensor,
        ranks: Tensor | None,
    ) -> Subgraph:
        """f'_o of Eq. 4 with its edges: f_g.

        levels: of the backbone, for the rows' pictures. keep: (B, N) bool, the nodes of G_i. ranks: (B, N) int64, None
        without ranking.
        """
        index = (~keep).long().argsort(dim=1, stable=True)[:, : int(keep.sum(1).max())]  # kept nodes first
        node_mask = keep.gather(1, index)
        x = output.nodes * relevance_gate(output.relevance, keep, batch["prompt_node"])[..., None]
        if self.rank_embedding is not None and ranks is not None:
            x = x + self.rank_embedding(ranks)
        ends = batch["edges"][..., [0, 2]]
        edge_mask = batch["edge_mask"] & keep.gather(1, ends[..., 0]) & keep.gather(1, ends[..., 1])
        first = (~edge_mask).long().argsort(dim=1, stable=True)[:, : int(edge_mask.sum(1).max())]
        edges = batch["edges"].gather(1, first[..., None].expand(-1, -1, 3))
        mask = torch.cat([node_mask, edge_mask.gather(1, first)], 1)
        nodes = x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))
        boxes = batch["boxes"].gather(1, index[..., None].expand(-1, -1, 4))
        features = torch.cat([nodes, self.edge_fusion(x, edges)], 1)
        picture = features.new_zeros(len(index), 0)
        if self.picture is not None:
            picture = picture_statistics(levels[0], len(index))
        return Subgraph(index, node_mask, boxes, features, mask, picture)

    def caption_offset(self, graph: Subgraph) -> Tensor | float:
        """(B, 1, D) or 0, added to a caption's input: the graph's mean without cross-attention, the picture if read."""
        offset: Tensor | float = 0.0
        if self.graph_mean is not None:
            total = (graph.features * graph.mask[..., None]).sum(1, keepdim=True)
            offset = offset + self.graph_mean(total / graph.mask.sum(1)[:, None, None])
        if self.picture is not None:
            offset = offset + self.picture(graph.picture)[:, None]
        return offset

    # ------------------------------------------------------------------------------------------ hidden states

    def denoise(
        self,
        x: Tensor,
        snr: Tensor,
        estimate: Tensor,
        graph: Subgraph,
        *,
        caption_only: bool = False,
        cached: CachedFirstBlock | None = None,
    ) -> tuple[Tensor, HiddenStates]:
        """Logits of the tokens (B, L, V) and the states of both streams: f(x_t, t, f_g) of Eq. 7.

        x: (B, L, n) noisy bits. snr: (B,) log-SNR. estimate: (B, L, n), the last one of the clean bits. caption_only,
        cached: as for `BimodalTransformer`.
        """
        assert isinstance(self.token_embedding, BitEmbedding)  # for mypy: only called when it diffuses
        assert self.caption_head is not None
        c = self.token_embedding(x, snr, estimate) + self.caption_offset(graph)
        states = self.transformer(c, graph.features, graph.mask, caption_only=caption_only, cached=cached)
        return self.caption_head(states.caption), states

    def fill(
        self,
        token_ids: Tensor,
        graph: Subgraph,
        *,
        caption_only: bool = False,
        cached: CachedFirstBlock | None = None,
    ) -> tuple[Tensor, HiddenStates]:
        """Logits and states as of `denoise`, of captions (B, L) some of whose tokens are hidden."""
        assert isinstance(self.token_embedding, MaskedEmbedding)  # for mypy: only called when it is masked diffusion
        assert self.caption_head is not None
        c = self.token_embedding(token_ids) + self.caption_offset(graph)
        states = self.transformer(c, graph.features, graph.mask, caption_only=caption_only, cached=cached)
        return self.caption_head(states.caption), states

    def teacher_forced(self, token_ids: Tensor, graph: Subgraph) -> tuple[Tensor, HiddenStates]:
        """The same of the autoregressive decoder, with all tokens (B, L) known."""
        assert isinstance(self.token_embedding, TokenEmbedding)  # for mypy: only called when it is autoregressive
        assert self.caption_head is not None
        c = self.token_embedding(token_ids) + self.caption_offset(graph)
        states = teacher_forced(self.transformer, c, graph.features, graph.mask)
        return self.caption_head(states.caption), states

    def write(
        self, graph: Subgraph, *, temperature: float, seeds: Sequence[int], length: int | None = None, num: int = 1
    ) -> Tensor:
        """Token ids (B num, L) that the autoregressive decoder writes; see `autoregressive.generate`."""
        assert isinstance(self.token_embedding, TokenEmbedding)  # for mypy: only called when it is autoregressive
        assert self.caption_head is not None
        return generate(
            IncrementalDecoder(self.transformer, graph.features, graph.mask),
            self.token_embedding,
            self.caption_head,
            offset=self.caption_offset(graph),
            max_words=self.config.max_words,
            length=length,
            temperature=temperature,
            seeds=seeds,
            num=num,
        )

    def graph_states(self, graph: Subgraph) -> HiddenStates:
        """The states of the graph alone, for a model that generates no captions."""
        states: HiddenStates = self.transformer(None, graph.features, graph.mask)
        return states

    # ------------------------------------------------------------------------------- tags, masks and groundings

    def phrase_tags(self, states: HiddenStates) -> Tensor | None:
        """Logits (B, L, 3) of the tags outside, beginning and inside of a phrase; None from a model without masks."""
        if self.caption_head is None or self.caption_head.tags is None or states.caption is None:
            return None
        logits: Tensor = self.caption_head.tags(states.caption)
        return logits

    def masks(self, states: HiddenStates, graph: Subgraph, pixels: PixelFeatures | None) -> MaskOutput | None:
        """Of each of the graph's nodes: mask logits (B, M, h, w) and last query (B, M, D); None without a mask head.

        pixels: of the pictures of the rows.
        """
        if self.mask_head is None or pixels is None:
            return None
        output: MaskOutput = self.mask_head(states.graph[:, : graph.node_mask.shape[1]], graph.boxes, pixels)
        return output

    def mecl_inputs(self, states: HiddenStates, graph: Subgraph, queries: Tensor | None) -> tuple[Tensor, Tensor]:
        """What MECL compares: of masks (B, M, D) and of words (B, L, D). queries: the mask head's last ones."""
        assert states.caption is not None  # for mypy: MECL has both sides
        nodes = states.graph[:, : graph.node_mask.shape[1]]
        words = states.caption.detach() if self.config.mecl_words == "detached" else states.caption
        return (queries if self.config.mecl_masks == "query" and queries is not None else nodes), words

    def grounding_logits(self, states: HiddenStates, graph: Subgraph, queries: Tensor | None) -> Tensor:
        """(B, M, L): how well each token names each node, by MECL, else by attention; all 0 without either.

        queries: as for `mecl_inputs`.
        """
        assert states.caption is not None  # for mypy: only called when there are captions
        nodes = graph.node_mask.shape[1]
        if self.mecl is not None:
            return self.mecl.similarity(*self.mecl_inputs(states, graph, queries))
        causal = self.config.decoder == "autoregressive"
        weights = self.transformer.cross_attention_weights(states, graph.mask, causal)
        if weights is None:
            return graph.features.new_zeros(*graph.node_mask.shape, states.caption.shape[1])
        return weights[..., :nodes].transpose(1, 2).log()
