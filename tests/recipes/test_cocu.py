"""Training with curated concepts from end to end, tiny: the archive, the batches, the checkpoint."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scenes_and_encoder import write_encoder, write_scenes
from segue.api.label_segmenter import DualEncoderSegmenter, load_label_segmenter
from segue.api.open_vocabulary import load_open_vocabulary
from segue.data.formats import read_pictures
from segue.methods.cocu.archive import read_archive
from segue.methods.cocu.groupvit.config import SIZES, GroupViTConfig
from segue.methods.cocu.protocols import PROTOCOLS, EvalProtocol
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.recipes import cocu as recipe
from segue.recipes.cocu import (
    SCENES,
    CocuBatches,
    System,
    build_model,
    prepare_training,
    read_val,
    train_cocu,
    with_noun_captions,
)
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
        SCENES, size="scenes", protocol="scenes", out=home / "run", data=scenes, encoder=str(write_encoder(home / "e")),
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
    return train_cocu(settings)


def batches_of(settings):
    corpus, archive = prepare_training(settings)
    return CocuBatches(corpus, archive, settings, build_model(settings, corpus, ("dog",))), corpus


def test_training_leaves_a_checkpoint_that_segments(trained, settings, scenes):
    model = load_open_vocabulary(trained)
    assert model.protocol == PROTOCOLS["scenes"]
    assert model.about["system"] == "full"
    assert model.about["data"] == scenes.name
    assert str(scenes.parent) not in (trained / "config.json").read_text()
    assert set(model.about["concept_vocabulary"]) == set(
        read_archive(settings.curated / "archive/archive.parquet").concepts
    )
    history = [json.loads(line) for line in (settings.out / "history.jsonl").read_text().splitlines()]
    assert {"train/caption", "train/prompts", "evaluate/miou"} <= set(history[-1])
    assert "2 of 2 validation pictures" in (settings.out / "report/index.html").read_text()


def test_the_scenes_own_encoder_is_trained_once_on_other_scenes(settings, tmp_path, monkeypatch):
    def make(out, **options):
        write_scenes(out)
        asked.append(options)

    def learn(encoder_settings, train, val):
        write_encoder(encoder_settings.out / "best")
        write_encoder(encoder_settings.out / "last")
        trained.append(encoder_settings)
        read.append((train, val))

    asked, trained, read = [], [], []
    monkeypatch.setattr(recipe, "make_scenes", make)
    monkeypatch.setattr(recipe, "train_on_pictures", learn)
    monkeypatch.chdir(tmp_path)
    own = replace(settings, encoder=SCENES.encoder, out=tmp_path / "run", curated=tmp_path / "curated", steps=2)
    recipe.train_cocu_scenes(replace(own, system="groupvit", out=tmp_path / "plain"))
    assert not trained
    for _ in range(2):
        recipe.train_cocu_scenes(replace(own, resume=bool(trained)))
    assert [one.data for one in trained] == [Path("runs/scenes-encoder-close-data")]
    assert asked[0]["seed"] != 0
    assert asked[0]["view"] == "close"
    (train, val) = read[0]
    assert any("A photo of a" in caption for picture in train.pictures for caption in picture.captions)
    assert not any("A photo of a" in caption for picture in val.pictures for caption in picture.captions)
    recipe.train_cocu_scenes(replace(settings, out=tmp_path / "given", steps=2))
    assert len(trained) == 1


def test_pictures_get_a_short_text_of_each_thing_that_their_captions_name():
    captions = ("A big dog near the lake.", "a puppy")
    phrases = (Phrase(0, 0, 9, ()), Phrase(0, 15, 23, ()), Phrase(1, 0, 7, ()), Phrase(1, 1, 2, ()))
    picture = Picture("p", lambda: np.zeros((4, 4, 3), np.uint8), captions=captions, phrases=phrases)
    (found,) = with_noun_captions(PictureSet([picture])).pictures
    assert found.captions == (*captions, "A photo of a dog.", "A photo of a lake.", "A photo of a puppy.")
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
        own = {concept for concept, _ in archive.concepts_of(i)}
        assert all(any(concept in prompt for concept in own) for prompt in prompts) or not own
    said = {prompt for row in first["text"] for prompt in row[1:]}
    other = {p for row in batches.collate([(7, i) for i in range(len(batches))])["text"] for p in row[1:]}
    assert said != other


def test_batches_tell_which_prompts_name_the_same(settings):
    batches, _ = batches_of(settings)
    batch = batches.collate([(0, i) for i in range(len(batches))])
    for (caption, *prompts), numbers in zip(batch["text"], batch["concept_ids"].tolist(), strict=True):
        for prompt, number in zip(prompts, numbers, strict=True):
            assert prompt == caption if number == -1 else f" {batches.archive.concepts[number]}" in prompt
    assert (batch["concept_ids"] >= 0).any()
    for i, numbers in enumerate(batch["known_ids"].tolist()):
        named = batches.corpus.vocabulary.find(batches.corpus.captions[i][0])
        said = {batches.corpus.vocabulary.concepts[n] for n in named} & set(batches.archive.concepts)
        known = {batches.archive.concepts[n] for n in numbers if n >= 0}
        assert known <= said
        assert len(known) == len(said) or len(numbers) == 3 == settings.concepts
    assert (batch["known_ids"] >= 0).any()
    batches.corpus = replace(batches.corpus, captions=[("of nothing known",)] * len(batches))
    batches.archive = None
    assert set(batches.collate([(0, 0)])["concept_ids"].flatten().tolist()) == {-1}
    whole, _ = batches_of(replace(settings, prompt_loss="picture"))
    assert "concept_ids" not in whole.collate([(0, 0)])


def test_probabilities_weigh_what_is_drawn_and_make_known_what_is_likely(settings):
    """What the caption names isn't drawn; a likely concept is known to be there, drawn or not."""
    settings = replace(settings, probability=True)
    batches, corpus = batches_of(settings)
    batch = batches.collate([(0, i) for i in range(len(batches))])
    assert batch["concept_weights"].shape == batch["concept_ids"].shape
    archive = batches.archive
    for row, (numbers, weights) in enumerate(
        zip(batch["concept_ids"].tolist(), batch["concept_weights"].tolist(), strict=True)
    ):
        named = {corpus.vocabulary.concepts[n] for n in corpus.vocabulary.find(corpus.captions[row][0])}
        scores = dict(archive.concepts_of(row))
        assert all(0 < score < 1 for score in scores.values())
        for number, weight in zip(numbers, weights, strict=True):
            if number >= 0:
                assert archive.concepts[number] not in named
                assert weight == pytest.approx(scores[archive.concepts[number]])
            else:
                assert weight == 1
    batches.archive = replace(archive, scores=np.ones_like(archive.scores))
    known = batches.collate([(0, 0)])["known_ids"][0].tolist()
    named = batches.corpus.vocabulary.find(corpus.captions[0][0])
    likely = {name for name, _ in archive.concepts_of(0)} - {corpus.vocabulary.concepts[n] for n in named}
    assert len({archive.concepts[n] for n in known if n >= 0} & likely) == min(len(likely), 8)


@pytest.mark.parametrize("changes", [{"system": "groupvit"}, {"prompt_loss": "picture"}])
def test_a_probability_goes_with_an_archive_and_the_loss_of_groups(settings, changes):
    with pytest.raises(InputError, match="goes with system full or top3 and prompt_loss groups"):
        replace(settings, probability=True, **changes)


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
    assert len(found["no_expansion"].concept_ids) < len(found["full"].concept_ids)
    batches, _ = batches_of(replace(settings, system="top3"))
    names = batches._sample_concepts([(epoch, 0) for epoch in range(3)])
    assert names[0] == names[1] == names[2] == [concept for concept, _ in batches.archive.concepts_of(0)][:3]


def test_mirrored_pictures_have_the_sides_of_their_captions_swapped(settings):
    batches, corpus = batches_of(settings)
    captions = [("a dog on the left",) for _ in corpus.captions]
    batches.corpus = replace(corpus, captions=captions)
    both = batches.collate([(e, 0) for e in range(12)])
    texts = [row[0] for row in both["text"]]
    assert {*texts} == {"a dog on the left", "a dog on the right"}
    plain, mirrored = (both["image"][texts.index(f"a dog on the {side}")] for side in ("left", "right"))
    torch.testing.assert_close(mirrored, plain.flip(2))


@pytest.mark.parametrize("changes", [{"concepts": 0}, {"temperature": 0.0}])
def test_bad_settings(settings, changes):
    with pytest.raises(InputError, match="expected one or more, above 0"):
        replace(settings, **changes)


@pytest.fixture
def torn(scenes, tmp_path):
    """The scenes with a train and a val picture that can't be read."""
    copy = tmp_path / "torn"
    shutil.copytree(scenes, copy)
    for split in ("train", "val"):
        read_pictures(copy, split).pictures[1].load.args[0].write_bytes(b"broken")
    return copy


@pytest.mark.parametrize("system", ["groupvit", "full"])
def test_pictures_that_can_not_be_read_stop_before_training_or_are_skipped(settings, torn, tmp_path, system):
    bad = replace(settings, data=torn, system=system, out=tmp_path / "run", curated=tmp_path / "curated", steps=2)
    with pytest.raises(InputError, match=r"the data check found 2 errors: train .*broken.*; val "):
        train_cocu(bad)
    assert not bad.out.exists()
    skipping = replace(bad, on_bad="skip")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        corpus, archive = prepare_training(skipping)
        val = read_val(skipping)
        assert train_cocu(skipping).name == "best"
    assert any("1 of 2 pictures can't be read" in str(one.message) for one in caught)
    assert len(corpus.pictures) == len(corpus.captions) == 13
    assert archive is None or len(archive) == 13
    assert len(val.pictures) == 1


def test_a_val_picture_that_can_not_be_read_stops_before_training(settings, scenes, torn, tmp_path):
    whole = read_pictures(scenes, "train").pictures[1].load.args[0]
    whole_copy = torn / whole.relative_to(scenes)
    whole_copy.write_bytes(whole.read_bytes())
    with pytest.raises(InputError, match="the data check found 1 errors: val "):
        train_cocu(replace(settings, data=torn, system="groupvit", out=tmp_path / "run", steps=2))
    assert not (tmp_path / "run").exists()


def test_what_all_trainings_can_be_set_to_is_passed_on(settings, tmp_path):
    run = tmp_path / "run"
    best = train_cocu(
        replace(settings, system="groupvit", out=run, steps=20, evaluations=20, lr=0.0, patience=2, accumulate=2,
                half=True)
    )  # fmt: skip
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    values = [row["evaluate/miou"] for row in history]
    assert len(values) < 20
    assert max(values) == values[-3]  # two evaluations without gain
    state = json.loads(next((run / "state").glob("step-*/state.json")).read_text())
    assert (state["options"]["accumulate"], state["options"]["warmup"], state["options"]["clip_norm"]) == (2, 1, 5.0)
    types = {tensor.dtype for tensor in load_file(best / "model.safetensors").values()}
    assert torch.float16 in types
    assert torch.float32 not in types


def test_the_warm_up_is_a_fifteenth_of_the_steps(settings, tmp_path):
    run = replace(settings, system="groupvit", out=tmp_path / "run", steps=30, evaluations=1)
    train_cocu(run)
    rates = [json.loads(line)["lr"] for line in (run.out / "history.jsonl").read_text().splitlines()]
    assert rates[:2] == [run.lr / 2, run.lr]
    assert rates[2] == run.lr > rates[3]


@pytest.fixture(scope="module")
def on_cells(settings, tmp_path_factory):
    """Settings of a training on the cells of the tiny dual encoder, which is not frozen otherwise."""
    home = tmp_path_factory.mktemp("cells")
    return replace(
        settings, out=home / "run", image_encoder=settings.encoder, size="cells", augmentation="none", share=0.5,
        probability=True, curated=home / "curated",
    )  # fmt: skip


@pytest.fixture
def frozen(monkeypatch):
    monkeypatch.setattr(recipe, "load_headless", lambda name, device: load_dual_encoder(name, device="cpu"))


def test_a_training_on_cells_segments_by_the_dual_encoder(on_cells, frozen, scenes):
    folder = train_cocu(on_cells)
    segmenter = load_label_segmenter(folder)
    assert isinstance(segmenter, DualEncoderSegmenter)
    image = read_pictures(scenes, "val").pictures[0].load()
    assert segmenter.segment(image, "dog, grass").index.shape == image.shape[:2]
    moved = segmenter.encoder.embed_dense([image])
    plain = load_dual_encoder(on_cells.encoder)
    assert not torch.allclose(moved, plain.embed_dense([image]))
    with pytest.raises(InputError, match=r"its groups stand on .*; load it by load_label_segmenter"):
        load_open_vocabulary(folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["segue"]["about"]["fingerprint"] == plain.fingerprint
    config["segue"]["about"]["fingerprint"] = "of another"
    shutil.copytree(folder, other := folder.parent / "other")
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="is not the dual encoder of the training any more"):
        load_label_segmenter(other)


def test_cells_are_read_once_and_batches_hold_them_with_the_concepts_probabilities(on_cells, frozen):
    corpus, archive = prepare_training(on_cells)
    reader = recipe.read_cells(on_cells, corpus)
    batches = CocuBatches(corpus, archive, on_cells, build_model(on_cells, corpus, (), reader), reader)
    keys = [(0, 2), (1, 0)]
    batch = batches.collate(keys)
    rows = [batches.rows[index] for _, index in keys]
    expected = reader.encoder.embed_dense([corpus.pictures[row].load() for row in rows], size=reader.size)
    torch.testing.assert_close(batch["image"], expected, atol=1e-3, rtol=0)
    for row, named in zip(rows, batch["named"], strict=True):
        own = batches.corpus.vocabulary.find(corpus.captions[row][0])
        known = {corpus.vocabulary.concepts[i] for i in own}
        assert all(named[batches.concept_ids[name]] == 1 for name in known)
        others = {name: p for name, p in archive.concepts_of(row) if name not in known}
        for name in set(archive.concepts) - known:
            weight = float(named[batches.concept_ids[name]])
            assert weight == 0 or (name in others and weight in (1, pytest.approx(others[name])))
    again = recipe.read_cells(on_cells, corpus)
    assert again.store.path == reader.store.path
    direct = recipe.read_cells(on_cells, corpus, kept=False)
    assert direct.store is None
    torch.testing.assert_close(direct.cells(keys[0][1]), batch["image"][0], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "changes", [{"size": "small"}, {"image_encoder": None}, {"prompt_loss": "picture"}, {"augmentation": "flips"}]
)
def test_settings_that_do_not_go_with_cells_are_refused(on_cells, changes):
    with pytest.raises(InputError, match=r"image_encoder: goes with size cells|probability: goes with"):
        replace(on_cells, **changes)
