"""How far the features of pictures lie from those of a training: whether a model knows what it is asked about.

The features of the training span few directions; what a feature has besides is its distance. It is the residual of
Wang et al. 2022 (ViM, Eq. 3), also known as the Q-statistic of a principal component analysis (Jackson & Mudholkar
1979).

Shapes: N features of C numbers, k principal axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from segue.files import save_tensors
from segue.nn.building import read_shapes
from segue.types import InputError

DISTANCE = "domain.safetensors"  # its file in a checkpoint's folder


@dataclass(frozen=True)
class FeatureDistance:
    """The distance of features from those of a training, in units of its limit: above 1 is far.

    mean: (C,) float32, of the training's features. axes: (C, k) float32, their principal axes, orthonormal columns.
    limit: > 0, the length of the residual from which on a feature is far.
    """

    mean: Tensor
    axes: Tensor
    limit: float

    @staticmethod
    def fit(train: Tensor, held_out: Tensor, *, axes: int, near: float = 0.99) -> FeatureDistance:
        """Measured on the training's features (N, C), with the limit from those of others of the same kind, (M, C).

        axes: k at most, and half of N and of C at most. near: the share of the held-out features that are not far.
        Raises InputError for fewer than 2 features of the training, for none held out, and for C below 2.
        """
        k = min(axes, *(size // 2 for size in train.shape))
        if k < 1 or not len(held_out):
            raise InputError(
                f"distance: got features of the shapes {tuple(train.shape)} of the training and "
                f"{tuple(held_out.shape)} of others, expected 2 or more numbers each, of 2 and 1 pictures or more; "
                "give more pictures"
            )
        mean = train.double().mean(0)
        _, directions = torch.linalg.eigh((train.double() - mean).T @ (train.double() - mean))
        # As they are stored, so that the limit is that of the file.
        fitted = FeatureDistance(mean.half().float(), directions[:, -k:].half().float(), 1.0)
        limit = float(fitted.measure(held_out).double().quantile(near))
        return FeatureDistance(fitted.mean, fitted.axes, limit or 1.0)

    def measure(self, features: Tensor) -> Tensor:
        """(N, C) -> (N,) float32 on the CPU, >= 0: |z - axes (axes^T z)| / limit, with z = feature - mean."""
        z = features.detach().cpu().float() - self.mean
        distance: Tensor = (z - z @ self.axes @ self.axes.T).norm(dim=-1) / self.limit
        return distance

    def save(self, folder: Path) -> None:
        """Write it into the folder, mean and axes as float16."""
        limit = torch.tensor([self.limit], dtype=torch.float32)
        tensors = {"mean": self.mean.half(), "axes": self.axes.half().contiguous(), "limit": limit}
        save_tensors(tensors, folder / DISTANCE)

    @staticmethod
    def load(folder: Path, width: int) -> FeatureDistance | None:
        """That of a checkpoint's folder, for features of C = width numbers; None where none was measured.

        Raises InputError for a file that can't be read, other tensors than `save` writes, and what is no number.
        """
        path = folder / DISTANCE
        if not path.exists():
            return None
        shapes = read_shapes(path)
        k = shapes.get("axes", (0, 0))[-1]
        if shapes != {"mean": (width,), "axes": (width, k), "limit": (1,)}:
            raise InputError(
                f"{path}: got the tensors {shapes}, expected mean ({width},), axes ({width}, k) and limit (1,); copy "
                "the checkpoint again"
            )
        try:
            tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        except (SafetensorError, OSError, KeyError, AttributeError) as error:  # KeyError: a type that torch has not
            raise InputError(f"{path}: can't be read ({error}); copy the checkpoint again") from error
        if not all(tensor.isfinite().all() for tensor in tensors.values()) or not tensors["limit"].item() > 0:
            raise InputError(f"{path}: holds what is no number, or no limit above 0; copy the checkpoint again")
        return FeatureDistance(tensors["mean"], tensors["axes"], tensors["limit"].item())
