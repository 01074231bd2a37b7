"""Layouts of captions and captions of layouts: the predictor of the method `crossmodal`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.api.hub import HubMixin
from segue.api.models import find
from segue.api.pictures import Picture, pixels_of
from segue.api.sentence_check import CaptionContent, Fulfilled, caption_content, fulfilled, wanted
from segue.data.english import plural
from segue.data.formats.files import read_json
from segue.data.layouts import UNKNOWN, check_layout, read_layout, resize_layout, to_pixels, without_specks
from segue.data.tokenizer import CaptionTokenizer
from segue.data.transforms import resize_image
from segue.methods.crossmodal.boxes import (
    PARTS,
    BoxDecoder,
    DrawnBoxes,
    bands_first,
    draw_boxes,
    layout_boxes,
    paint_boxes,
)
from segue.methods.crossmodal.checkpoint import CrossModalCheckpoint, load_crossmodal
from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.inference import (
    continue_caption,
    draw_codes,
    log_likelihood,
    start_caption,
    word_attention_maps,
)
from segue.methods.crossmodal.model import BINS_PER_CELL
from segue.nn.decoding import decode
from segue.nn.devices import resolve_device
from segue.nn.stopping import portion, steps
from segue.options import Decoding, DrawOptions, check_value
from segue.types import InputError, Layout, LayoutBox

TEMPERATURE = 0.7  # of the cells of a model of one level, without a picture
STEPS, STEPS_BY_PICTURE = 16, 4  # of drawing cells; a picture says most (results/crossmodal_scenes_full.csv)
STEPS_IN_BOXES = 8  # where boxes say what lies where, more change nothing (the same)
GUIDANCE, GUIDANCE_BY_PICTURE = 2.0, 1.5
TRIES, TRIES_OF_BOXES = 4, 8  # 8 have more relations than 4 and take a tenth longer where they are boxes alone
BOX_TOP_P = 0.5  # boxes are drawn among the likeliest tokens that together have this probability
LayoutFile = str | Path | NDArray[np.uint8]
BOXES_AT_ONCE = 64  # tries of the model's own boxes, in a batch
NO_BOXES: NDArray[np.int64] = np.empty((0, PARTS), np.int64)
NEXT_TRY = 1_000_003  # from a layout's seed to that of its next try; generators use 32 bits of it


def read_boxes(path: Path) -> list[LayoutBox]:
    """Boxes from JSON: a list of {"label": ..., "box": [x, y, width, height]}, or an object with such "boxes".

    Raises InputError for anything else.
    """
    expected = 'expected [{"label": "dog", "box": [x, y, width, height]}, ...] in pixels of the layout'
    try:
        found: Any = read_json(path)
    except InputError as error:
        raise InputError(f"{error}; {expected}") from error
    found = found.get("boxes") if isinstance(found, dict) else found
    check_value(f"{path}: boxes", found, tuple[Any, ...])
    for one in found:
        check_value(f"{path}: a box", one, dict)
        check_value(f"{path}: label", one.get("label"), str)
        check_value(f"{path}: box", one.get("box"), tuple[float, float, float, float])
    return [LayoutBox(one["label"], tuple(one["box"])) for one in found]


@dataclass(frozen=True)
class LayoutCaption:
    """A caption of a layout.

    likelihood: the geometric mean of its tokens' probabilities, in (0, 1]. condition: "mask" or "mask+image".
    """

    caption: str
    likelihood: float
    condition: str


def load_illustrator(name: str | Path, *, device: str = "auto") -> Illustrator:
    """An illustrator from a bundled name or a checkpoint folder.

    Raises InputError when there is none, or the device isn't there.
    """
    device, folder = resolve_device(device), find(name)
    return Illustrator(load_crossmodal(folder), device, folder=folder)


class Illustrator(HubMixin):
    """Draws layouts of captions and captions layouts; both also with an image as a second condition.

    folder: the checkpoint's, which `save_pretrained` copies.
    """

    def __init__(self, checkpoint: CrossModalCheckpoint, device: str = "cpu", *, folder: Path | None = None) -> None:
        self.checkpoint, self.folder = checkpoint, folder
        self.to(device)

    def to(self, device: str) -> Self:
        """Move the networks to a device and return the illustrator. Raises InputError when the device is not there."""
        self.device = resolve_device(device)
        held = self.checkpoint
        for part in (held.model, held.quantiser, held.boxes, held.silhouettes):
            if part is not None:
                part.to(self.device)
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the layouts' classes, in order."""
        return self.checkpoint.classes

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels of the layouts that the model was trained on."""
        (h, w), factor = self.checkpoint.model.config.grid, self.checkpoint.quantiser.config.factor
        return h * factor, w * factor

    @torch.inference_mode()
    def measure_distances(self, images: Sequence[Picture]) -> list[float] | list[None]:
        """How far each picture lies from those that the model learned from, above 1 is far; None where not measured."""
        pixels = self._pixels(images)
        if self.checkpoint.domain is None or pixels is None:
            return [None] * len(images)
        distances: list[float] = self.checkpoint.domain.measure(self.checkpoint.model.picture_features(pixels)).tolist()
        return distances

    def draw(
        self,
        caption: str,
        *,
        image: Picture | None = None,
        keep: NDArray[np.uint8] | None = None,
        boxes: Sequence[LayoutBox] | None = None,
        options: DrawOptions = DrawOptions(),
    ) -> list[Layout]:
        """Draw `options.num` layouts of a caption, from the seeds options.seed, options.seed + 1, ...

        image: the picture that the layout is of. keep: (H, W) uint8 layout to be kept where it is not 255; the rest is
        drawn to fit it. boxes: what is where, instead of what the model makes of the caption; a later box lies over the
        earlier ones.
        Raises InputError for an empty caption, a picture that can't be read, a `keep` or boxes with unknown classes,
        and boxes for a model that knows none.
        """
        num, seed = options.num, options.seed
        images = None if image is None else [pixels_of(image)] * num
        many = None if boxes is None else [boxes] * num
        return self.draw_many(
            [caption] * num, images, keep=keep, boxes=many, seeds=range(seed, seed + num), options=options
        )

    __call__ = draw

    def draw_many(
        self,
        captions: Sequence[str],
        images: Iterable[Picture] | None = None,
        *,
        seeds: Sequence[int] | None = None,
        keep: NDArray[np.uint8] | None = None,
        boxes: Sequence[Sequence[LayoutBox]] | None = None,
        options: DrawOptions = DrawOptions(),
    ) -> list[Layout]:
        """Like `draw`, for a batch: one layout of each caption, each with a seed, and an image or boxes where given.

        seeds: options.seed, options.seed + 1, ... unless given. options: its num is not used here.
        Raises InputError, besides, for lists of different lengths.
        """
        pictures = _read(images)
        seeds = range(options.seed, options.seed + len(captions)) if seeds is None else seeds
        lengths = {len(part) for part in (captions, seeds, pictures, boxes) if part is not None}
        if not captions or len(lengths) > 1:
            there = ["none" if part is None else str(len(part)) for part in (pictures, boxes)]
            raise InputError(
                f"draw: got {len(captions)} captions, {len(seeds)} seeds and pictures: {there[0]}, lists of boxes: "
                f"{there[1]}, expected one or more captions, and as many seeds (and pictures or boxes, if any)"
            )
        ids, pixels, kept = self._ids(captions), self._pixels(pictures), self._kept(keep)
        said = [caption_content(one, self.classes) if options.check_sentence else CaptionContent() for one in captions]
        temperature, tries = options.temperature, options.best_of or TRIES
        planned = boxes is None and self.checkpoint.boxes is not None and pixels is None
        if boxes is not None:
            places = [self._bins_of(each) for each in boxes]
        elif planned:
            assert self.checkpoint.boxes is not None
            with portion(0, 2):
                places, temperature, tries = self._planned(self.checkpoint.boxes, ids, seeds, said, options), 0.0, 1
        else:
            places = [NO_BOXES] * len(ids)
        if temperature is None:
            temperature = TEMPERATURE if pixels is None and boxes is None else 0.0
        in_boxes, by_picture = planned or boxes is not None, pixels is not None
        passes = options.steps or (STEPS_IN_BOXES if in_boxes else STEPS_BY_PICTURE if by_picture else STEPS)
        guidance = options.guidance
        if guidance is None:
            guidance = GUIDANCE_BY_PICTURE if by_picture else GUIDANCE
        painted, fixed, model = self._painted(places, kept), self._fixed(kept, len(ids)), self.checkpoint.model
        if painted is not None and not model.config.classes:
            fixed, painted = self._inside(painted, fixed), None

        def cells(rows: Sequence[int], attempt: int) -> Tensor:
            """The codes of some of the layouts; another attempt draws them in another order."""
            chance = [seeds[row] + attempt * NEXT_TRY for row in rows]
            image, known, places = (None if part is None else part[rows] for part in (pixels, fixed, painted))
            return draw_codes(
                model, ids[rows], model.config.grid, seeds=chance, image=image, fixed=known, boxes=places,
                steps=passes, guidance=guidance, temperature=temperature,
            )  # fmt: skip

        def finished(codes: Tensor, rows: Sequence[int]) -> NDArray[np.uint8]:
            return self._finished(
                codes, None if painted is None else painted[rows], [said[row] for row in rows],
                [places[row] for row in rows], [seeds[row] for row in rows], kept=kept, options=options,
            )  # fmt: skip

        everything = range(len(ids))
        with portion(planned, 1 + planned):
            drawn = [cells(everything, i) for i in steps(tries)]
        layouts = [finished(codes, everything) for codes in drawn]
        chosen = layouts[0] if tries == 1 else self._best(drawn, layouts, ids, pixels, said)
        if planned and painted is not None:
            less = [
                row
                for row, place in enumerate(painted.cpu().numpy())
                if _checked(said[row], chosen[row]) < _checked(said[row], place)
            ]
            again = finished(cells(less, 1), less) if less else ()
            for row, one in zip(less, again, strict=True):
                chosen[row] = max(chosen[row], one, key=partial(_checked, said[row]))
        condition = "caption" + ("" if pictures is None else "+image") + ("" if boxes is None else "+boxes")
        return [
            Layout(
                labels, self.classes, captions[i], seeds[i], condition, self._boxes_of(places[i]),
                picture=None if pictures is None else pictures[i],
            )
            for i, labels in enumerate(chosen)
        ]  # fmt: skip

    def _planned(
        self,
        decoder: BoxDecoder,
        ids: Tensor,
        seeds: Sequence[int],
        said: Sequence[CaptionContent],
        options: DrawOptions,
    ) -> list[NDArray[np.int64]]:
        """The model's own boxes of each caption, in bins: of its tries that fulfil most of what is said the likeliest.

        said: the content of each caption. What it names and counts is drawn as often; what is left of that, and of the
        relations, where boxes hide or touch each other, decides among the tries.
        """
        heat = options.temperature
        search = Decoding(
            top_p=BOX_TOP_P if heat is None else float(heat > 0),
            temperature=heat or 1.0,
            max_tokens=decoder.config.max_tokens,
        )
        tries = [seed + i * NEXT_TRY for i in range(options.best_of or TRIES_OF_BOXES) for seed in seeds]
        found: list[DrawnBoxes] = []
        for part in steps(-(-len(tries) // BOXES_AT_ONCE)):
            rows = range(len(tries))[part * BOXES_AT_ONCE :][:BOXES_AT_ONCE]
            drawn = [tries[row] for row in rows]
            asked = [wanted(said[row % len(ids)]) for row in rows]
            found += draw_boxes(decoder, ids[[row % len(ids) for row in rows]], search, drawn, asked)
        bins = decoder.config.bins
        tried = [bands_first(one.boxes, bins) for one in found]
        fit = [
            (_checked(said[row % len(ids)], paint_boxes(one, bins)), found[row].score) for row, one in enumerate(tried)
        ]
        return [tried[row] for row in _best_tries(fit, len(ids))]

    def _finished(
        self,
        codes: Tensor,
        painted: Tensor | None,
        said: Sequence[CaptionContent],
        places: Sequence[NDArray[np.int64]],
        seeds: Sequence[int],
        *,
        kept: NDArray[np.uint8] | None,
        options: DrawOptions,
    ) -> NDArray[np.uint8]:
        """Codes (B, h, w) -> layouts (B, H, W), without specks, silhouettes in their boxes, with what is kept.

        painted: boxes, of `_painted`. A part in a box of its class, or of a class that is named, is no speck.
        places: the boxes (R, 5) of each. seeds: of each, for its silhouettes.
        """
        pixels = options.specks * self.checkpoint.quantiser.config.factor**2
        silhouettes = self.checkpoint.silhouettes if options.silhouettes else None
        labels = self.checkpoint.quantiser.decode(codes).cpu().numpy()
        boxes = [None] * len(labels) if painted is None else painted.cpu().numpy()
        found = []
        for one, box, content, place, seed in zip(labels, boxes, said, places, seeds, strict=True):
            spared = np.isin(one, list(chain(*content.named)))
            if box is not None:
                spared |= resize_layout(box, one.shape) == one
            one = without_specks(one, pixels, spared)
            if silhouettes is not None and box is not None:
                one = silhouettes.paint(one, place, len(box), seed)
            found.append(one)
        return np.stack(found) if kept is None else np.where(kept == UNKNOWN, found, kept)

    def _best(
        self,
        codes: Sequence[Tensor],
        layouts: Sequence[NDArray[np.uint8]],
        ids: Tensor,
        image: Tensor | None,
        said: Sequence[CaptionContent],
    ) -> NDArray[np.uint8]:
        """(B, H, W): of several tries of B layouts, each with its codes, those to which what is said fits best.

        What a rule can check of it counts first, then the captions' probability by the model.
        """
        likely = torch.cat([log_likelihood(self.checkpoint.model, ids, one, image) for one in codes]).tolist()
        tried = np.concatenate(layouts)
        fit = [(_checked(said[row % len(ids)], one), likely[row]) for row, one in enumerate(tried)]
        best: NDArray[np.uint8] = tried[_best_tries(fit, len(ids))]
        return best

    def caption_layout(
        self, layout: LayoutFile, *, image: Picture | None = None, options: Decoding = Decoding(beams=4)
    ) -> list[LayoutCaption]:
        """Describe a layout by `options.num` captions, the likeliest first.

        layout: an (H, W) uint8 map of class positions, or an index or colour PNG. image: the picture that it is of.
        options: a caption has `max_words` tokens at most.
        Raises InputError for a layout with unknown classes or colours, or one of which nothing is known.
        """
        return self.caption_layouts([layout], None if image is None else [image], options=options)[0]

    @torch.inference_mode()
    def caption_layouts(
        self,
        layouts: Iterable[LayoutFile],
        images: Iterable[Picture] | None = None,
        *,
        options: Decoding = Decoding(beams=4),
    ) -> list[list[LayoutCaption]]:
        """Like `caption_layout`, for a batch. Raises InputError, besides, for lists of different lengths."""
        model, tokenizer = self.checkpoint.model, self.checkpoint.tokenizer
        layouts, pictures = list(layouts), _read(images)
        if pictures is not None and len(pictures) != len(layouts):
            raise InputError(
                f"caption_layouts: got {len(layouts)} layouts and {len(pictures)} pictures, expected one for each"
            )
        options = replace(options, max_tokens=min(options.max_tokens, self.max_words))
        codes = self.checkpoint.quantiser.encode(torch.from_numpy(self._stacked(layouts)).to(self.device))
        logits, cache = start_caption(model, model.encode_layouts(codes, self._pixels(pictures)))
        found = decode(
            partial(continue_caption, model), logits, cache, end=tokenizer.end, options=options,
            suppressed_token_ids=tokenizer.suppressed_token_ids,
        )  # fmt: skip
        condition = "mask" if pictures is None else "mask+image"
        return [
            [LayoutCaption(tokenizer.decode(one.tokens), math.exp(one.score), condition) for one in each]
            for each in found
        ]

    def heat_maps(
        self, layout: LayoutFile, caption: str, image: Picture | None = None
    ) -> list[tuple[str, NDArray[np.float32]]]:
        """The attention of each part of a layout to each word of its caption: (word, (H, W) map in [0, 1]) pairs.

        Raises InputError for a layout or a caption that can't be used.
        """
        labels, ids = self._labels(layout), self._ids([caption])
        codes = self.checkpoint.quantiser.encode(torch.from_numpy(labels)[None].to(self.device))
        pixels = self._pixels(None if image is None else [image])
        by_token = word_attention_maps(self.checkpoint.model, codes, ids, pixels)[0, 1:-1]
        words = _tokens_of_words(caption, self._spans(caption)[: len(by_token)])
        if not words:
            return []
        maps = torch.stack([by_token[tokens].sum(0) for _, tokens in words])
        maps = maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)
        maps = torch.nn.functional.interpolate(maps[None], size=labels.shape, mode="bilinear", align_corners=False)[0]
        return list(zip([word for word, _ in words], maps.cpu().numpy(), strict=True))

    def nouns(self, caption: str) -> list[str]:
        """The words of a caption that the training captions used as nouns, singular or plural, each once.

        Raises InputError when the checkpoint does not list its nouns.
        """
        known = self.checkpoint.about.get("nouns")
        if known is None:
            raise InputError("model: its checkpoint lists no nouns; train it again with `segue train crossmodal`")
        forms = {form for noun in known for form in (noun, plural(noun))}
        return [word for word in dict.fromkeys(w[0] for w in _words(caption)) if word.lower() in forms]

    @property
    def max_words(self) -> int:
        """The most tokens of a caption."""
        return self.checkpoint.model.config.max_words - 2

    def unseen_words(self, caption: str) -> list[str]:
        """Words that the training captions hardly ever had, so that the tokenizer splits them; they may be ignored."""
        words = dict.fromkeys(word[0] for word in _words(caption.lower()))
        return [word for word in words if self.checkpoint.tokenizer.encode([word], 8)[1].sum() > 2]

    def caption_doubts(self, caption: str) -> list[str]:
        """Why a layout may not be what the caption says, as sentences: words hardly known, an end that isn't read."""
        found, spans = [], self._spans(caption)
        if unseen := self.unseen_words(caption):
            found.append(f"the model hardly knows the words {', '.join(map(repr, unseen))}; say it otherwise")
        if unread := caption[spans[self.max_words - 1][1] :].strip() if len(spans) > self.max_words else "":
            found.append(
                f"the sentence is too long for the model, which doesn't read its end, {unread[:60]!r}; shorten it"
            )
        return found

    def _ids(self, captions: Sequence[str]) -> Tensor:
        return caption_ids(self.checkpoint.tokenizer, self.checkpoint.model.config, captions).to(self.device)

    def _spans(self, caption: str) -> list[tuple[int, int]]:
        """The characters (first, last + 1) of each token."""
        return list(self.checkpoint.tokenizer.tokenizer.encode(caption, add_special_tokens=False).offsets)

    def _labels(self, layout: LayoutFile) -> NDArray[np.uint8]:
        if isinstance(layout, str | Path):
            layout = read_layout(Path(layout), self.classes)
        check_layout(layout, len(self.classes))
        return resize_layout(layout, self.size)

    def _stacked(self, layouts: Sequence[LayoutFile]) -> NDArray[np.uint8]:
        """(B, H, W). Raises InputError for an empty list, and for a layout that has no known pixel."""
        found = [self._labels(one) for one in layouts]
        if not found or any((one == UNKNOWN).all() for one in found):
            raise InputError(
                f"layout: got {'one of which every pixel is unknown (255)' if found else 'none'}, so there is nothing "
                "to describe; give a layout"
            )
        return np.stack(found)

    def _pixels(self, images: Sequence[Picture] | None) -> Tensor | None:
        """(B, 3, H, W) in [-1, 1], at the model's size."""
        if images is None:
            return None
        return torch.cat([to_pixels(resize_image(pixels_of(image), self.size)[None]) for image in images]).to(
            self.device
        )

    def _kept(self, keep: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
        """The layout of which all but 255 is kept, at the model's size."""
        return None if keep is None else self._labels(keep)

    def _fixed(self, kept: NDArray[np.uint8] | None, count: int) -> Tensor | None:
        """Codes (count, h, w) of the cells that are kept entirely, -1 elsewhere."""
        if kept is None:
            return None
        factor, (h, w) = self.checkpoint.quantiser.config.factor, self.checkpoint.model.config.grid
        codes = self.checkpoint.quantiser.encode(torch.from_numpy(kept)[None].to(self.device))
        entirely = (kept.reshape(h, factor, w, factor) != UNKNOWN).all((1, 3))
        return torch.where(torch.from_numpy(entirely)[None].to(self.device), codes, -1).expand(count, -1, -1)

    def _painted(self, boxes: Sequence[NDArray[np.int64]], kept: NDArray[np.uint8] | None) -> Tensor | None:
        """(B, 2h, 2w) boxes for the cells, what is kept over them; None for a model without boxes."""
        if self.checkpoint.boxes is None:
            return None
        bins = self.checkpoint.boxes.config.bins
        painted = np.stack([paint_boxes(each, bins) for each in boxes])
        if kept is not None:
            small = resize_layout(kept, (bins, bins))
            painted = np.where(small == UNKNOWN, painted, small)
        return torch.from_numpy(painted).to(self.device)

    def _inside(self, painted: Tensor, fixed: Tensor | None) -> Tensor:
        """Codes (B, h, w) of the cells that lie inside one box or are fixed already, -1 elsewhere.

        For a model whose cells know no boxes: it draws those on their rims and outside. painted: of `_painted`.
        """
        quantiser = self.checkpoint.quantiser
        pool = torch.nn.functional.max_pool2d
        low, high = (sign * pool(sign * painted.float(), BINS_PER_CELL) for sign in (-1.0, 1.0))
        inside = (low == high) & (high != UNKNOWN)
        pixels = quantiser.config.factor // BINS_PER_CELL
        codes = quantiser.encode(painted.repeat_interleave(pixels, 1).repeat_interleave(pixels, 2))
        inside_codes = torch.where(inside, codes, -1)
        return inside_codes if fixed is None else torch.where(fixed >= 0, fixed, inside_codes)

    def _bins_of(self, boxes: Sequence[LayoutBox]) -> NDArray[np.int64]:
        """(R, 5) class and edges in bins of boxes in pixels.

        Raises InputError for a model without boxes, unknown classes, and boxes that aren't on the layout.
        """
        if self.checkpoint.boxes is None:
            raise InputError("boxes: this model draws from captions and pictures alone; train one with boxes")
        height, width = self.size
        found, bins = [], self.checkpoint.boxes.config.bins
        for one in boxes:
            x, y, w, h = one.box
            if one.label not in self.classes:
                raise InputError(f"boxes: got the class {one.label!r}, expected one of {', '.join(self.classes)}")
            if not (0 <= x < x + w <= width and 0 <= y < y + h <= height):
                raise InputError(
                    f"boxes: {one.label}: got {one.box}, expected x, y, width and height on the layout of "
                    f"{width} x {height} pixels"
                )
            left, top = (min(round(bins * low / side), bins - 1) for low, side in ((x, width), (y, height)))
            right, bottom = (round(bins * high / side) for high, side in ((x + w, width), (y + h, height)))
            found.append([self.classes.index(one.label), left, top, max(right, left + 1), max(bottom, top + 1)])
        return np.array(found, np.int64).reshape(-1, PARTS)

    def _boxes_of(self, bins: NDArray[np.int64]) -> tuple[LayoutBox, ...]:
        """The inverse of `_bins_of`."""
        if self.checkpoint.boxes is None:
            return ()
        (height, width), steps = self.size, self.checkpoint.boxes.config.bins
        sx, sy = width / steps, height / steps
        return tuple(
            LayoutBox(self.classes[kind], (left * sx, top * sy, (right - left) * sx, (bottom - top) * sy))
            for kind, left, top, right, bottom in bins.tolist()
        )


def _best_tries(fit: Sequence[tuple[Fulfilled, float]], count: int) -> list[int]:
    """The positions of the best tries of `count` examples. fit: of the first try of each, then of the second ..."""
    return [max(range(i, len(fit), count), key=fit.__getitem__) for i in range(count)]


def _checked(said: CaptionContent, layout: NDArray[np.uint8]) -> Fulfilled:
    """How much of what is said a layout (H, W) fulfils; where nothing is, its boxes aren't looked for."""
    nothing = said == CaptionContent()
    return fulfilled(said, NO_BOXES if nothing else layout_boxes(layout, len(layout), layout.size))


def _read(images: Iterable[Picture] | None) -> list[NDArray[np.uint8]] | None:
    return None if images is None else [pixels_of(image) for image in images]


def _words(caption: str) -> list[re.Match[str]]:
    return list(re.finditer(r"\w+(?:-\w+)*", caption))


def _tokens_of_words(caption: str, spans: Sequence[tuple[int, int]]) -> list[tuple[str, list[int]]]:
    """Each word with the positions of the tokens that overlap it; words that were cut off are left out."""
    overlaps = [
        (word[0], [i for i, (first, last) in enumerate(spans) if first < word.end() and last > word.start()])
        for word in _words(caption)
    ]
    return [(word, tokens) for word, tokens in overlaps if tokens]


def caption_ids(tokenizer: CaptionTokenizer, config: CrossModalConfig, captions: Sequence[str]) -> Tensor:
    """(B, T) int64 token ids with start and end, padded. A caption that is too long is cut before its end.

    Raises InputError for an empty caption. Any script can be read; words that the training captions lack are split.
    """
    for caption in captions:
        if not caption.strip():
            raise InputError("caption: got an empty one, expected a sentence such as 'a dog on the grass'")
    tokens, real = tokenizer.encode(captions, config.max_words - 2)
    ids = torch.full((len(tokens), tokens.shape[1] + 1), config.pad)
    ids[:, 0] = config.start
    ids[:, 1:] = torch.where(real, tokens, config.pad)
    return ids
