"""Outlining what a note describes: the predictor of the methods `reclmis` and `unet`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.api.hub import HubMixin
from segue.api.models import ENSEMBLE, find
from segue.api.pictures import Picture, pixels_of
from segue.data.medical.notes import swap_sides
from segue.data.transforms import Preprocessing
from segue.methods.reclmis.model import RecLMIS
from segue.methods.segmenters import Network, restore, save
from segue.nn.stopping import stop_point
from segue.types import InputError, Segmentation, to_install


def load_segmenter(name_or_path: str | Path, *, device: str = "cpu", explain: bool = False) -> Segmenter:
    """A segmenter from a bundled name, a checkpoint folder, or a folder of folds (whose probabilities are averaged).

    explain: also keep the vision-to-text branch, which `Segmenter.explain` needs and `segment` doesn't.
    """
    folder = find(name_or_path, device)
    folders = [folder]
    if (folder / ENSEMBLE).exists():
        folders = [folder / name for name in json.loads((folder / ENSEMBLE).read_text())["members"]]
    saved = [restore(f, "explain" if explain else "inference") for f in folders]
    members = [Member(s.network.to(device), s.temperature) for s in saved]
    for member in members:
        member.network.remember_notes()
    model = Segmenter(members, saved[0].preprocessing, device)
    model.folder = folder
    return model


def export(name_or_path: str | Path, out: Path) -> None:
    """Write a segmenter as small as it can be used: float16, without what only training needs (`explain` works)."""
    if out.exists():
        raise InputError(f"{out}: is there already; name a new folder")
    save(restore(find(name_or_path), "explain"), out, half=True)


LEAST_WINDOW = 32  # pixels; a smaller part of a picture shows nothing


@dataclass(frozen=True)
class Member:
    """One network of a predictor, and the temperature that calibrates its logits."""

    network: Network
    temperature: float = 1.0


@dataclass(frozen=True)
class Explanation:
    """Why a mask came out as it did, on the picture's grid.

    patches: (H, W) float32, W_poi of Eq. 2 (share of interest, scaled to a peak of 1). words: (token, W_woi) pairs
    whose weights sum to 1. gradcam: (H, W) float32 in [0, 1], Grad-CAM of the decoder's first layer.
    """

    patches: NDArray[np.float32]
    words: list[tuple[str, float]]
    gradcam: NDArray[np.float32]


class Segmenter(HubMixin):
    """Outlines in a picture what its note describes."""

    def __init__(self, members: Sequence[Member], preprocessing: Preprocessing, device: str = "cpu") -> None:
        self.members, self.preprocessing, self.device = list(members), preprocessing, device

    def segment(
        self,
        image: Picture,
        note: str | None = None,
        *,
        threshold: float = 0.5,
        tta: bool = False,
        window: int = 0,
    ) -> Segmentation:
        """Segment one picture.

        image: a path, or (H, W, 3) uint8 RGB. note: None for the model's own guess without a note.
        tta: also segment the mirrored picture under the note with its sides swapped, and average.
        window: > 0 slides a square window of that many pixels over a large picture (half overlapping), each
        resized to the network's input. The note is read by every window: sides then mean sides of the window.
        """
        return next(self.segment_many([image], [note], threshold=threshold, tta=tta, window=window))

    def segment_many(
        self,
        images: Iterable[Picture],
        notes: Iterable[str | None],
        *,
        batch_size: int = 16,
        threshold: float = 0.5,
        tta: bool = False,
        window: int = 0,
    ) -> Iterator[Segmentation]:
        """Segment pictures one after another, `batch_size` at a time; answers come in the pictures' order."""
        if not 0 < threshold < 1:
            raise InputError(f"threshold: got {threshold}, expected a probability between 0 and 1")
        if window and window < LEAST_WINDOW:
            raise InputError(f"window: got {window} pixels, expected 0 (none) or {LEAST_WINDOW} or more")
        waiting = zip(images, notes, strict=True)
        while pairs := list(islice(waiting, batch_size)):
            arrays, said = [pixels_of(image) for image, _ in pairs], [note for _, note in pairs]
            probabilities = self._probabilities(arrays, said, window)
            if tta:
                mirrored = self._mirrored(arrays, said, window)
                pairs_of = zip(probabilities, mirrored, strict=True)
                probabilities = [p if m is None else np.float32(0.5) * (p + m) for p, m in pairs_of]
            for probability, note in zip(probabilities, said, strict=True):
                yield Segmentation(probability, note, threshold)

    def explain(self, image: Picture, note: str) -> Explanation:
        """W_poi, W_woi and Grad-CAM for one picture and note; the predictor must be loaded with explain=True."""
        network, array = self.members[0].network, pixels_of(image)
        if not isinstance(network, RecLMIS) or network.text is None:
            raise InputError("this model reads no notes, so there is no interest in words or patches to explain")
        x = self.preprocessing.to_tensor([array]).to(self.device)
        with torch.no_grad():
            w_poi, w_woi = network.interests(x, [note])
        size = (array.shape[0], array.shape[1])
        words = list(zip(network.text.words(note), w_woi[0].tolist(), strict=False))
        return Explanation(_map(w_poi[0], size), words, _map(grad_cam(network, x, note), size))

    def _mirrored(
        self, images: list[NDArray], notes: list[str | None], window: int
    ) -> list[NDArray[np.float32] | None]:
        swapped = [note if note is None else swap_sides(note) for note in notes]
        safe = [i for i, (old, new) in enumerate(zip(notes, swapped, strict=True)) if (old is None) == (new is None)]
        flipped = [np.ascontiguousarray(images[i][:, ::-1]) for i in safe]
        answers = dict(zip(safe, self._probabilities(flipped, [swapped[i] for i in safe], window), strict=True))
        return [np.ascontiguousarray(answers[i][:, ::-1]) if i in answers else None for i in range(len(images))]

    @torch.inference_mode()
    def _probabilities(self, images: list[NDArray], notes: list[str | None], window: int) -> list[NDArray[np.float32]]:
        if not images:
            return []
        if window:
            return [self._slide(image, note, window) for image, note in zip(images, notes, strict=True)]
        logits = self._logits(self.preprocessing.to_tensor(images), notes)
        return [_on_grid(one, image.shape[:2]).numpy() for one, image in zip(logits, images, strict=True)]

    def _logits(self, x: Tensor, notes: Sequence[str | None]) -> list[list[Tensor]]:
        """For each picture its calibrated (S, S) logits from every member."""
        stop_point()
        x = x.to(self.device)
        per_member = [(m.network(x, notes) / m.temperature).float().cpu()[:, 0] for m in self.members]
        return [list(one) for one in zip(*per_member, strict=True)]

    def _slide(self, image: NDArray[np.uint8], note: str | None, window: int) -> NDArray[np.float32]:
        try:
            from monai.inferers import sliding_window_inference
        except ImportError as error:
            raise InputError(f"sliding windows are MONAI's, which is missing: {to_install('medical')}") from error

        def predict(tiles: Tensor) -> Tensor:
            arrays = [t.permute(1, 2, 0).byte().numpy() for t in tiles]
            logits = self._logits(self.preprocessing.to_tensor(arrays), [note] * len(arrays))
            return torch.stack([_on_grid(one, tiles.shape[-2:]) for one in logits])[:, None]

        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        answer = sliding_window_inference(pixels, (window, window), 8, predict, overlap=0.5, mode="gaussian")
        return torch.as_tensor(answer)[0, 0].clamp(0, 1).numpy()


def _on_grid(logits: list[Tensor], size: Sequence[int]) -> Tensor:
    """The members' (S, S) logits -> (H, W) mean probability on the picture's own grid; logits are interpolated."""
    grids = (F.interpolate(x[None, None], size=tuple(size), mode="bilinear", align_corners=False)[0, 0] for x in logits)
    return torch.stack([g.sigmoid() for g in grids]).mean(0)


def _map(x: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    up = F.interpolate(x[None, None].float(), size=size, mode="bilinear", align_corners=False)[0, 0].cpu()
    return (up / up.max().clamp_min(1e-12)).numpy()


def grad_cam(network: RecLMIS, image: Tensor, note: str | None) -> Tensor:
    """Grad-CAM of the decoder's first layer for the foreground: (h, w) >= 0 on that layer's grid, unscaled.

    The class score is the sum of the logits over the predicted foreground (over all pixels when it is empty).
    """
    kept: list[Tensor] = []
    hook = network.decoder.merge[0].register_forward_hook(lambda _m, _i, out: kept.append(out))
    try:
        logits = network(image, [note])
    finally:
        hook.remove()
    chosen = logits.detach() > 0
    score = (logits * chosen).sum() if chosen.any() else logits.sum()
    (gradient,) = torch.autograd.grad(score, kept[0])
    return (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1)[0].clamp_min(0).detach()


def read_notes(path: Path) -> list[tuple[str, str | None]]:
    """(picture, note) pairs of a CSV with the columns image and note; an empty note means none."""
    import csv

    if not path.is_file():
        raise InputError(f"{path}: no such file; give a CSV with the columns image,note")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error}); save it as CSV UTF-8") from error
    rows = csv.DictReader(lines)
    if not {"image", "note"} <= set(rows.fieldnames or ()):
        raise InputError(f"{path}: got the columns {', '.join(rows.fieldnames or ['none'])}, expected image,note")
    pairs = [(row["image"], (row["note"] or "").strip() or None) for row in rows]
    if not pairs:
        raise InputError(f"{path}: no rows; give one line for each picture")
    return pairs
