import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.awkward import AWKWARD
from metrics.java import need_java
from segue.lab.bench.metrics import generate_captions
from segue.metrics import ptb
from segue.metrics.ptb import PUNCTUATION, tokenize, tokenize_all, tokens

BREAKS = "\n\r\x0b\x0c\x85\u2028\u2029"


@pytest.mark.parametrize(("caption", "words"), AWKWARD.items())
def test_awkward_captions(caption, words):
    assert tokenize(caption) == words


def java_lines(captions):
    """What the Java program itself says of each caption."""
    need_java()
    found = find_spec("pycocoevalcap")
    if found is None:
        pytest.fail("pycocoevalcap is not installed; it is among the development requirements")
    folder = Path(found.submodule_search_locations[0]) / "tokenizer"
    command = ["java", "-cp", "stanford-corenlp-3.4.1.jar", "edu.stanford.nlp.process.PTBTokenizer"]
    done = subprocess.run(
        [*command, "-preserveLines", "-lowerCase"],
        input="\n".join(captions).encode() + b"\n",
        cwd=folder,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().split("\n")[: len(captions)]


def test_all_tokens_are_those_of_the_java_program():
    captions = [text for texts in generate_captions(400, 5, seed=3).values() for text in texts]
    captions += [re.sub(f"[{BREAKS}]", " ", text) for text in AWKWARD if text.strip(" ")]
    after = [*captions[1:], ""]
    ours = [" ".join(tokens(text, then)) for text, then in zip(captions, after, strict=True)]
    assert ours == java_lines(captions)


@pytest.mark.parametrize(
    ("caption", "then", "words"),
    [
        ("it is plan b.", "The end", "it is plan b"),
        ("it is plan b.", "the end", "it is plan b."),
        ("a piece of art.", "2 men", "a piece of art."),
        ("a piece of art.", "two men", "a piece of art"),
    ],
)
def test_the_next_caption_counts_as_in_java(caption, then, words):
    assert tokenize_all([caption, then])[0] == tokenize(caption, then) == words


PLAIN = st.lists(st.sampled_from(["a", "B", "dog", "Two", "cannot", "Gonna", "mr", "no", "Ore", "ore"]), min_size=1)


@settings(max_examples=300, deadline=None)
@given(PLAIN.map(" ".join) | PLAIN.map(", ".join), st.sampled_from(["", ".", " .", " ", ".."]), PLAIN.map(" ".join))
def test_sentences_of_plain_words_are_read_at_once_to_the_same_words(sentence, end, then):
    words = [word for word in tokens(sentence + end, then) if word not in PUNCTUATION]
    assert tokenize(sentence + end, then) == " ".join(words)


TEXT = st.text(st.one_of(st.sampled_from(BREAKS + "aAbs.,'\"-!?()$#@&5 "), st.characters(codec="utf-8")), max_size=40)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, max_size=6))
def test_no_text_shifts_a_line(captions):
    answers = tokenize_all(captions)
    assert len(answers) == len(captions)
    assert not any(c in answer for answer in answers for c in BREAKS)


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_a_break_is_a_blank(caption):
    assert tokenize(caption) == tokenize(re.sub(f"[{BREAKS}]", " ", caption))


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_tokens_are_lower_case_without_blanks_or_punctuation(caption):
    for word in filter(None, tokenize(caption).split(" ")):
        assert word == word.lower()
        assert word not in PUNCTUATION
        assert word.strip(" \t")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "dog", "runs", "cannot", "park"]), max_size=8))
def test_plain_words_stay(words):
    assert tokenize(" ".join(words)) == " ".join(words).replace("cannot", "can not")


PIECES = "a the Dr. dog cannot can't U.S. 5 10:30 -- ' . , ! #tag é ’s St. No. etc. ph.d www.a.com <b>".split()  # noqa: SIM905


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=10), st.sampled_from(["", " "]))
def test_the_short_cuts_change_nothing(pieces, between):
    text = between.join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_RUN", "_PLAIN", "_NEAR"):
            patch.setattr(ptb, name, re.compile("(?!)"))
        patch.setattr(ptb, "_BY_KIND", {})
        patch.setattr(ptb, "first_token", ptb.first_token.__wrapped__)
        slowly = tokens(text, "Two men.")
    assert tokens(text, "Two men.") == slowly
