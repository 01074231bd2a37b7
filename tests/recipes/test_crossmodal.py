"""The training of the joint caption and layout model, from scratch and from pretrained weights."""

import shutil
from dataclasses import replace
from html import escape

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast, ViTConfig, ViTModel

import segue as package
from segue import training
from segue.api.illustrator import load_illustrator
from segue.api.models import about
from segue.data.formats import read_pictures
from segue.data.relation_sentences import mirrored_sentence
from segue.methods.crossmodal.checkpoint import load_boxes, load_crossmodal
from segue.options import Decoding, DrawOptions
from segue.recipes import crossmodal_plan, plan
from segue.recipes.crossmodal import (
    COCOSTUFF,
    CROSSMODAL,
    captioned_layouts,
    read_split,
    train_crossmodal,
    train_crossmodal_cocostuff,
)
from segue.recipes.plan import plan_training
from segue.types import InputError
from tiny_illustrator import tiny_settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return tiny_settings(tmp_path_factory.mktemp("crossmodal"))


@pytest.fixture(scope="module")
def model(settings):
    return train_crossmodal(settings)


def test_a_checkpoint_tells_its_data_by_name(settings, model):
    assert about(model)["data"] == "scenes"
    assert str(settings.data.parent) not in (model / "config.json").read_text()


def test_the_report_shows_layouts_beside_the_true_ones(settings, model):
    page = (settings.out / "report/index.html").read_text()
    captions = [picture.captions[0] for picture in read_pictures(settings.data, "val").pictures]
    assert all(escape(caption) in page for caption in captions)
    assert page.count("Said of the true layout") == len(captions)


def test_a_picture_of_another_kind_is_far(settings, model):
    drawer = load_illustrator(model)
    scenes = [picture.load() for picture in read_pictures(settings.data, "val").pictures]
    assert max(drawer.measure_distances(scenes)) == pytest.approx(1, abs=0.05)  # they set the limit
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert drawer.measure_distances([noise])[0] > 1


def test_a_finished_run_is_resumed_without_training_again(settings, model):
    before = (model / "model.safetensors").read_bytes()
    assert train_crossmodal(replace(settings, resume=True)) == model
    assert (model / "model.safetensors").read_bytes() == before


def test_label_maps_without_captions_teach_by_templates_where_asked(settings):
    found = read_pictures(settings.data, "train")
    silent = replace(found, pictures=[replace(one, captions=(), phrases=(), relations=()) for one in found.pictures])
    with pytest.raises(InputError, match=r"train: no picture has both .*--template-captions makes captions"):
        captioned_layouts(silent, settings, "train")
    made = captioned_layouts(silent, replace(settings, template_captions=True), "train")
    assert len(made) == len(found.pictures)
    assert all(texts[0].startswith("a photo of ") for texts in made.captions)
    assert captioned_layouts(found, replace(settings, template_captions=True), "train").captions == [
        one.captions
        for one in found.pictures  # people's own stay
    ]


def test_paraphrases_are_prompts_and_no_captions(settings):
    found = read_pictures(settings.data, "train")
    near = replace(
        found, pictures=[replace(one, captions=("a car near a road",), phrases=()) for one in found.pictures]
    )
    plain, more = (captioned_layouts(near, replace(settings, paraphrases=n), "train") for n in (0, 2))
    assert more.captions == plain.captions
    assert [len(b) - len(a) for a, b in zip(plain.prompts, more.prompts, strict=True)] == [2] * len(plain)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "on", "the", "grass", "car", "##s"]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """A ViT and a BERT of equal shape, as folders."""
    folder = tmp_path_factory.mktemp("encoders")
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
    torch.manual_seed(0)
    ViTModel(ViTConfig(**shape, image_size=32, patch_size=8)).save_pretrained(folder / "vit")
    BertModel(BertConfig(**shape, vocab_size=len(WORDS))).save_pretrained(folder / "bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    return {name: str(folder / name) for name in ("vit", "bert")}


def test_training_starts_from_a_vit_and_a_bert(settings, encoders, tmp_path):
    model = train_crossmodal(replace(settings, **encoders, steps=1, lr=1e-9, ema=0.0, out=tmp_path / "run"))
    illustrator = package.load(model)
    ours = illustrator.checkpoint.model.word_stream.layers[0].attention.q.weight
    theirs = BertModel.from_pretrained(encoders["bert"]).encoder.layer[0].attention.self.query.weight
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert illustrator.checkpoint.tokenizer.encode(["dogs"], 8)[0].tolist() == [[6, 11, 3]]
    assert illustrator.draw("a dog", options=DrawOptions(steps=2))[0].labels.shape == (32, 32)
    captions = illustrator.caption_layout(np.zeros((8, 8), np.uint8), options=Decoding(num=4, beams=4))
    assert not any("[" in one.caption for one in captions)


def test_starts_that_do_not_fit_are_refused(settings, encoders, tmp_path):
    for changes, message in (
        ({"vit": encoders["vit"]}, "expected both"),
        (encoders | {"system": "depth4"}, "a system that keeps their depth"),
        (encoders | {"factor": 16}, "its patches span 8 pixels"),
        (encoders | {"bert": str(tmp_path)}, "no text encoder could be read there"),
    ):
        with pytest.raises(InputError, match=message):
            train_crossmodal(replace(settings, **changes, out=tmp_path / "run"))


def test_a_quantiser_of_other_layouts_is_refused(settings, model, tmp_path):
    with pytest.raises(InputError, match="with cells of 8 pixels, expected 32 and 16"):
        train_crossmodal(replace(settings, vq=model.parent / "vq" / "best", factor=16, out=tmp_path))


def test_a_resume_that_a_later_part_refuses_leaves_the_record_of_the_run(settings, tmp_path):
    """The quantiser takes another width, the box decoder doesn't."""
    run = replace(settings, out=tmp_path / "run")
    train_crossmodal(run)
    shutil.rmtree(run.out / "state")  # as if it had been stopped while the box decoder trained
    before = (run.out / "run.yaml").read_text()
    with pytest.raises(InputError, match=r"width: got 32, but the run in .*boxes has 64"):
        train_crossmodal(replace(run, width=32, resume=True))
    assert (run.out / "run.yaml").read_text() == before


def test_a_kill_at_the_first_state_is_no_state(settings, tmp_path):
    run = replace(settings, out=tmp_path, resume=True)
    (run.out / "vq" / "state" / "step-00000003").mkdir(parents=True)
    (run.out / "state" / "step-00000004").mkdir(parents=True)
    assert (train_crossmodal(run) / "config.json").exists()


def test_the_shared_settings_reach_both_training_loops(settings, tmp_path, monkeypatch):
    seen = []

    def fit(*args, options, **more):
        seen.append(options)
        return training.fit(*args, options=options, **more)

    monkeypatch.setattr("segue.recipes.crossmodal.fit", fit)
    shared = {"accumulate": 2, "clip_norm": 0.5, "workers": 1, "patience": 3, "ema": 0.5, "seed": 9}
    train_crossmodal(replace(settings, **shared, evaluations=2, out=tmp_path / "run"))
    assert [{name: getattr(options, name) for name in shared} for options in seen] == [shared] * 3
    quantiser, boxes, joint = seen
    assert (boxes.steps, boxes.batch_size, boxes.lr, boxes.weight_decay) == (3, 16, settings.lr, settings.weight_decay)
    assert (quantiser.steps, quantiser.batch_size, quantiser.lr, quantiser.weight_decay) == (3, 8, 2e-3, 0.0)
    assert (joint.steps, joint.batch_size, joint.lr, joint.weight_decay) == (4, 4, settings.lr, settings.weight_decay)


def test_a_finished_box_decoder_is_used_if_it_is_of_the_same_data(settings, model, tmp_path):
    finished = model.parent / "boxes" / "best"
    again = train_crossmodal(replace(settings, boxes=finished, out=tmp_path / "run"))
    assert not (tmp_path / "run" / "boxes").exists()
    assert load_crossmodal(again).boxes.config == load_boxes(finished).config
    with pytest.raises(InputError, match="of other captions or layouts"):
        train_crossmodal(replace(settings, boxes=finished, factor=16, out=tmp_path / "other"))


def test_boxes_are_learned_with_left_and_right_said_and_exchanged(settings, monkeypatch, tmp_path):
    seen = {}

    def fit(model, batches, *args, out, **more):
        seen[out.name] = batches
        return training.fit(model, batches, *args, out=out, **more)

    monkeypatch.setattr("segue.recipes.crossmodal.fit", fit)
    train_crossmodal(replace(settings, out=tmp_path / "run"))
    train = read_split(settings, "train")
    side = next(i for i, prompts in enumerate(train.prompts) if any(mirrored_sentence(one) != one for one in prompts))
    batch = seen["boxes"].collate([(epoch, side) for epoch in range(40)])
    named = (batch["ids"] != batch["swapped_ids"]).any(1)
    share = np.mean([mirrored_sentence(one) != one for one in train.prompts[side]])
    assert share < float(named.float().mean()) < 1
    assert len(batch["boxes"].unique(dim=0)) == 2  # the layout and its mirror image


def test_a_model_of_one_level_trains_no_boxes(settings, tmp_path):
    model = train_crossmodal(replace(settings, system="one_level", out=tmp_path / "run"))
    assert load_crossmodal(model).boxes is None
    assert not (tmp_path / "run" / "boxes").exists()


def test_a_model_of_one_level_goes_on_and_learns_boxes(settings, model, tmp_path):
    one_level = train_crossmodal(replace(settings, system="one_level", out=tmp_path / "one"))
    boxes = model.parent / "boxes" / "best"
    run = replace(settings, init=str(one_level), boxes=boxes, steps=1, lr=1e-9, ema=0.0, out=tmp_path / "two")
    before, after = load_crossmodal(one_level), load_crossmodal(train_crossmodal(run))
    assert after.boxes is not None
    codes = torch.zeros(1, 4, 4, dtype=torch.int64)
    painted = torch.zeros(1, 8, 8, dtype=torch.uint8)
    drawn = after.model.cell_embedding(codes, None, boxes=painted)
    assert torch.allclose(before.model.cell_embedding(codes, None), drawn, atol=1e-5)
    assert torch.equal(before.quantiser.head.weight, after.quantiser.head.weight)


def test_a_start_of_another_shape_is_refused(settings, model, tmp_path):
    for changes, message in (
        ({"factor": 16}, "cells of 8 pixels"),
        ({"system": "no_align"}, "leave vit, bert, vq, system out"),
    ):
        with pytest.raises(InputError, match=message):
            train_crossmodal(replace(settings, **changes, init=str(model), out=tmp_path / "run"))


def test_the_paper_s_settings_start_and_resume(settings, encoders, tmp_path):
    assert (COCOSTUFF.image_size, COCOSTUFF.factor, COCOSTUFF.lr, COCOSTUFF.system) == (512, 16, 5e-5, "full")
    assert COCOSTUFF.steps * COCOSTUFF.batch_size == pytest.approx(100 * 118_287, rel=1e-3)
    small = {name: getattr(settings, name) for name in ("image_size", "factor", "width", "vq_steps", "box_steps")}
    run = replace(
        COCOSTUFF, **small, **encoders, data=settings.data, out=tmp_path, steps=2, batch_size=2, evaluations=1
    )
    model = train_crossmodal_cocostuff(run)
    assert train_crossmodal_cocostuff(replace(run, steps=3, resume=True)) == model
    assert load_crossmodal(model).model.config.norms == "post"


def test_a_plan_of_the_paper_s_settings(settings, monkeypatch):
    monkeypatch.setattr(crossmodal_plan, "BASE", crossmodal_plan.BASE | {"width": 32, "heads": 2, "depth": 1})
    small = {"crossmodal-cocostuff": replace(COCOSTUFF, image_size=64), "crossmodal": CROSSMODAL}
    monkeypatch.setattr(plan, "recipe_settings", small.get)
    found = plan_training("crossmodal-cocostuff", settings.data, processes=8)
    assert (found["pictures"], found["steps"], found["batch_of_a_process"]) == (6, COCOSTUFF.steps, 8)
    assert found["memory_gb"] > 0
    assert plan_training("crossmodal", settings.data)["pictures"] == 6
