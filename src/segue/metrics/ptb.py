"""Words of a caption as the caption metrics of COCO count them: Penn Treebank tokens, lower case, no punctuation.

The published figures tokenise with Stanford's PTBTokenizer 3.4.1 in Java (`-preserveLines -lowerCase`) and drop 17
punctuation tokens. The rules here were learnt from that program's answers, without its grammar: at each place the rule
that matches the most characters wins, what it looks ahead at included, the earlier rule when two match as many.

Difference on purpose: each caption stands alone. The Java program reads a file, so a line separator inside a caption
(U+2028, U+0085, CR, ...) moves all captions after it, and the end of a caption can be read with the next one's begin.
Here they are blanks, and N captions give N answers. The end of the last caption is read as that of all others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

PUNCTUATION = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())

# Abbreviations that keep their full stop. Titles keep it always; ENDS too, and before a new sentence a second one is
# added; of CAPITALISED that holds only when they begin with a capital; NUMBERED keep it before a number alone.
TITLES = (
    "adj adm adv alex assoc asst attys? ave brig capt cf cie cmdr col comdr cpl dept det drs? elec ens ft gen govs? "
    "hon insp jos lieut lt maj messrs mfg mlle mme mrs? ms msgr mt mtg natl pfc ph pres profs? pvt reps? rev sens? sfc "
    "sgt spc st ste supts? treas vs wm"
)
ENDS = (
    "al ala apr ariz assn aug bancorp bhd bldg blvd bros calif colo? conn corp cos ct dak dec esq est etc ext feb fla "
    "fri ga inc ind intl jan jr jul jun kans? ky ltd mar md mich minn mo mon mont neb nev nov oct okla penn plc rd rt "
    "sept? seq sq sr sys tel tenn thu thurs tues? univ va vt wed wisc? wyo"
)
CAPITALISED = "ark az del ill la mass miss ore pa pte ptys? tex wash"
NUMBERED = "art ca figs? nos? op pp prop"
STARTERS = (  # words that begin a sentence after an initial or an acronym
    "a about according additionally after an as at but earlier he her here however if in it last many more now once "
    "one other our she since so some such that the their then there these they this we what when while yet you"
)


def _any(words: str) -> str:
    return "|".join(words.split())


def _capitalised(words: str) -> str:
    return "|".join(f"{w[0].upper()}(?i:{w[1:]})" for w in words.split())


_A = "['’\x92]"
_L = r"[^\W\d_]"  # a letter of any script
_W = r"[^\W_]"  # a letter or a digit
_S = r"[ \t\xa0]"
_NEW = rf"{_S}+(?:$|[A-ZÀ-ÖØ-Þ])"  # a new sentence
_STARTS = rf"{_S}+(?:{_capitalised(STARTERS)})(?!{_W})"
_PART = rf"(?:(?:[dDlLoOA-HJ-XZ]{_A}{_L}{{2}})?{_W}+)"
_TAIL = rf"(?:[-_‐‑]{_PART})+"
_BEFORE = r"[,;:]"
_URL = r"[^\s\"<>|(){}]"
_TLD = r"(?:com|net|org|edu|gov|mil|int|info|biz|co\.uk)"

# (pattern, how its token is written). Group 1 is the token; what follows it is looked at and counts as matched.
_RULES: list[tuple[str, str | None]] = [
    # words and what hangs on them
    (rf"({_W}+)", None),
    (rf"((?:\d+[.,])*{_PART}{_TAIL})", None),
    (rf"((?:{_L}\.)+{_L}?{_TAIL})", None),
    (rf"((?:(?i:{_any(TITLES)}|{_any(ENDS)})|{_capitalised('ark del')})\.{_TAIL})", None),
    (rf"({_W}+(?:-{_W}+)*(?:/{_W}+(?:-{_W}+)*){{1,2}})", None),
    (rf"({_L}+(?:\.{_L}+)+)", None),
    (r"([A-Z]+(?:&[A-Z]+)+)", None),
    (r"((?i:c\+\+|c#|f#))", None),
    (rf"([A-Za-z]*?[A-Za-z])[Nn]['’`][Tt](?!{_L})", None),
    (rf"([Nn]['’`][Tt])(?!{_L})", None),
    (rf"({_A}(?:[sSmMdD]|[lL][lL]|[rR][eE]|[vV][eE]))(?!{_L})", None),
    (rf"((?i:can))(?i:not)(?!{_W})", None),
    (rf"((?i:gon|wan))(?i:na)(?!{_W})", None),
    (rf"((?i:got))(?i:ta)(?!{_W})", None),
    (rf"((?i:gim|lem))(?i:me)(?!{_W})", None),
    (r"('[tT])(?i:is|was)", None),
    # words with an apostrophe of their own
    (rf"([A-HJ-XZdlno]{_A}{_L}{{2}}{_W}*)", None),
    (rf"([dDlLjJ]{_A})", None),
    (rf"({_A}(?i:n{_A}?|em|tille?|till?|cause)|(?i:dunkin|somethin|ol){_A}|[yY]{_A})(?=\W)", None),
    (rf"((?i:o{_A}o|[eo]{_A}er|ne{_A}er|ev{_A}ry|ma{_A}am|hawai['’`]i|qu{_A}il|c{_A}est|nat{_A}l|c{_A}mon|hallowe{_A}en|s{_A}mores))", None),
    (rf"({_A}\d\d(?:s\b)?)(?![-{_A[1:]})", None),
    # abbreviations
    (rf"((?i:{_any(TITLES)})\.)", None),
    (rf"((?:(?i:{_any(ENDS)})|{_capitalised(CAPITALISED)}))\.{_NEW}", "{}."),
    (rf"((?:(?i:{_any(ENDS)})|{_capitalised(CAPITALISED)})\.)", None),
    (rf"((?i:{_any(NUMBERED)})\.){_S}?\d", None),
    (rf"({_L}\.)(?!{_STARTS})", None),
    (rf"({_L}(?:\.{_L})+)\.{_STARTS}", "{}."),
    (rf"({_L}(?:\.{_L})+\.)", None),
    (rf"({_W}+\.){_BEFORE}", None),
    # numbers
    (r"([-+]?(?:\d+(?:[.,:]\d+)*|(?:[.,:]\d+)+))", None),
    (r"((?:\d+[- \xa0])?\d+/\d+)", None),
    # addresses
    (rf"((?i:https?)://{_URL}+[^\s\"<>|.!?(){{}},-])", None),
    (rf"((?i:www)\.{_URL}+[^\s\"<>|.!?(){{}},-])", None),
    (rf"(\w[^\s\"<>|(){{}}]*@[^\s\"<>|(){{}}.,!?]+(?:\.[^\s\"<>|(){{}}.,!?]+)*)", None),
    (r"(@[A-Za-z_]\w*)", None),
    (r"(#[A-Za-z]\w*)", None),
    # marks
    (r"(</?[A-Za-z][^<>\n]*>)", None),
    (r"([<>]?[:;=][-'*o]?[()\[\]{|DPp@\\O])", None),
    (r"([-<>=^'][_][-<>=^'])", None),
    (r"(\.(?:[ \xa0]?\.){2,4}|…)", "..."),
    (r"([?!]+)", None),
    (r"(-{5,}|_+|\*+|#+|<<|>>)", None),
    (r"(-{2,4}|[–—―])", "--"),
    (r"(\")(?=[A-Za-z0-9$])", "``"),
    (r"(\"|[”»]|'')", "''"),
    (r"(“|«|``)", "``"),
    (r"(')[A-Za-z]\S", "`"),
    (r"([‘`‹])", "`"),
    (r"(['’›])", "'"),
    (r"(\S)", None),
]
_COMPILED = [(re.compile(pattern), written) for pattern, written in _RULES]
_OTHERWISE = str.maketrans(
    {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-", " ": "\xa0", "\xad": ""}
    | {"£": "#", "€": "$", "¢": "cents", "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
)
_BLANK = re.compile(r"[ \t\xa0\u2000-\u200a\u3000]+")
_UNKNOWN = re.compile(r"[\U00010000-\U0010ffff\u200b-\u200f\ufeff\ufe0f\u2010-\u2012₹]")
_BREAKS = re.compile(r"[\n\r\x0b\x0c\x85\u2028\u2029]")
_PLAIN = re.compile(r"[a-z]+")


def tokenize(caption: str) -> str:
    """The words of one caption, lower case, a blank between two, without PUNCTUATION; "" when none is left."""
    return " ".join(word for word in tokens(caption) if word not in PUNCTUATION)


def tokenize_all(captions: Iterable[str]) -> list[str]:
    """`tokenize` of each caption, in order: as many answers as captions."""
    return [tokenize(caption) for caption in captions]


def tokens(caption: str) -> list[str]:
    """The words and the punctuation of one caption, as PTBTokenizer writes them with -preserveLines -lowerCase."""
    text = _BREAKS.sub(" ", caption)
    found: list[str] = []
    place = 0
    while place < len(text):
        if blank := _BLANK.match(text, place):
            place = blank.end()
        elif unknown := _UNKNOWN.match(text, place):
            place = unknown.end()
        else:
            token, place = _longest(text, place)
            found.append(token)
    return found


def _longest(text: str, place: int) -> tuple[str, int]:
    """The token at this place and where the next begins."""
    best, how = None, None
    for pattern, written in _COMPILED:
        match = pattern.match(text, place)
        if match and (best is None or match.end() > best.end()):
            best, how = match, written
    assert best is not None  # the last rule takes any character
    token = best[1].lower() if how is None else how.format(best[1].lower())
    return token.translate(_OTHERWISE), best.end(1)
