"""METEOR's Java program: how often it is started, and what follows its death. Its figures are in test_captions."""

import numpy as np
import pytest

from metrics.java import need_java
from segue.metrics import java

FAKE = """#!/bin/sh
echo start >> "$(dirname "$0")/starts"
while read -r line; do
  case "$line" in
    *die*) exit 3 ;;
    SCORE*) echo "counts ${line##* }" ;;
    EVAL*) printf '%s\\n' "$line" | tr '|' '\\n' | sed -n 's/.*counts //p'; echo 0.5 ;;
  esac
done
"""


@pytest.fixture
def starts(monkeypatch, tmp_path):
    """A program in Java's place: a caption's score is its last word. Returns how often it was started."""
    (tmp_path / "meteor").mkdir()
    (tmp_path / "meteor/meteor-1.5.jar").touch()
    (tmp_path / "java").write_text(FAKE)
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(java, "_package", lambda: tmp_path)
    yield lambda: len((tmp_path / "starts").read_text().splitlines())
    java._METEOR.close()


def test_one_program_scores_many_corpora(starts):
    for captions, each in ((["a 0.25", "b 0.75"], [0.25, 0.75]), (["c 1"], [1.0]), (["d 0"], [0.0])):
        mean, found = java.meteor(captions, [["x"]] * len(captions))
        assert mean == 0.5
        assert found.tolist() == each
    assert starts() == 1


def test_after_a_death_the_next_corpus_has_a_program_of_its_own(starts):
    java.meteor(["a 1"], [["x"]])
    assert isinstance(java.meteor(["a 1", "die", "c 1"], [["x"]] * 3), java.NotComputed)
    assert java.meteor(["b 0.125"], [["x"]])[1].tolist() == [0.125]
    assert starts() == 2


def test_a_corpus_that_was_interrupted_leaves_no_answers_to_the_next(starts, monkeypatch):
    read, lines = java._Meteor._read, []

    def interrupted(self):
        lines.append(read(self))
        if len(lines) == 3:
            raise KeyboardInterrupt
        return lines[-1]

    monkeypatch.setattr(java._Meteor, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        java.meteor(["a 0.1", "b 0.2", "c 0.3"], [["x"]] * 3)
    assert java.meteor(["d 0.4"], [["x"]])[1].tolist() == [0.4]


def test_the_real_program_gives_the_same_scores_again():
    need_java()
    captions, references = ["a dog on the grass", "a cat"], [["a dog runs on grass"], ["two cats", "a small cat"]]
    first = java.meteor(captions, references)
    process = java._METEOR.process
    java.meteor(captions[1:], references[1:])
    again = java.meteor(captions, references)
    assert java._METEOR.process is process
    assert again[0] == first[0]
    np.testing.assert_array_equal(again[1], first[1])
