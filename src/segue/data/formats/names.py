"""Phrase grounding by class names: which words of a caption name which regions of its picture.

A caption's words are compared with the names of the regions' classes, their synonyms and the plurals of both. Whole
words only ("man" is not in "woman"), longest first ("hot dog" before "dog"), and each word once. A noun points to all
regions of its class: the words alone do not say which of three dogs "a dog" is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import chain

from segue.data.english import plural
from segue.data.formats.classes import COCO_PANOPTIC_STUFF, COCO_THINGS
from segue.types import Phrase, Region

WORD = re.compile(r"[^\W_]+")
Term = tuple[str, ...]  # words in lower case

SYNONYMS = {  # class: what else captions call it, in the singular
    "person": "man, woman, boy, girl, child, kid, baby, toddler, lady, guy, gentleman, adult, teenager, pedestrian, "
    "player, skier, snowboarder, surfer, skateboarder, rider, bicyclist, cyclist, catcher, batter, pitcher, umpire, "
    "chef, worker, policeman, officer, crowd, couple, baseball player, tennis player, soccer player, human",
    "bicycle": "bike",
    "car": "automobile, taxi, cab, suv, sedan, minivan, van, jeep",
    "motorcycle": "motorbike, scooter, moped, motor bike, motor cycle, dirt bike",
    "airplane": "plane, aeroplane, jet, aircraft, jetliner, airliner, air plane",
    "bus": "double decker, coach bus, school bus",
    "train": "locomotive, tram, subway train",
    "truck": "pickup, lorry, fire truck, pickup truck, firetruck, semi",
    "boat": "ship, canoe, kayak, sailboat, ferry, rowboat, yacht, raft, sail boat",
    "traffic light": "traffic signal, stop light, stoplight, street light",
    "fire hydrant": "hydrant",
    "bench": "park bench",
    "bird": "pigeon, seagull, duck, goose, parrot, owl, swan, eagle, penguin, sparrow, chicken",
    "cat": "kitten, kitty",
    "dog": "puppy, pup",
    "horse": "pony, foal, mare, stallion",
    "sheep": "lamb, ram, ewe",
    "cow": "bull, calf, ox, cattle, steer",
    "bear": "polar bear, grizzly, grizzly bear, bear cub",
    "backpack": "knapsack, back pack",
    "umbrella": "parasol",
    "handbag": "purse, hand bag",
    "tie": "necktie, bow tie, bowtie",
    "suitcase": "luggage, suit case, briefcase",
    "skis": "ski",
    "snowboard": "snow board",
    "sports ball": "ball, baseball, basketball, football, tennis ball, soccer ball, volleyball",
    "baseball bat": "bat",
    "baseball glove": "mitt, baseball mitt",
    "skateboard": "skate board",
    "surfboard": "surf board",
    "tennis racket": "racket, racquet, tennis racquet",
    "wine glass": "glass, wineglass, goblet",
    "cup": "mug, teacup, coffee cup",
    "donut": "doughnut",
    "cake": "cupcake, birthday cake, wedding cake",
    "chair": "armchair, recliner, stool",
    "couch": "sofa, loveseat",
    "potted plant": "houseplant, plant, house plant",
    "dining table": "table, dinner table, kitchen table",
    "tv": "television, monitor, tv set, flat screen",
    "laptop": "notebook computer, laptop computer, computer",
    "mouse": "computer mouse",
    "remote": "remote control, wii remote, controller",
    "cell phone": "phone, cellphone, mobile phone, smartphone, smart phone, telephone, iphone",
    "microwave": "microwave oven",
    "oven": "stove",
    "refrigerator": "fridge, freezer",
    "scissors": "scissor",
    "teddy bear": "teddy, stuffed bear, stuffed animal, plush bear",
    "hair drier": "hair dryer, hairdryer, blow dryer",
    "toothbrush": "tooth brush",
    "banner": "sign",
    "door-stuff": "doorway",
    "floor-wood": "wood floor, wooden floor, floor, hardwood floor",
    "floor-other-merged": "ground, tile floor, carpet",
    "house": "home, cottage, cabin, barn",
    "light": "lamp, chandelier",
    "playingfield": "field, court, baseball field, tennis court, soccer field, playing field, ball field",
    "railroad": "track, train track, railroad track, rail, railway",
    "river": "stream, creek",
    "road": "street, highway, lane",
    "sand": "beach",
    "sea": "ocean, wave, surf",
    "stairs": "staircase, stairway, step",
    "wall-brick": "brick wall",
    "wall-stone": "stone wall",
    "wall-tile": "tile wall, tiled wall",
    "wall-wood": "wood wall, wooden wall",
    "water-other": "lake, pond, pool",
    "window-blind": "blind, window blind",
    "tree-merged": "bush, forest, palm tree, woods",
    "sky-other-merged": "cloud, cloudy sky",
    "cabinet-merged": "cupboard, dresser, drawer",
    "table-merged": "desk",
    "pavement-merged": "sidewalk, concrete, parking lot, pavement",
    "mountain-merged": "hill, hillside, slope, mountainside, ski slope",
    "grass-merged": "lawn, meadow, pasture, grassy field, grass field",
    "dirt-merged": "mud, soil, dirt field",
    "food-other-merged": "meal, fries, vegetable, meat, dish, salad, bread",
    "building-other-merged": "skyscraper, tower, church, store, shop",
    "rock-merged": "boulder, stone, cliff",
    "rug-merged": "mat",
}
NON_OBJECT_PHRASES = (  # double words in which the single one does not name the thing
    "train station, bus stop, bus station, bat boy, boat house, car door, dog food, cat food, dog house, bird house, "
    "horse drawn, street sign, mouse pad, tv show, tv stand, baseball game, football game, baseball uniform, "
    "bus driver, truck driver, train car, car seat, bicycle lane, bike rack, ski lift, ski pole, ski resort, "
    "tennis match, wearing glasses, with glasses, eye glasses, chair lift, "
    "laptop bag, phone booth, orange juice, apple juice, carrot cake, table cloth"
)
COLOURS = {"red", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray", "grey", "silver"}
# what may follow "orange" when it is the fruit; any other word makes it a colour
AFTER_A_NOUN = {
    "and",
    "or",
    "on",
    "in",
    "with",
    "is",
    "are",
    "at",
    "by",
    "next",
    "near",
    "that",
    "of",
    "to",
    "sits",
    "lies",
}


def plain_class_name(label: str) -> str:
    """The name of a class without -other, -merged, -stuff, and the rest the right way round: wall-brick, brick wall."""
    name = re.sub(r"(-other|-merged|-stuff)+$", "", label.lower())
    return " ".join(reversed(name.split("-"))) if name.count("-") == 1 else name


@cache
def terms(label: str) -> frozenset[Term]:
    """All that captions call a class: its plain name, its head noun for a kind of wall or floor, synonyms, plurals."""
    name, base = plain_class_name(label), label.lower().split("-")[0]
    singular = [name, *([base] if "-" in label else []), *filter(None, _BY_NAME.get(name, "").split(", "))]
    return frozenset(tuple(WORD.findall(form)) for noun in singular for form in (noun, plural(noun)))


_BY_NAME = {plain_class_name(label): words for label, words in SYNONYMS.items()}


@cache
def _coco_terms() -> frozenset[Term]:
    """The terms of COCO's classes, and the double words that name no thing: they take their words in any caption."""
    nothing = {tuple(WORD.findall(words)) for words in NON_OBJECT_PHRASES.split(", ")}
    return frozenset(nothing.union(*map(terms, (*COCO_THINGS, *COCO_PANOPTIC_STUFF))))


def find_class_names(caption: str, labels: Sequence[str]) -> list[tuple[int, int, frozenset[str]]]:
    """(start, end, classes) of the words of a caption that name classes, in order; labels: the classes to look for."""
    known, wanted = _coco_terms(), {label: terms(label) for label in {*labels}}
    words = [(m[0].lower(), m.start(), m.end()) for m in WORD.finditer(caption)]
    longest, at, found = max(map(len, chain(known, *wanted.values()))), 0, []
    while at < len(words):
        for length in range(min(longest, len(words) - at), 0, -1):
            term = tuple(word for word, _, _ in words[at : at + length])
            names = frozenset(label for label, forms in wanted.items() if term in forms)
            if (names or term in known) and not _is_colour(term, [word for word, _, _ in words[at + 1 : at + 3]]):
                found.append((words[at][1], words[at + length - 1][2], names))
                break
        else:
            length = 1
        at += length
    return [(start, end, names) for start, end, names in found if names]


def link(caption: str, regions: Sequence[Region], position: int = 0) -> tuple[Phrase, ...]:
    """The phrases of a caption that name regions. position: the caption's place among its picture's captions."""
    labels = [region.label for region in regions]
    return tuple(
        Phrase(position, start, end, tuple(i for i, label in enumerate(labels) if label in names))
        for start, end, names in find_class_names(caption, labels)
    )


def _is_colour(term: Term, following: list[str]) -> bool:
    """Is "orange" the colour of what follows, as in "an orange cat" and "orange and white"?"""
    if term != ("orange",) or not following:
        return False
    return following[0] not in AFTER_A_NOUN or (following[0] in ("and", "or") and following[-1] in COLOURS)
