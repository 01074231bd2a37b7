"""Two coloured shapes side by side, described from the left and from the right; and a tiny network."""

from dataclasses import replace

import numpy as np
import torch

from segue.data import rle
from segue.methods.sgdiff.batches import TrainingExample, collate
from segue.methods.sgdiff.config import SGDiffConfig, ablate_config
from segue.methods.sgdiff.lexicon import build_lexicon
from segue.methods.sgdiff.model import SGDiff
from segue.types import Phrase, Picture, Region, Relation

SIDE = 32
COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220), "green": (40, 180, 60)}
TINY = SGDiffConfig(
    size=SIDE,
    width=32,
    heads=2,
    feed_forward=64,
    blocks=2,
    adaptor_blocks=1,
    widths=(8, 16, 16, 16),
    channels=16,
    max_words=10,
    max_ranked=4,
)
SYSTEMS = (
    "full",
    "no_psga",
    "filter",
    "rank",
    "no_cross_attention",
    "mask_only",
    "caption_only",
    "mecl_none",
    "mecl_intra",
    "mecl_inter",
    "autoregressive",
    "masked",
    "time_warp",
    "mecl_known",
)
TWO = (("red", "square", 9), ("blue", "circle", 23))


def toy_example(shapes=TWO, name="toy", row=16):
    """shapes: (colour, shape, column of its centre), from left to right."""
    image, regions, words = np.full((SIDE, SIDE, 3), 235, np.uint8), [], []
    y, x = np.mgrid[:SIDE, :SIDE]
    for colour, shape, centre in shapes:
        square = (abs(x - centre) < 6) & (abs(y - row) < 6)
        mask = square if shape == "square" else (x - centre) ** 2 + (y - row) ** 2 < 36
        image[mask] = COLOURS[colour]
        regions.append(Region(shape, rle.box(rle.encode(mask)), rle.encode(mask)))
        words.append(f"a {colour} {shape}")
    captions = (f"{words[0]} left of {words[1]}", f"{words[1]} right of {words[0]}")
    phrases = []
    for caption, order in enumerate(((0, 1), (1, 0))):
        for i in order:
            start = 0 if i == order[0] else len(captions[caption]) - len(words[i])
            phrases.append(Phrase(caption, start, start + len(words[i]), (i,)))
    relations = (Relation(0, "left of", 1), Relation(1, "right of", 0))
    picture = Picture(name, lambda: image, (SIDE, SIDE), "train", captions, tuple(regions), relations, tuple(phrases))
    return TrainingExample(image, picture)


EXAMPLES = [
    toy_example(),
    toy_example((("green", "circle", 9), ("red", "square", 23)), "other", row=12),
    toy_example((("blue", "square", 10), ("green", "square", 24)), "third", row=19),
]
LEXICON = build_lexicon([example.picture for example in EXAMPLES])


def rngs(count, seed=0):
    return [np.random.default_rng((seed, i)) for i in range(count)]


def toy_batch(config=TINY, examples=EXAMPLES, seed=0, prompt="first"):
    return collate(examples, LEXICON, config, rngs(len(examples), seed), prompt)


def toy_model(seed=0, **switches):
    torch.manual_seed(seed)
    return SGDiff(replace(TINY, **switches), LEXICON)


def build_system(name, **switches):
    torch.manual_seed(0)
    return SGDiff(replace(ablate_config(TINY, name), **switches), LEXICON)
