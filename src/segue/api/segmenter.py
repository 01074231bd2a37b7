"""Note-guided segmentation: the predictor of the methods `reclmis` and `unet`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.api.hub import HubMixin
from segue.api.models import find, members
from segue.api.pictures import Picture, pixels_of
from segue.data.medical.notes import find_doubts, swap_sides
from segue.data.medical.wording import Reading, read_wording
from segue.encoders.text.cache import TextFeatureCache
from segue.files import put_folder
from segue.methods.reclmis.model import PretrainedEncoder, RecLMIS
from segue.methods.segmenters import Network, restore_segmenter, save_segmenter
from segue.metrics.calibration import choose_threshold
from segue.nn.devices import autocast, pictures_at_once, resolve_device, resolve_dtype
from segue.nn.feature_distance import FeatureDistance
from segue.nn.folding import fold_norms
from segue.nn.preprocessing import Preprocessing
from segue.nn.stopping import stop_point
from segue.options import Dtype, SegmentOptions
from segue.types import InputError, Segmentation, to_install

if TYPE_CHECKING:
    from segue.api.attribution import NoteWord

MOST_READINGS = 256  # of notes, that are kept


def load_segmenter(
    name_or_path: str | Path, *, device: str = "auto", dtype: Dtype = "auto", attribution: bool = False
) -> Segmenter:
    """A segmenter from a bundled name, a checkpoint folder, a hub id, or an ensemble (a folder of folds).

    dtype: what masks are computed in: float32, bf16, or auto: bf16 where that is fast (`segue.nn.devices`).
    attribution: also load the vision-to-text branch, which `Segmenter.attribute` needs and `segment` doesn't.
    Raises InputError when it can't be had, or the device is not there.
    """
    device, folder = resolve_device(device), find(name_or_path)
    resolve_dtype(dtype, device)  # refuses another name
    saved = [restore_segmenter(member, "attribution" if attribution else "inference") for member in members(folder)]
    for one in saved:
        fold_norms(one.network)
    networks = [Member.caching_notes(one.network.to(device), one.temperature) for one in saved]
    first = saved[0]
    return Segmenter(
        networks, first.preprocessing, device, dtype=dtype, folder=folder, window=first.window, domain=first.domain
    )


def export(name_or_path: str | Path, out: Path) -> None:
    """Write a segmenter as small as it can be: float16, without what only training needs (`attribute` works).

    Raises InputError when `out` is there already with something else.
    """
    saved = restore_segmenter(find(name_or_path), "attribution")
    if not put_folder(out, lambda fresh: save_segmenter(saved, fresh, half=True)):
        raise InputError(f"{out}: is there already, with something else; name a new folder")


@dataclass(frozen=True)
class Member:
    """One network of a predictor.

    temperature: calibrates its logits, which are divided by it. cache: the features of notes already read; None reads
    each note anew.
    """

    network: Network
    temperature: float = 1.0
    cache: TextFeatureCache | None = None

    @classmethod
    def caching_notes(cls, network: Network, temperature: float = 1.0) -> Member:
        """A member that reads each note once; for networks whose weights no longer change."""
        text = network.text_encoder
        return cls(network, temperature, None if text is None else TextFeatureCache(text))


@dataclass(frozen=True)
class Attribution:
    """Why a mask came out as it did, on the image's own grid.

    patches: (H, W) float32, W_poi of Eq. 2, scaled to a maximum of 1. words: (token, W_woi of Eq. 3) pairs
    whose weights sum to 1. gradcam: (H, W) float32 in [0, 1], Grad-CAM of the decoder's first layer.
    """

    patches: NDArray[np.float32]
    words: list[tuple[str, float]]
    gradcam: NDArray[np.float32]


class Segmenter(HubMixin):
    """Segments in an image what its note describes.

    members: one network, or the folds of an ensemble, whose probabilities are averaged.
    dtype: what masks are computed in; logits are float32 either way. window: side of the windows that they were trained
    on, which slide over a picture unless `SegmentOptions.window` says otherwise. domain: how far pictures lie from
    those of the training of the first member.
    """

    def __init__(
        self,
        members: Sequence[Member],
        preprocessing: Preprocessing,
        device: str = "cpu",
        *,
        dtype: Dtype = "float32",
        folder: Path | None = None,
        window: int | None = None,
        domain: FeatureDistance | None = None,
    ) -> None:
        self.members, self.preprocessing, self.device, self.folder = list(members), preprocessing, device, folder
        self.dtype, self.window, self.domain = dtype, window, domain
        self._readings: dict[str, Reading] = {}  # of notes: one is asked for twice, or of a whole folder

    def to(self, device: str) -> Self:
        """Move the networks to a device and return the segmenter. Raises InputError when the device is not there."""
        self.device = resolve_device(device)
        for member in self.members:
            member.network.to(self.device)
        return self

    def segment(
        self, image: Picture, note: str | None = None, *, options: SegmentOptions = SegmentOptions()
    ) -> Segmentation:
        """Segment one image.

        image: a path or pixels (`pixels_of`). note: None for the model's own guess without a note.
        options: with `window`, every window reads the note: sides then mean sides of the window.
        Raises InputError for what is no image, and a note that is blank or above 2,000 words.
        """
        return next(self.segment_many([image], [note], options=options))

    __call__ = segment

    def segment_many(
        self,
        images: Iterable[Picture],
        notes: Iterable[str | None],
        *,
        batch_size: int = 16,
        options: SegmentOptions = SegmentOptions(),
    ) -> Iterator[Segmentation]:
        """Segment images one after another; answers come in the images' order.

        batch_size: the most that are read in one pass; a CPU takes fewer (`pictures_at_once`).
        Raises InputError for an image that can't be read, and a note that `segment` refuses.
        """
        remaining = zip(images, notes, strict=True)
        dtype = _encoder_dtype(self.members[0].network, self.dtype)
        batch_size = pictures_at_once(batch_size, self.preprocessing.size, self.device, dtype)
        while batch := list(islice(remaining, batch_size)):
            arrays, given = [pixels_of(image) for image, _ in batch], [note for _, note in batch]
            batch_notes = list(map(self.read_note, given))
            window = options.window or self.window
            probabilities, features = self._probabilities(arrays, batch_notes, window)
            if options.tta:
                mirrored = self._mirrored(arrays, batch_notes, window)
                both = zip(probabilities, mirrored, strict=True)
                probabilities = [p if m is None else np.float32(0.5) * (p + m) for p, m in both]
            distances = self.measure_distances(arrays) if features is None else self._distances(features)
            for probability, note, distance, pixels in zip(probabilities, given, distances, arrays, strict=True):
                threshold = choose_threshold(probability) if options.threshold is None else options.threshold
                yield Segmentation(probability, note, threshold, distance, picture=pixels)

    @torch.inference_mode()
    def measure_distances(self, images: Sequence[NDArray[np.uint8]]) -> list[float | None]:
        """How far each picture lies from those that the model learned from, above 1 is far; None where not measured."""
        network = self.members[0].network
        if self.domain is None or not images or not isinstance(network, RecLMIS):
            return [None] * len(images)
        return self._distances(network.pool(self._maps(network, self.preprocessing.to_tensor(images).to(self.device))))

    def _distances(self, features: Tensor) -> list[float | None]:
        """Of pictures by their `RecLMIS.picture_features`."""
        return [None] * len(features) if self.domain is None else list(map(float, self.domain.measure(features)))

    def read_note(self, note: str | None) -> str | None:
        """The note in the words that the model knows; None without a note. See `segue.data.medical.wording`."""
        return note if note is None else self._reading(note).text

    def note_doubts(self, note: str | None) -> list[str]:
        """Why a note may not guide a mask, as sentences: what `find_doubts` finds, words of no training note, and what
        a note is too long for.

        None of a model that reads pictures window by window, such as of nuclei: there a note guides by its words alone.
        """
        if note is None or self.window:
            return []
        read, found = self._reading(note), find_doubts(note)
        if read.text != note:
            found.append(f"the note is read as {read.text!r}, in words of the model's training")
        if read.unknown:
            found.append(f"no note of the model's training has {', '.join(map(repr, read.unknown))}; say it otherwise")
        text = self.members[0].network.text_encoder
        if text is not None and (unread := text.unread(read.text)):
            found.append(f"the note is too long for the model, which doesn't read its end, {unread[:60]!r}; shorten it")
        return found

    def _reading(self, note: str) -> Reading:
        text = self.members[0].network.text_encoder
        if text is None or not isinstance(note, str):
            return Reading(note, ())
        if (found := self._readings.get(note)) is None:
            read = read_wording(note, text.knows)
            found = read if read.text else Reading(note, read.unknown)
            if len(self._readings) >= MOST_READINGS:
                self._readings.clear()
            self._readings[note] = found
        return found

    def attribute(self, image: Picture, note: str) -> Attribution:
        """W_poi, W_woi and Grad-CAM for one image and note, by the first member.

        Raises InputError for a model that reads no notes, or was loaded without attribution=True.
        """
        member, array = self.members[0], pixels_of(image)
        network = member.network
        if not isinstance(network, RecLMIS) or network.text_encoder is None:
            raise InputError("this model reads no notes, so its masks can't be attributed to words or patches")
        x = self.preprocessing.to_tensor([array]).to(self.device)
        with torch.no_grad():
            note = self._reading(note).text
            w_poi, w_woi = network.condition_weights(x, [note], member.cache)
        size = (array.shape[0], array.shape[1])
        words = list(zip(network.text_encoder.token_texts(note), w_woi[0].tolist(), strict=False))
        return Attribution(_heat_map(w_poi[0], size), words, _heat_map(grad_cam(member, x, note), size))

    def attribute_words(
        self, image: Picture, note: str, *, options: SegmentOptions = SegmentOptions()
    ) -> Iterator[NoteWord]:
        """What each word of a note does to the mask: how that changes when the word is left out. One after another.

        The picture is segmented once for each word, and once with the whole note.
        Raises InputError for a model that reads no notes, a note without words or of more than
        `segue.api.attribution.MOST_WORDS`, and as `segment` does.
        """
        from segue.api.attribution import compare, leave_out, spans_of

        if self.members[0].network.text_encoder is None:
            raise InputError("this model reads no notes, so its masks don't rest on words")
        pixels, spans = pixels_of(image), spans_of(note)
        notes = [leave_out(note, start, end) for start, end in spans]
        whole = self.segment(pixels, note, options=options)
        options = replace(options, threshold=whole.threshold)  # else the words would also be told what that changes
        answers = self.segment_many([pixels] * len(spans), notes, options=options)
        for span, one in zip(spans, answers, strict=True):
            yield compare(span, whole.mask, one.mask)

    def _mirrored(
        self, images: list[NDArray[np.uint8]], notes: list[str | None], window: int | None
    ) -> list[NDArray[np.float32] | None]:
        """The probabilities of the mirrored images, mirrored back; None where the note's sides can't be swapped."""
        swapped = [note if note is None else swap_sides(note) for note in notes]
        safe = [i for i, (old, new) in enumerate(zip(notes, swapped, strict=True)) if (old is None) == (new is None)]
        flipped = [np.ascontiguousarray(images[i][:, ::-1]) for i in safe]
        found, _ = self._probabilities(flipped, [swapped[i] for i in safe], window)
        answers = dict(zip(safe, found, strict=True))
        return [np.ascontiguousarray(answers[i][:, ::-1]) if i in answers else None for i in range(len(images))]

    @torch.inference_mode()
    def _probabilities(
        self, images: list[NDArray[np.uint8]], notes: list[str | None], window: int | None
    ) -> tuple[list[NDArray[np.float32]], Tensor | None]:
        """And the features of the pictures, by which their distance is measured, where the network gave them along."""
        if not images:
            return [], None
        if window:
            return [self._slide(image, note, window) for image, note in zip(images, notes, strict=True)], None
        logits, features = self._logits(self.preprocessing.to_tensor(images), notes)
        return [_on_grid(one, image.shape[:2]).numpy() for one, image in zip(logits, images, strict=True)], features

    def _logits(self, x: Tensor, notes: Sequence[str | None]) -> tuple[list[list[Tensor]], Tensor | None]:
        """For each image its calibrated (S, S) logits from every member, and the first one's features of it."""
        stop_point()
        x, per_member, features = x.to(self.device), list[Tensor](), None
        for m in self.members:
            known = {}
            if isinstance(m.network, RecLMIS):
                known["maps"] = self._maps(m.network, x)
                features = m.network.pool(known["maps"]) if features is None else features
            with autocast(self.device, self.dtype):
                logits = m.network(x, notes, m.cache, **known).float()
            per_member.append((logits / m.temperature).cpu()[:, 0])
        return [list(one) for one in zip(*per_member, strict=True)], features

    def _maps(self, network: RecLMIS, x: Tensor) -> Sequence[Tensor]:
        """What the network's encoder reads of pictures."""
        with autocast(self.device, _encoder_dtype(network, self.dtype)):
            return network.encoder.maps(x)

    def _slide(self, image: NDArray[np.uint8], note: str | None, window: int) -> NDArray[np.float32]:
        try:
            from monai.inferers.utils import sliding_window_inference
        except ImportError as error:
            raise InputError(f"sliding windows are MONAI's, which is missing: {to_install('medical')}") from error

        def predict(tiles: Tensor) -> Tensor:
            arrays = [t.permute(1, 2, 0).byte().numpy() for t in tiles]
            logits, _ = self._logits(self.preprocessing.to_tensor(arrays), [note] * len(arrays))
            return torch.stack([_on_grid(one, tiles.shape[-2:]) for one in logits])[:, None]

        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        answer = sliding_window_inference(pixels, (window, window), 8, predict, overlap=0.5, mode="gaussian")
        probability: NDArray[np.float32] = torch.as_tensor(answer)[0, 0].clamp(0, 1).numpy()
        return probability


def _encoder_dtype(network: Network, dtype: Dtype) -> Dtype:
    """float32 of a pretrained encoder: bf16 moves the features of EfficientNet-Lite0 by 4 %, and with them the mask."""
    pretrained = isinstance(network, RecLMIS) and isinstance(network.encoder, PretrainedEncoder)
    return "float32" if pretrained else dtype


def _on_grid(logits: list[Tensor], size: Sequence[int]) -> Tensor:
    """The members' (S, S) logits -> (H, W) mean probability on the image's own grid; logits are interpolated."""
    grids = (F.interpolate(x[None, None], size=tuple(size), mode="bilinear", align_corners=False)[0, 0] for x in logits)
    return torch.stack([g.sigmoid() for g in grids]).mean(0)


def _heat_map(x: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    up = F.interpolate(x[None, None].float(), size=size, mode="bilinear", align_corners=False)[0, 0].cpu()
    scaled: NDArray[np.float32] = (up / up.max().clamp_min(1e-12)).numpy()
    return scaled


def grad_cam(member: Member, image: Tensor, note: str | None) -> Tensor:
    """Grad-CAM of the decoder's first layer for the foreground: (h, w) >= 0 on that layer's grid, unscaled.

    The class score is the sum of the logits over the predicted foreground (over all pixels when it is empty).
    """
    network, features = cast(RecLMIS, member.network), list[Tensor]()
    hook = network.decoder.merge[0].register_forward_hook(lambda _module, _inputs, output: features.append(output))
    try:
        logits = network(image, [note], member.cache)
    finally:
        hook.remove()
    foreground = logits.detach() > 0
    score = (logits * foreground).sum() if foreground.any() else logits.sum()
    (gradient,) = torch.autograd.grad(score, features[0])
    return (gradient.mean((2, 3), keepdim=True) * features[0]).sum(1)[0].clamp_min(0).detach()
