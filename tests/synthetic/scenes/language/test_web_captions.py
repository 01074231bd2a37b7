"""What becomes of captions on the web."""

import numpy as np
import pytest

from segue.data.corpus import Corpus
from segue.synthetic.scenes.language.web_captions import SHARES, weblike
from segue.types import InputError

TEXTS = [f"a {colour} dog runs on the grass, number {i}" for i in range(300) for colour in ("red", "blue")]
CORPUS = Corpus(TEXTS, np.repeat(np.arange(300), 2))


def test_captions_keep_their_order_and_their_pictures():
    found = weblike(CORPUS)
    mine = [text for text, group in zip(found.captions, found.group, strict=True) if group < 300]
    assert [group for group in found.group if group < 300] == CORPUS.group.tolist()
    for before, now in zip(TEXTS, mine, strict=True):
        assert before in now or before.startswith(now.removesuffix("..."))


def test_each_thing_that_happens_to_captions_has_its_share():
    found = weblike(CORPUS, noise=0.0).captions
    had = {
        "as it was": np.mean([text in TEXTS for text in found]),
        "tagged": np.mean(["#" in text for text in found]),
        "named": np.mean([text.split()[0].split(".")[-1].lower() in ("jpg", "jpeg", "png") for text in found]),
        "cut": np.mean([text.endswith("...") for text in found]),
    }
    for way, share in SHARES.items():
        assert had[way] == pytest.approx(share, abs=0.06), way


def test_lines_that_tell_of_no_picture_are_strewn_in():
    found = weblike(CORPUS, noise=0.5)
    assert len(found) == 900
    strange = found.group >= 300
    assert strange.sum() == 300
    assert len(set(found.group[strange].tolist())) == 300
    assert 0.2 < strange[:450].mean() < 0.5  # not all at one end
    assert not any("dog" in text for text, odd in zip(found.captions, strange, strict=True) if odd)


def test_one_seed_one_corpus():
    first, again, other = weblike(CORPUS, seed=1), weblike(CORPUS, seed=1), weblike(CORPUS, seed=2)
    assert first.captions == again.captions
    assert first.captions != other.captions


def test_a_single_word_survives():
    single = Corpus(["dog"] * 50, np.arange(50))
    assert all("dog" in text for text in weblike(single, noise=0.0).captions)


def test_negative_noise_is_refused():
    with pytest.raises(InputError, match=r"noise: got -1, expected"):
        weblike(CORPUS, noise=-1)
