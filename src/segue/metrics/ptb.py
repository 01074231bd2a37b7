"""Words of a caption as the caption metrics of COCO count them: Penn Treebank tokens, lower case, no punctuation.

The published figures tokenise with Stanford's PTBTokenizer 3.4.1 in Java (`-preserveLines -lowerCase`) and drop 17
punctuation tokens. The rules here were learnt from that program's answers, without its grammar: at each place the rule
that matches the most characters wins, what it looks ahead at included, the earlier rule when two match as many.

Difference on purpose: a line separator inside a caption (U+2028, U+0085, CR, ...) is a blank here, so that N captions
give N answers; the Java program breaks the line there, and all captions after it move. Not verified: scripts other
than Latin, beyond the words of the tests.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

PUNCTUATION = frozenset(
    ("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";")
)

# Abbreviations that keep their full stop. TITLES keep it always; ENDS too, and a second one follows before a new
# sentence; so do CAPITALISED when they begin with a capital; NUMBERED keep it before a number alone.
TITLES = (
    "adj adm adv alex assoc asst attys? ave brig capt cf cie cmdr col comdr cpl dept det drs? elec ens ft gen govs? "
    "hon insp jos lieut lt maj messrs mfg mlle mme mrs? ms msgr mt mtg natl pfc ph pres profs? pvt reps? rev sens? sfc "
    "sgt spc ste? supts? treas vs wm"
)
ENDS = (
    r"al ala apr ariz assn aug bancorp bhd bldg blvd bros calif co colo conn corp cos ct dak dec esq est etc ext feb "
    r"fla fri ga inc ind intl jan jr jul jun kans? ky ltd mar md mich minn mo mon mont neb nev nov oct okla penn ph\.d "
    r"plc rd rt sept? seq sq sr sys tel tenn thu thurs tues? univ va vt wed wisc? wyo"
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


# number signs that are tokens of their own, and those that the Java program can't read and leaves out
_SIGNS = r"²³¹¼-¾⅓-⅞⁰⁴-⁹₀-₉①-⒛⓪-⓿❶-➓"
_UNREAD = (
    r"\u09f4-\u09f9\u0b72-\u0b77\u0bf0-\u0bf2\u0c78-\u0c7e\u0d58-\u0d5e\u0d70-\u0d78\u0f2a-\u0f33\u1369-\u137c"
    r"\u16ee-\u16f0\u17f0-\u17f9\u19da\u2150-\u2152\u215f-\u2182\u2185-\u2189\u2cfd\u3007\u3021-\u3029\u3038-\u303a"
    r"\u3192-\u3195\u3220-\u3229\u3248-\u324f\u3251-\u325f\u3280-\u3289\u32b1-\u32bf\ua6e6-\ua6ef\ua830-\ua835"
)
_W = rf"(?:[^\W_{_SIGNS}{_UNREAD}]|[\u0300-\u036f\u0900-\u0903\u093a-\u094f\u0951-\u0957\xad])"  # a letter or a digit
_L = rf"[^\W\d_{_SIGNS}{_UNREAD}]"  # a letter of any script
_A = "['’`]"  # apostrophes
_S = r"[ \t\xa0\n]+"
_OFF = r"(?:[^A-Za-z]|$)"  # no letter
_TITLE, _END = _any(TITLES), rf"(?i:{_any(ENDS)})|{_capitalised(CAPITALISED)}"
_NEW = rf"\.{_S}(?:\n|[A-ZÀ-ÖØ-Þ])"  # a full stop and a new sentence
_STARTS = rf"{_S}(?:(?:{_capitalised(STARTERS)})\s|</?[A-Za-z])"
_PART = rf"(?:[dDlLoOA-HJ-XZ]{_A}(?={_L}{{2}}))?{_W}+"
_TAIL = rf"(?:[-_‐‑]{_PART})+"
_URL, _URL_END = r"[^\s\"<>|(){}]", r"[^\s\"<>|(){}.!?,;:-]"
_NAME = r"[A-Za-z][\w:.-]*"

# (pattern, how its token is written, how it may begin: a letter "a", a digit "0" or another sign "." of ASCII; any rule
# may begin otherwise). Group 1 is the token; what follows it is looked at and counts as matched.
_RULES: list[tuple[str, str | None, str]] = [
    # a word before what hangs on it, and that
    (rf"((?:(?!n{_A}t){_W})*?[A-Za-z])[nN]{_A}[tT]", None, "a0"),
    (rf"({_W}+)['’](?:[sSmMdD]|[lL][lL]|[rR][eE]|[vV][eE]){_OFF}", None, "a0"),
    (rf"([nN]{_A}[tT]){_OFF}", "{}", "a"),
    (rf"((?:['’]|&(?i:apos);)(?:[sSmMdD]|[lL][lL]|[rR][eE]|[vV][eE])){_OFF}", "{}", "."),
    (r"(’(?:[sSmMdD]|[lL][lL]|[rR][eE]|[vV][eE]))", "{}", ""),
    (rf"((?i:can(?=not)|gon(?=na)|wan(?=na)|got(?=ta)|gim(?=me)|lem(?=me)))(?i:not|na|ta|me)(?!{_W}|')", None, "a"),
    (r"('[tT])(?i:is|was)", None, "."),
    # words with an apostrophe of their own
    (rf"([A-HJ-XZdlno]{_A}{_L}{{2}}{_W}*|{_L}+{_L}*[aeiouAEIOU]{_A}[aeiouAEIOU]{_L}*)", None, "a"),
    (rf"([dDlLjJ]{_A})", None, "a"),
    (rf"([yY]{_A})(?![sS]){_L}", None, "a"),
    (rf"(['’](?i:n['’]?|em|till?|cause)|(?i:dunkin|somethin|ol){_A})", None, "a."),
    (
        rf"((?i:o{_A}o|[eo]{_A}er|ne{_A}er|ev{_A}ry|ma{_A}am|qu{_A}il|c{_A}est|nat{_A}l|hallowe{_A}en|s{_A}mores)"
        r"|(?i:c'mon))",
        None,
        "a",
    ),
    (r"(['’](?:[2-9]0[sS]|\d\d(?=\s|$)))", None, "."),
    # abbreviations; words with full stops, dashes and strokes inside
    (rf"((?i:{_TITLE})\.)", None, "a"),
    (rf"({_END}){_NEW}", "{}.", "a"),
    (rf"((?:{_END})\.)", None, "a"),
    (rf"((?i:{_any(NUMBERED)})\.)\s?\d", None, "a"),
    (rf"([A-Za-z]\.)(?!{_STARTS})", None, "a"),
    (rf"([A-Za-z](?:\.[A-Za-z])+)\.{_STARTS}", "{}.", "a"),
    (r"([A-Za-z](?:\.[A-Za-z])+\.)", None, "a"),
    (rf"((?:[A-Z]+&)?{_W}+\.)[,;:]", None, "a0"),
    (rf"({_L}{_W}*(?:\.{_L}{_W}*)+(?:-{_W}+)*)", None, "a"),
    (rf"({_W}+\.(?i:jpe?g|gif|png|txt|html?|pdf|php|zip|mp3|exe|doc|bmp))", None, "a0"),
    (rf"({_L}+(?:\.{_L}+)*[!?]{_L}+)", None, "a"),
    (rf"((?:\d+[.,])*{_PART}{_TAIL})", None, "a0"),
    (rf"((?:(?:{_L}\.)+{_L}?|(?:(?i:{_TITLE})|{_END})\.){_TAIL})", None, "a"),
    (rf"({_W}+(?:-{_W}+)*(?:\\?/{_W}+(?:-{_W}+)*){{1,2}})", None, "a0"),
    (r"([A-Z]+(?:&(?i:amp;)?[A-Z]+)+)", "{}", "a"),
    (r"((?i:c\+\+|[cf]#)|[A-Z]{1,2}\$)", None, "a"),
    (rf"({_W}+)", None, "a0"),
    # numbers
    (r"([-+]?(?:\d+(?:[.,:]\d+)*|(?:[.,:]\d+)+))", None, "0."),
    (r"((?:\d+[- \xa0])?\d+\\?[/⁄]\d+)", None, "0"),
    (r"(\(\d{3}\)[ \xa0]?\d{3}[- .\xa0]\d{4})", None, "."),
    # addresses
    (rf"((?i:https?)://{_URL}+{_URL_END})", None, "a"),
    (rf"((?i:www)\.[^\s\"<>|(){{}}/'’“”,;:!?]*[^\s\"<>|(){{}}/.!?,;:'’“”-](?:/{_URL}+{_URL_END})?)", None, "a"),
    (rf"({_L}{_W}*(?:\.{_L}{_W}*)*\.(?:com|net|org|edu)/{_URL}+{_URL_END})", None, "a"),
    (r"([A-Za-z0-9][^\s\"<>|(){}]*@(?:[^\s\"<>|(){}.]+\.)*[^\s\"<>|(){}.]+)", None, "a0"),
    (rf"(@[A-Za-z_][A-Za-z0-9_]*|#{_L}+)", None, "."),
    # mark-up and faces
    (
        rf"(</?{_NAME}(?:[ \t\xa0]+{_NAME}(?:=(?:\"[^\"<>\n]*\"|'[^'<>\n]*'))?)*[ \t\xa0]*/?>"
        r"|<[!?][A-Za-z-][^<>\n]*>|<[^\s<>@]+@[^\s<>]+>)",
        None,
        ".",
    ),
    (r"(&(?:#\d+|[aeiouAEIOU](?:acute|grave|circ|uml|tilde));)", None, "."),
    (r"([<>]?[:;=][-'*o]?[()\[\]{|dDPp@\\O])(?![^\W_])", None, "."),
    (r"(\(?[-<>=^'][_][-<>=^']\)?)", None, "."),
    # marks
    (r"(\.{3,5}|\.(?:[ \xa0]\.){2,4}|…)", "...", "."),
    (r"([?!]+|-{5,}|_+|\*+|(?:\\\*)+|#+|@+|<<|>>)", None, "."),
    (r"(-(?i:[lr][rsc]b)-)", None, "."),
    (r"(-{2,4}|[–—―]|&(?i:mdash);)", "--", "."),
    (r"(\"|&(?i:quot);)[A-Za-z0-9$]", "``", "."),
    (r"(\"|&(?i:quot);|[”»]|'')", "''", "."),
    (r"([“«]|``)", "``", "."),
    (r"(')[A-Za-z]\S", "`", "."),
    (r"([‘`‹])", "`", "."),
    (r"(['’›]|&(?i:apos);)", "'", "."),
    (r"(&(?i:amp);)", "&", "."),
    (r"(&(?i:lt);)", "<", "."),
    (r"(&(?i:gt);)", ">", "."),
    (r"([\s\S])", None, "a0."),
]
_GLUED = frozenset(("cannot", "gonna", "gotta", "wanna", "gimme", "lemme"))
# What most captions are made of, which no other rule takes: runs of words and last words. They only save time.
_RUN = re.compile(rf"(?:(?!(?i:{'|'.join(sorted(_GLUED))})[ \t])[A-Za-z]+[ \t]+)+")
_KEPT = rf"(?:(?i:{_TITLE}|{_any(NUMBERED)})|{_END}|[A-Za-z])\."  # with a full stop that may stay
_PLAIN = re.compile(rf"(?!(?i:{'|'.join(sorted(_GLUED))})\b|{_KEPT})[A-Za-z]+(?=, |\.?[ \t]*\n)|,(?= )|\.(?=\n)")
# What most captions are as a whole, by the same: but for _GLUED, and what _ENDING matches at the end.
_SENTENCE, _ENDING = re.compile(r"[A-Za-z]+(?:,? [A-Za-z]+)* ?\.?"), re.compile(_KEPT)
_NEAR = re.compile(r"[^\s.<]\S*(?:\s+\S+){0,2}\s*")  # no rule looks further, but those that begin with . or <
_COMPILED = [(re.compile(pattern), written, begins) for pattern, written, begins in _RULES]
_KIND = {chr(i): "a" if chr(i).isalpha() else "0" if chr(i).isdigit() else "." for i in range(128)}
_BY_KIND = {kind: [rule for rule in _COMPILED if kind in rule[2]] for kind in "a0."}  # most rules need not be tried
_OTHERWISE = str.maketrans(
    {"(": "-lrb-", ")": "-rrb-", " ": "\xa0", "\xad": "", "£": "#", "€": "$", "¢": "cents"}
    | {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
)
_BRACKETS = {"[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_BREAKS = re.compile(r"[\n\r\x0b\x0c\x85\u2028\u2029]")
_NOTHING = re.compile(  # blanks, and characters that the Java program can't read and leaves out
    rf"(?:[ \t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]|&(?i:nbsp);"
    r"|[\x00-\x1f\x7f-\x9f\ud800-\udfff\U00010000-\U0010ffff\u200b-\u200f\u2010-\u2012\ue000-\uf8ff\ufe0f\ufeff₹"
    rf"{_UNREAD}])+"
)


def tokenize(caption: str, then: str = "") -> str:
    """The words of one caption, lower case, a blank between two, without PUNCTUATION; "" when none is left.

    then: the caption that follows, see `tokens`.
    """
    if _SENTENCE.fullmatch(caption) and not _ENDING.match(caption, caption.rfind(" ") + 1):
        text = caption.lower().replace(",", "").rstrip(" .")
        if _GLUED.isdisjoint(text.split(" ")):
            return text
    return " ".join(word for word in tokens(caption, then) if word not in PUNCTUATION)


def tokenize_all(captions: Sequence[str]) -> list[str]:
    """`tokenize` of each caption, in order, each followed by the next: as many answers as captions."""
    return [tokenize(caption, then) for caption, then in zip(captions, [*captions[1:], ""], strict=False)]


def tokens(caption: str, then: str = "") -> list[str]:
    """The words and the punctuation of one caption, as PTBTokenizer writes them with -preserveLines -lowerCase.

    then: what the next line says. PTBTokenizer looks at its begin where a caption ends with an initial ("plan b.": one
    token unless a word such as "The" follows) or with a word such as "No." ("no." before a digit, "no" else).
    """
    text = _BREAKS.sub(" ", caption)
    end, text = len(text), f"{text}\n{_BREAKS.sub(' ', then[:20])}"
    found: list[str] = []
    place = 0
    while place < end:
        if run := _RUN.match(text, place, end):
            found += run[0].lower().split()
            place = run.end()
        elif plain := _PLAIN.match(text, place):
            found.append(plain[0].lower())
            place = plain.end()
        elif nothing := _NOTHING.match(text, place, end):
            place = nothing.end()
        else:
            near = _NEAR.match(text, place)
            token, length = first_token(text[place:] if near is None else near[0])
            found.append(token)
            place += length
    return found


@lru_cache(maxsize=1 << 16)
def first_token(text: str) -> tuple[str, int]:
    """The token that the text begins with, and how many of its characters it takes."""
    best, how = None, None
    for pattern, written, _ in _BY_KIND.get(_KIND.get(text[0], ""), _COMPILED):
        match = pattern.match(text)
        if match and (best is None or match.end() > best.end()):
            best, how = match, written
    assert best is not None  # the last rule takes any character
    token = best[1].lower()
    if how is None:
        token = _BRACKETS.get(token, token)
    else:
        token = how.format(token.replace("’", "'").replace("&apos;", "'").replace("&amp;", "&"))
    return token.translate(_OTHERWISE), best.end(1)
