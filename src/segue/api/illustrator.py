"""Drawing the layout of a sentence and telling a layout in words: the predictor of the method `crossmodal`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.api.hub import HubMixin
from segue.api.models import find
from segue.api.pictures import Picture, pixels_of
from segue.data.english import plural
from segue.data.layouts import UNKNOWN, check_layout, read_layout, resize_layout, to_pixels
from segue.data.transforms import resize_image
from segue.methods.crossmodal.checkpoint import Saved, restore
from segue.methods.crossmodal.inference import draw_codes, log_likelihood, start_telling, tell_on, word_maps
from segue.nn.decoding import decode
from segue.options import Decoding
from segue.types import InputError

NEXT_TRY = 1_000_003  # from a layout's seed to that of its next try; generators look at 32 bits of it


@dataclass(frozen=True)
class Layout:
    """A drawn layout. labels: (H, W) uint8 positions in `classes`. caption: what it was drawn from. seed: of its draw.

    condition: "caption" or "caption+image".
    """

    labels: NDArray[np.uint8]
    classes: tuple[str, ...]
    caption: str
    seed: int
    condition: str

    @property
    def areas(self) -> dict[str, float]:
        """The share of the layout of each class that is there, the largest first."""
        counts = np.bincount(self.labels[self.labels != UNKNOWN], minlength=len(self.classes)) / self.labels.size
        order = np.argsort(-counts, kind="stable")
        return {self.classes[i]: float(counts[i]) for i in order if counts[i] > 0}


@dataclass(frozen=True)
class TextOfLayout:
    """A caption told from a layout, and its score: log-probability by word. condition: "mask" or "mask+image"."""

    caption: str
    score: float
    condition: str


def load_illustrator(name_or_path: str | Path, *, device: str = "cpu") -> Illustrator:
    """An illustrator from a bundled name or a checkpoint folder."""
    folder = find(name_or_path, device)
    illustrator = Illustrator(restore(folder), device)
    illustrator.folder = folder
    return illustrator


class Illustrator(HubMixin):
    """Draws sentences and tells layouts; both also with a picture as a second condition."""

    def __init__(self, saved: Saved, device: str = "cpu") -> None:
        self.saved, self.device = saved, device
        saved.model.to(device)
        saved.vq.to(device)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that layouts hold, in order."""
        return self.saved.classes

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the layouts that the model was trained on."""
        h, w = self.saved.model.config.grid
        return h * self.saved.vq.config.factor, w * self.saved.vq.config.factor

    def draw(
        self,
        caption: str,
        *,
        num: int = 1,
        image: Picture | None = None,
        keep: NDArray[np.uint8] | None = None,
        seed: int = 0,
        steps: int = 8,
        guidance: float = 1.0,
        temperature: float = 1.0,
        tries: int = 4,
    ) -> list[Layout]:
        """Draw `num` layouts of a caption.

        image: a picture whose layout it is. keep: (H, W) uint8 layout to be kept where it is not 255; the rest is drawn
        to fit it. steps, guidance, temperature: see `methods.crossmodal.inference.draw_codes`. tries: each layout is
        drawn so often, and the one stays from which the model itself tells the caption with the highest probability.
        """
        if num < 1:
            raise InputError(f"draw: got num {num}, expected 1 or more")
        return self.draw_many(
            [caption] * num, None if image is None else [image] * num, keep=keep, seeds=range(seed, seed + num),
            steps=steps, guidance=guidance, temperature=temperature, tries=tries,
        )  # fmt: skip

    def draw_many(
        self,
        captions: Sequence[str],
        images: Sequence[Picture] | None = None,
        *,
        seeds: Sequence[int],
        keep: NDArray[np.uint8] | None = None,
        steps: int = 8,
        guidance: float = 1.0,
        temperature: float = 1.0,
        tries: int = 4,
    ) -> list[Layout]:
        """`draw` for a batch: a layout of each caption, with a seed and, where there are images, an image each."""
        if steps < 1 or tries < 1 or not 0 <= temperature < math.inf or not 0 <= guidance < math.inf:
            raise InputError(
                f"draw: got steps {steps}, tries {tries}, temperature {temperature:g} and guidance {guidance:g}, "
                "expected 1 or more of the first two, 0 or more of the others"
            )
        if not captions or len(seeds) != len(captions) or (images is not None and len(images) != len(captions)):
            given = "none" if images is None else len(images)
            raise InputError(
                f"draw: got {len(captions)} captions, {len(seeds)} seeds and {given} pictures, expected one or more "
                "captions, and a seed (and a picture, where there are pictures) for each"
            )
        fixed, kept = self._kept(keep)
        ids, pixels, model = self._ids(captions), self._pixels(images), self.saved.model
        drawn = [
            draw_codes(
                model, ids, model.config.grid, seeds=[seed + again * NEXT_TRY for seed in seeds], image=pixels,
                fixed=None if fixed is None else fixed.expand(len(captions), -1, -1),
                steps=steps, guidance=guidance, temperature=temperature,
            )
            for again in range(tries)
        ]  # fmt: skip
        codes = drawn[0]
        if tries > 1:
            fit = torch.stack([log_likelihood(model, ids, one, pixels) for one in drawn])
            codes = torch.stack(drawn)[fit.argmax(0), torch.arange(len(ids))]
        labels = self.saved.vq.decode(codes).cpu().numpy()
        if kept is not None:
            labels = np.where(kept == UNKNOWN, labels, kept)
        condition = "caption" if images is None else "caption+image"
        rows = zip(labels, captions, seeds, strict=True)
        return [Layout(one, self.classes, caption, seed, condition) for one, caption, seed in rows]

    def tell(
        self,
        layout: Picture,
        *,
        num: int = 1,
        image: Picture | None = None,
        decoding: Decoding | None = None,
    ) -> list[TextOfLayout]:
        """Tell a layout in `num` captions, the likeliest first.

        layout: an (H, W) uint8 map of class positions, or an index or colour PNG. image: the picture that it is of.
        decoding: another way to search, with its own num; an answer has `max_words` tokens at most.
        """
        return self.tell_many([layout], None if image is None else [image], num=num, decoding=decoding)[0]

    @torch.inference_mode()
    def tell_many(
        self,
        layouts: Sequence[Picture],
        images: Sequence[Picture] | None = None,
        *,
        num: int = 1,
        decoding: Decoding | None = None,
    ) -> list[list[TextOfLayout]]:
        """`tell` for a batch of layouts."""
        model, words = self.saved.model, self.saved.words
        if images is not None and len(images) != len(layouts):
            raise InputError(f"tell: got {len(layouts)} layouts and {len(images)} pictures, expected one for each")
        options = decoding or Decoding(max_tokens=self.max_words, num=num, beams=max(4, num))
        options = replace(options, max_tokens=min(options.max_tokens, self.max_words))
        codes = self.saved.vq.encode(torch.from_numpy(self._known(layouts)).to(self.device))
        logits, told = start_telling(model, model.look(codes, self._pixels(images)))
        answers = decode(
            lambda tokens, past: tell_on(model, tokens, past), logits, told, end=words.end, options=options,
            banned=words.silent,
        )  # fmt: skip
        condition = "mask" if images is None else "mask+image"
        return [[TextOfLayout(words.decode(a.tokens), a.score, condition) for a in each] for each in answers]

    def heat_maps(
        self, layout: Picture, caption: str, image: Picture | None = None
    ) -> list[tuple[str, NDArray[np.float32]]]:
        """For each word of a caption, how much each part of its layout looks at it: (word, (H, W) in [0, 1]) pairs."""
        labels, ids = self._labels(layout), self._ids([caption])
        codes = self.saved.vq.encode(torch.from_numpy(labels)[None].to(self.device))
        pieces = word_maps(self.saved.model, codes, ids, self._pixels(None if image is None else [image]))[0, 1:-1]
        spans = self.saved.words.tokenizer.encode(caption, add_special_tokens=False).offsets[: len(pieces)]
        told = [(w[0], [i for i, (a, b) in enumerate(spans) if a < w.end() and b > w.start()]) for w in _words(caption)]
        told = [(word, places) for word, places in told if places]  # the others were cut off
        if not told:
            return []
        maps = torch.stack([pieces[places].sum(0) for _, places in told])
        maps = maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)
        grown = torch.nn.functional.interpolate(maps[None], size=labels.shape, mode="bilinear", align_corners=False)[0]
        return list(zip([word for word, _ in told], grown.cpu().numpy(), strict=True))

    def nouns(self, caption: str) -> list[str]:
        """The words of a caption that training's captions used as nouns, singular or plural, each once."""
        known = self.saved.about.get("nouns")
        if known is None:
            raise InputError("model: it doesn't tell its nouns; train it again with `segue train crossmodal`")
        forms = {form for noun in known for form in (noun, plural(noun))}
        return [word for word in dict.fromkeys(w[0] for w in _words(caption)) if word.lower() in forms]

    @property
    def max_words(self) -> int:
        """The most word pieces of a caption."""
        return self.saved.model.config.max_words - 2

    def unseen_words(self, caption: str) -> list[str]:
        """Words of a caption that training hardly saw: the tokenizer spells them in pieces. They are drawn by guess."""
        words = dict.fromkeys(word[0] for word in _words(caption.lower()))
        return [word for word in words if self.saved.words.encode([word], 8)[1].sum() > 2]

    def _ids(self, captions: Sequence[str]) -> Tensor:
        return caption_ids(self.saved, captions).to(self.device)

    def _labels(self, layout: Picture) -> NDArray[np.uint8]:
        if isinstance(layout, str | Path):
            layout = read_layout(Path(layout), len(self.classes))
        check_layout(layout, len(self.classes))
        return resize_layout(layout, self.size)

    def _known(self, layouts: Sequence[Picture]) -> NDArray[np.uint8]:
        """(B, H, W); InputError for none, and for one that has nothing to tell."""
        found = [self._labels(one) for one in layouts]
        if not found or any((one == UNKNOWN).all() for one in found):
            raise InputError(
                f"tell: got {'a layout of which every pixel is unknown (255)' if found else 'no layout'}, so there is "
                "nothing to tell; give a layout"
            )
        return np.stack(found)

    def _pixels(self, images: Sequence[Picture] | None) -> Tensor | None:
        """(B, 3, H, W) at the model's size."""
        return None if images is None else torch.cat([self._seen(image) for image in images])

    def _seen(self, image: Picture) -> Tensor:
        """(1, 3, H, W) at the model's size."""
        return to_pixels(resize_image(pixels_of(image), self.size)[None]).to(self.device)

    def _kept(self, keep: NDArray[np.uint8] | None) -> tuple[Tensor | None, NDArray[np.uint8] | None]:
        """The codes of the cells that are kept whole, -1 elsewhere, (1, h, w); and the layout on the model's grid."""
        if keep is None:
            return None, None
        kept, factor = self._labels(keep), self.saved.vq.config.factor
        codes = self.saved.vq.encode(torch.from_numpy(kept)[None].to(self.device))
        h, w = self.saved.model.config.grid
        whole = (kept.reshape(h, factor, w, factor) != UNKNOWN).all((1, 3))
        return torch.where(torch.from_numpy(whole)[None].to(self.device), codes, -1), kept


def _words(caption: str) -> list[re.Match[str]]:
    return list(re.finditer(r"\w+(?:-\w+)*", caption))


def caption_ids(saved: Saved, captions: Sequence[str]) -> Tensor:
    """(B, T) ids with start and end, padded. A caption that is too long is cut before its end.

    Raises InputError for an empty caption. Any script can be read; words that training never had are spelled.
    """
    config = saved.model.config
    for caption in captions:
        if not caption.strip():
            raise InputError("caption: got an empty one, expected a sentence such as 'a dog on the grass'")
    tokens, real = saved.words.encode(captions, config.max_words - 2)
    ids = torch.full((len(tokens), tokens.shape[1] + 1), config.pad)
    ids[:, 0] = config.start
    ids[:, 1:] = torch.where(real, tokens, config.pad)
    return ids
