import numpy as np
import pytest

from segue.data.corpus import Corpus
from segue.synthetic.scenes.language.captions import caption_scene
from segue.synthetic.scenes.language.parser import parse
from segue.synthetic.scenes.language.web_captions import NOISE_SHARES, add_web_noise
from segue.synthetic.scenes.sampling import sample_scene
from segue.types import InputError

TEXTS = [f"a {colour} dog runs on the grass, number {i}" for i in range(300) for colour in ("red", "blue")]
CORPUS = Corpus(TEXTS, np.repeat(np.arange(300), 2))


def test_captions_keep_their_order_and_their_pictures():
    found = add_web_noise(CORPUS)
    mine = [text for text, group in zip(found.captions, found.group, strict=True) if group < 300]
    assert [group for group in found.group if group < 300] == CORPUS.group.tolist()
    for before, now in zip(TEXTS, mine, strict=True):
        assert before in now or before.startswith(now.removesuffix("..."))


def test_each_thing_that_happens_to_captions_has_its_share():
    found = add_web_noise(CORPUS, noise=0.0).captions
    had = {
        "as it was": np.mean([text in TEXTS for text in found]),
        "tagged": np.mean(["#" in text for text in found]),
        "named": np.mean([text.split()[0].split(".")[-1].lower() in ("jpg", "jpeg", "png") for text in found]),
        "cut": np.mean([text.endswith("...") for text in found]),
    }
    for change, share in NOISE_SHARES.items():
        assert had[change] == pytest.approx(share, abs=0.06), change


def test_lines_that_tell_of_no_picture_are_strewn_in():
    found = add_web_noise(CORPUS, noise=0.5)
    assert len(found) == 900
    strange = found.group >= 300
    assert strange.sum() == 300
    assert len(set(found.group[strange].tolist())) == 300
    assert 0.2 < strange[:450].mean() < 0.5  # not all at one end
    assert not any("dog" in text for text, odd in zip(found.captions, strange, strict=True) if odd)


@pytest.mark.parametrize("domain", ["a", "b"])
def test_most_things_of_noisy_captions_are_still_understood(domain):
    scenes = [sample_scene(seed, domain) for seed in range(40)]
    share = [np.full(len(scene.stuff) + len(scene.things), 0.1) for scene in scenes]
    texts = [c.text for s, v in zip(scenes, share, strict=True) for c in caption_scene(s, v, 0, domain=domain)]
    noisy = add_web_noise(Corpus(texts, np.arange(len(texts))), noise=0.0).captions
    kinds = [(_kinds(before), _kinds(after)) for before, after in zip(texts, noisy, strict=True)]
    assert np.mean([a != b for a, b in zip(texts, noisy, strict=True)]) > 0.5
    assert np.mean([before <= after for before, after in kinds]) > 0.75
    assert np.mean([bool(after - before) for before, after in kinds]) < 0.1


def _kinds(text):
    return {kind for things in parse(text, strict=False).things for kind in things.kinds}


def test_one_seed_one_corpus():
    first, again, other = add_web_noise(CORPUS, seed=1), add_web_noise(CORPUS, seed=1), add_web_noise(CORPUS, seed=2)
    assert first.captions == again.captions
    assert first.captions != other.captions


def test_a_single_word_survives():
    single = Corpus(["dog"] * 50, np.arange(50))
    assert all("dog" in text for text in add_web_noise(single, noise=0.0).captions)


def test_negative_noise_is_refused():
    with pytest.raises(InputError, match=r"noise: got -1, expected"):
        add_web_noise(CORPUS, noise=-1)
