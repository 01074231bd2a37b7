"""Zero-shot segmentation with GroupViT: names -> prompts -> a map of names on the picture's own grid.

`segment` decides by the protocol's rule: the published one (`published_rule`), or ours, which is softer. By ours a
pixel belongs softly to groups, a group softly to names; its score for a name is the sum over the groups:

    score[c, n] = sum_g A[g, n] softmax_c(scale * cos(group g, prompt c)),     A = A_last ... A_0

over the names c that are among the picture's top k; the others score 0. Scores are interpolated (bilinear) to pixels
and averaged where windows overlap; where the best one is below the protocol's threshold the pixel is background.
B windows, G groups, C names, k of them scored, N patches, P channels of the joint space.
"""

from __future__ import annotations

import csv
import unicodedata
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from segue.data.prompts import fill_prompt
from segue.data.transforms import resize_image, resize_nearest, resize_without_antialiasing
from segue.methods.cocu.groupvit.model import GroupViT, VisionOutput
from segue.methods.cocu.protocols import EvalProtocol
from segue.methods.cocu.published_rule import published_scores
from segue.methods.cocu.windows import Corner, crops, window_batches
from segue.nn.stopping import stop_point
from segue.types import InputError, LabelMap, check_image

NAMES_AT_ONCE = 64  # of which the maps are held, so that thousands of names need no more memory
MAX_ASPECT_RATIO = 20  # longer side over shorter side

# ------------------------------------------------------------------------------------------------ names


def parse_labels(text: str) -> list[str]:
    """The names of a list as text: 'dog, grass, "chair, folding"'; one with a comma is in double quotes, as in CSV.

    Runs of spaces become one space and unicode is composed (NFC). Raises InputError as `check_names`, and for quotes
    that don't close.
    """
    flat = " ".join(unicodedata.normalize("NFC", text).split()).replace('" ,', '",')
    try:
        rows = list(csv.reader([flat], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise InputError(
            f'labels: {text!r} is not readable ({error}); put double quotes around whole names: dog, "chair, folding"'
        ) from error
    return check_names([name.strip() for name in rows[0]] if rows else [])


def check_names(names: Sequence[str]) -> list[str]:
    """The names as a list.

    Raises InputError for no name, an empty one, and one that is repeated (in any case of letters, and however its
    spaces and accents are written).
    """
    if isinstance(names, str):
        raise InputError(f"labels: got one text {names!r:.40}, expected a list of names; see parse_labels")
    if not names:
        raise InputError('labels: got no name, expected some, for instance "dog, grass, sky"')
    seen: dict[str, str] = {}
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"labels: name {i + 1} of {len(names)} is empty; take a comma out or write the name")
        key = " ".join(unicodedata.normalize("NFC", name).split()).casefold()
        if key in seen:
            other = "" if seen[key] == name else f", also as {seen[key]!r}"
            raise InputError(f"labels: {name!r} is there twice{other}; name each once")
        seen[key] = name
    return list(names)


def check_choice(names: Sequence[str]) -> list[str]:
    """The names as a list, of which each pixel gets one. Raises InputError as `check_names`, and for a single name."""
    names = check_names(names)
    if len(names) < 2:
        raise InputError(
            f"labels: got {names[0]!r} alone, expected two or more, because a pixel goes to the likeliest of them; "
            f'add what else there is, for instance "{names[0]}, background"'
        )
    return names


def embed_names(model: GroupViT, names: Sequence[str], prompt: str = "a photo of a {}.") -> Tensor:
    """The embeddings of the names' prompts, (C, P) of unit length; can be computed once for many pictures.

    Warns of a name of which the tokenizer doesn't know all words. Raises InputError as `check_names`, for a name of
    which it knows no word or that is too long, and for a model without a tokenizer.
    """
    names = check_names(names)
    for name in names:
        if (reason := unreadable(model, name, prompt)) is not None:
            raise InputError(reason)
        if model.tokenizer is not None and _unknown_id(model.tokenizer) in _ids(model.tokenizer, name):
            warnings.warn(f"label {name!r}: this model's tokenizer doesn't know all of its words", stacklevel=2)
    with torch.inference_mode():
        chunks = [list(names[i : i + 256]) for i in range(0, len(names), 256)]
        return torch.cat([model.embed_texts([fill_prompt(prompt, name) for name in chunk]) for chunk in chunks])


def unreadable(model: GroupViT, name: str, prompt: str = "a photo of a {}.") -> str | None:
    """Why a model can't read a name: it knows no word of it, or its prompt is too long; None where it can.

    Raises InputError for a model without a tokenizer.
    """
    if model.tokenizer is None:
        raise InputError("this model came without a tokenizer; put its tokenizer.json into its folder")
    if not set(_ids(model.tokenizer, name)) - {_unknown_id(model.tokenizer)}:
        return f"labels: {name!r} means nothing to this model, whose tokenizer knows no word of it"
    if model.tokenizer.encode(fill_prompt(prompt, name)).overflowing:
        return f"labels: {name[:40]!r}... is longer than the model's {model.config.max_tokens} tokens"
    return None


def _ids(tokenizer: Tokenizer, name: str) -> list[int]:
    ids: list[int] = tokenizer.encode(name, add_special_tokens=False).ids
    return ids


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id of words that the tokenizer doesn't know; None where it has none."""
    unknown: int | None = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "")
    return unknown


def vocabulary_overlap(classes: Sequence[str], concepts: Collection[str]) -> tuple[int, list[str]]:
    """How many of the classes are in a concept vocabulary, and which are not: belongs beside a "zero-shot" figure."""
    held = {concept.casefold() for concept in concepts}
    missing = [name for name in classes if name.casefold() not in held]
    return len(classes) - len(missing), missing


# ------------------------------------------------------------------------------------------------ maps


def group_maps(vision: VisionOutput, soft: bool = True) -> Tensor:
    """(B, G, rows, columns): `VisionOutput.patch_assignment` on the grid of the patches."""
    return torch.unflatten(vision.patch_assignment(soft), 2, vision.grid)


@torch.inference_mode()
def dense_scores(
    model: GroupViT, image: NDArray[np.uint8], text: Tensor, protocol: EvalProtocol, *, cosines: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """The scores of the likeliest names at every pixel of an (H, W, 3) uint8 picture, resized as the protocol has it.

    text: (C, P) of `embed_names`. Returns the positions (k,) of the scored names in ascending order, their scores
    (k, H', W'), and the cosines (C,) of all names with the picture. cosines: return instead of the scores
    sum_g A[g, n] cos(group g, name c), in [-1, 1], which does not depend on the other names: the heat map of a name.
    Raises InputError for another array, and for a picture more than MAX_ASPECT_RATIO times as long as it is wide.
    """
    scored, scores, similarity = _soft_scores(model, image, text, protocol, cosines)
    return scored, scores(slice(None)), similarity


def _soft_scores(
    model: GroupViT, image: NDArray[np.uint8], text: Tensor, protocol: EvalProtocol, cosines: bool = False
) -> tuple[Tensor, Callable[[slice], Tensor], Tensor]:
    """As `dense_scores`, but with a function that gives the maps of some names alone, by their places in the first."""
    check_image(image)
    pixels = _preprocess(model, image, protocol)
    height, width = pixels.shape[1:]
    batches = window_batches(height, width, protocol)
    encoded = [_encode_windows(model, pixels, batch, protocol) for batch in batches]
    whole = F.normalize(torch.cat([images for images, _, _ in encoded]).mean(0), dim=0)
    similarity = text @ whole
    k = len(text) if protocol.top_k is None else min(protocol.top_k, len(text))
    scored = similarity.topk(k).indices.sort().values

    def scores(some: slice) -> Tensor:
        total, count = pixels.new_zeros(len(scored[some]), height, width), pixels.new_zeros(height, width)
        for batch, (_, groups, maps) in zip(batches, encoded, strict=True):
            logits = groups @ text[scored].T  # (B, G, k)
            weight = (logits if cosines else (model.scale * logits).softmax(2))[..., some]
            for (top, left), score in zip(batch, _upsample(model, weight, maps), strict=True):
                rows, columns = slice(top, top + protocol.crop), slice(left, left + protocol.crop)
                area = count[rows, columns]
                total[:, rows, columns] += score[:, : area.shape[0], : area.shape[1]]
                area += 1
        return total / count

    return scored, scores, similarity


@torch.inference_mode()
def segment(
    model: GroupViT,
    image: NDArray[np.uint8],
    names: Sequence[str],
    protocol: EvalProtocol,
    text: Tensor | None = None,
) -> LabelMap:
    """Give every pixel of an (H, W, 3) uint8 RGB picture the likeliest of the names.

    names: two or more, see `parse_labels`. text: what `embed_names` made of them, when many pictures share them.
    Raises InputError for names that can't be used, and for a picture more than MAX_ASPECT_RATIO times as long as wide.
    """
    names = check_choice(names)
    text = embed_names(model, names, protocol.prompt) if text is None else text
    size, least = (image.shape[0], image.shape[1]), protocol.shrink
    if least is not None and size[0] * size[1] > least**2:
        return _on_grid(segment(model, _shrink(image, least), names, protocol, text), size)
    if protocol.rule == "published":
        check_image(image)
        pixels = _preprocess(model, image, protocol)
        scored, maps, background, similarity = published_scores(model, pixels, text, protocol)
    else:
        (scored, maps, similarity), background = _soft_scores(model, image, text, protocol), None
    index, scores = _decide(scored, maps, background, size)
    dtype: type[np.unsignedinteger] = np.uint8 if len(names) < 256 else np.uint16
    labels: NDArray[np.unsignedinteger] = index.astype(dtype)
    labels[index < 0] = np.iinfo(dtype).max
    if protocol.threshold is not None and background is None:
        labels[scores < protocol.threshold] = np.iinfo(dtype).max
    return LabelMap(tuple(names), labels, scores, similarity.cpu().numpy())


def _decide(
    scored: Tensor, maps: Callable[[slice], Tensor], background: Tensor | None, size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best of the names at every pixel, -1 where background is higher, and the score of the best name.

    maps: of some names by their places in `scored`; they are asked for NAMES_AT_ONCE at a time.
    """

    def resized(one: Tensor) -> Tensor:  # one at a time: all maps of a large picture are large
        return F.interpolate(one[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]

    scores = torch.zeros(size, device=scored.device)
    best = scores if background is None else resized(background)
    index = torch.full(size, 0 if background is None else -1, device=scored.device)
    for first in range(0, len(scored), NAMES_AT_ONCE):
        some = slice(first, first + NAMES_AT_ONCE)
        for position, one in zip(scored[some], maps(some), strict=True):
            score = resized(one)
            index, best = torch.where(score > best, position, index), torch.maximum(score, best)
            scores = torch.maximum(score, scores)
    return index.cpu().numpy(), scores.clamp(0, 1).cpu().numpy()


def _shrink(image: NDArray[np.uint8], longer: int) -> NDArray[np.uint8]:
    """A picture made smaller, so that its longer side is `longer` (ImageNet-S's rule for large pictures)."""
    height, width = image.shape[:2]
    size = (longer, int(longer * width / height)) if height > width else (int(longer * height / width), longer)
    return resize_without_antialiasing(image, size)


def _on_grid(found: LabelMap, size: tuple[int, int]) -> LabelMap:
    """The map on another grid, by the nearest pixel."""
    return replace(found, index=resize_nearest(found.index, size), scores=resize_nearest(found.scores, size))


def _preprocess(model: GroupViT, image: NDArray[np.uint8], protocol: EvalProtocol) -> Tensor:
    """(3, H', W') normalised, resized as the protocol has it, on the model's device."""
    height, width = image.shape[:2]
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):  # resized, it would be gigabytes
        raise InputError(
            f"picture: got {width}x{height} pixels, expected a longer side of at most {MAX_ASPECT_RATIO} times the "
            "shorter; cut it"
        )
    resize = resize_without_antialiasing if protocol.rule == "published" else resize_image
    resized = resize(image, protocol.resized(height, width))
    pixels = torch.from_numpy(resized.copy()).to(model.logit_scale.device).permute(2, 0, 1).float() / 255
    mean, std = (pixels.new_tensor(v)[:, None, None] for v in (model.config.mean, model.config.std))
    return (pixels - mean) / std


def _encode_windows(
    model: GroupViT, pixels: Tensor, corners: list[Corner], protocol: EvalProtocol
) -> tuple[Tensor, Tensor, Tensor]:
    """The embeddings of windows (B, P) and of their groups (B, G, P), and the group maps (B, G, rows, columns)."""
    stop_point()
    vision = model.encode_image(crops(pixels, corners, protocol))
    return model.embed_image(vision), model.embed_groups(vision), group_maps(vision, protocol.rule != "hard")


def _upsample(model: GroupViT, weight: Tensor, maps: Tensor) -> Tensor:
    """(B, G, k) weights and (B, G, rows, columns) maps -> scores (B, k, rows * patch, columns * patch)."""
    score = torch.einsum("bgk,bgrc->bkrc", weight, maps)
    return F.interpolate(score, scale_factor=model.config.patch, mode="bilinear", align_corners=False)
