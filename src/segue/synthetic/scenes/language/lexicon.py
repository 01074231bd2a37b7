"""The words of synthetic scenes: tables from which `captions` writes and by which `parser` understands.

The domains "a" and "b" name the same things by different words. Nouns are in the singular.
"""

from __future__ import annotations

PlacePhrases = tuple[tuple[str, str], ...]

NOUNS: dict[str, dict[str, tuple[str, ...]]] = {
    "man": {"a": ("man", "man", "guy"), "b": ("gentleman", "man")},
    "woman": {"a": ("woman", "woman", "lady"), "b": ("lady",)},
    "child": {"a": ("child", "kid", "young child"), "b": ("youngster", "little one", "child")},
    "dog": {"a": ("dog",), "b": ("pooch", "hound", "dog")},
    "cat": {"a": ("cat", "cat", "kitty"), "b": ("feline", "cat")},
    "horse": {"a": ("horse",), "b": ("pony", "horse")},
    "cow": {"a": ("cow",), "b": ("dairy cow", "cow")},
    "sheep": {"a": ("sheep",), "b": ("woolly sheep", "sheep")},
    "bird": {"a": ("bird",), "b": ("songbird", "bird")},
    "duck": {"a": ("duck",), "b": ("waterbird", "duck")},
    "car": {"a": ("car", "car", "sedan"), "b": ("automobile", "auto")},
    "bus": {"a": ("bus", "city bus"), "b": ("coach", "bus")},
    "truck": {"a": ("truck",), "b": ("lorry", "truck")},
    "bicycle": {"a": ("bike", "bicycle"), "b": ("bicycle", "cycle")},
    "boat": {"a": ("boat", "boat", "sailboat"), "b": ("vessel", "boat")},
    "airplane": {"a": ("airplane", "plane"), "b": ("aircraft", "jet")},
    "tree": {"a": ("tree",), "b": ("leafy tree", "tree")},
    "house": {"a": ("house", "house", "home"), "b": ("cottage", "building")},
    "bench": {"a": ("bench", "park bench"), "b": ("wooden seat", "bench")},
    "ball": {"a": ("ball",), "b": ("round ball", "ball")},
    "kite": {"a": ("kite",), "b": ("paper kite", "kite")},
    "umbrella": {"a": ("umbrella",), "b": ("parasol", "umbrella")},
    "flower": {"a": ("flower",), "b": ("blossom", "flower")},
    "balloon": {"a": ("balloon",), "b": ("party balloon", "balloon")},
}
PERSON: dict[str, tuple[str, ...]] = {"a": ("person",), "b": ("individual", "person")}
GROUP_WORDS = {"sheep": "a flock of", "bird": "a flock of", "cow": "a herd of", "horse": "a herd of"}

COLOUR_WORDS = {"gray": {"a": "gray", "b": "grey"}}
SIZE_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "small": {"a": ("small", "little"), "b": ("tiny", "small")},
    "large": {"a": ("large", "big"), "b": ("huge", "enormous", "large")},
}
PEOPLE_SIZES: dict[str, dict[str, tuple[str, ...]]] = {
    "small": {"a": ("short",), "b": ("short", "small")},
    "large": {"a": ("tall",), "b": ("tall",)},
}
CLOTHES: dict[str, tuple[str, ...]] = {  # {} is the colour
    "a": ("in a {} shirt", "wearing a {} shirt", "in {}", "wearing a {} jacket"),
    "b": ("dressed in {}", "in a {} coat", "in {} clothes"),
}
MANY_CLOTHES: dict[str, tuple[str, ...]] = {
    "a": ("in {} shirts", "wearing {} shirts", "in {}"),
    "b": ("dressed in {}", "in {} coats", "in {} clothes"),
}
COUNTS: dict[int, dict[str, tuple[str, ...]]] = {
    2: {"a": ("two", "two", "two", "a couple of"), "b": ("two", "a pair of")},
    3: {"a": ("three", "three", "a group of", "some"), "b": ("three", "a trio of", "several")},
    4: {"a": ("four", "several", "a group of"), "b": ("four", "several", "a number of")},
    5: {"a": ("five", "several"), "b": ("five", "several", "a number of")},
    6: {"a": ("six", "several"), "b": ("six", "a number of")},
    7: {"a": ("seven", "several"), "b": ("seven", "a number of")},
}
COUNT_RANGES: dict[str, tuple[int, int]] = {
    "a": (1, 1), "an": (1, 1), "one": (1, 1), "another": (1, 1), "a single": (1, 1), "two": (2, 2), "three": (3, 3),
    "four": (4, 4), "five": (5, 5), "six": (6, 6), "seven": (7, 7), "a couple of": (2, 2), "a pair of": (2, 2),
    "a trio of": (3, 3), "some": (2, 7), "several": (3, 7), "a group of": (3, 7), "a number of": (3, 7),
    "a flock of": (3, 7), "a herd of": (3, 7),
}  # fmt: skip

# pose -> (doing, does, do)
POSE_VERBS: dict[str, dict[str, tuple[tuple[str, str, str], ...]]] = {
    "standing": {"a": (("standing", "stands", "stand"),), "b": (("standing", "stands", "stand"),)},
    "walking": {
        "a": (("walking", "walks", "walk"),),
        "b": (("strolling", "strolls", "stroll"), ("walking", "walks", "walk")),
    },
    "running": {"a": (("running", "runs", "run"),), "b": (("racing", "races", "race"), ("running", "runs", "run"))},
    "sitting": {"a": (("sitting", "sits", "sit"),), "b": (("seated", "sits", "sit"), ("sitting", "sits", "sit"))},
    "lying": {"a": (("lying down", "lies", "lie"), ("lying", "lies", "lie")), "b": (("resting", "rests", "rest"),)},
    "perching": {
        "a": (("standing", "stands", "stand"), ("sitting", "sits", "sit")),
        "b": (("perched", "perches", "perch"), ("sitting", "sits", "sit")),
    },
    "waving": {"a": (("waving", "waves", "wave"),), "b": (("waving", "waves", "wave"),)},
    "jumping": {"a": (("jumping", "jumps", "jump"),), "b": (("leaping", "leaps", "leap"),)},
    "flying": {"a": (("flying", "flies", "fly"),), "b": (("soaring", "soars", "soar"), ("flying", "flies", "fly"))},
    "swimming": {
        "a": (("swimming", "swims", "swim"),),
        "b": (("paddling", "paddles", "paddle"), ("swimming", "swims", "swim")),
    },
    "grazing": {
        "a": (("grazing", "grazes", "graze"), ("eating", "eats", "eat")),
        "b": (("grazing", "grazes", "graze"),),
    },
}
IDLE_VERBS: dict[str, dict[str, tuple[str, ...]]] = {  # for things with a single pose: they add no information
    "car": {"a": ("parked",), "b": ("stopped", "parked")},
    "truck": {"a": ("parked",), "b": ("stopped", "parked")},
    "bus": {"a": ("stopped", "parked"), "b": ("waiting",)},
    "bicycle": {"a": ("parked",), "b": ("parked",)},
    "boat": {"a": ("floating", "sailing"), "b": ("drifting", "floating")},
    "airplane": {"a": ("flying",), "b": ("soaring", "flying")},
    "kite": {"a": ("flying",), "b": ("soaring", "flying")},
    "balloon": {"a": ("floating",), "b": ("drifting",)},
}

RELATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "left of": {"a": ("to the left of", "on the left of"), "b": ("on the left side of", "left of")},
    "right of": {"a": ("to the right of", "on the right of"), "b": ("on the right side of", "right of")},
    "beside": {"a": ("next to", "beside", "near"), "b": ("alongside", "close to", "by")},
    "above": {"a": ("above", "over"), "b": ("high above", "up above")},
    "below": {"a": ("below",), "b": ("far below", "down below")},
    "on": {"a": ("on",), "b": ("on",)},
    "atop": {"a": ("on", "on top of"), "b": ("atop", "on top of")},
    "riding": {"a": ("riding", "on", "riding on"), "b": ("riding", "on the back of", "mounted on")},
    "in front of": {"a": ("in front of",), "b": ("right in front of", "in front of")},
    "behind": {"a": ("behind",), "b": ("partly hidden behind", "behind")},
    "holding": {"a": ("holding", "holding", "holding onto"), "b": ("carrying", "clutching", "holding")},
    "under": {"a": ("under", "underneath"), "b": ("beneath", "in the shade of")},
}


# stuff -> (preposition, noun phrase), for things on it
PLACE_PHRASES: dict[str, dict[str, PlacePhrases]] = {
    "grass": {
        "a": (
            ("on", "the grass"),
            ("in", "the grass"),
            ("in", "a field"),
            ("on", "the green grass"),
            ("in", "a grassy field"),
        ),
        "b": (("on", "a lawn"), ("in", "a meadow"), ("on", "the lawn"), ("in", "a green meadow")),
    },
    "sand": {
        "a": (("on", "the beach"), ("on", "the sand"), ("on", "a sandy beach")),
        "b": (("on", "the shore"), ("on", "sandy ground"), ("on", "the sand")),
    },
    "water": {
        "a": (("in", "the water"), ("on", "the water"), ("on", "a lake"), ("on", "the blue water")),
        "b": (("on", "the waves"), ("on", "calm water"), ("in", "the sea"), ("on", "the water")),
    },
    "road": {
        "a": (("on", "the road"), ("on", "the street"), ("on", "a street"), ("on", "a road")),
        "b": (("on", "the pavement"), ("on", "an asphalt road"), ("on", "the road")),
    },
    "snow": {
        "a": (("in", "the snow"), ("on", "the snow"), ("in", "a snowy field")),
        "b": (("on", "snowy ground"), ("in", "deep snow"), ("on", "the white snow")),
    },
    "sky": {
        "a": (("in", "the sky"), ("through", "the sky"), ("in", "the air")),
        "b": (("across", "the sky"), ("in", "the open sky"), ("up in", "the sky")),
    },
}
PLACE_NOUNS: dict[str, dict[str, tuple[str, ...]]] = {
    "grass": {"a": ("a grassy field", "a green field", "a field"), "b": ("a meadow", "a green meadow", "a lawn")},
    "sand": {"a": ("a sandy beach", "a beach"), "b": ("a sandy shore", "a stretch of sand")},
    "water": {"a": ("a lake", "a body of water"), "b": ("calm water", "the sea")},
    "road": {"a": ("a street", "a road"), "b": ("an asphalt road", "a roadway")},
    "snow": {"a": ("a snowy field", "a snowy landscape"), "b": ("a wintry landscape", "snowy ground")},
}
BACKDROPS: dict[str, dict[str, tuple[tuple[str, str, str], ...]]] = {  # (before, noun phrase, after)
    "mountain": {
        "a": (("with", "mountains", "in the background"), ("near", "a mountain", "")),
        "b": (("with", "hills", "in the distance"), ("before", "a range of hills", "")),
    },
    "wall": {
        "a": (("in front of", "a wall", ""), ("next to", "a wall", "")),
        "b": (("against", "a stone wall", ""), ("with", "a stone wall", "at the back")),
    },
    "water": {
        "a": (("near", "the water", ""), ("next to", "a lake", "")),
        "b": (("by", "the water", ""), ("close to", "the sea", "")),
    },
    "road": {
        "a": (("next to", "a road", ""), ("near", "a street", "")),
        "b": (("by", "a road", ""), ("alongside", "a roadway", "")),
    },
}
SKY_PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "day": {"a": ("a clear blue sky", "a blue sky"), "b": ("a bright sky", "a cloudless sky")},
    "overcast": {"a": ("a cloudy sky", "a gray sky"), "b": ("an overcast sky", "a dull sky")},
    "evening": {"a": ("an orange sky", "a sunset sky"), "b": ("an evening sky", "a glowing sky")},
    "night": {"a": ("a dark sky", "a night sky"), "b": ("a black sky", "a dark night sky")},
}
LIGHT_PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "day": {"a": ("on a sunny day", "during the day"), "b": ("in daylight", "in the sunshine")},
    "overcast": {"a": ("on a cloudy day",), "b": ("on a grey day", "in dull weather")},
    "evening": {"a": ("at sunset", "in the evening"), "b": ("at dusk", "in the evening light")},
    "night": {"a": ("at night",), "b": ("after dark", "in the dark")},
}
DISTANCE_PHRASES: dict[str, tuple[str, ...]] = {
    "a": ("in the background", "in the background", "in the distance"),
    "b": ("far away", "at the back"),
}
OPENINGS: dict[str, tuple[str, ...]] = {
    "a": ("a photo of", "a picture of", "a view of", "an image of"),
    "b": ("this picture shows", "we see", "a scene with", "here we have"),
}
THERE_ONE: dict[str, tuple[str, ...]] = {"a": ("there is",), "b": ("there is", "one can see")}
THERE_MANY: dict[str, tuple[str, ...]] = {"a": ("there are",), "b": ("there are", "one can see")}
CONJUNCTIONS: dict[str, tuple[str, ...]] = {"a": ("and", "while", ", and"), "b": ("while", ", and", "as")}
LOOSE_CONJUNCTIONS: dict[str, tuple[str, ...]] = {"a": ("and", ", and"), "b": (", and", "and also")}


def fill_colour(clothes: str, colour: str) -> str:
    """Clothes with their colour filled in: "in an orange shirt"."""
    return clothes.format(colour).replace("a orange", "an orange")


# How likely a visible thing or stuff is to be mentioned; the rare ones are what curation has to find.
MENTION_WEIGHT: dict[str, float] = {
    "man": 1.0, "woman": 1.0, "child": 1.0, "dog": 1.0, "cat": 1.0, "horse": 1.0, "cow": 0.9, "sheep": 0.9, "bird": 0.6,
    "duck": 0.7, "car": 0.7, "bus": 0.9, "truck": 0.8, "bicycle": 0.7, "boat": 0.8, "airplane": 1.0, "kite": 0.7,
    "umbrella": 0.6, "balloon": 0.6, "ball": 0.45, "house": 0.2, "flower": 0.15, "bench": 0.2, "tree": 0.1,
    "snow": 0.6, "sand": 0.55, "water": 0.45, "grass": 0.35, "road": 0.35, "mountain": 0.2, "sky": 0.12, "wall": 0.08,
}  # fmt: skip
