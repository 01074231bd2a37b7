"""RecLMIS as its authors released it, tensor for tensor, so that their checkpoints give their masks here.

Code: https://github.com/ShawnHuang497/RecLMIS, read for facts; a test checks it against a plain re-implementation.
It differs from the paper, and from `segue.methods.reclmis.model`, in these points:
- The image branch attends to words that attended to the image before (E'), so both branches are needed at inference.
- Patches get a 1x1 embedding and learned positions: one picture size, 224 pixels.
- Padded tokens count everywhere but in W_woi: a note is always `tokens` long, and its padding is read like words.
- A reconstructor is two stacks of post-norm layers: one attends within the memory under the condition, the other within
  the masked features and then to that memory. All of that is causal, over patches as over words.
- The reconstructions' targets are V' (with its gradient) and the frozen text encoder's own states; no weights by W.
- Half of Dice and half of cross-entropy.
In training we keep Eq. 5 with W_poi and W_woi as they are (the released code takes a second softmax of them, which
makes them even), and leave equal notes out of the negatives; neither changes a network's answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import MinLen
from torch import Tensor, nn

from segue.encoders.text.contract import TextEncoder, TextFeatures
from segue.encoders.text.fixed import fixed_length
from segue.losses import conditioned_similarity, contrastive_loss, reconstruction_loss, segmentation_loss
from segue.methods.published_tensors import PublishedTensors
from segue.methods.reclmis.config import RecLMISConfig
from segue.methods.reclmis.model import Decoder, Encoder, draw_masked, note_index
from segue.nn.gather import gather
from segue.options import Positive, Share


@dataclass(frozen=True)
class ReleasedConfig:
    """grid: patches along a side of the coarsest level. tokens: length of every note, padding included.

    widths, reconstruction_layers, heads, mask ratios, loss_weights: as in `RecLMISConfig`; 4 layers in QaTa's
    configuration, 3 in MosMed's.
    """

    widths: Annotated[tuple[Positive, ...], MinLen(2)] = (64, 128, 256, 512, 512)
    grid: Positive = 14
    tokens: Positive = 18
    heads: Positive = 4
    reconstruction_layers: Positive = 4
    mask_ratio_vision: Share = 0.5
    mask_ratio_text: Share = 0.3
    temperature: float = 0.01
    dropout: Share = 0.1
    loss_weights: tuple[float, float, float, float] = (1.0, 1.0, 0.2, 2.5)

    def unet(self) -> RecLMISConfig:
        """The encoder and decoder, which are the paper's."""
        return RecLMISConfig(widths=self.widths, stem_stride=1, pooling="max", plam="full")


class ReleasedInteraction(nn.Module):
    """Words read the embedded patches (E'), patches then read E' (V'); no residuals."""

    def __init__(self, config: ReleasedConfig) -> None:
        super().__init__()
        width = config.widths[-1]
        self.embed, self.dropout = nn.Linear(width, width), nn.Dropout(config.dropout)
        self.positions = nn.Parameter(torch.zeros(config.grid**2, width))
        self.words, self.patches = (
            nn.MultiheadAttention(width, config.heads, dropout=config.dropout, batch_first=True) for _ in range(2)
        )
        self.mix = nn.Sequential(nn.Conv1d(width, width, 3, padding=1), nn.BatchNorm1d(width), nn.ReLU())

    def forward(self, v: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """v: (B, N, C), e: (B, L, C). Returns V' (B, N, C) and E' (B, L, C), mixed over neighbours."""
        embedded = self.dropout(self.embed(v) + self.positions)
        read, _ = self.words(e, embedded, embedded, need_weights=False)
        seen, _ = self.patches(embedded, read, read, need_weights=False)
        return seen, self.mix(read.transpose(1, 2)).transpose(1, 2)


class ConditionedAttention(nn.Module):
    """Multi-head attention; after the softmax the weights are multiplied by a condition and renormalised."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, condition: Tensor | None, causal: bool) -> Tensor:
        """x: (B, Q, C). memory: (B, K, C). condition: (B, K). causal: position i attends to 0..i, Q = K."""
        q, k, v = (
            f(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for f, y in ((self.q, x), (self.k, memory), (self.v, memory))
        )
        score = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if condition is not None:
            score = score + (condition[:, None, None] + 1e-10).log()
        if causal:
            ahead = torch.ones(score.shape[-2:], dtype=torch.bool, device=score.device).triu(1)
            score = score.masked_fill(ahead, -torch.inf)
        attended: Tensor = self.out((score.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return attended


class ReleasedLayer(nn.Module):
    """Causal self-attention, attention to a memory where `crosses`, a feed-forward net; post-norm."""

    def __init__(self, config: ReleasedConfig, crosses: bool) -> None:
        super().__init__()
        width = config.widths[-1]
        self.within, self.within_norm = ConditionedAttention(width, config.heads), nn.LayerNorm(width)
        self.across = ConditionedAttention(width, config.heads) if crosses else None
        self.across_norm = nn.LayerNorm(width) if crosses else None
        self.first, self.second, self.norm = (
            nn.Linear(width, 2 * width),
            nn.Linear(2 * width, width),
            nn.LayerNorm(width),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, memory: Tensor | None, condition: Tensor) -> Tensor:
        """x: (B, Q, C). condition: of x where there is no memory, else of the memory (B, K, C)."""
        own = condition if memory is None else None
        x = self.within_norm(x + self.dropout(self.within(x, x, own, causal=True)))
        if memory is not None and self.across is not None and self.across_norm is not None:
            x = self.across_norm(x + self.dropout(self.across(x, memory, condition, causal=False)))
        fed: Tensor = self.norm(x + self.dropout(self.second(self.first(x).relu())))
        return fed


class ReleasedReconstructor(nn.Module):
    """Encodes the memory under the condition, then reconstructs x (B, Q, C) from it (B, K, C)."""

    def __init__(self, config: ReleasedConfig) -> None:
        super().__init__()
        layers = range(config.reconstruction_layers)
        self.memory = nn.ModuleList(ReleasedLayer(config, crosses=False) for _ in layers)
        self.layers = nn.ModuleList(ReleasedLayer(config, crosses=True) for _ in layers)

    def forward(self, x: Tensor, memory: Tensor, condition: Tensor) -> Tensor:
        """condition: (B, K), of the memory."""
        for layer in self.memory:
            memory = layer(memory, None, condition)
        for layer in self.layers:
            x = layer(x, memory, condition)
        return x


class ReleasedRecLMIS(nn.Module):
    """The calls of `segue.methods.reclmis.model.RecLMIS`. text_encoder: frozen, as wide as the last of the widths.

    training: with the reconstructors, which are absent at inference.
    """

    reads_notes = True

    def __init__(self, config: ReleasedConfig, text_encoder: TextEncoder, training: bool = True) -> None:
        super().__init__()
        self.config, self.text_encoder = config, text_encoder
        self.encoder, self.decoder, width = Encoder(config.unet()), Decoder(config.unet()), config.widths[-1]
        self.project = nn.Conv1d(text_encoder.width, width, 3, padding=1)
        self.interaction = ReleasedInteraction(config)
        self.patch_score, self.word_score = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1, bias=False)) for _ in range(2)
        )
        self.vision_reconstructor = ReleasedReconstructor(config) if training else None
        self.language_reconstructor = ReleasedReconstructor(config) if training else None

    @property
    def stride(self) -> int:
        """Height and width of an input must be multiples of this; they must be grid * stride."""
        return int(2 ** (len(self.config.widths) - 1))

    def forward(self, image: Tensor, notes: Sequence[str | None], encode: TextFeatures | None = None) -> Tensor:
        """image: (B, 3, H, W), H = W = grid * stride. Returns logits (B, 1, H, W)."""
        states, _ = fixed_length(self.text_encoder, notes, self.config.tokens, encode)
        return self._segment(image, states)[0]

    def _segment(self, image: Tensor, states: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        levels = self.encoder(image)
        grid = (levels[-1].shape[-2], levels[-1].shape[-1])
        v = levels[-1].flatten(2).transpose(1, 2)
        e = self.project(states.transpose(1, 2)).transpose(1, 2)
        v_attended, e_attended = self.interaction(v, e)
        logits = self.decoder([*levels[:-1], v_attended.transpose(1, 2).unflatten(2, grid)])
        return logits, {"v": v, "e": e, "v_attended": v_attended, "e_attended": e_attended}

    def conditions(self, v_attended: Tensor, e_attended: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """W_poi (B, N) and W_woi (B, L), Eq. 2 and 3. words: (B, L) bool, False on padding."""
        w_poi = self.patch_score(v_attended).squeeze(-1).softmax(-1)
        w_woi = self.word_score(e_attended).squeeze(-1).masked_fill(~words, -torch.inf).softmax(-1)
        return w_poi, w_woi

    def training_step(self, batch: dict[str, Any], encode: TextFeatures | None = None) -> dict[str, Tensor]:
        """batch: image (B, 3, H, W), mask (B, 1, H, W), note [B], seed [B]. Returns "loss" and its unweighted terms."""
        c = self.config
        states, words = fixed_length(self.text_encoder, batch["note"], c.tokens, encode)
        words = words | (torch.arange(c.tokens, device=words.device) == 0)  # a missing note is one empty word
        logits, f = self._segment(batch["image"], states)
        assert self.vision_reconstructor is not None  # for mypy: it was built to be trained
        assert self.language_reconstructor is not None
        w_poi, w_woi = self.conditions(f["v_attended"], f["e_attended"], words)
        patches = draw_masked(w_poi, c.mask_ratio_vision, batch["seed"], None, "conditioned")
        hidden = draw_masked(w_woi, c.mask_ratio_text, batch["seed"], words, "conditioned")
        vision = self.vision_reconstructor(f["v"] * ~patches[..., None], f["e"], w_woi)
        language = self.language_reconstructor(f["e"] * ~hidden[..., None], f["v"], w_poi)
        similarity = conditioned_similarity(
            gather(f["v"]), gather(f["e"]), gather(w_poi), gather(w_woi), gather(words.to(w_woi)).bool()
        )
        notes = gather(note_index(batch["note"]).to(logits.device))
        terms = {
            "v2t": reconstruction_loss(states, language, w_woi, None, "released"),
            "t2v": reconstruction_loss(f["v_attended"], vision, w_poi, None, "released"),
            "ccl": contrastive_loss(similarity, c.temperature, notes),
            "segmentation": segmentation_loss(logits, batch["mask"]),
        }
        weighted = [weight * term for weight, term in zip(c.loss_weights, terms.values(), strict=True)]
        return terms | {"loss": torch.stack(weighted).sum()}


def from_released(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a `ReleasedRecLMIS` from that of the authors' network, whose CLIP is left out.

    Each convolution's bias goes into the running mean of its batch norm, and the first convolution reads RGB where
    theirs reads BGR: both are exact. Raises KeyError for a tensor that is missing.
    """
    tensors = PublishedTensors(theirs)
    theirs, ours, copy, convolution = tensors.theirs, tensors.ours, tensors.copy, tensors.convolution

    def attention(to: str, source: str) -> None:
        for part, weight, bias in zip(
            "qkv", theirs[f"{source}.in_proj_weight"].chunk(3), theirs[f"{source}.in_proj_bias"].chunk(3), strict=True
        ):
            ours[f"{to}.{part}.weight"], ours[f"{to}.{part}.bias"] = weight, bias
        copy(f"{to}.out", f"{source}.out_proj")

    def layer(to: str, source: str, crosses: bool) -> None:
        attention(f"{to}.within", f"{source}.self_attn")
        copy(f"{to}.within_norm", f"{source}.self_attn_layer_norm")
        if crosses:
            attention(f"{to}.across", f"{source}.encoder_attn")
            copy(f"{to}.across_norm", f"{source}.encoder_attn_layer_norm")
        for mine, name in (("first", "fc1"), ("second", "fc2"), ("norm", "final_layer_norm")):
            copy(f"{to}.{mine}", f"{source}.{name}")

    convolution("encoder.stem.0.0", "encoder.stem.0.1", "inc")
    ours["encoder.stem.0.0.weight"] = ours["encoder.stem.0.0.weight"].flip(1)
    for i in range(4):
        for j in range(2):
            to, merge = f"encoder.levels.{i}.{j + 1}", f"decoder.merge.{i}.{j}"
            convolution(f"{to}.0", f"{to}.1", f"down{i + 1}.nConvs.{j}")
            convolution(f"{merge}.0", f"{merge}.1", f"up{4 - i}.nConvs.{j}")
        tensors.plam(f"decoder.plam.{i}", f"up{4 - i}.pixModule")
    copy("decoder.head", "outc")
    copy("project", "text_module4")
    ours["interaction.embed.weight"] = theirs["interact.embeddings.patch_embeddings.weight"][:, :, 0, 0]
    ours["interaction.embed.bias"] = theirs["interact.embeddings.patch_embeddings.bias"]
    ours["interaction.positions"] = theirs["interact.embeddings.position_embeddings"][0]
    for to, source in (("words", "attn_text"), ("patches", "attn_img")):
        names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
        copy(f"interaction.{to}", f"interact.{source}", *names)
    convolution("interaction.mix.0", "interaction.mix.1", "interact.CTBN", biased=True)
    for to, source in (("patch_score", "mlp_visual"), ("word_score", "mlp_woi")):
        copy(f"{to}.0", f"{source}.0")
        copy(f"{to}.2", f"{source}.2", "weight")
    for to, source in (("vision", "rec_img_trans1"), ("language", "rec_text_trans1")):
        count = len({name.split(".")[3] for name in theirs if name.startswith(f"{source}.decoder1.decoder_layers.")})
        for i in range(count):
            layer(f"{to}_reconstructor.memory.{i}", f"{source}.decoder1.decoder_layers.{i}", crosses=False)
            layer(f"{to}_reconstructor.layers.{i}", f"{source}.decoder2.decoder_layers.{i}", crosses=True)
    return ours
