"""A captioner scored on a split, by the API and by `segue eval`."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from scenes_and_encoder import write_scenes
from segue.api.captioner import Caption, load_captioner
from segue.data.formats import read_pictures
from segue.evaluation.captions import captioned, evaluate_captions, fit_consensus, fit_scores
from segue.metrics.acceptance import write_acceptance
from segue.metrics.captions import score_captions
from segue.options import Decoding
from segue.recipes.syntic import Captioned, calibrate_scores, train_syntic
from segue.types import InputError, PictureSet
from tiny_captioner import captioner_home, quick_settings


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "s")


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioner")
    with pytest.MonkeyPatch.context() as patch:
        return train_syntic(replace(quick_settings(captioner_home(folder), folder / "run", patch), system="decap"))


def test_the_best_caption_of_each_picture_is_scored(captioner, scenes):
    loaded = load_captioner(captioner)
    found = evaluate_captions(loaded, scenes, "val", options=Decoding(beams=2, num=3))
    pictures = read_pictures(scenes, "val").pictures
    said = {p.name: loaded.caption(p.load(), options=Decoding(beams=2))[0].text for p in pictures}
    expected = score_captions(said, {p.name: p.captions for p in pictures}, with_java=False).corpus
    assert found["pictures"] == len(pictures) == 2
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_scores_are_fitted_to_what_people_say(captioner, scenes, tmp_path, capsys):
    """Of two pictures one has people who say what the captioner says."""
    loaded, pictures = load_captioner(captioner), read_pictures(scenes, "val").pictures
    said = loaded.caption(pictures[0].load())[0].text
    agreed = [replace(pictures[0], captions=(said,), phrases=()), pictures[1]]
    v = loaded.encoder.embed_images([picture.load() for picture in pictures])
    write_acceptance(fit_scores(loaded, agreed, v), folder := shutil.copytree(captioner, tmp_path / "fitted"))
    first, second = (load_captioner(folder).caption(picture.load())[0] for picture in pictures)
    assert 0 < second.score < 0.5 < first.score < 1
    calibrate_scores(folder, Captioned(pictures, v))  # none of whose captions is what it says
    assert "its captions get no score: acceptance: got 0 accepted of 2 captions" in capsys.readouterr().out


class Ranked:
    """A captioner with two candidates for each of two pictures: the first three times as likely, the second agreed."""

    def __init__(self, candidates):
        self.candidates = candidates

    def caption_features(self, v, *, objects, rerank, options):
        assert (v.shape, objects, rerank, options.num) == ((2, 4), None, False, 10)
        return [[Caption(text, None, p) for text, p in zip(some, (0.9, 0.3), strict=True)] for some in self.candidates]

    def agreement(self, v, captions):
        return [[0.0, 1.0]] * 2


def test_how_much_agreement_counts_is_chosen_on_captioned_pictures(scenes):
    """As little as it takes: at 2 the agreed captions are ahead of likelier ones, by 2 against log 3."""
    pictures = read_pictures(scenes, "val").pictures
    truth = ["a dog runs on the grass", "two boys play with a ball"]
    pictures = [replace(p, captions=(text,), phrases=()) for p, text in zip(pictures, truth, strict=True)]
    other, v = "a red car on a road", torch.zeros(2, 4)
    assert fit_consensus(Ranked([(other, truth[0]), (other, truth[1])]), pictures, v) == 2
    assert fit_consensus(Ranked([(truth[0], other), (truth[1], other)]), pictures, v) == 0


def test_eval_of_a_captioner(segue, captioner, scenes):
    status, output, error = segue("eval", captioner, "--data", scenes, "--split", "val", "--json")
    assert status == 0, error
    answer = json.loads(output)
    assert (answer["split"], answer["pictures"]) == ("val", 2)
    assert 0 <= answer["CIDEr-D"] <= 10
    status, output, error = segue("eval", captioner, "--data", scenes, "--split", "val", "--report", "r", "--json")
    assert status == 0, error
    assert json.loads(output) == answer | {"report": "r/index.html"}
    for wrong in (("--empty", "one"), ("--vocabulary", "words.txt"), ("--protocol", "voc"), ("--window", "64")):
        status, _, error = segue("eval", captioner, "--data", scenes, "--split", "val", *wrong)
        assert status == 2
        assert "captions pictures" in error
    status, _, error = segue("eval", "reclmis-chest", "--data", scenes, "--split", "val", "--beams", "2")
    assert status == 2
    assert "--beams: such options are for other models, and reclmis-chest outlines what notes describe" in error


def test_pictures_without_captions_stop_or_are_left_out_and_named(scenes, capsys):
    pictures = read_pictures(scenes, "val")
    silent = replace(pictures.pictures[0], captions=("",), phrases=())
    mixed = PictureSet([silent, *pictures.pictures[1:]])
    with pytest.raises(InputError, match="1 of 2 pictures have no caption to compare with; add them, or pass"):
        captioned(mixed)
    assert [p.name for p in captioned(mixed, "skip").pictures] == [pictures.pictures[1].name]
    assert "left out 1 of 2 pictures" in capsys.readouterr().out
    with pytest.raises(InputError, match="name a data set with captions"):
        captioned(PictureSet([silent]), "skip")
