import json
import shutil

import numpy as np
import pytest
import torch

import segue
from segue.api import Member, Segmenter, load, load_segmenter
from segue.methods.reclmis.model import PLACES
from segue.methods.segmenters import restore_segmenter
from segue.metrics.calibration import choose_threshold
from segue.nn.preprocessing import Preprocessing
from segue.options import SegmentOptions
from segue.types import InputError

LEFT = "Unilateral pulmonary infection, one infected area, upper left lung."
IMAGE = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)


def test_an_unknown_name_lists_the_bundled_ones():
    with pytest.raises(
        InputError, match=r"model 'nonsense': neither a folder nor a bundled model; bundled are: .*chest"
    ):
        load("nonsense")


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json there; a checkpoint is a folder with config"):
        load(tmp_path)


def test_a_checkpoint_of_another_method(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "m")
    config = json.loads((tmp_path / "m/config.json").read_text())
    (tmp_path / "m/config.json").write_text(json.dumps(config | {"method": "weather"}))
    with pytest.raises(InputError, match="the method 'weather', expected one of reclmis, reclmis-released, lvit, unet"):
        load(tmp_path / "m")


@pytest.mark.parametrize("keep", [0, 7, 5000])
def test_truncated_weights(tiny_model, tmp_path, keep):
    shutil.copytree(tiny_model, tmp_path / "m")
    weights = tmp_path / "m/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(InputError, match=rf"weights can't be read \({keep} bytes: .*copy the checkpoint again"):
        load(tmp_path / "m")


def test_weights_and_config_that_do_not_belong_together(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "m")
    config = json.loads((tmp_path / "m/config.json").read_text())
    config["config"]["widths"] = [8, 8, 16, 32]
    (tmp_path / "m/config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="the two files don't belong together"):
        load(tmp_path / "m")


def test_a_config_of_a_later_version(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "m")
    config = json.loads((tmp_path / "m/config.json").read_text())
    config["config"]["telepathy"] = True
    (tmp_path / "m/config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json has telepathy, which this version of Segue doesn't know"):
        load(tmp_path / "m")


def test_the_answer_lies_on_the_pictures_own_grid(tiny_model):
    answer = segue.load(tiny_model).segment(IMAGE, note=LEFT)
    assert answer.mask.shape == (40, 56)
    assert answer.probability.dtype == np.float32


def test_only_the_inferring_path_is_resident(tiny_model):
    lean, full = load(tiny_model), load_segmenter(tiny_model, attribution=True)
    assert lean.members[0].network.conditions is None
    assert lean.members[0].network.vision_reconstructor is None
    assert full.members[0].network.conditions is not None
    with pytest.raises(InputError, match="load it with attribution=True"):
        lean.attribute(IMAGE, LEFT)


def test_an_attribution_is_of_the_notes_words(tiny_model):
    why = load_segmenter(tiny_model, attribution=True).attribute(IMAGE, LEFT)
    assert why.patches.shape == why.gradcam.shape == (40, 56)
    assert {"left", "lung"} <= {word for word, _ in why.words}
    assert sum(weight for _, weight in why.words) == pytest.approx(1, abs=1e-5)


def test_each_word_of_a_note_is_left_out_once(tiny_model):
    model = load(tiny_model)
    half = SegmentOptions(threshold=float(np.median(model.segment(IMAGE, LEFT).probability)))
    with_it, words = (
        model.segment(IMAGE, LEFT, options=half).mask,
        list(model.attribute_words(IMAGE, LEFT, options=half)),
    )
    said = [LEFT[one.start : one.end] for one in words]
    assert said == LEFT.replace(",", "").replace(".", "").split()
    for one in (words[said.index("left")], words[said.index("area")]):
        without = model.segment(IMAGE, LEFT.replace(f" {LEFT[one.start : one.end]}", ""), options=half).mask
        np.testing.assert_array_equal(one.lost, with_it & ~without)
        np.testing.assert_array_equal(one.gained, without & ~with_it)
        assert one.change == pytest.approx((one.lost | one.gained).sum() / (with_it | without).sum())
    assert max(one.change for one in words) > 0
    (alone,) = model.attribute_words(IMAGE, "left", options=half)  # without it there is no note
    guess, left = (model.segment(IMAGE, note, options=half).mask for note in (None, "left"))
    np.testing.assert_array_equal(alone.gained, guess & ~left)


@pytest.mark.parametrize(("note", "said"), [(" . ", "got 0 words"), ("left " * 65, "got 65 words, expected 1 to 64")])
def test_words_of_a_note_without_any_or_with_many_are_refused(tiny_model, note, said):
    with pytest.raises(InputError, match=said):
        list(load(tiny_model).attribute_words(IMAGE, note))


def test_batches_answer_like_single_pictures_and_keep_their_order(tiny_model):
    model = load(tiny_model)
    images = [IMAGE, IMAGE[:30], IMAGE[:, ::-1].copy(), IMAGE[5:]]
    notes = [LEFT, None, LEFT, "two infected areas"]
    together = list(model.segment_many(images, notes, batch_size=3))
    for image, note, answer in zip(images, notes, together, strict=True):
        np.testing.assert_allclose(answer.probability, model.segment(image, note).probability, atol=1e-5)


def test_a_network_sees_as_many_pictures_as_a_cpu_reads_at_once(tiny_model, monkeypatch):
    model, seen = load(tiny_model), list[int]()
    monkeypatch.setattr("segue.api.segmenter.pictures_at_once", lambda most, side, device, dtype: min(most, 2))
    model.members[0].network.encoder.stem.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    assert len(list(model.segment_many([IMAGE] * 5, [LEFT] * 5))) == 5
    assert seen == [2, 2, 1]  # and no second pass for the distance


@pytest.mark.parametrize("name", ["reclmis-chest", "reclmis-cxr"])
def test_in_bf16_a_pretrained_encoder_still_reads_in_float32(name):
    model, dtypes = load(name, dtype="bf16"), list[torch.dtype]()
    network = model.members[0].network
    read = network.encoder.pyramid.blocks[0].project.conv if name == "reclmis-cxr" else network.encoder.stem[0][0]
    for part in (read, network.decoder.head):
        part.register_forward_hook(lambda module, given, out: dtypes.append(out.dtype))
    answer = model.segment(IMAGE, LEFT)
    assert dtypes == [torch.float32 if name == "reclmis-cxr" else torch.bfloat16, torch.bfloat16]
    assert answer.probability.dtype == np.float32


@pytest.mark.parametrize(
    ("note", "places"),
    [
        ("Unilateral pulmonary infection, one infected area, upper left lung.", ["left upper"]),
        ("One infected area, lower right lung.", ["right lower"]),
        ("RUL opacity.", ["right upper"]),
        ("consolidation at the left base", ["left lower"]),
        ("two affected regions: top left lung, lower right lung", ["left upper", "right lower"]),
    ],
)
def test_the_bundled_model_of_radiographs_reads_the_zones_of_short_notes_too(note, places):
    model = load("reclmis-cxr")
    network = model.members[0].network
    with torch.inference_mode():
        read = network.zones.logits(*network.encode_notes([model.read_note(note)]))[0] > 0
    assert [" ".join(place) for place, there in zip(PLACES, read, strict=True) if there] == places


def test_a_note_s_mask_follows_its_expected_dice_unless_a_threshold_is_given(tiny_model):
    model = load(tiny_model)
    answer = model.segment(IMAGE, LEFT)
    assert answer.threshold == choose_threshold(answer.probability)
    np.testing.assert_array_equal(answer.mask, answer.probability >= answer.threshold)
    assert model.segment(IMAGE, LEFT, options=SegmentOptions(threshold=0.5)).threshold == 0.5


def test_batch_norms_are_folded_when_a_segmenter_is_loaded(tiny_model):
    saved = restore_segmenter(tiny_model).network
    loaded = load(tiny_model).members[0].network
    kinds = torch.nn.BatchNorm2d, torch.nn.Conv2d
    before, after = ([sum(isinstance(m, k) for m in one.modules()) for k in kinds] for one in (saved, loaded))
    assert before[0] > 0
    assert after == [0, before[1]]


def test_tta_of_a_mirrored_picture_with_swapped_sides_is_the_mirrored_answer(tiny_model):
    model = load(tiny_model)
    here = model.segment(IMAGE, LEFT, options=SegmentOptions(tta=True))
    there = model.segment(
        np.ascontiguousarray(IMAGE[:, ::-1]), LEFT.replace("left", "right"), options=SegmentOptions(tta=True)
    )
    np.testing.assert_allclose(here.probability, there.probability[:, ::-1], atol=1e-5)


class Fixed(torch.nn.Module):
    """Answers one logit everywhere."""

    def __init__(self, logit):
        super().__init__()
        self.logit = logit

    def forward(self, image, notes, encode=None):
        return torch.full((len(image), 1, *image.shape[-2:]), self.logit)


def test_an_ensemble_averages_calibrated_probabilities():
    model = Segmenter([Member(Fixed(2.0), temperature=2.0), Member(Fixed(-1.0))], Preprocessing(size=32))
    expected = (torch.sigmoid(torch.tensor(1.0)) + torch.sigmoid(torch.tensor(-1.0))) / 2
    assert model.segment(IMAGE).probability.mean() == pytest.approx(float(expected), abs=1e-6)


def test_a_folder_of_folds_is_an_ensemble(tiny_model, tmp_path):
    for fold in ("fold-0", "fold-1"):
        shutil.copytree(tiny_model, tmp_path / fold / "best")
    (tmp_path / "ensemble.json").write_text(json.dumps({"members": ["fold-0/best", "fold-1/best"]}))
    both = load(tmp_path)
    assert len(both.members) == 2
    np.testing.assert_allclose(
        both.segment(IMAGE, LEFT).probability, load(tiny_model).segment(IMAGE, LEFT).probability, atol=1e-6
    )


def test_windows_cover_a_large_picture(tiny_model):
    large = np.tile(IMAGE, (3, 3, 1))
    answer = load(tiny_model).segment(large, LEFT, options=SegmentOptions(window=48))
    assert answer.mask.shape == (120, 168)
    flat = np.full((96, 96, 3), 90, np.uint8)
    whole = Segmenter([Member(Fixed(1.0))], Preprocessing(size=32)).segment(flat, options=SegmentOptions(window=48))
    np.testing.assert_allclose(whole.probability, 1 / (1 + np.exp(-1.0)), atol=1e-4)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -3])
def test_a_threshold_is_a_probability(tiny_model, threshold):
    with pytest.raises(InputError, match=r"threshold: got .*, expected more than 0, less than 1"):
        load(tiny_model).segment(IMAGE, LEFT, options=SegmentOptions(threshold=threshold))


def test_a_blank_note_is_refused_and_none_is_not(tiny_model):
    with pytest.raises(InputError, match=r"leave it out \(None\) to segment without a note"):
        load(tiny_model).segment(IMAGE, "  ")
    assert load(tiny_model).segment(IMAGE).note is None


def test_a_note_of_ten_thousand_words(tiny_model):
    with pytest.raises(InputError, match=r"got 10,000 words .* expected at most 2,000 words"):
        load(tiny_model).segment(IMAGE, "left " * 10_000)


def test_the_package_offers_load_lazily():
    assert segue.load is load
    with pytest.raises(AttributeError, match=r"it offers Captioner, .*, __version__, load$"):
        segue.nonsense  # noqa: B018


def test_an_export_is_smaller_and_answers_alike(tiny_model, tmp_path):
    from segue.api import export

    export(tiny_model, tmp_path / "small")
    small, full = tmp_path / "small/model.safetensors", tiny_model / "model.safetensors"
    assert small.stat().st_size < 0.6 * full.stat().st_size
    here, there = load(tiny_model), load_segmenter(tmp_path / "small", attribution=True)
    np.testing.assert_allclose(here.segment(IMAGE, LEFT).probability, there.segment(IMAGE, LEFT).probability, atol=5e-3)
    assert there.attribute(IMAGE, LEFT).words
    export(tiny_model, tmp_path / "small")  # again, as after a kill behind the last step
    (tmp_path / "small/mine.txt").write_text("x")
    with pytest.raises(InputError, match="is there already, with something else"):
        export(tiny_model, tmp_path / "small")


def test_a_note_in_other_words_gives_the_mask_of_the_models_own_words_and_is_told(tiny_model):
    model, image = load_segmenter(tiny_model), np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    own = "two infected areas, all left lung and upper right lung"
    other = "2 affected regions, the whole left lung and top right lung"
    answer = model.segment(image, other)
    assert answer.note == other
    np.testing.assert_array_equal(answer.probability, model.segment(image, own).probability)
    assert model.note_doubts(other) == [f"the note is read as {own!r}, in words of the model's training"]
    assert model.note_doubts(own) == model.note_doubts(None) == []
    told = model.note_doubts("upper left lung, gibberish")
    assert told == ["no note of the model's training has 'gibberish'; say it otherwise"]


def test_a_note_in_another_script_and_one_that_is_too_long_are_told(tiny_model):
    """Any word of another script was taken for a known one, and what a long note lost was told once in a process."""
    model = load_segmenter(tiny_model)
    told = model.note_doubts("upper left lung, منطقة")
    assert told == ["no note of the model's training has 'منطقة'; say it otherwise"]
    long = "upper left lung and " * 99 + "right lung"
    for _ in range(2):
        (told,) = model.note_doubts(long)
        assert told.startswith("the note is too long for the model, which doesn't read its end, '")
