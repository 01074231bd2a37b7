"""What an image encoder's own classifier knows of an image and a dual encoder's joint space doesn't."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.encoders.image.contract import ImageEncoder
from segue.encoders.image.efficientnet import Classifier, EfficientNetLite
from segue.types import InputError

TEMPLATES = ("{}", "a photo of a {}.", "a {} in the picture.", "there is a {}.")
SURPRISE = 1.0, 3.0  # nats of KL: names below the first add nothing, those above the second add all
WHOLE_SURPRISE = 0.5, 1.5  # of the whole image, for the names of its cells to count


class ClassNames(nn.Module):
    """The names that a classifier gives an image, added to the image's vector v where they surprise:

        v + share * ramp(KL(p || q), SURPRISE) * sum_c p_c t_c

    p: the classifier's probabilities, on the image encoder's pooled features. q: those of the same names by the joint
    space, softmax of v's cosines to the names' vectors t_c over the temperature. ramp: from 0 at the first to 1 at the
    second. To a cell of an image, with its own p and v, they are added times `share_of_cells`.
    So images of the kind that the joint space learned from stay as they are. texts: the K names' vectors t_c, (K, D) of
    length 1, a buffer.
    Raises InputError for an image encoder without a classifier, or a trained one.
    """

    texts: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, encoder: ImageEncoder, width: int, share: float) -> None:
        super().__init__()
        classifier = classifier_of(encoder)
        self.share = share
        self.register_buffer("texts", torch.zeros(len(classifier.names), width))
        self.register_buffer("weight", classifier.weight, persistent=False)
        self.register_buffer("bias", classifier.bias, persistent=False)

    def forward(self, pooled: Tensor, v: Tensor, temperature: float) -> Tensor:
        """pooled (B, C), v (B, D) of length 1 -> (B, D), not normalised."""
        names, surprise = self._read(pooled, v, temperature)
        return v + self.share * _ramp(surprise, SURPRISE) * names

    def share_of_cells(self, pooled: Tensor, v: Tensor, temperature: float) -> Tensor:
        """(B,) from 0 to 1: how much the names of an image's cells count, by the surprise of the whole image."""
        return _ramp(self._read(pooled, v, temperature)[1], WHOLE_SURPRISE)[:, 0]

    def _read(self, features: Tensor, v: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """The names' vectors by their probabilities (..., D), and the surprise in nats (..., 1)."""
        known = F.linear(features.float(), self.weight, self.bias).log_softmax(-1)
        seen = (v.float() @ F.normalize(self.texts.float(), dim=-1).T / temperature).log_softmax(-1)
        return known.exp() @ self.texts.float(), (known.exp() * (known - seen)).sum(-1, keepdim=True)


def _ramp(x: Tensor, ends: tuple[float, float]) -> Tensor:
    return ((x - ends[0]) / (ends[1] - ends[0])).clamp(0, 1)


def classifier_of(encoder: ImageEncoder) -> Classifier:
    """The classifier on an image encoder's pooled features. Raises InputError where there is none, or not any more."""
    if not isinstance(encoder, EfficientNetLite) or encoder.classifier is None:
        raise InputError(
            "class names: expected the frozen efficientnet-lite0, whose classifier is read; leave them out for others"
        )
    return encoder.classifier
