"""A judge of captions by rule: what makes one a broken sentence. No model, no corpus; English only.

It is for captions that a model made, whose faults are of a few kinds: words and places said twice, an article without a
noun, a phrase that ends where its noun should be, a number or verb that doesn't agree. A caption without a fault may
still be false, and one that a person wrote may have a fault: docs/describe.md has the shares on both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from segue.data.english import plural
from segue.data.formats.classes import COCO_PANOPTIC_STUFF, COCO_THINGS
from segue.data.formats.names import terms


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[,;]")
INDEFINITE = _words("a an")
DETERMINERS = INDEFINITE | _words("the another every each")
POSSESSIVES = _words("his her its their my our your")
NUMBERS = _words("two three four five six seven eight nine ten several many some few both")
MANY = NUMBERS - _words("some")  # a noun in the plural follows
GROUPS = _words("couple pair group trio number bunch flock herd")  # "of" and a plural follow
BE = _words("is are was were be been being")
CONJUNCTIONS = _words("and or but while as")
PRONOUNS = _words("he she it they him them who which that there himself herself itself themselves each other one this")
PREPOSITIONS = _words(
    "of in on at with under over near by beside behind below above between along across through during from into onto "
    "to for around against among inside outside underneath beneath atop toward towards off up down past without before "
    "after"
)
NEEDS_A_NOUN = _words("of with at during into onto from beside against toward towards among")
CAN_FOLLOW = _words("up down out off inside outside around between behind underneath above below near over by beside")
ADVERBS = _words("very also just together outside inside away alone there nearby down up out about not really")
NOUNS_AFTER_THE = _words("wild dark deep open young old elderly")  # adjectives elsewhere
COLOURS = _words("red yellow green blue purple pink brown black white gray grey silver gold golden orange tan beige")
ADJECTIVES = COLOURS | _words(
    "sunny cloudy grassy snowy sandy rocky dirty muddy wet dry busy cloudless overcast clear bright dark tall short "
    "little big large small tiny huge young old older elderly new long wide high low single blond blonde bald furry "
    "shaggy fluffy wooden empty open calm deep shallow leafy wild happy cute fast steep narrow round colorful striped"
)
LEAVE_OPEN = NEEDS_A_NOUN | CONJUNCTIONS | BE - {"be", "being"} | _words("to next wearing riding")
ALSO_ADVERBS = _words("up down off by over around outside inside behind on")
ALSO_VERBS = _words("wave run walk play surf fly set")
POSES = _words("standing sitting walking running flying")
TIMES_AND_PLACES = _words("day night sky background distance")
TRANSITIVE = _words("wearing holding riding carrying throwing catching chasing kicking pulling pushing")
NOT_PARTICIPLES = _words(
    "building painting railing ceiling clothing wedding swing ring king string wing spring crossing landing parking "
    "evening morning something nothing anything thing drawing opening pudding icing stuffing topping sling fishing "
    "skiing surfing swimming bed shed sled seed weed feed hundred speed breed steed bathing dressing lightning being "
    "outing gathering awning sibling duckling gosling covering"
)
STAND_ALONE = _words("her his some both each another many few")
MASS = _words("grass water snow sand sky air ground day wood food fruit furniture luggage traffic people")
SAY_TWICE = _words("that had very so long really many")
BESIDE = _words("left right next near beside behind above below")
MEASURES = _words("side hand step one shoulder head face back door tail line row end day night another other")


class _Nouns(NamedTuple):
    """Nouns in the singular, and those in the plural, without those that are the same in both."""

    singular: frozenset[str]
    plural: frozenset[str]


@cache
def _known_nouns(extra: tuple[str, ...]) -> _Nouns:
    """Nouns whose number is known: those of COCO's classes with their synonyms, and the `extra` ones, singular."""
    names = {term[-1] for label in (*COCO_THINGS, *COCO_PANOPTIC_STUFF) for term in terms(label)}
    ones = {name for name in names if plural(name) in names} | {noun.split()[-1] for noun in extra}
    many = {plural(one) for one in ones}
    ones = {one for one in ones if one not in many and plural(one) != one} - MASS - ADJECTIVES
    return _Nouns(frozenset(ones), frozenset({plural(one) for one in ones} | {"people"}))


def find_faults(caption: str, nouns: Iterable[str] = ()) -> tuple[str, ...]:
    """What is broken in a caption, a short text for each fault; empty for a sound one, and ("no word",) for an empty.

    nouns: further nouns in the singular whose number is judged, beside those of COCO's classes.
    """
    words = [match[0].lower() for match in WORD.finditer(caption)]
    if not any(word not in ",;" for word in words):
        return ("no word",)
    known = _known_nouns(tuple(sorted({noun.lower() for noun in nouns})))
    phrases = _noun_phrases(words)
    found = [*_repetitions(words), *_repeated_places(words, phrases), *_articles(words, phrases, known)]
    found += [*_dangling(words, phrases, known), *_agreement(words, phrases, known)]
    return tuple(dict.fromkeys(found))


CLOSED = DETERMINERS | POSSESSIVES | NUMBERS | BE | CONJUNCTIONS | PREPOSITIONS | ADVERBS | _words(", ;")


def can_be_noun(word: str) -> bool:
    """Whether a word can be the noun of a phrase: none of the closed classes, the adjectives and the participles."""
    word = word.lower()
    return not (word in CLOSED or word in ADJECTIVES - {"orange"} or _is_participle(word))


def _is_participle(word: str) -> bool:
    return word not in NOT_PARTICIPLES and len(word) > 4 and word.endswith(("ing", "ed")) and not word.endswith("eed")


class _NounPhrase(NamedTuple):
    """A determiner or number at `start`, and the words up to `end` that go with it; head: its last noun, or None."""

    start: int
    end: int
    head: str | None


def _noun_phrases(words: Sequence[str]) -> list[_NounPhrase]:
    """The phrases that begin with a determiner, a possessive or a number, up to where another kind of word begins."""
    found, at = [], 0
    while at < len(words):
        if words[at] in DETERMINERS | POSSESSIVES | NUMBERS:
            end, head = at + 1, None
            while end < len(words) and _goes_on(words, end, at, head):
                if can_be_noun(words[end]) or words[end] in ("one", "other", "others"):
                    head = words[end]
                elif head is None and words[end] in NOUNS_AFTER_THE and words[at] not in INDEFINITE:
                    head = words[end] if end + 1 == len(words) or words[end + 1] in CLOSED else None
                end += 1
            found.append(_NounPhrase(at, end, head))
            at = end
        else:
            at += 1
    return found


def _goes_on(words: Sequence[str], at: int, start: int, head: str | None) -> bool:
    """Whether the word still belongs to the noun phrase that began at `start`."""
    word = words[at]
    if word == "next" and words[at + 1 : at + 2] == ["to"]:
        return False
    if word in ("left", "right") and head is not None and words[at + 1 : at + 2] == ["of"]:  # a dog left of a cat
        return False
    if word in ("and", ",") and head is None and at + 1 < len(words):  # a red, white and blue ball
        return words[at - 1] in ADJECTIVES | {","} and words[at + 1] not in DETERMINERS | BE
    if word in ("one", "other", "others"):
        return True
    if word in NUMBERS | ADVERBS:  # the two men, a very small dog
        return at == start + 1 or words[at - 1] in ADVERBS
    if head is not None and (_is_participle(word) or word in ADJECTIVES):
        return False
    return not (word in DETERMINERS | POSSESSIVES | BE | CONJUNCTIONS | PREPOSITIONS | PRONOUNS or word in ",;")


def _repetitions(words: Sequence[str]) -> list[str]:
    """The same word, or the same two words, twice in a row."""
    found = [f"'{a} {b}' twice" for a, b in pairwise(words) if a == b and a not in SAY_TWICE and a.isalpha()]
    for i in range(len(words) - 3):
        if words[i : i + 2] == words[i + 2 : i + 4] and not {*words[i : i + 2]} <= MEASURES | CONJUNCTIONS:
            found.append(f"'{' '.join(words[i : i + 4])}' says it twice")
    return found


def _repeated_places(words: Sequence[str], phrases: Sequence[_NounPhrase]) -> list[str]:
    """A noun joined with itself ("a road with a road"), and in a row of places the same one twice.

    Not so of two that are told apart ("a red dog next to a black dog").
    """
    found, row = [], [one.head for one in phrases[:1] if one.start and one.head]  # heads of the places in a row
    for before, after in pairwise(phrases):
        between = words[before.end : after.start]
        if len(between) != 1 or between[0] not in PREPOSITIONS | {"and"}:
            row = []
        if after.head is None or not _may_not_repeat(words, after):
            continue
        alike = words[before.start + 1 : before.end] == words[after.start + 1 : after.end]
        joined = alike if {*between} & (BESIDE | {"and"}) else bool({*between} & PREPOSITIONS)
        if before.head == after.head and len(between) <= 2 and joined:
            found.append(f"'{after.head} {' '.join(between)} {after.head}'")
        elif after.head in row and between != ["and"]:
            found.append(f"'{after.head}' twice")
        if between and between[-1] in PREPOSITIONS:
            row.append(after.head)
    return found


def _may_not_repeat(words: Sequence[str], phrase: _NounPhrase) -> bool:
    named = {*words[phrase.start : phrase.end]}
    return phrase.head not in (MEASURES | GROUPS) - {"day"} and not {"another", "other", "each"} & named


def _articles(words: Sequence[str], phrases: Sequence[_NounPhrase], known: _Nouns) -> list[str]:
    """An article or a number without a noun; "a" before a plural; "a" and "an" before the wrong letter."""
    found = []
    for start, end, head in phrases:
        text = " ".join(words[start : end + 1])
        alone = words[end - 1] in NUMBERS and (end == len(words) or words[end] in {"of", *BE})  # the two of them
        article = words[start] in INDEFINITE
        if head is None and not alone and not (words[start] in STAND_ALONE and end == start + 1):
            found.append(f"'{text}': no noun")
        many = head in known.plural and head == words[end - 1]
        if article and many and not _singular_before(words[start:end], known):
            found.append(f"'{text}': a plural after '{words[start]}'")
        if article and head in ("left", "right") and words[end : end + 1] == ["of"]:
            found.append(f"'{text}'")
        if article and start + 1 < len(words) and not _fits(words[start], words[start + 1]):
            found.append(f"'{words[start]} {words[start + 1]}'")
    return found


def _singular_before(words: Sequence[str], known: _Nouns) -> bool:
    """Whether the plural that ends these words is a verb or a number's: a man skis, a dozen dogs."""
    return bool({*words[:-1]} & (NUMBERS | {"dozen"} | known.singular))


def _fits(article: str, word: str) -> bool:
    """Whether "a" or "an" goes before the word, as far as its first letters tell."""
    if article == "a":
        return word[0] not in "aeio" or word.startswith(("one", "eu", "ew"))  # u: a unicorn, an umbrella
    return word[0] in "aeioux8" or word.startswith(("ho", "he")) or len(word) == 1 or word in ("suv", "mri", "nfl")


def _dangling(words: Sequence[str], phrases: Sequence[_NounPhrase], known: _Nouns) -> list[str]:
    """A preposition, a conjunction or a verb that nothing follows, or something that can't."""
    found = []
    if words[-1] in LEAVE_OPEN:
        found.append(f"ends with '{words[-1]}'")
    if words[0] in {"of", "is", "are", "and"}:
        found.append(f"begins with '{words[0]}'")
    starts = {phrase.start for phrase in phrases}
    for before, after in pairwise(phrases):  # "a field a sunny day", not "gives a dog a bone"
        bare = before.end == after.start and after.end == len(words) and after.head in TIMES_AND_PLACES
        if bare and before.head and words[before.start - 1] in PREPOSITIONS:
            found.append(f"'{before.head} {' '.join(words[after.start : after.end])}'")
    for i, (a, b) in enumerate(pairwise(words)):
        if _cannot_follow(a, b, known):
            found.append(f"'{a} {b}'")
        elif a == "next" and b != "to" and words[max(i - 1, 0)] not in DETERMINERS:
            found.append(f"'next {b}'")
        elif a == "of" and i + 1 not in starts and not _noun_follows(words, i + 1):
            found.append(f"'of {b}': no noun")
    return found


def _cannot_follow(a: str, b: str, known: _Nouns) -> bool:
    """Whether the word b right after the word a breaks a sentence, whatever else is in it."""
    if a in BE:
        return b in known.singular - ALSO_VERBS or b in BE - {"being", "been"}
    if a in PREPOSITIONS - ALSO_ADVERBS and b in BE - {"be"}:
        return True
    if a in NEEDS_A_NOUN | {"in", "on", "under", "near"} and b in PREPOSITIONS - CAN_FOLLOW:
        return a != b and (a, b) not in {("from", "under"), ("on", "to"), ("in", "to")}
    if a in NEEDS_A_NOUN and b in CONJUNCTIONS | {","}:
        return True
    if a in TRANSITIVE:
        return b in BE or b in TRANSITIVE | POSES or (a == "wearing" and b in PREPOSITIONS - CAN_FOLLOW - {"on"})
    return a.endswith("ed") and b.endswith("ed") and _is_participle(a) and _is_participle(b)


def _noun_follows(words: Sequence[str], at: int) -> bool:
    """Whether a noun comes before the phrase that begins at `at` ends."""
    for word in words[at:]:
        if can_be_noun(word) or word in PRONOUNS | POSSESSIVES:
            return True
        if word in DETERMINERS | BE | PREPOSITIONS | {"and"} and word not in NUMBERS:
            return False
    return False


def _agreement(words: Sequence[str], phrases: Sequence[_NounPhrase], known: _Nouns) -> list[str]:
    """A number before a singular, a group of a singular, and a verb of the other number."""
    found = []
    for start, end, head in phrases:
        begins_a_clause = start == 0 or words[start - 1] in {"and", "while", ",", "as", "are", "is"}
        ends = words[end] if end < len(words) else "."
        one = head in known.singular and head == words[end - 1]
        if words[start] in MANY and one and not _is_participle(ends):
            found.append(f"'{' '.join(words[start:end])}': a singular")
        if head in GROUPS and ends == "of" and end + 1 < len(words):
            what, after = words[end + 1], words[end + 2] if end + 2 < len(words) else "."
            if what in INDEFINITE or (what in known.singular and not (can_be_noun(after) and after.isalpha())):
                found.append(f"'{head} of {what}'")
        if start and begins_a_clause and words[start - 1] in BE and "there" in words[max(start - 2, 0) : start]:
            single = words[start] in INDEFINITE and head not in GROUPS | {"lot", "dozen"}
            if single if words[start - 1] == "are" else words[start] in MANY:
                found.append(f"'there {words[start - 1]} {words[start]}'")
        elif begins_a_clause and start == 0 and ends in {"is", "are"}:
            if ends == "are" and words[start] in INDEFINITE and head in known.singular - GROUPS - {"crowd"}:
                found.append(f"'{head} are'")
            if ends == "is" and (words[start] in MANY or head in known.plural):
                found.append(f"'{head} is'")
    return found
