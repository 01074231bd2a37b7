"""Training with curated concepts from end to end, tiny: the archive, the batches, the checkpoint, its scores."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from scenes_and_pair import write_pair, write_scenes
from segue.api import load_labeller
from segue.api.curation import read_corpus
from segue.data.formats import read_pictures
from segue.evaluation.labels import evaluate_label_maps, score_maps, with_truth
from segue.lab.run import rows_of
from segue.lab.tables.cocu_scenes import SEEDS, learning_curve, named_often, score_scenes
from segue.methods.cocu.archive import read_archive
from segue.methods.cocu.groupvit.config import SIZES, GroupViTConfig
from segue.methods.cocu.inference import PROTOCOLS, EvalProtocol
from segue.recipes import RECIPES
from segue.recipes.cocu import SCENES, NamedBatches, System, build, cocu, curated_archive, with_nouns
from segue.synthetic.scenes.scene import CLASSES
from segue.types import InputError, Phrase, Picture, PictureSet

TINY = GroupViTConfig(
    width=16, mlp=32, depths=(1, 1), group_tokens=(6, 0), output_groups=(6, 6), heads=2, image_size=32, patch=8,
    text_width=16, text_mlp=32, text_layers=1, text_heads=2, max_tokens=24, projection=16, projection_hidden=32,
    drop_path=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "s")


@pytest.fixture(scope="module")
def settings(scenes, tmp_path_factory):
    home = tmp_path_factory.mktemp("cocu")
    (home / "words.txt").write_text("\n".join([*CLASSES, "street", "field", "beach", "lady", "guy", "bike"]))
    return replace(
        SCENES, size="scenes", protocol="scenes", out=home / "run", data=scenes, pair=str(write_pair(home / "pair")),
        vocabulary=home / "words.txt", curated=home / "curated", steps=6, batch_size=4, evaluations=2,
        val_pictures=0, half=False,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "scenes", TINY)
        patch.setitem(PROTOCOLS, "scenes", EvalProtocol(32, 32, 16))
        yield


@pytest.fixture(scope="module")
def trained(settings):
    return cocu(settings)


def batches_of(settings):
    corpus = read_corpus(settings.data, "train", captions=settings.captions, vocabulary=settings.vocabulary)
    model = build(settings, corpus, ("dog",))
    return NamedBatches(corpus, curated_archive(settings, corpus), settings, model), corpus


def test_training_leaves_a_checkpoint_that_segments(trained, settings, scenes):
    model = load_labeller(trained)
    assert model.card == PROTOCOLS["scenes"]
    assert model.about["system"] == "full"
    assert model.about["data"] == scenes.name
    assert str(scenes.parent) not in (trained / "config.json").read_text()
    assert set(model.about["concept_vocabulary"]) == set(
        read_archive(settings.curated / "archive/archive.parquet").concepts
    )
    history = [json.loads(line) for line in (settings.out / "history.jsonl").read_text().splitlines()]
    assert {"train/caption", "train/prompts", "evaluate/miou"} <= set(history[-1])
    scores = score_scenes(trained, settings)
    assert {"miou", "miou_named", "miou_seldom", "pixel_accuracy"} < set(scores)
    assert {"given", "given_named", "given_seldom", "given_pixel_accuracy"} < set(scores)
    assert scores["given_pixel_accuracy"] > scores["pixel_accuracy"]
    assert min(scores.values()) >= 0
    assert scores["given_named"] != scores["given_seldom"]


def test_the_scenes_own_pair_is_trained_once_on_other_scenes(settings, tmp_path, monkeypatch):
    def make(out, **options):
        write_scenes(out)
        asked.append(options)

    def learn(pair_settings, train, val):
        write_pair(pair_settings.out / "best")
        write_pair(pair_settings.out / "last")
        trained.append(pair_settings)
        read.append((train, val))

    asked, trained, read = [], [], []
    cocu_recipe = import_module("segue.recipes.cocu")
    monkeypatch.setattr(cocu_recipe, "make_scenes", make)
    monkeypatch.setattr(cocu_recipe, "train_pair", learn)
    monkeypatch.chdir(tmp_path)
    own = replace(settings, pair=SCENES.pair, out=tmp_path / "run", curated=tmp_path / "curated", steps=2)
    cocu_recipe.cocu_scenes(replace(own, system="groupvit", out=tmp_path / "plain"))
    assert not trained
    for _ in range(2):
        cocu_recipe.cocu_scenes(replace(own, resume=bool(trained)))
    assert [one.data for one in trained] == [Path("runs/pair-scenes-close-data")]
    assert asked[0]["seed"] != 0
    assert asked[0]["view"] == "close"
    (train, val) = read[0]
    assert any("A photo of a" in caption for picture in train.pictures for caption in picture.captions)
    assert not any("A photo of a" in caption for picture in val.pictures for caption in picture.captions)
    cocu_recipe.cocu_scenes(replace(settings, out=tmp_path / "given", steps=2))
    assert len(trained) == 1


def test_eval_prints_the_card_and_the_overlap(segue, trained, scenes, tmp_path):
    status, told, error = segue("eval", trained, "--data", scenes, "--split", "val", "--protocol", "scenes", "--json")
    assert status == 0, error
    answer = json.loads(told)
    assert answer["card"]["crop"] == 32
    assert answer["pictures"] == 2
    assert answer["classes"] == 32 == answer["vocabulary_overlap"]["of"]
    assert answer["vocabulary_overlap"]["held"] == 32 - len(answer["vocabulary_overlap"]["missing"])
    there = [v for v in answer["class_iou"].values() if v is not None]
    assert answer["miou"] == pytest.approx(np.mean(there))
    (tmp_path / "words.txt").write_text("dog\nsky\nzebra\n")
    args = ("--data", scenes, "--split", "val", "--vocabulary", tmp_path / "words.txt")
    status, told, _ = segue("eval", trained, *args, "--json")
    assert json.loads(told)["vocabulary_overlap"]["held"] == 2
    status, told, _ = segue("eval", trained, *args)
    assert status == 0
    assert "miou" in told


def test_eval_changes_the_card(segue, trained, scenes, tiny_model):
    args = ("--data", scenes, "--split", "val", "--json")
    plain = json.loads(segue("eval", trained, *args)[1])
    more = ("--hard", "--prompt", "the {}", "--top-k", 3)
    status, told, error = segue("eval", trained, *args, *more, "--protocol", "scenes")
    assert status == 0, error
    changed = json.loads(told)
    assert changed["card"] == plain["card"] | {"soft": False, "prompt": "the {}", "top_k": 3}
    assert (plain["protocol"], changed["protocol"]) == ("the model's own", "scenes, changed")
    card = EvalProtocol(**changed["card"])
    pictures, classes, truth = with_truth(read_pictures(scenes, "val"), card)
    ious, accuracy = score_maps(load_labeller(trained), pictures, classes, truth, card)
    assert (changed["miou"], changed["pixel_accuracy"]) == (pytest.approx(np.nanmean(ious)), pytest.approx(accuracy))
    assert changed["pixel_accuracy"] != plain["pixel_accuracy"]
    assert "expected one {}" in segue("eval", trained, *args, "--prompt", "the")[2]
    assert "--top-k: " in segue("eval", tiny_model, *args, "--top-k", 3)[2]


def test_a_perfect_answer_scores_one(trained, scenes, monkeypatch):
    """The scores of the truth itself, put in the model's mouth."""
    model = load_labeller(trained)
    found = read_pictures(scenes, "val")
    truths = iter([p.label_map() for p in found.pictures])

    def segment(image, names, **options):
        answer = next(truths)
        return replace(real(image, names, **options), index=np.where(answer == 255, 0, answer).astype(np.uint8))

    real = model.segment
    monkeypatch.setattr(model, "segment", segment)
    told = evaluate_label_maps(model, scenes, "val")
    assert told["miou"] == told["pixel_accuracy"] == 1


def test_without_label_maps_the_masks_are_the_truth(scenes):
    found = read_pictures(scenes, "val")
    bare = replace(found, pictures=[replace(p, label_map=None) for p in found.pictures])
    pictures, classes, truth = with_truth(bare, EvalProtocol(32, 32, 16, 0.9))
    assert classes == (*found.classes, "background")
    for picture, whole in zip(pictures, found.pictures, strict=True):
        both = truth(picture)
        known = whole.label_map()
        assert (both == known)[known != 255].mean() > 0.99
    assert with_truth(bare, EvalProtocol(32, 32, 16))[1] == found.classes
    with pytest.raises(InputError, match="no picture of this split has a label map or a mask"):
        with_truth(replace(found, pictures=[replace(p, label_map=None, regions=(), relations=(), phrases=())
                                            for p in found.pictures]), EvalProtocol(32, 32, 16))  # fmt: skip


def test_background_is_scored_by_cards_that_can_answer_it(trained, scenes, monkeypatch):
    """Without a threshold no pixel is named so: its IoU of 0 would say nothing of the model, and is left out."""
    found = read_pictures(scenes, "val")
    behind = int(np.argmax(np.bincount(found.pictures[0].label_map().ravel(), minlength=256)[:255]))
    classes = tuple("background" if i == behind else name for i, name in enumerate(found.classes))
    named = replace(found, classes=classes)
    monkeypatch.setattr("segue.evaluation.labels.read_pictures", lambda *_: named)
    model = load_labeller(trained)
    for threshold in (None, 0.2):
        model.card = EvalProtocol(32, 32, 16, threshold)
        told = evaluate_label_maps(model, scenes, "val")
        there = {name: iou for name, iou in told["class_iou"].items() if iou is not None}
        assert ("background" in there) == (threshold is not None)
        assert told["miou"] == pytest.approx(np.mean(list(there.values())))
        said = "left out of miou: this card has no threshold, below which a pixel would be background"
        assert told["card"].get("background") == (None if threshold else said)
    monkeypatch.undo()
    model.card = EvalProtocol(32, 32, 16)
    assert "background" not in evaluate_label_maps(model, scenes, "val")["card"]


def test_what_label_maps_leave_out_is_background_where_the_card_has_one(scenes):
    found = read_pictures(scenes, "val")
    hidden = [np.where(p.label_map() == 0, 255, p.label_map()).astype(np.uint8) for p in found.pictures]
    holed = replace(
        found, pictures=[replace(p, label_map=lambda m=m: m) for p, m in zip(found.pictures, hidden, strict=True)]
    )
    for card, rest in ((EvalProtocol(32, 32, 16, 0.3), len(found.classes)), (EvalProtocol(32, 32, 16), 255)):
        pictures, classes, truth = with_truth(holed, card)
        assert classes == ((*found.classes, "background") if rest != 255 else found.classes)
        for picture, there in zip(pictures, hidden, strict=True):
            np.testing.assert_array_equal(truth(picture), np.where(there == 255, rest, there))
    named = replace(holed, classes=("background", *found.classes[1:]))
    assert with_truth(named, EvalProtocol(32, 32, 16, 0.3))[1] == named.classes


def test_pictures_get_a_short_text_of_each_thing_that_their_captions_name():
    told = ("A big dog near the lake.", "a puppy")
    phrases = (Phrase(0, 0, 9, ()), Phrase(0, 15, 23, ()), Phrase(1, 0, 7, ()), Phrase(1, 1, 2, ()))
    picture = Picture("p", lambda: np.zeros((4, 4, 3), np.uint8), captions=told, phrases=phrases)
    (found,) = with_nouns(PictureSet([picture])).pictures
    assert found.captions == (*told, "A photo of a dog.", "A photo of a lake.", "A photo of a puppy.")
    assert found.phrases == phrases


def test_batches_hold_a_caption_and_prompts_and_can_be_made_again(settings):
    batches, _ = batches_of(settings)
    keys = [(e, i) for e in range(2) for i in range(len(batches))]
    first, second = batches.collate(keys), batches.collate(keys)
    assert first["text"] == second["text"]
    torch.testing.assert_close(first["image"], second["image"])
    assert first["image"].shape == (len(keys), 3, 32, 32)
    assert {len(row) for row in first["text"]} == {4}
    archive = batches.archive
    for (_, i), (_, *prompts) in zip(keys, first["text"], strict=True):
        own = {concept for concept, _ in archive.of(i)}
        assert all(any(concept in prompt for concept in own) for prompt in prompts) or not own
    said = {prompt for row in first["text"] for prompt in row[1:]}
    other = {p for row in batches.collate([(7, i) for i in range(len(batches))])["text"] for p in row[1:]}
    assert said != other


def test_batches_tell_which_prompts_name_the_same(settings):
    batches, _ = batches_of(settings)
    told = batches.collate([(0, i) for i in range(len(batches))])
    for (caption, *prompts), numbers in zip(told["text"], told["name"].tolist(), strict=True):
        for prompt, number in zip(prompts, numbers, strict=True):
            assert prompt == caption if number == -1 else f" {batches.archive.concepts[number]}" in prompt
    assert (told["name"] >= 0).any()
    for i, numbers in enumerate(told["known"].tolist()):
        named = batches.corpus.vocabulary.find(batches.corpus.captions[i][0])
        said = {batches.corpus.vocabulary.concepts[n] for n in named} & set(batches.archive.concepts)
        known = {batches.archive.concepts[n] for n in numbers if n >= 0}
        assert known <= said
        assert len(known) == len(said) or len(numbers) == 3 == settings.concepts
    assert (told["known"] >= 0).any()
    batches.corpus = replace(batches.corpus, captions=[("of nothing known",)] * len(batches))
    batches.archive = None
    assert set(batches.collate([(0, 0)])["name"].flatten().tolist()) == {-1}
    whole, _ = batches_of(replace(settings, naming="picture"))
    assert "name" not in whole.collate([(0, 0)])


def test_groupvit_learns_from_nothing_but_its_caption(settings):
    batches, corpus = batches_of(replace(settings, system="groupvit"))
    assert batches.archive is None
    for i in range(len(batches)):
        caption, *prompts = batches.collate([(0, i)])["text"][0]
        named = {corpus.vocabulary.concepts[n] for n in corpus.vocabulary.find(corpus.captions[i][0])}
        assert all(any(name in prompt for name in named) for prompt in prompts) if named else prompts == [caption] * 3


def test_systems_draw_from_their_own_archives(settings):
    found = {}
    for system in get_args(System)[1:]:
        batches, _ = batches_of(replace(settings, system=system))
        found[system] = batches.archive
    np.testing.assert_array_equal(found["full"].scores, found["top3"].scores)
    assert set(found["no_ranking"].scores.tolist()) == {1.0}
    assert set(found["no_clustering"].clusters.tolist()) == {0}
    assert len(found["no_expansion"].numbers) < len(found["full"].numbers)
    batches, _ = batches_of(replace(settings, system="top3"))
    names = batches._names([(epoch, 0) for epoch in range(3)])
    assert names[0] == names[1] == names[2] == [concept for concept, _ in batches.archive.of(0)][:3]


def test_mirrored_pictures_have_the_sides_of_their_captions_swapped(settings):
    batches, corpus = batches_of(settings)
    told = [("a dog on the left",) for _ in corpus.captions]
    batches.corpus = replace(corpus, captions=told)
    both = batches.collate([(e, 0) for e in range(12)])
    texts = [row[0] for row in both["text"]]
    assert {*texts} == {"a dog on the left", "a dog on the right"}
    plain, mirrored = (both["image"][texts.index(f"a dog on the {side}")] for side in ("left", "right"))
    torch.testing.assert_close(mirrored, plain.flip(2))


def test_the_tables_name_every_system_and_seed():
    rows = rows_of("cocu_scenes")
    assert len({row.key for row in rows}) == (6 + 2) * len(SEEDS) == 24
    assert {row.system for row in rows_of("cocu_recovery")} == {"expansion", "ranking", "sampling"}
    assert {"cocu", "cocu-scenes"} <= set(RECIPES)


def test_the_curve_is_of_the_evaluations(trained, settings):
    curve = learning_curve(settings.out, settings.evaluations)
    assert list(curve) == ["miou_at_50", "miou_at_100"]
    assert all(0 <= value <= 1 for value in curve.values())


def test_classes_are_named_often_or_seldom(scenes):
    often = named_often(scenes, 1)
    assert often
    assert often < set(read_pictures(scenes, "train").classes)


@pytest.mark.parametrize("changes", [{"concepts": 0}, {"temperature": 0.0}])
def test_bad_settings(settings, changes):
    with pytest.raises(InputError, match="expected one or more, above 0"):
        replace(settings, **changes)


def test_options_of_the_other_kind_of_model_are_refused(segue, trained, tiny_model, scenes):
    for model, option, message in (
        (trained, ("--tta",), "--tta"),
        (trained, ("--empty", "zero"), "--empty"),
        (trained, ("--protocol", "vok"), "protocol 'vok': expected one of voc"),
        (tiny_model, ("--protocol", "voc"), "--protocol"),
    ):
        status, _, error = segue("eval", model, "--data", scenes, *option)
        assert status == 2
        assert message in error
