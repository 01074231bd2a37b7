import json
import math
from dataclasses import replace

import numpy as np
import pytest

from segue.api import load_describer
from segue.api.models import about
from segue.data import rle
from segue.data.formats import read_pictures
from segue.evaluation import grounded_captions
from segue.evaluation.grounded_captions import cases_of, nouns_of, said_class, score_cases
from segue.lab.engine import Work
from segue.lab.tables import sgdiff_scenes as sgdiff_tables
from segue.lab.tables.sgdiff_scenes import sgdiff_bundled_table, sgdiff_scenes_table, tell_in_turn
from segue.metrics.captions import score_captions
from segue.recipes.sgdiff import SCENES, config_of, sgdiff_scenes, staged, train_sgdiff, usable
from segue.synthetic.scenes.writer import make_scenes
from segue.types import GroundedCaption, InputError, Phrase, PhraseGrounding, Picture, PictureSet, Region


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    make_scenes(folder, train=6, val=3, test=3, size=48, workers=1)
    return folder


@pytest.fixture
def quick(tmp_path, scenes):
    return replace(
        SCENES, out=tmp_path / "run", data=scenes, size=32, width=32, blocks=1, caption_steps=2, steps=2, batch_size=3,
        evaluations=1, val_pictures=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pictures(scenes):
    return usable(read_pictures(scenes, "test"), "test")


def truthful(case, count, seed):
    """Stories that are the truth itself."""
    picture, caption = case.picture, case.references[0]
    number = picture.captions.index(caption)
    phrases = [p for p in picture.phrases if p.caption == number and p.regions]
    links = [
        PhraseGrounding(p.start, p.end, caption[p.start : p.end], rle.decode(picture.regions[r].mask), 0.9, "")
        for p in phrases
        for r in p.regions
    ]
    return [GroundedCaption(caption, 1.0, tuple(links))] * count


def test_two_stages_leave_a_model_that_explains(quick):
    folder = sgdiff_scenes(quick)
    assert (quick.out / "captions/last/config.json").exists()
    config = json.loads((folder / "config.json").read_text())
    assert config["method"] == "sgdiff"
    assert about(folder)["data"] == "scenes"
    assert str(quick.data.parent) not in json.dumps(config)
    history = [json.loads(line) for line in (quick.out / "history.jsonl").read_text().splitlines()]
    assert {"train/mask", "train/mecl", "train/bit", "evaluate/cider", "evaluate/mask_iou"} <= set(history[-1])
    first = (quick.out / "captions/history.jsonl").read_text()
    assert "train/bit" in first
    assert "train/mask" not in first
    picture = read_pictures(quick.data, "test").pictures[0]
    found = load_describer(folder).explain(picture.load(), box=picture.regions[0].box, regions=picture.regions, top=2)
    assert len(found) == 2


def test_a_run_that_is_done_is_not_begun_again(quick):
    sgdiff_scenes(quick)
    with pytest.raises(InputError, match="holds the state of a run"):
        sgdiff_scenes(quick)
    weights = (quick.out / "captions/last/model.safetensors").stat().st_mtime_ns
    longer = replace(quick, resume=True)
    sgdiff_scenes(longer)
    assert (quick.out / "captions/last/model.safetensors").stat().st_mtime_ns == weights


def test_systems_get_the_same_number_of_steps():
    for system in ("full", "mask_only", "caption_only", "autoregressive"):
        settings = replace(SCENES, system=system)
        assert sum(staged(settings).values()) == SCENES.caption_steps + SCENES.steps
    assert staged(replace(SCENES, system="mask_only")) == staged(SCENES)
    assert staged(replace(SCENES, system="mask_only", lambda_adaptor=0.0)) == {2: SCENES.steps}
    assert config_of(replace(SCENES, lambda_mecl=5.0, width=64)).feed == 128
    with pytest.raises(InputError, match="system 'nothing'"):
        config_of(replace(SCENES, system="nothing"))


def test_the_truth_scores_full_marks(scenes, pictures):
    """A story told from the first reference is scored against the regions of the case's own caption."""
    cases = [c._replace(references=[c.references[0]]) for c in cases_of(pictures, "first")]
    numbers = [c.picture.captions.index(c.references[0]) for c in cases]
    cases = [
        c._replace(told=tuple(sorted({r for p in c.picture.phrases if p.caption == n for r in p.regions})))
        for c, n in zip(cases, numbers, strict=True)
    ]
    found = score_cases(truthful, cases, top=2, java=False)
    assert found["bleu4"] == pytest.approx(1, abs=1e-6)
    assert found["mask_iou"] == found["mask_iou_greedy"] == found["mask_iou_strict"] == 1
    assert found["link_accuracy"] > 0.8  # a noun that names two classes has one of them
    assert found["map"] > 0.6
    assert found["cider"] == found["cider_selected"] == found["cider_oracle5"]


def test_the_oracle_takes_the_best_and_missing_masks_count_nothing(pictures):
    cases = cases_of(pictures, "any")

    def tell(case, count, seed):
        said = ["nothing at all here", case.references[-1]][:count]
        return [GroundedCaption(caption, 0.5) for caption in said]

    found = score_cases(tell, cases, top=2, java=False)
    truth = {str(i): c.references for i, c in enumerate(cases)}
    best = {str(i): c.references[-1] for i, c in enumerate(cases)}
    assert found["cider_oracle5"] == pytest.approx(score_captions(best, truth, with_java=False).corpus["CIDEr-D"])
    assert found["cider_oracle5"] > found["cider"] == found["cider_selected"]
    assert found["mask_iou"] == found["map"] == found["link_accuracy"] == 0
    assert found["distinct2"] == 1


def test_the_story_told_alone_is_not_the_one_ranked_first_of_many(pictures):
    cases = cases_of(pictures, "any")

    def tell(case, count, seed):
        alone, *many = case.references[-1], "nothing at all here", case.references[-1]
        return [GroundedCaption(caption, 0.5) for caption in ([alone] if count == 1 else many)]

    found = score_cases(tell, cases, top=2, java=False, outlines=False)
    assert found["cider"] == found["cider_oracle5"] > found["cider_selected"] == pytest.approx(0, abs=1e-3)


def test_each_case_and_draw_has_a_seed_of_its_own_and_scores_are_means_of_draws(pictures):
    cases, seeds = cases_of(pictures, "any"), []

    def tell(case, count, seed):
        seeds.append(seed)
        return [GroundedCaption(case.references[-1] if seed % 2 else "nothing at all here", 0.5)] * count

    found = score_cases(tell, cases, top=1, java=False, outlines=False, draws=2)
    assert len(seeds) == len(set(seeds)) == 2 * len(cases)
    right = score_cases(
        lambda case, *_: [GroundedCaption(case.references[-1], 1)], cases, top=1, java=False, outlines=False
    )
    assert found["cider"] == pytest.approx(right["cider"] / 2, rel=1e-3)


def test_the_wording_gap_is_between_the_shares_of_a_classs_words(pictures, monkeypatch):
    monkeypatch.setattr(grounded_captions, "FEW", 1)
    dog = Region("dog", (1, 1, 9, 9))
    captions = ("a dog", "a puppy", "a puppy", "a puppy")
    phrases = tuple(Phrase(i, 0, len(text), (0,)) for i, text in enumerate(captions))
    case = cases_of([replace(pictures[0], captions=captions, regions=(dog,), relations=(), phrases=phrases)], "any")[0]

    def gap(*said):
        stories = [GroundedCaption(text, 0.5) for text in said]
        found = score_cases(lambda _, count, seed: (stories * count)[:count], [case], top=4, java=False, outlines=False)
        return found["wording_gap"]

    assert gap("a dog", "a puppy", "the puppy", "big puppy") == 0
    assert gap("a dog", "a dog", "a dog", "a dog") == 0.75
    assert gap("a dog", "a dog", "a puppy", "a puppy") == pytest.approx(0.25)


def test_prompts(pictures):
    for prompt in ("first", "any"):
        for case in cases_of(pictures, prompt):
            boxes = [region.box for region in case.picture.regions]
            asked = boxes.index(case.box)
            naming = {p.caption for p in case.picture.phrases if asked in p.regions}
            assert set(case.references) == {case.picture.captions[i] for i in naming}
            assert asked in case.told
    first = cases_of(pictures, "first")[0]
    starts = {
        caption: min((p.start, p.regions[0]) for p in first.picture.phrases if p.caption == caption and p.regions)[1]
        for caption in {p.caption for p in first.picture.phrases if p.regions}
    }
    assert first.box in [first.picture.regions[r].box for r in starts.values()]
    with pytest.raises(InputError, match="prompt: got 'last'"):
        cases_of(pictures, "last")
    with pytest.raises(InputError, match="no case to score"):
        score_cases(truthful, [])


def test_a_wrong_noun_is_a_wrong_tie(pictures):
    classes = nouns_of(pictures)
    case = cases_of(pictures, "first")[0]
    region = case.picture.regions[case.told[0]]
    wrong = next(word for word, label in classes.items() if label != region.label)
    mask = rle.decode(region.mask)
    right = next(word for word, label in classes.items() if label == region.label)
    for word, expected in ((right, 1.0), (wrong, 0.0)):
        story = GroundedCaption(word, 1.0, (PhraseGrounding(0, len(word), word, mask, 0.9),))
        found = score_cases(lambda _, count, seed, s=story: [s] * count, [case], top=1, java=False)
        assert found["link_accuracy"] == expected
        assert (found["map"] > 0) == bool(expected)
    assert said_class(PhraseGrounding(0, 5, "zzzzz", mask, 1.0), classes) == ""
    assert said_class(PhraseGrounding(0, 0, "dog", mask, 1.0, "dog"), classes) == "dog"


def test_outlining_more_than_the_caption_names_counts_in_the_strict_figure_only(pictures):
    case = next(c for c in cases_of(pictures, "first") if len(c.told) < len(c.picture.regions))
    masks = [rle.decode(region.mask) for region in case.picture.regions]
    story = GroundedCaption("", 1.0, tuple(PhraseGrounding(0, 0, "", mask, 0.9) for mask in masks))
    found = score_cases(lambda *_: [story], [case], top=1, java=False, tells=False)
    assert found["mask_iou"] == 1
    assert found["mask_iou_strict"] == pytest.approx(len(case.told) / len(masks))


def test_a_part_with_weight_0_is_left_out():
    off, on = config_of(replace(SCENES, lambda_adaptor=0.0, lambda_mecl=0.0)), config_of(SCENES)
    assert (off.filters, off.ranks, off.contrasts) == (False, False, False)
    assert (on.filters, on.ranks, on.contrasts) == (True, True, True)


def test_captions_without_phrases_are_linked_by_their_nouns_and_crowds_are_left_out():
    regions = (Region("dog", (1, 1, 5, 5)), Region("dog", (9, 9, 5, 5), crowd=True), Region("cat", (0, 0, 0, 0)))
    told = Picture("p", lambda: np.zeros((16, 16, 3), np.uint8), captions=("two puppies and a cat",), regions=regions)
    (picture,) = usable(PictureSet([told, replace(told, regions=())]), "train")
    assert [p.regions for p in picture.phrases if p.regions] == [(0,)]
    with pytest.raises(InputError, match="train: none of 1 pictures has a caption that names one of its regions"):
        usable(PictureSet([replace(told, regions=())]), "train")


class Says:
    """An explainer that always tells the same."""

    def __init__(self, *stories):
        self.stories = list(stories)

    def explain(self, image, *, box, regions, relations, top, seed):
        return self.stories[:top]


def test_the_sequential_pipeline_ties_masks_to_the_nouns_told(pictures):
    case = cases_of(pictures, "any")[0]
    mask = np.ones((48, 48), np.bool_)
    outliner = Says(
        GroundedCaption("", 0.5, tuple(PhraseGrounding(0, 0, c, mask, 0.7, c) for c in ("dog", "cat", "tree")))
    )
    teller = Says(GroundedCaption("a puppy near a kitten and a puppy", 0.4), GroundedCaption("nobody", 0.2))
    classes = {"puppy": "dog", "kitten": "cat", "oak": "tree"}
    first, second = tell_in_turn(teller, outliner, classes, case, 2, 0)
    assert [(link.start, link.phrase, link.label, link.score) for link in first.links] == [
        (2, "puppy", "dog", 0.7),
        (15, "kitten", "cat", 0.7),
    ]
    assert second.links == ()
    assert [story.score for story in (first, second)] == [0.4, 0.2]


def test_the_table_has_twelve_systems_by_three_seeds_and_its_rows_run(quick, scenes, tmp_path, monkeypatch):
    main = [row for row in sgdiff_scenes_table() if row.experiment == "main"]
    assert len({row.system for row in main}) == 12
    assert len(main) == len({row.key for row in main}) == 36
    assert len(sgdiff_scenes_table()) == 46
    monkeypatch.setattr(sgdiff_tables, "SHORT", quick)
    monkeypatch.setattr("segue.metrics.captions.IN_JAVA", ())  # starts of Java, a second each
    rows = {row.name: row for row in sgdiff_scenes_table()}
    work = tmp_path / "table"
    found = {
        name: rows[f"main/{name}/0"].run(rows[f"main/{name}/0"].work(work, scenes))
        for name in ("mask_only", "caption_only", "sequential")
    }
    assert "cider" not in found["mask_only"]
    assert "mask_iou" not in found["caption_only"]
    assert {"cider", "cider_oracle5", "bleu4", "mask_iou", "map", "link_accuracy", "distinct2", "random_cider"} <= set(
        found["sequential"]
    )
    trained = {"shared-mask_only-2-1-0", "shared-caption_only-2-1-0"}
    assert {one.name for one in work.glob("shared-*")} == trained  # the pipeline has trained nothing
    assert all(math.isfinite(value) for scores in found.values() for value in scores.values())


def test_rows_that_differ_in_mecl_share_the_first_stage(quick, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(sgdiff_tables, "SHORT", quick)
    settings, table = replace(quick, system="mecl_intra"), tmp_path / "table"
    shared = sgdiff_tables._trained(settings, Work(table / "row", table, tmp_path))
    assert not (shared.parent / "captions").exists()
    assert (table / "shared-full-2-1-0" / "captions" / "best").exists()
    alone = sgdiff_scenes(replace(settings, out=tmp_path / "alone"))
    assert (shared / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()


def test_a_first_stage_of_another_network_is_refused(quick, tmp_path):
    first = sgdiff_scenes(quick).parent / "captions" / "best"
    for other in ({"width": 64}, {"system": "no_psga"}, {"min_count": 3}):
        with pytest.raises(InputError, match="a first stage with other words, classes or sizes"):
            sgdiff_scenes(replace(quick, captions=first, out=tmp_path / "other", **other))


def test_the_bundled_model_is_scored_with_both_prompts_and_with_drawn_words(quick, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(sgdiff_tables, "BUNDLED", str(sgdiff_scenes(quick)))
    asked = []

    def tell(*args, real=grounded_captions.tell_by, **options):
        asked.append(options["temperature"])
        return real(*args, **options)

    monkeypatch.setattr(grounded_captions, "tell_by", tell)
    for row in sgdiff_bundled_table():
        found = row.run(row.work(tmp_path / "work", scenes))
        assert {"cider", "cider_oracle5", "mask_iou", "link_accuracy"} <= set(found)
        assert set(asked) == {1.0 if row.system.endswith("drawn") else 0.0}
        asked.clear()
    assert len({row.system for row in sgdiff_bundled_table()}) == 4


def test_scenes_must_be_there(quick, tmp_path):
    with pytest.raises(InputError, match="draw it first: segue data make scenes"):
        sgdiff_scenes(replace(quick, data=tmp_path / "nowhere"))
    with pytest.raises(InputError, match="none of 0 pictures"):
        train_sgdiff(quick, PictureSet([]), PictureSet([]))
